"""Queries with a query inside their condition ("subqueries")."""

from collections.abc import Callable
from random import Random

from common.synthetic import lists, phrases
from common.synthetic.conditions import say, threshold, whose
from common.synthetic.phrases import Rows, column
from common.synthetic.plan import Condition, Draft, Select, Term
from common.synthetic.tables import Relation, Scene

ABOVE = {">": "[above|higher than|greater than]", "<": "[below|lower than|less than]"}


def whole(rng: Random, table: Relation) -> Condition:
    field, op = table.pick(rng, "number"), rng.choice("><")
    text = say(rng, f"{whose(field.noun)} {ABOVE[op]} the [average|mean] {field.noun} of all {table.many}")
    return Condition("whole", field, text, op, function="avg")


def group(rng: Random, table: Relation) -> Condition:
    field, by, op = table.pick(rng, "number"), table.pick(rng, "group"), rng.choice("><")
    phrases.sound(by)
    text = say(rng, f"{whose(field.noun)} {ABOVE[op]} the average {field.noun} of {table.many} with the same {by.noun}")
    return Condition("group", field, text, op, other=by, function="avg")


def extreme(rng: Random, table: Relation) -> Condition:
    field, function = table.pick(rng, "number"), rng.choice(("max", "max", "min"))
    word = rng.choice(phrases.WORDS[function])
    inner = (phrases.plain(rng, table, (field,)),) if rng.random() < 0.35 else ()
    among = f"the {table.many} {inner[0].text}" if inner else f"all {table.many}"
    text = f"that have the {word} {field.noun} of {among} (ties included)"
    return Condition("extreme", field, text, inner=inner, function=function)


def row(rng: Random, table: Relation) -> Condition:
    field, label, op = table.pick(rng, "number"), table.label, rng.choice("><")
    name = rng.choice(label.values)
    text = say(rng, f"{whose(field.noun)} {ABOVE[op]} that of {name}")
    return Condition("row", field, text, op, (name,), other=label)


def alike(rng: Random, table: Relation) -> Condition:
    field, label = table.pick(rng, "group"), table.label
    phrases.sound(field)
    name = rng.choice(label.values)
    text = say(rng, f"other than {name} that have the same {field.noun} as {name}")
    return Condition("alike", field, text, values=(name,), other=label)


def _child(scene: Scene) -> tuple[Relation, Relation]:
    return scene.relations[0], scene.relations[1]


def has(rng: Random, scene: Scene, *, kinds: tuple[str, ...] = ("has", "lacks", "count")) -> Condition:
    """A condition on the rows that refer to this one."""
    parent, child = _child(scene)
    kind = rng.choice(kinds)
    inner = (phrases.plain(rng, child),) if rng.random() < (0.75 if kind != "count" else 0.35) else ()
    such = f" {inner[0].text}" if inner else ""
    key, ref = parent.field("key"), child.ref(parent)
    if kind == "count":
        op, number = rng.choice(((">", 1), (">=", 2), ("=", 1), ("<", 2)))
        word = {">": "more than", ">=": "at least", "=": "exactly", "<": "fewer than"}[op]
        text = f"that have {word} {number} {child.one if number == 1 else child.many}{such}"
        return Condition("count", key, text, op, (number,), other=ref, relation=child, inner=inner)
    words = {"has": ("that have at least one", "that have any"), "lacks": ("that have no", "that do not have any")}[
        kind
    ]
    return Condition(kind, key, f"{rng.choice(words)} {child.one}{such}", other=ref, relation=child, inner=inner)


def _rows(rng: Random, table: Relation, nested: Condition) -> Rows:
    """Rows under the nested condition, at times under a plain one too."""
    if nested.kind != "extreme" and rng.random() < 0.35:
        return Rows(table, (phrases.plain(rng, table, (nested.field,)), nested))
    return Rows(table, (nested,))


def show(make: Callable[[Random, Relation], Condition], *, ties: bool = False) -> Callable[[Random, Scene], Draft]:
    """A family of queries that show the rows under a condition that `make` draws; `ties` may be in the data."""

    def write(rng: Random, scene: Scene) -> Draft:
        table = scene.relations[0]
        wanted = _rows(rng, table, make(rng, table))
        fields = lists.some_columns(rng, table, rng.choice((1, 1, 2)))
        plan = Select(table, tuple(map(column, fields)), wanted.where)
        return Draft(*phrases.column_frames(rng, [f.noun for f in fields], wanted), plan, ties=ties)

    return write


def show_related(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    wanted = _rows(rng, table, has(rng, scene))
    fields = lists.some_columns(rng, table, rng.choice((1, 1, 2)))
    plan = Select(table, tuple(map(column, fields)), wanted.where)
    return Draft(*phrases.column_frames(rng, [f.noun for f in fields], wanted), plan)


def figure(rng: Random, scene: Scene) -> Draft:
    """A count or another figure over rows under a nested condition."""
    table = scene.relations[0]
    nested = has(rng, scene) if len(scene.relations) > 1 else rng.choice((whole, row, group))(rng, table)
    wanted = _rows(rng, table, nested)
    if rng.random() < 0.6 or not table.all("number"):
        return Draft(*phrases.count_frames(wanted), Select(table, (Term("count"),), wanted.where))
    term, words = phrases.measure(rng, table, (nested.field,))
    return Draft(*phrases.value_frames(f"the {words}", wanted), Select(table, (term,), wanted.where))


def of_extreme(rng: Random, scene: Scene) -> Draft:
    """The parents that the children with an extreme number refer to."""
    parent, child = _child(scene)
    key, ref = parent.field("key"), child.ref(parent)
    inner = extreme(rng, child) if rng.random() < 0.6 else threshold(rng, child.pick(rng, "number"))
    of = inner.text.replace("that have the", "with the", 1) if inner.kind == "extreme" else inner.text
    text = f"that have {child.many} {of}"
    nested = Condition("has", key, text, other=ref, relation=child, inner=(inner,))
    fields = lists.some_columns(rng, parent, 1)
    wanted = Rows(parent, (nested,))
    plan = Select(parent, tuple(map(column, fields)), wanted.where)
    return Draft(*phrases.column_frames(rng, [f.noun for f in fields], wanted), plan, ties=True)
