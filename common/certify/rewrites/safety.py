"""Which rewrites a reference allows: what sqlglot may write with another meaning, and where the plan shows."""

from __future__ import annotations

from collections import Counter

from sqlglot import exp

from common.sandbox.statements import TOKEN

# Words that a rendering may add, drop or spell otherwise without another meaning in SQLite.
_FREE_WORDS = frozenset({"as", "asc", "inner", "outer", "cross", "substr", "substring", "not", "is", "all"})
_BY_ORDER = (exp.GroupConcat, exp.RowNumber, exp.Ntile, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue)


def survives(sql: str, rendering: str) -> bool:
    """Whether sqlglot's rendering has the words, names, strings and numbers of the text: none translated, none lost."""
    return _words(sql) == _words(rendering)


def _words(sql: str) -> Counter[str]:
    tokens = [(t.lastgroup, t.group()) for t in TOKEN.finditer(sql)]
    counts = Counter(text.lower() if kind == "word" else text for kind, text in tokens if kind in _KINDS)
    for word in _FREE_WORDS:
        del counts[word]
    return counts


_KINDS = frozenset({"word", "number", "string", "name"})


def plan_shows(tree: exp.Expression) -> bool:
    """Whether the result may depend on the order in which SQLite visits rows: then only texts of one plan are equal.

    So it is with LIMIT below the outermost query or without ORDER BY, with functions that follow the order of rows,
    with columns beside an aggregate that are no keys of its groups, with sums that overflow, and with INSERT … SELECT
    (row numbers follow the order). Errs on the side of yes.
    """
    if isinstance(tree, exp.Insert) and isinstance(tree.expression, exp.Query):
        return True
    for limit in tree.find_all(exp.Limit, exp.Offset):
        order = limit.parent.args.get("order")
        if limit.parent is not tree or order is None:
            return True
    if tree.args.get("order") and (tree.args.get("distinct") or isinstance(tree, exp.SetOperation)):
        return True  # the scorer cannot always follow ties there
    if any(_by_order(node) for node in tree.find_all(*_BY_ORDER, exp.Anonymous)):
        return True
    if any(window.args.get("spec") for window in tree.find_all(exp.Window)):
        return True
    return any(_has_bare_column(select) for select in tree.find_all(exp.Select))


def _by_order(node: exp.Expression) -> bool:
    return not isinstance(node, exp.Anonymous) or node.name.lower() in (
        "ntile", "total", "json_group_array", "json_group_object", "nth_value", "string_agg", "random", "randomblob",
    )  # fmt: skip


def _has_bare_column(select: exp.Select) -> bool:
    group = select.args.get("group")
    has_aggregate = any(_is_in(node, select) for node in select.find_all(exp.AggFunc) if not _in_window(node))
    if not (group or has_aggregate):
        return False
    keys = {key.name.casefold() for key in (group.expressions if group else []) if isinstance(key, exp.Column)}
    parts = [*select.expressions, *filter(None, [select.args.get("having"), select.args.get("order")])]
    aliases = {p.alias.casefold() for p in select.expressions if isinstance(p, exp.Alias)}
    for part in parts:
        for column in part.find_all(exp.Column, exp.Star):
            if isinstance(column, exp.Star):
                if not isinstance(column.parent, exp.Count):
                    return True
            elif not column.find_ancestor(exp.AggFunc) and column.name.casefold() not in keys | aliases:
                return True
    return False


def _is_in(node: exp.Expression, select: exp.Select) -> bool:
    return node.find_ancestor(exp.Select) is select


def _in_window(node: exp.Expression) -> bool:
    return isinstance(node.parent, exp.Window)
