"""The SQL of a plan, in one style: keywords in capitals, columns with their table where there are several."""

import re
from collections.abc import Callable
from zlib import crc32

from common.synthetic.plan import Compound, Condition, Having, Plan, Select, Steps, Term
from common.synthetic.tables import Field, Relation, literal

Name = Callable[[Field], str]
OPPOSITE = {"has": "IN", "lacks": "NOT IN"}
HELD_OUT = 5  # one form in so many occurs in test_forms only
SALT = "form-2692"  # chosen so that the commonest forms of each complexity are trained on
_SAME = {">=": ">", "<": ">", "<=": ">", "MIN": "MAX", "SUM": "AVG", "DESC": "", "LEAD": "LAG", "LOWER": "UPPER"}


def sql(plan: Plan) -> str:
    """The statement, without a semicolon."""
    if isinstance(plan, Compound):
        return f"{sql(plan.left)} {plan.op.upper()} {sql(plan.right)}"
    return _steps(plan) if isinstance(plan, Steps) else _select(plan)


def _select(plan: Select, *, names: tuple[str, ...] = ()) -> str:
    """names: of the columns, where something else refers to them."""
    name = _full if plan.links else _bare
    terms = [term(t, name) for t in plan.terms]
    if names:
        terms = [text if text == alias else f"{text} AS {alias}" for text, alias in zip(terms, names, strict=True)]
    source = " ".join([plan.source.sql, *[_link(link) for link in plan.links]])
    where = _where(plan.where, plan.any_of, name)
    if plan.best:
        by, key, down = plan.best
        rank = f"RANK() OVER (PARTITION BY {name(by)} ORDER BY {name(key)}{' DESC' if down else ''}) AS place"
        inner = f"SELECT *, {rank} FROM {source}{where}"
        return f"SELECT {', '.join(terms)} FROM ({inner}) WHERE place = 1"
    parts = [f"SELECT {'DISTINCT ' if plan.distinct else ''}{', '.join(terms)} FROM {source}{where}"]
    if plan.group:
        parts.append("GROUP BY " + ", ".join([term(t, name) for t in plan.group]))
    if plan.having:
        parts.append("HAVING " + " AND ".join([_having(having, name) for having in plan.having]))
    if plan.order:
        parts.append("ORDER BY " + ", ".join([term(t, name) + (" DESC" if down else "") for t, down in plan.order]))
    if plan.limit:
        parts.append(f"LIMIT {plan.limit}" + (f" OFFSET {plan.offset}" if plan.offset else ""))
    return " ".join(parts)


def _bare(field: Field) -> str:
    return field.sql


def _full(field: Field) -> str:
    return field.full


def _link(link) -> str:
    return f"{'LEFT JOIN' if link.outer else 'JOIN'} {link.relation.sql} ON {link.child.link(link.parent)}"


def term(part: Term, name: Name) -> str:
    """The expression of one column."""
    f = name(part.field) if part.field else ""
    o = name(part.other) if part.other else ""
    by = f"PARTITION BY {name(part.by)}" if part.by else ""
    order = f"{by}{' ' if by else ''}ORDER BY {o}{' DESC' if part.down else ''}"
    n = part.number
    match part.function:
        case "column":
            return f
        case "all":
            return "*"
        case "count":
            return f"COUNT({f or '*'})"
        case "distinct":
            return f"COUNT(DISTINCT {f})"
        case "sum" | "avg" | "max" | "min" | "upper" | "lower" | "length":
            return f"{part.function.upper()}({f})"
        case "spread":
            return f"MAX({f}) - MIN({f})"
        case "rounded":
            return f"ROUND(AVG({f}), {n})"
        case "count_above":
            return f"SUM(CASE WHEN {f} > {n} THEN 1 ELSE 0 END)"
        case "share_above":
            return f"ROUND(100.0 * SUM(CASE WHEN {f} > {n} THEN 1 ELSE 0 END) / COUNT(*), 1)"
        case "times":
            return f"{f} * {n}"
        case "plus" | "minus":
            return f"{f} {'+' if part.function == 'plus' else '-'} {o}"
        case "year":
            return f"strftime('%Y', {f})"
        case "label":
            high, low = part.words
            return f"CASE WHEN {f} > {n} THEN '{high}' ELSE '{low}' END"
        case "rank":
            return f"RANK() OVER ({order})"
        case "running":
            return f"SUM({f}) OVER ({order})"
        case "previous" | "next":
            return f"{'LAG' if part.function == 'previous' else 'LEAD'}({f}) OVER ({order})"
        case "group_avg" | "group_max":
            return f"{part.function[6:].upper()}({f}) OVER ({by})"
        case "group_count":
            return f"COUNT(*) OVER ({by})"
        case "portion":
            return f"ROUND(100.0 * {f} / SUM({f}) OVER ({by}), 1)"
        case "gap":
            return f"{f} - AVG({f}) OVER ({by})"
    raise ValueError(f"no term '{part.function}'")


def _having(having: Having, name: Name) -> str:
    return f"{term(having.term, name)} {having.op} {having.value}"


