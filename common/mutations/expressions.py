"""Changes inside expressions: operators, constants, columns, functions, conditions, CASE."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp

from common.mutations.edits import Mutations, as_, maybe_string, swap, without

_COMPARISONS = {
    "gt": ("GTE", "LT"),
    "gte": ("GT", "LTE"),
    "lt": ("LTE", "GT"),
    "lte": ("LT", "GTE"),
    "eq": ("NEQ", "GTE", "LTE"),
    "neq": ("EQ",),
}
_AGGREGATES = {
    "sum": ("Avg", "Max", "Count"),
    "avg": ("Sum", "Max"),
    "min": ("Max", "Avg"),
    "max": ("Min", "Avg"),
    "greatest": ("Least",),
    "least": ("Greatest",),
}
_ARITHMETIC = {"add": ("Sub",), "sub": ("Add",), "mul": ("Div", "Add"), "div": ("Mul",), "mod": ("Div",)}
_WRAPPERS = frozenset({"abs", "round", "upper", "lower", "trim", "coalesce", "cast"})
_DATE_PARTS = {"%Y": "%m", "%m": "%d", "%d": "%m", "%Y-%m": "%Y", "%H": "%M"}


def _comparison(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    if node.parent is not None and node.parent.key == "update" and node.arg_key == "expressions":
        return  # an assignment
    others = _COMPARISONS[node.key]
    if node.this.key == node.expression.key == "column" and not maybe_string(node.expression):
        others = others[:1]  # two columns, most often a join: more would be a heavy product each
    yield from (("comparison", swap(node, as_(node, getattr(exp, name)))) for name in others)


def _aggregate(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    yield from (("aggregate", swap(node, as_(node, getattr(exp, name)))) for name in _AGGREGATES[node.key])
    yield from _distinct_argument(node, columns, exp)


def _function(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    yield "function", swap(node, node.this)
    if node.key in ("upper", "lower"):
        yield "function", swap(node, as_(node, exp.Lower if node.key == "upper" else exp.Upper))


def _distinct_argument(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    inner = node.this
    if node.key not in ("sum", "avg", "count", "groupconcat") or inner is None or inner.key == "star":
        return
    if node.parent is not None and node.parent.key == "window":
        return  # SQLite has no DISTINCT there
    if inner.key == "distinct":
        if len(inner.expressions) == 1:
            yield "distinct", [(node, "this", inner.expressions[0])]
    elif inner.key != "literal":
        distinct = exp.Distinct()
        distinct.args["expressions"] = [inner]
        yield "distinct", [(node, "this", distinct)]


def _count(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    if node.this is not None and node.this.key in ("star", "literal"):
        yield from (("aggregate", [(node, "this", column)]) for column in columns[:2])
    else:
        yield "aggregate", [(node, "this", exp.Star())]
        if node.this.key == "column":
            yield "aggregate", swap(node, as_(node, exp.Max))
    yield from _distinct_argument(node, columns, exp)


def _arithmetic(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    for name in _ARITHMETIC.get(node.key, ()):
        division = {"typed": True, "safe": True} if name == "Div" else {}  # as SQLite divides; else sqlglot adds a CAST
        yield "arithmetic", swap(node, as_(node, getattr(exp, name), **division))
    if node.key in ("sub", "div", "mod", "dpipe"):
        yield "arithmetic", [(node, "this", node.expression), (node, "expression", node.this)]


def _connective(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    yield "connective", swap(node, as_(node, exp.Or if node.key == "and" else exp.And))
    yield "conjunct", swap(node, node.this)
    yield "conjunct", swap(node, node.expression)


def _negation(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    yield "negation", swap(node, node.this)


def _column(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    if maybe_string(node):
        # As a string only where a string is likely: behind an operator or in a list.
        if node.arg_key in ("expression", "expressions", "low", "high") and node.parent.key not in ("select", "group"):
            yield from _constant(node, node.name, exp)
        return
    name = (node.table.casefold(), node.name.casefold())
    place = next((i for i, c in enumerate(columns) if (c.table.casefold(), c.name.casefold()) == name), None)
    if place is None or node.this.key == "star":
        return
    for other in [*columns[place + 1 :], *columns[:place]][:2]:
        yield "column", swap(node, other)


def _literal(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    owner = node.parent
    if owner is None or owner.key in ("limit", "offset", "ordered", "group", "count", "datatypeparam"):
        return
    if owner.key == "select" and owner.parent is not None and owner.parent.key == "exists":
        return
    if node.is_string:
        yield from _constant(node, node.name, exp)
        return
    try:
        value = int(node.name) if node.name.isdigit() else float(node.name)
    except ValueError:
        return
    numbers = dict.fromkeys([value + 1, value - 1, value * 2])
    for number in numbers:
        if number != value:
            yield "constant", swap(node, exp.Literal(this=_number(number), is_string=False))


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(round(value, 9))


def _constant(node: exp.Expression, text: str, exp: Any) -> Mutations:
    """A string changed: a pattern anchored otherwise, part of a date, a digit, the case, a letter more."""
    owner, operator, texts = node.parent, "constant", []
    if owner.key in ("like", "glob") and node.arg_key == "expression":
        any_text = "%" if owner.key == "like" else "*"
        core, operator = text.strip(any_text), "pattern"
        texts = [any_text + core + any_text, core + any_text, any_text + core, core][: 4 if core else 0]
    elif owner.key == "timetostr" or text in _DATE_PARTS:
        texts = [_DATE_PARTS[text]] if text in _DATE_PARTS else []
    else:
        if match := re.fullmatch(r"(\d{4})(-\d\d.*)", text):
            texts.append(f"{int(match[1]) + 1:04}{match[2]}")
        if text[-1:].isdigit():
            texts.append(text[:-1] + str((int(text[-1]) + 1) % 10))
        else:
            texts += [text.swapcase(), text + "x"]
    yield from ((operator, swap(node, exp.Literal.string(new))) for new in texts if new != text)


def _between(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    above, below = exp.GTE(), exp.LTE()
    above.args.update(this=node.this, expression=node.args["low"])
    below.args.update(this=node.this, expression=node.args["high"])
    yield from (("conjunct", swap(node, side)) for side in (above, below))
    for left, right in ((as_(above, exp.GT), below), (above, as_(below, exp.LT))):
        both, paren = exp.And(), exp.Paren()
        both.args.update(this=left, expression=right)
        yield "comparison", swap(node, paren, this=both)


def _in(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    if len(node.expressions) > 1:
        yield from (("in list", without(node, "expressions", i)) for i in range(len(node.expressions)))


def _case(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    branches, default = node.args.get("ifs", []), node.args.get("default")
    if default is not None:
        yield "case", [(node, "default", None)]
    for index, branch in enumerate(branches):
        if len(branches) > 1:
            yield "case", without(node, "ifs", index)
        if default is not None:
            yield "case", [(node, "default", branch.args["true"]), (branch, "true", default)]
        if index + 1 < len(branches):
            after = branches[index + 1]
            yield "case", [(branch, "true", after.args["true"]), (after, "true", branch.args["true"])]


CHANGES = {
    **dict.fromkeys(_COMPARISONS, _comparison),
    **dict.fromkeys(_AGGREGATES, _aggregate),
    **dict.fromkeys((*_ARITHMETIC, "dpipe"), _arithmetic),
    **dict.fromkeys(_WRAPPERS, _function),
    **dict.fromkeys(("and", "or"), _connective),
    "not": _negation,
    "count": _count,
    "groupconcat": _distinct_argument,
    "column": _column,
    "literal": _literal,
    "between": _between,
    "in": _in,
    "case": _case,
}
