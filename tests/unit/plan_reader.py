"""A second reading of question plans: what `plan.py` says a plan means, worked out in plain Python over a scene's rows.

Written from the docstrings of `common.synthetic.plan` alone, without SQL and without a look at what renders it, so that
a mistake in one of the two shows as a difference. Values behave as SQLite's do where it matters: NULL in comparisons
and sorting, whole and broken numbers, rounding, LIKE without case.
"""

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from common.synthetic.plan import AGGREGATES, WINDOWS, Compound, Condition, Link, Plan, Select, Steps, Term
from common.synthetic.tables import Field, Relation, Scene

COMPARISONS: dict[str, Callable] = {
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Row = dict[str, dict[str, object] | None]  # table -> column -> value; None where an outer join found no partner


@dataclass(frozen=True)
class Reading:
    """An answer: its rows, whether their order matters, the sort keys beside them, and whether a limit cut through
    rows of equal keys, so that the question leaves open which are meant."""

    rows: list[tuple]
    ordered: bool
    keys: list[tuple]
    is_open: bool = False

    def agrees(self, rows: list[tuple]) -> bool:
        """Whether other rows are the same answer: as a bag, in order where it matters, equal keys in any order."""
        if not self.ordered:
            return same_bag(self.rows, rows)
        if len(self.rows) != len(rows):
            return False
        start = 0
        while start < len(rows):
            end = start + 1
            while end < len(rows) and self.keys[end] == self.keys[start]:
                end += 1
            if not same_bag(self.rows[start:end], rows[start:end]):
                return False
            start = end
        return True


def read(plan: Plan, scene: Scene) -> Reading:
    """The answer to a plan over the rows of its scene."""
    if isinstance(plan, Select):
        return _select(plan, scene)
    rows = _compound(plan, scene) if isinstance(plan, Compound) else _steps(plan, scene)
    return Reading(rows, False, [()] * len(rows))


def same_bag(some: list[tuple], others: list[tuple]) -> bool:
    """The same rows as often, in any order; numbers to 1e-9."""
    if len(some) != len(others):
        return False
    pairs = zip(sorted(some, key=_sort_keys), sorted(others, key=_sort_keys), strict=True)
    return all(len(a) == len(b) and all(map(_same, a, b)) for a, b in pairs)


# Rows


def _table(scene: Scene, name: str) -> Relation:
    return next(relation for relation in scene.relations if relation.sql == name)


def _rows(relation: Relation) -> list[Row]:
    return [{relation.sql: {f.sql: f.values[i] for f in relation.fields}} for i in range(relation.size)]


def _value(row: Row, field: Field):
    cells = row[field.table]
    return None if cells is None else cells[field.sql]


def _refers(child: dict, relation: Relation, parent: Relation, cells: dict) -> bool:
    return child[relation.ref(parent).sql] == cells["id"]


def _joined(rows: list[Row], link: Link) -> list[Row]:
    name, result = link.relation.sql, []
    for row in rows:
        partners = []
        for other in _rows(link.relation):
            both = {**row, **other}
            child, parent = both[link.child.sql], both[link.parent.sql]
            if child is not None and parent is not None and _refers(child, link.child, link.parent, parent):
                partners.append(both)
        result += partners or ([{**row, name: None}] if link.outer else [])
    return result


def _candidates(select: Select, scene: Scene) -> list[Row]:
    """The rows that a select is about, before they are grouped."""
    rows = _rows(select.source)
    for link in select.links:
        rows = _joined(rows, link)
    if select.where:
        rows = [row for row in rows if _meets(select.where, row, scene, select.any_of)]
    if select.best:
        first, second, down = select.best
        rows = [row for row in rows if _is_best(row, rows, first, second, down)]
    return rows


def _is_best(row: Row, rows: list[Row], first: Field, second: Field, down: bool) -> bool:
    rivals = [_value(other, second) for other in rows if _value(other, first) == _value(row, first)]
    rivals = [value for value in rivals if value is not None]
    return bool(rivals) and _value(row, second) == (max if down else min)(rivals)


# Conditions, in three values: None is neither true nor false


def _meets(conditions: tuple[Condition, ...], row: Row, scene: Scene, any_of: bool = False) -> bool:
    holds = [_holds(condition, row, scene) is True for condition in conditions]
    return any(holds) if any_of else all(holds)


def _compare(left, op: str, right) -> bool | None:
    return None if left is None or right is None else COMPARISONS[op](left, right)


def _holds(condition: Condition, row: Row, scene: Scene) -> bool | None:
    if condition.kind in ("has", "lacks", "count"):
        return _holds_of_children(condition, row, scene)
    value, values, op = _value(row, condition.field), condition.values, condition.op
    if condition.kind in ("missing", "known"):
        return (value is None) == (condition.kind == "missing")
    if condition.nested:
        return _compare(value, *_nested(condition, row, scene)) if condition.kind != "alike" else _alike(condition, row)
    if value is None:
        return None
    match condition.kind:
        case "compare":
            return _compare(value, op, values[0])
        case "between":
            return values[0] <= value <= values[1]
        case "among":
            return value in values
        case "starts":
            return value.lower().startswith(values[0].lower())
        case "ends":
            return value.lower().endswith(values[0].lower())
        case "contains":
            return values[0].lower() in value.lower()
        case "in_year":
            return value[:4] == str(values[0])
        case "columns":
            return _compare(value, op, _value(row, condition.other))
    raise ValueError(f"unknown condition {condition.kind}")


def _nested(condition: Condition, row: Row, scene: Scene) -> tuple[str, object]:
    """What the row's value is compared with: operator and value."""
    field, every = condition.field, _rows(_table(scene, condition.field.table))
    match condition.kind:
        case "whole":
            return condition.op, _aggregate(condition.function, [_value(other, field) for other in every])
        case "group":
            here = _value(row, condition.other)
            alike = [_value(other, field) for other in every if _value(other, condition.other) == here]
            return condition.op, None if here is None else _aggregate(condition.function, alike)
        case "extreme":
            fit = [_value(other, field) for other in every if _meets(condition.inner, other, scene)]
            return "=", _aggregate(condition.function, fit)
        case "row":
            named = [other for other in every if _value(other, condition.other) == condition.values[0]]
            return condition.op, _value(named[0], field) if named else None
    raise ValueError(f"unknown condition {condition.kind}")


def _alike(condition: Condition, row: Row) -> bool | None:
    field, name = condition.field, condition.other
    here = dict(zip(name.values, field.values, strict=True)).get(condition.values[0])
    same = _compare(_value(row, field), "=", here)
    return same and _compare(_value(row, name), "<>", condition.values[0])


def _holds_of_children(condition: Condition, row: Row, scene: Scene) -> bool:
    child = condition.relation
    parent = next(_table(scene, f.column.target) for f in child.fields if f.kind == "ref" and f.column.target in row)
    cells = row[parent.sql]
    found = [
        other
        for other in _rows(child)
        if cells is not None
        and _refers(other[child.sql], child, parent, cells)
        and _meets(condition.inner, other, scene)
    ]
    if condition.kind == "count":
        return COMPARISONS[condition.op](len(found), condition.values[0])
    return bool(found) == (condition.kind == "has")


# Columns


def _rounded(value: float | None, places: int) -> float | None:
    """Half up, as SQLite rounds."""
    if value is None:
        return None
    return float(Decimal(f"{value:.16g}").quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else _rounded(100 * part / whole, 1)


def _aggregate(function: str, values: list, number: float = 0):
    present = [value for value in values if value is not None]
    if function == "count":
        return len(present)
    if function == "distinct":
        return len(set(present))
    if function in ("count_above", "share_above"):
        above = sum(value > number for value in present)
        return above if function == "count_above" else _percent(above, len(values))
    if not present:
        return None
    match function:
        case "sum":
            return sum(present)
        case "avg":
            return sum(present) / len(present)
        case "max":
            return max(present)
        case "min":
            return min(present)
        case "spread":
            return max(present) - min(present)
        case "rounded":
            return _rounded(sum(present) / len(present), int(number))
    raise ValueError(f"unknown function {function}")


def _plain(term: Term, row: Row):
    value = _value(row, term.field)
    if term.function == "label":
        return term.words[0] if value is not None and value > term.number else term.words[1]
    if value is None:
        return None
    match term.function:
        case "column":
            return value
        case "times":
            return value * term.number
        case "plus" | "minus":
            other = _value(row, term.other)
            return None if other is None else value + other if term.function == "plus" else value - other
        case "year":
            return value[:4]
        case "upper":
            return value.upper()
        case "lower":
            return value.lower()
        case "length":
            return len(str(value))
    raise ValueError(f"unknown function {term.function}")


def _beside(term: Term, row: Row, rows: list[Row]):
    """A column that is worked out from the rows around this one."""
    if term.by:
        rows = [other for other in rows if _value(other, term.by) == _value(row, term.by)]
    values = [_value(other, term.field) for other in rows] if term.field else []
    here = _value(row, term.field) if term.field else None
    if term.function in ("group_avg", "group_max"):
        return _aggregate(term.function.removeprefix("group_"), values)
    if term.function == "group_count":
        return len(rows)
    if term.function == "portion":
        return _percent(here, _aggregate("sum", values))
    if term.function == "gap":
        mean = _aggregate("avg", values)
        return None if here is None or mean is None else here - mean
    key = {id(other): _sort_key(_value(other, term.other)) for other in rows}
    if term.function == "rank":
        ahead = [other for other in rows if _is_ahead(key[id(other)], key[id(row)], term.down)]
        return 1 + len(ahead)
    in_order = sorted(rows, key=lambda other: key[id(other)], reverse=term.down)
    if term.function == "running":
        upto = [other for other in rows if not _is_ahead(key[id(row)], key[id(other)], term.down)]
        return _aggregate("sum", [_value(other, term.field) for other in upto])
    place = next(i for i, other in enumerate(in_order) if other is row)
    place += 1 if term.function == "next" else -1
    return _value(in_order[place], term.field) if 0 <= place < len(in_order) else None


def _is_ahead(some: tuple, other: tuple, down: bool) -> bool:
    return some > other if down else some < other


def _cell(term: Term, unit: list[Row], rows: list[Row]):
    """A column's value for a unit: one row, or the rows of a group. `rows` are all of them."""
    if term.function in WINDOWS:
        return _beside(term, unit[0], rows)
    if term.function not in AGGREGATES:
        return _plain(term, unit[0])
    if term.function == "count" and term.field is None:
        return len(unit)
    return _aggregate(term.function, [_value(row, term.field) for row in unit], term.number)


def _cells(term: Term, select: Select, unit: list[Row], rows: list[Row]) -> tuple:
    """The columns of the answer that a term stands for; `all` is every column of the source."""
    if term.function == "all":
        return tuple(unit[0][select.source.sql].values())
    return (_cell(term, unit, rows),)


# Answers


def _units(select: Select, rows: list[Row]) -> list[list[Row]]:
    if select.group:
        groups: dict[tuple, list[Row]] = {}
        for row in rows:
            groups.setdefault(tuple(_plain(term, row) for term in select.group), []).append(row)
        return [
            unit
            for unit in groups.values()
            if all(_compare(_cell(having.term, unit, rows), having.op, having.value) for having in select.having)
        ]
    return [rows] if any(term.function in AGGREGATES for term in select.shown) else [[row] for row in rows]


def _lines(select: Select, scene: Scene) -> Iterator[tuple[list[Row], tuple, tuple]]:
    """Unit, row of the answer and sort key, for each unit, in order."""
    rows = _candidates(select, scene)
    lines = []
    for unit in _units(select, rows):
        shown = tuple(cell for term in select.shown for cell in _cells(term, select, unit, rows))
        lines.append((unit, shown, tuple(_sort_key(_cell(term, unit, rows)) for term, _ in select.order)))
    if select.distinct:
        lines = list({tuple(map(_sort_key, line[1])): line for line in reversed(lines)}.values())[::-1]
    for place, (_, down) in reversed(list(enumerate(select.order))):
        lines.sort(key=lambda line: line[2][place], reverse=down)  # noqa: B023 (sorted at once)
    return lines


def _select(select: Select, scene: Scene) -> Reading:
    lines = _lines(select, scene)
    start, end = select.offset, select.offset + select.limit if select.limit else len(lines)
    keys = [key for _, _, key in lines]
    is_open = any(0 < edge < len(keys) and keys[edge - 1] == keys[edge] for edge in (start, end))
    return Reading([row for _, row, _ in lines][start:end], bool(select.order), keys[start:end], is_open)


def _compound(plan: Compound, scene: Scene) -> list[tuple]:
    left, right = (list(dict.fromkeys(_select(half, scene).rows)) for half in (plan.left, plan.right))
    match plan.op:
        case "union":
            return list(dict.fromkeys([*left, *right]))
        case "intersect":
            return [row for row in left if row in right]
        case "except":
            return [row for row in left if row not in right]
    raise ValueError(f"unknown set operation {plan.op}")


def _steps(plan: Steps, scene: Scene) -> list[tuple]:
    if plan.kind == "total":
        lines = _lines(plan.inner, scene)
        end = plan.inner.offset + plan.inner.limit if plan.inner.limit else len(lines)
        rows = [unit[0] for unit, _, _ in lines[plan.inner.offset : end]]
        return [(_cell(plan.term, rows, rows),)]
    inner = _select(plan.inner, scene).rows
    values = [row[-1] for row in inner]
    match plan.kind:
        case "mean":
            return [(_aggregate(plan.function, values),)]
        case "around":
            mean = _aggregate("avg", values)
            fit = [row for row in inner if _compare(row[-1], plan.op, mean)]
            return fit if plan.both else [row[:1] for row in fit]
        case "extreme":
            best = _aggregate(plan.function, values)
            fit = [row for row in inner if _compare(row[-1], "=", best)]
            return fit if plan.both else [row[:1] for row in fit]
        case "portion":
            return [(k, _percent(v, _aggregate("sum", values))) for k, v in inner]
        case "difference":
            return _difference(inner, _select(plan.second, scene).rows)
        case "linked":
            return _linked(plan, inner, scene)
    raise ValueError(f"unknown kind of steps {plan.kind}")


def _difference(inner: list[tuple], second: list[tuple]) -> list[tuple]:
    minus = lambda a, b: None if a is None or b is None else a - b  # noqa: E731
    if all(len(row) == 1 for row in [*inner, *second]):
        return [(minus(a, b),) for (a,) in inner for (b,) in second]
    return [(k, minus(v, w)) for k, v in inner for other, w in second if k == other]


def _linked(plan: Steps, inner: list[tuple], scene: Scene) -> list[tuple]:
    result = []
    for row in _rows(_table(scene, plan.field.table)):
        found = [v for k, v in inner if k == row[plan.field.table]["id"]]
        found = [v for v in found if not plan.op or _compare(v, plan.op, plan.number)]
        result += [(_value(row, plan.field), v) for v in found]
    return result


# Comparing and sorting values


def _sort_key(value) -> tuple:
    """NULL before numbers before texts."""
    return (0, 0) if value is None else (2, value) if isinstance(value, str) else (1, value)


def _sort_keys(row: tuple) -> tuple:
    return tuple((rank, round(value, 7) if rank == 1 else value) for rank, value in map(_sort_key, row))


def _same(one, other) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= 1e-9 * max(1, abs(one), abs(other))
    return type(one) is type(other) and one == other
