"""Which rows a plan is about: joined, and kept by its conditions. A part of the second reading, see plan_reader.py."""

from common.synthetic.plan import Condition, Link, Select
from common.synthetic.tables import Field, Relation, Scene
from tests.unit.plan_values import COMPARISONS, aggregate, compare

Row = dict[str, dict[str, object] | None]  # table -> column -> value; None where an outer join found no partner


def table_of(scene: Scene, name: str) -> Relation:
    return next(relation for relation in scene.relations if relation.sql == name)


def rows_of(relation: Relation) -> list[Row]:
    return [{relation.sql: {f.sql: f.values[i] for f in relation.fields}} for i in range(relation.size)]


def value_of(row: Row, field: Field):
    cells = row[field.table]
    return None if cells is None else cells[field.sql]


def _refers(child: dict, relation: Relation, parent: Relation, cells: dict) -> bool:
    return child[relation.ref(parent).sql] == cells["id"]


def _joined(rows: list[Row], link: Link) -> list[Row]:
    name, result = link.relation.sql, []
    for row in rows:
        partners = []
        for other in rows_of(link.relation):
            both = {**row, **other}
            child, parent = both[link.child.sql], both[link.parent.sql]
            if child is not None and parent is not None and _refers(child, link.child, link.parent, parent):
                partners.append(both)
        result += partners or ([{**row, name: None}] if link.outer else [])
    return result


def candidates(select: Select, scene: Scene) -> list[Row]:
    """The rows that a select is about, before they are grouped."""
    rows = rows_of(select.source)
    for link in select.links:
        rows = _joined(rows, link)
    if select.where:
        rows = [row for row in rows if _meets(select.where, row, scene, select.any_of)]
    if select.best:
        first, second, down = select.best
        rows = [row for row in rows if _is_best(row, rows, first, second, down)]
    return rows


def _is_best(row: Row, rows: list[Row], first: Field, second: Field, down: bool) -> bool:
    rivals = [value_of(other, second) for other in rows if value_of(other, first) == value_of(row, first)]
    rivals = [value for value in rivals if value is not None]
    return bool(rivals) and value_of(row, second) == (max if down else min)(rivals)


# Conditions, in three values: None is neither true nor false


def _meets(conditions: tuple[Condition, ...], row: Row, scene: Scene, any_of: bool = False) -> bool:
    holds = [_holds(condition, row, scene) is True for condition in conditions]
    return any(holds) if any_of else all(holds)


def _holds(condition: Condition, row: Row, scene: Scene) -> bool | None:
    if condition.kind in ("has", "lacks", "count"):
        return _holds_of_children(condition, row, scene)
    value, values, op = value_of(row, condition.field), condition.values, condition.op
    if condition.kind in ("missing", "known"):
        return (value is None) == (condition.kind == "missing")
    if condition.kind == "extreme" and not _meets(condition.inner, row, scene):
        return False
    if condition.nested:
        return compare(value, *_nested(condition, row, scene)) if condition.kind != "alike" else _alike(condition, row)
    if value is None:
        return None
    match condition.kind:
        case "compare":
            return compare(value, op, values[0])
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
            return compare(value, op, value_of(row, condition.other))
    raise ValueError(f"unknown condition {condition.kind}")


def _nested(condition: Condition, row: Row, scene: Scene) -> tuple[str, object]:
    """What the row's value is compared with: operator and value."""
    field, every = condition.field, rows_of(table_of(scene, condition.field.table))
    match condition.kind:
        case "whole":
            return condition.op, aggregate(condition.function, [value_of(other, field) for other in every])
        case "group":
            here = value_of(row, condition.other)
            alike = [value_of(other, field) for other in every if value_of(other, condition.other) == here]
            return condition.op, None if here is None else aggregate(condition.function, alike)
        case "extreme":
            fit = [value_of(other, field) for other in every if _meets(condition.inner, other, scene)]
            return "=", aggregate(condition.function, fit)
        case "row":
            named = [other for other in every if value_of(other, condition.other) == condition.values[0]]
            return condition.op, value_of(named[0], field) if named else None
    raise ValueError(f"unknown condition {condition.kind}")


def _alike(condition: Condition, row: Row) -> bool | None:
    field, name = condition.field, condition.other
    here = dict(zip(name.values, field.values, strict=True)).get(condition.values[0])
    same = compare(value_of(row, field), "=", here)
    return same and compare(value_of(row, name), "<>", condition.values[0])


def _holds_of_children(condition: Condition, row: Row, scene: Scene) -> bool:
    child = condition.relation
    parent = next(table_of(scene, f.column.target) for f in child.fields if f.kind == "ref" and f.column.target in row)
    cells = row[parent.sql]
    found = [
        other
        for other in rows_of(child)
        if cells is not None
        and _refers(other[child.sql], child, parent, cells)
        and _meets(condition.inner, other, scene)
    ]
    if condition.kind == "count":
        return COMPARISONS[condition.op](len(found), condition.values[0])
    return bool(found) == (condition.kind == "has")
