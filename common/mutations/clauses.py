"""Changes of clauses: joins, DISTINCT, order, groups, limits, set operations, windows, writes, definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp

from common.mutations.edits import Mutations, as_, exchange, swap, without

_WINDOWS = {
    "rank": ("DenseRank", "RowNumber"),
    "denserank": ("Rank", "RowNumber"),
    "rownumber": ("Rank", "DenseRank"),
    "lag": ("Lead",),
    "lead": ("Lag",),
    "firstvalue": ("LastValue",),
    "lastvalue": ("FirstValue",),
}
_SET_OPERATIONS = {"union": "Union", "intersect": "Intersect", "except": "Except"}


def _set_operation(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    is_all = node.key == "union" and not node.args.get("distinct")
    for kind, name in _SET_OPERATIONS.items():
        if is_all or kind != node.key:
            yield "set operation", swap(node, as_(node, getattr(exp, name), distinct=True))
    if not is_all:
        yield "set operation", swap(node, as_(node, exp.Union, distinct=False))
    if node.key == "except":
        yield "set operation", [(node, "this", node.expression), (node, "expression", node.this)]


def _clause(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    """WHERE or HAVING dropped; of FILTER (WHERE …) the filter."""
    if node.parent.key == "filter":
        yield "conjunct", swap(node.parent, node.parent.this)
    else:
        yield "conjunct", [(node.parent, node.arg_key, None)]


def _join(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    side, kind = node.args.get("side"), node.args.get("kind")
    condition = node.args.get("on") or node.args.get("using")
    if side:
        yield "join", [(node, "side", None), (node, "kind", None)]
    elif condition and kind != "CROSS":
        yield "join", [(node, "side", "LEFT"), (node, "kind", None)]
    if node.args.get("on"):
        yield "conjunct", [(node, "on", None), (node, "side", None), (node, "kind", None)]


def _select(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    if node.args.get("distinct"):
        yield "distinct", [(node, "distinct", None)]
    elif node.parent is None or node.parent.key not in ("exists", *_SET_OPERATIONS):  # where it changes nothing
        yield "distinct", [(node, "distinct", exp.Distinct())]
    outermost = node.parent is None or node.parent.key in ("insert", "create")
    if outermost:
        yield from (("projection", exchange(node, "expressions", i)) for i in range(len(node.expressions) - 1))


def _order(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    for index, term in enumerate(node.expressions):
        if term.key == "ordered":
            down = not term.args.get("desc")
            yield "order", [(term, "desc", down or None), (term, "nulls_first", not down)]
        if len(node.expressions) > 1:
            yield "order", without(node, "expressions", index)
            if index + 1 < len(node.expressions):
                yield "order", exchange(node, "expressions", index)
    yield "order", [(node.parent, node.arg_key, None)]


def _group(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    if len(node.expressions) > 1:
        yield from (("group", without(node, "expressions", index)) for index in range(len(node.expressions)))
    else:
        yield "group", [(node.parent, "group", None)]


def _limit(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    yield "limit", [(node.parent, node.arg_key, None)]
    value = node.expression
    if value.key == "literal" and value.name.isdigit():
        number = int(value.name)
        numbers = [number + 1, number - 1] if node.key == "offset" or number > 1 else [number + 1]
        yield from (("limit", [(node, "expression", exp.Literal.number(n))]) for n in numbers if n >= 0)
    if node.key == "limit" and not node.parent.args.get("offset"):
        offset = exp.Offset()
        offset.args["expression"] = exp.Literal.number(1)
        yield "limit", [(node.parent, "offset", offset)]


def _window_function(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    yield from (("window", swap(node, as_(node, getattr(exp, name)))) for name in _WINDOWS[node.key])


def _window(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    keys = node.args.get("partition_by") or []
    yield from (("window", without(node, "partition_by", index)) for index in range(len(keys)))
    frame = node.args.get("spec")
    if frame is not None:
        yield "window", [(node, "spec", None)]
    elif node.args.get("order") and node.this.key not in ("rank", "denserank", "rownumber", "ntile", "lag", "lead"):
        rows = exp.WindowSpec(kind="ROWS", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW")
        yield "window", [(node, "spec", rows)]


def _update(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    if len(node.expressions) > 1:
        yield from (("assignment", without(node, "expressions", i)) for i in range(len(node.expressions)))


def _values(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    if len(node.expressions) > 1:
        yield from (("row", without(node, "expressions", i)) for i in range(len(node.expressions)))


def _schema(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    """Columns of a new table, or those that INSERT names."""
    names = node.expressions
    if names and all(name.key == "identifier" for name in names):
        yield from (("column", exchange(node, "expressions", i)) for i in range(len(names) - 1))
    elif len(names) > 1:
        yield from (("definition", without(node, "expressions", i)) for i in range(len(names)))


def _create(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    if str(node.args.get("kind")).upper() == "INDEX":
        yield "definition", [(node, "unique", not node.args.get("unique"))]


def _definition(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    kind = node.args.get("kind")
    if kind is not None:
        yield "definition", [(node, "kind", exp.DataType.build("INT" if kind.is_type("text", "varchar") else "TEXT"))]
    if node.args.get("constraints"):
        yield "definition", [(node, "constraints", None)]


CHANGES = {
    **dict.fromkeys(_WINDOWS, _window_function),
    **dict.fromkeys(_SET_OPERATIONS, _set_operation),
    **dict.fromkeys(("where", "having"), _clause),
    **dict.fromkeys(("limit", "offset"), _limit),
    "join": _join,
    "select": _select,
    "order": _order,
    "group": _group,
    "window": _window,
    "update": _update,
    "values": _values,
    "schema": _schema,
    "columndef": _definition,
    "create": _create,
}
