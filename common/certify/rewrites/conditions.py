"""Rewrites inside expressions that SQLite evaluates to the same value on every row, NULL included.

Comparisons keep their operands as they are, since a column's affinity decides how values are compared: nothing is
added to a column, and no column is moved behind a function. Collations are excluded by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from common.mutations.edits import Edit, Mutations, as_, swap

_MIRROR = {exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LTE, exp.LTE: exp.GTE, exp.EQ: exp.EQ, exp.NEQ: exp.NEQ}
_OPPOSITE = {exp.GT: exp.LTE, exp.LT: exp.GTE, exp.GTE: exp.LT, exp.LTE: exp.GT, exp.EQ: exp.NEQ, exp.NEQ: exp.EQ}
# Operands that bind tighter than any comparison, so that they can be moved without brackets.
_ATOMS = (exp.Column, exp.Literal, exp.Paren, exp.Subquery, exp.AggFunc, exp.Null)


def of_node(node: exp.Expression, tree: exp.Expression) -> Mutations:
    """Kinds and edits for a node; the changed condition may be evaluated by another plan."""
    kind = type(node)
    if kind in _MIRROR and not _assigns(node) and _atomic(node.this, node.expression):
        yield "comparison flipped", swap(node, as_(node, _MIRROR[kind], this=node.expression, expression=node.this))
        if not _joins(node):
            yield "comparison negated", swap(node, _brackets(_not(as_(node, _OPPOSITE[kind]))))
    elif kind in (exp.And, exp.Or):
        name = "AND commuted" if kind is exp.And else "OR commuted"
        yield name, [(node, "this", node.expression), (node, "expression", node.this)]
        if kind is exp.And:
            yield from _as_between(node)
    elif kind is exp.Between and _atomic(node.this, node.args["low"], node.args["high"]):
        both = _node(exp.And, this=_pair(exp.GTE, node, "low"), expression=_pair(exp.LTE, node, "high"))
        yield "BETWEEN as comparisons", swap(node, _brackets(both))
    elif kind is exp.In:
        yield from _as_disjunction(node)
    elif kind in (exp.Add, exp.Mul) and _atomic(node.this, node.expression) and not _among_keys(node, tree):
        yield "arithmetic commuted", [(node, "this", node.expression), (node, "expression", node.this)]
    elif kind in (exp.Where, exp.Having):
        yield from _of_condition(node, "this")
    elif kind is exp.Join and node.args.get("on"):
        yield from _of_condition(node, "on")


def same_plan(node: exp.Expression) -> Mutations:
    """Kinds and edits that leave SQLite's plan as it is."""
    if isinstance(node, exp.Count) and isinstance(node.this, exp.Star):
        yield "COUNT(*) as COUNT(1)", [(node, "this", exp.Literal.number(1))]
    elif isinstance(node, exp.Count) and isinstance(node.this, exp.Literal):
        yield "COUNT(1) as COUNT(*)", [(node, "this", exp.Star())]
    elif isinstance(node, exp.Case) and len(node.args["ifs"]) == 1 and not node.this and node.args.get("default"):
        branch = node.args["ifs"][0]
        call = _node(exp.Anonymous, this="IIF", expressions=[branch.this, branch.args["true"], node.args["default"]])
        yield "CASE as IIF", swap(node, call)
    elif isinstance(node, exp.Where | exp.Having):
        yield "brackets", [(node, "this", _brackets(node.this))]


def _assigns(node: exp.Expression) -> bool:
    return isinstance(node.parent, exp.Update) and node.arg_key == "expressions"


def _joins(node: exp.Expression) -> bool:
    """Two equal columns: behind a NOT, SQLite finds no key there, and a join can outrun its step budget."""
    return isinstance(node, exp.EQ) and isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Column)


def _among_keys(node: exp.Expression, tree: exp.Expression) -> bool:
    """An expression that stands among ORDER BY's or GROUP BY's keys has to stay the text it is."""
    return bool(node.find_ancestor(exp.Order, exp.Group) or tree.find(exp.Group) or tree.args.get("distinct"))


def _atomic(*operands: exp.Expression) -> bool:
    # sqlglot counts AND and OR among the functions.
    return all(isinstance(operand, _ATOMS) and not isinstance(operand, exp.Connector) for operand in operands)


def _node(kind: type, **arguments: object) -> exp.Expression:
    node = kind()
    node.args.update(arguments)
    return node


def _not(node: exp.Expression) -> exp.Expression:
    return _node(exp.Not, this=node)


def _brackets(node: exp.Expression) -> exp.Expression:
    return _node(exp.Paren, this=node)


def _pair(kind: type, node: exp.Between, end: str) -> exp.Expression:
    return _node(kind, this=node.this, expression=node.args[end])


def _as_between(node: exp.And) -> Mutations:
    low, high = node.this, node.expression
    if isinstance(low, exp.GTE) and isinstance(high, exp.LTE) and low.this == high.this and _atomic(low.this):
        ends = (low.expression, high.expression)
        if all(isinstance(end, exp.Literal | exp.Column) for end in ends):
            between = _node(exp.Between, this=low.this, low=ends[0], high=ends[1])
            yield "comparisons as BETWEEN", swap(node, between)


def _as_disjunction(node: exp.In) -> Iterator[tuple[str, list[Edit]]]:
    """Only of literals: a column in the list would bring its affinity into a comparison, but not into IN."""
    values = node.expressions
    if not values or not _atomic(node.this) or not all(isinstance(value, exp.Literal) for value in values):
        return
    chain = _node(exp.EQ, this=node.this, expression=values[0])
    for value in values[1:20]:
        chain = _node(exp.Or, this=chain, expression=_node(exp.EQ, this=node.this, expression=value))
    if len(values) <= 20:
        yield "IN as OR", swap(node, _brackets(chain))


def _of_condition(owner: exp.Expression, key: str) -> Mutations:
    condition = owner.args[key]
    if not any(map(_joins, condition.find_all(exp.EQ))):
        yield "double negation", [(owner, key, _not(_brackets(_not(_brackets(condition)))))]
    true = _node(exp.EQ, this=exp.Literal.number(1), expression=exp.Literal.number(1))
    yield "true condition", [(owner, key, _node(exp.And, this=_brackets(condition), expression=true))]
