"""A second reading of question plans: what `plan.py` says a plan means, worked out in plain Python over a scene's rows.

Written from the docstrings of `common.synthetic.plan` alone, without SQL and without a look at what renders it, so that
a mistake in one of the two shows as a difference. Values behave as SQLite's do where it matters: NULL in comparisons
and sorting, whole and broken numbers, rounding, LIKE without case.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from common.synthetic.plan import AGGREGATES, WINDOWS, Compound, Plan, Select, Steps, Term
from common.synthetic.tables import Scene
from tests.unit.plan_rows import Row, candidates, rows_of, table_of, value_of
from tests.unit.plan_values import aggregate, compare, percent, same_bag, sort_key


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


# Columns


def _plain(term: Term, row: Row):
    value = value_of(row, term.field)
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
            other = value_of(row, term.other)
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
        rows = [other for other in rows if value_of(other, term.by) == value_of(row, term.by)]
    values = [value_of(other, term.field) for other in rows] if term.field else []
    here = value_of(row, term.field) if term.field else None
    if term.function in ("group_avg", "group_max"):
        return aggregate(term.function.removeprefix("group_"), values)
    if term.function == "group_count":
        return len(rows)
    if term.function == "portion":
        return percent(here, aggregate("sum", values))
    if term.function == "gap":
        mean = aggregate("avg", values)
        return None if here is None or mean is None else here - mean
    key = {id(other): sort_key(value_of(other, term.other)) for other in rows}
    if term.function == "rank":
        ahead = [other for other in rows if _is_ahead(key[id(other)], key[id(row)], term.down)]
        return 1 + len(ahead)
    in_order = sorted(rows, key=lambda other: key[id(other)], reverse=term.down)
    if term.function == "running":
        upto = [other for other in rows if not _is_ahead(key[id(row)], key[id(other)], term.down)]
        return aggregate("sum", [value_of(other, term.field) for other in upto])
    place = next(i for i, other in enumerate(in_order) if other is row)
    place += 1 if term.function == "next" else -1
    return value_of(in_order[place], term.field) if 0 <= place < len(in_order) else None


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
    return aggregate(term.function, [value_of(row, term.field) for row in unit], term.number)


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
            if all(compare(_cell(having.term, unit, rows), having.op, having.value) for having in select.having)
        ]
    return [rows] if any(term.function in AGGREGATES for term in select.terms) else [[row] for row in rows]


def _lines(select: Select, scene: Scene) -> Iterator[tuple[list[Row], tuple, tuple]]:
    """Unit, row of the answer and sort key, for each unit, in order."""
    rows = candidates(select, scene)
    lines = []
    for unit in _units(select, rows):
        shown = tuple(cell for term in select.terms for cell in _cells(term, select, unit, rows))
        lines.append((unit, shown, tuple(sort_key(_cell(term, unit, rows)) for term, _ in select.order)))
    if select.distinct:
        lines = list({tuple(map(sort_key, line[1])): line for line in reversed(lines)}.values())[::-1]
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
            return [(aggregate(plan.function, values),)]
        case "around":
            mean = aggregate("avg", values)
            fit = [row for row in inner if compare(row[-1], plan.op, mean)]
            return fit if plan.both else [row[:1] for row in fit]
        case "extreme":
            best = aggregate(plan.function, values)
            fit = [row for row in inner if compare(row[-1], "=", best)]
            return fit if plan.both else [row[:1] for row in fit]
        case "portion":
            return [(k, percent(v, aggregate("sum", values))) for k, v in inner]
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
    for row in rows_of(table_of(scene, plan.field.table)):
        found = [v for k, v in inner if k == row[plan.field.table]["id"]]
        found = [v for v in found if not plan.op or compare(v, plan.op, plan.number)]
        result += [(value_of(row, plan.field), v) for v in found]
    return result
