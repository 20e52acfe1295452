"""How values are compared: dates by pattern, function or bounds, texts in other case, numbers by other bounds."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from common.certify.readings.structure import Query, replaced, sql, string

Forms = Iterator[tuple[str, str | None, bool]]
_NEXT = {exp.GT: (">=", 1), exp.GTE: (">", -1), exp.LT: ("<=", -1), exp.LTE: ("<", 1)}
_NUMERIC = re.compile(r"-?\d+(\.\d+)?")


def forms(query: Query, tree: exp.Expression) -> Forms:
    """Forms of the conditions of one SELECT; the texts are the whole tree's."""
    where = query.tree.args.get("where")
    ons = [join.args["on"] for join in query.joins if join.args.get("on") is not None]
    for condition in [where, *ons]:
        for node in condition.find_all(exp.Predicate, exp.Between) if condition is not None else ():
            if node.find_ancestor(exp.Select) is query.tree:
                for form, text, debatable in _of_node(query, node):
                    yield form, replaced(tree, [(node, text)]), debatable
    if query.tree is tree:
        yield from _order(query)


def _of_node(query: Query, node: exp.Expression) -> Forms:
    if isinstance(node, exp.Between):
        yield from _between(query, node)
        return
    left, right = node.this, node.args.get("expression")
    if isinstance(node, exp.Like) and isinstance(right, exp.Literal) and isinstance(left, exp.Column):
        yield from _like(sql(left), right.name, "NOT " if node.args.get("negate") else "")
    elif isinstance(node, exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE) and isinstance(right, exp.Literal):
        if isinstance(left, exp.Column):
            yield from _comparison(query, node, sql(left), right)
        elif isinstance(node, exp.EQ) and (year := _year(left, right)):
            yield from _period(year, right.name, "strftime")


def _like(column: str, pattern: str, negation: str) -> Forms:
    if not negation and re.fullmatch(r"\d{4}(-\d\d)?-?%", pattern):
        yield from _period(column, pattern.rstrip("%").rstrip("-"), "LIKE")
    elif not negation and re.fullmatch(r"%[^%_']+%", pattern):
        part = pattern.strip("%")
        yield "LIKE as INSTR", f"INSTR(LOWER({column}), {string(part.lower())}) > 0", False
    elif re.fullmatch(r"[^%_']+%", pattern):
        part = pattern.rstrip("%")
        sign = "<>" if negation else "="
        yield "LIKE as SUBSTR", f"SUBSTR({column}, 1, {len(part)}) {sign} {string(part)}", False


def _period(column: str, period: str, before: str) -> Forms:
    """All days of a year or month."""
    monthly = len(period) == 7
    number = int(period[:4]) * 12 + (int(period[5:]) - 1 if monthly else 0)
    after = number + (1 if monthly else 12)
    start, end = f"{period}-01" if monthly else f"{period}-01-01", f"{after // 12:04}-{after % 12 + 1:02}-01"
    last = f"{period}-31" if monthly else f"{period}-12-31"
    texts = {
        "LIKE": f"{column} LIKE '{period}%'",
        "strftime": f"strftime('{'%Y-%m' if monthly else '%Y'}', {column}) = '{period}'",
        "SUBSTR": f"SUBSTR({column}, 1, {len(period)}) = '{period}'",
        "BETWEEN": f"{column} BETWEEN '{start}' AND '{last}'",
        ">= AND <": f"({column} >= '{start}' AND {column} < '{end}')",
    }
    for name, text in texts.items():
        if name != before:
            yield f"date's {before} as {name}", text, False
    if not monthly:
        yield f"date's {before} as CAST(strftime)", f"CAST(strftime('%Y', {column}) AS INTEGER) = {int(period)}", False


def _year(call: exp.Expression, value: exp.Literal) -> str:
    """The column of `strftime('%Y', column)` or `SUBSTR(column, 1, 4)`."""
    text = sql(call)
    match = re.fullmatch(r"STRFTIME\('%Y', ([\w.\"]+)\)|SUBSTR(?:ING)?\(([\w.\"]+), 1, 4\)", text, re.IGNORECASE)
    return (match[1] or match[2]) if match and re.fullmatch(r"\d{4}", value.name) else ""


def _comparison(query: Query, node: exp.Expression, column: str, value: exp.Literal) -> Forms:
    end = query.resolve(node.this)
    is_text, is_integer = (end[1].is_text(end[2]), end[1].is_integer(end[2])) if end else (False, False)
    sign = {exp.EQ: "=", exp.NEQ: "<>", exp.GT: ">", exp.GTE: ">=", exp.LT: "<", exp.LTE: "<="}[type(node)]
    number = bool(_NUMERIC.fullmatch(value.name))
    if isinstance(node, exp.NEQ):
        yield "!= as IS NOT", f"{column} IS NOT {sql(value)}", False
        yield "!= as NOT IN", f"{column} NOT IN ({sql(value)})", False
    if value.is_string and not number and re.search("[a-z]", value.name, re.IGNORECASE):
        plain = not set("%_") & set(value.name)
        if isinstance(node, exp.EQ):
            if plain:
                yield "= text as LIKE", f"{column} LIKE {sql(value)}", False
            yield "= text as LOWER", f"LOWER({column}) = {string(value.name.lower())}", False
        elif isinstance(node, exp.NEQ) and plain:
            yield "!= text as NOT LIKE", f"{column} NOT LIKE {sql(value)}", False
    if number:
        other = value.name if value.is_string else string(value.name)
        yield "number in or without quotes", f"{column} {sign} {other}", False
        if is_text:
            yield "text column cast to a number", f"CAST({column} AS REAL) {sign} {value.name}", False
        if is_integer and not value.is_string and type(node) in _NEXT and "." not in value.name:
            new, step = _NEXT[type(node)]
            yield "bound moved by one", f"{column} {new} {int(value.name) + step}", False


def _between(query: Query, node: exp.Between) -> Forms:
    low, high = node.args["low"], node.args["high"]
    end = query.resolve(node.this)
    if not end or not all(isinstance(side, exp.Literal) for side in (low, high)):
        return
    x = sql(node.this)
    yield "BETWEEN as > AND <", f"({x} > {sql(low)} AND {x} < {sql(high)})", True
    if end[1].is_integer(end[2]) and all(re.fullmatch(r"\d+", side.name) for side in (low, high)):
        yield "BETWEEN as bounds moved by one", f"({x} > {int(low.name) - 1} AND {x} < {int(high.name) + 1})", False


def _order(query: Query) -> Forms:
    """Numbers that are kept as text, sorted as numbers."""
    for term in query.order:
        end = query.resolve(term.this)
        if end and end[1].is_text(end[2]) and end[2] not in end[1].labels:
            yield "text column sorted as a number", query.replaced(term.this, f"CAST({sql(term.this)} AS REAL)"), True