def _where(conditions: tuple[Condition, ...], any_of: bool, name: Name) -> str:
    if not conditions:
        return ""
    return " WHERE " + (" OR " if any_of else " AND ").join([condition(c, name) for c in conditions])


def condition(part: Condition, name: Name) -> str:
    """What stands in WHERE."""
    f = name(part.field) if part.field else ""
    values = [literal(value) for value in part.values]
    match part.kind:
        case "compare":
            return f"{f} {part.op} {values[0]}"
        case "columns":
            return f"{f} {part.op} {name(part.other)}"
        case "between":
            return f"{f} BETWEEN {values[0]} AND {values[1]}"
        case "among":
            return f"{f} IN ({', '.join(values)})"
        case "starts" | "ends" | "contains" | "in_year":
            before = "" if part.kind in ("starts", "in_year") else "%"
            return f"{f} LIKE '{before}{part.values[0]}{'' if part.kind == 'ends' else '%'}'"
        case "missing" | "known":
            return f"{f} IS {'NOT ' if part.kind == 'known' else ''}NULL"
    return _nested(part, f, values)


def _nested(part: Condition, f: str, values: list[str]) -> str:
    """Conditions with a query of their own, in which columns have no table but where two are of one table."""
    field, inner = part.field, _where(part.inner, False, _bare)
    match part.kind:
        case "whole":
            return f"{f} {part.op} (SELECT {part.function.upper()}({field.sql}) FROM {field.table})"
        case "extreme":
            extreme = f"{f} = (SELECT {part.function.upper()}({field.sql}) FROM {field.table}{inner})"
            return " AND ".join([*[condition(c, _bare) for c in part.inner], extreme])
        case "group":
            same = f"x.{part.other.sql} = {part.other.full}"
            return f"{f} {part.op} (SELECT {part.function.upper()}(x.{field.sql}) FROM {field.table} AS x WHERE {same})"
        case "row":
            return f"{f} {part.op} (SELECT {field.sql} FROM {field.table} WHERE {part.other.sql} = {values[0]})"
        case "alike":
            there = f"(SELECT {field.sql} FROM {field.table} WHERE {part.other.sql} = {values[0]})"
            return f"{f} = {there} AND {f.removesuffix(field.sql)}{part.other.sql} != {values[0]}"
        case "has" | "lacks":
            ref = part.other
            return f"{f} {OPPOSITE[part.kind]} (SELECT {ref.sql} FROM {ref.table}{inner})"
        case "count":
            also = "".join([f" AND {condition(c, _bare)}" for c in part.inner])
            same = f"{part.other.sql} = {field.full}{also}"
            return f"(SELECT COUNT(*) FROM {part.other.table} WHERE {same}) {part.op} {values[0]}"
    raise ValueError(f"no condition '{part.kind}'")


def _steps(plan: Steps) -> str:
    if plan.kind == "total":
        inner = _select(plan.inner)
        return f"WITH part AS ({inner}) SELECT {term(plan.term, _bare)} FROM part"
    if plan.kind == "difference":
        one, two = _select(plan.inner, names=("v",)), _select(plan.second, names=("v",))
        return f"WITH one AS ({one}), two AS ({two}) SELECT one.v - two.v FROM one, two"
    start = f"WITH part AS ({_select(plan.inner, names=('k', 'v'))}) SELECT"
    terms = "k, v" if plan.both else "k"
    match plan.kind:
        case "mean":
            return f"{start} {plan.function.upper()}(v) FROM part"
        case "around":
            return f"{start} {terms} FROM part WHERE v {plan.op} (SELECT AVG(v) FROM part)"
        case "extreme":
            return f"{start} {terms} FROM part WHERE v = (SELECT {plan.function.upper()}(v) FROM part)"
        case "portion":
            return f"{start} k, ROUND(100.0 * v / (SELECT SUM(v) FROM part), 1) FROM part"
        case "linked":
            parent = plan.link.parent.sql
            where = f" WHERE v {plan.op} {plan.number}" if plan.op else ""
            return f"{start} {plan.field.full}, v FROM {parent} JOIN part ON part.k = {parent}.id{where}"
    raise ValueError(f"no steps '{plan.kind}'")


def form(statement: str, tables: tuple[Relation, ...]) -> str:
    """The query form: the statement with names as t and c and constants as v, alike for all comparisons, for highest
    and lowest, and for sums and averages."""
    names = {relation.sql for relation in tables}
    tokens = []
    for token in re.findall(r"'[^']*'|\w+(?:\.\d+)?|[<>!=]+|[^\s\w]", statement):
        if token[0] == "'" or token[0].isdigit():
            token = "v"
        elif token[0].islower():
            token = "t" if token in names else "c"
        tokens.append(_SAME.get(token, token))
    return re.sub(r"v(?: , v)+", "v", " ".join(filter(None, tokens)))


def is_held_out(name: str) -> bool:
    """Whether a form occurs in `test_forms` only."""
    return crc32(f"{SALT}/{name}".encode()) % HELD_OUT == 0
