"""Queries that first make a result and then ask something of it ("CTEs")."""

from random import Random

from common.synthetic import phrases
from common.synthetic.conditions import cut, equals, plurals, say
from common.synthetic.phrases import column
from common.synthetic.plan import Draft, Link, Select, Steps, Term
from common.synthetic.tables import Field, Misfit, Relation, Scene


def _groups(rng: Random, table: Relation) -> tuple[Select, Field, str, str]:
    """A figure for each group: the plan, the group, the figure's words, and the rows'."""
    group = table.pick(rng, "group")
    phrases.sound(group)
    if len(set(group.values)) == table.size:
        raise Misfit("every group has one row")
    if rng.random() < 0.35:
        term, words = Term("count"), "number"
    else:
        term, words = phrases.measure(rng, table, (group,), plain=True)
    wanted = phrases.rows(rng, table, but=(group, term.field), counts=(66, 34, 0))
    return Select(table, (column(group), term), wanted.where, group=(column(group),)), group, words, wanted.many


def _side(op: str) -> str:
    return "above" if op == ">" else "below"


def around(rng: Random, scene: Scene) -> Draft:
    inner, group, words, many = _groups(rng, scene.relations[0])
    op, both = rng.choice("><"), rng.random() < 0.4
    word = say(rng, {">": "[above|higher than|greater than]", "<": "[below|lower than|less than]"}[op])
    then = f" and that {words}" if both else ""
    each = f"the {words} of {many} for each {group.noun}"
    common = (
        f"Work out {each}; [show|list] the {group.noun}{then} where it is {word} the average of these figures.",
        f"Take {each} and the average of these figures: which {plurals(group.noun)} lie {_side(op)} it? Show the "
        f"{group.noun}{then}.",
        f"[Compute|Calculate] {each}, then keep the figures {word} their own average; show the {group.noun}{then}.",
    )
    fresh = (f"Given {each}, return the {group.noun}{then} of those that are {word} the mean of all these figures.",)
    return Draft(common, fresh, Steps("around", inner, op=op, both=both))


def extreme(rng: Random, scene: Scene) -> Draft:
    inner, group, words, many = _groups(rng, scene.relations[0])
    function, both = rng.choice(("max", "max", "min")), rng.random() < 0.6
    word = "highest" if function == "max" else "lowest"
    then = f" and that {words}" if both else ""
    common = (
        f"[Show|Give] the {group.noun}{then} where the {words} of {many} is {word}, ties included.",
        f"Which {group.noun} has the {word} {words} of {many}? Show every one that ties: the {group.noun}{then}.",
        f"[Find|List] each {group.noun} with the {word} {words} of {many}, ties included; show the {group.noun}{then}.",
    )
    fresh = (
        f"Per {group.noun}, work out the {words} of {many}; return the {group.noun}{then} for the {word}, ties too.",
    )
    return Draft(common, fresh, Steps("extreme", inner, function=function, both=both), ties=True)


def mean(rng: Random, scene: Scene) -> Draft:
    inner, group, words, many = _groups(rng, scene.relations[0])
    function = rng.choice(("avg", "avg", "max", "min"))
    word = phrases.WORDS[function][0]
    each = f"the {words} of {many} for each {group.noun}"
    common = (
        f"Work out {each}. What is the {word} of these figures?",
        f"Take {each} and [show|give|return] the {word} of these figures.",
        f"[Compute|Calculate] {each}, then the {word} of all these figures; show only that.",
    )
    fresh = (f"Given {each}, what is the {word} of them?",)
    return Draft(common, fresh, Steps("mean", inner, function=function))


def portion(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    inner, group, words, many = _groups(rng, table)
    if inner.terms[1].function not in ("count", "sum"):
        raise Misfit("no parts of a whole")
    what = f"the share in percent of the {words} of all {many}, rounded to one decimal"
    common = (
        f"For each {group.noun}, [show|give] the {group.noun} and {what}.",
        f"[Show|List] each {group.noun} with {what}.",
        f"How is the {words} of {many} shared among the {plurals(group.noun)}? Give {group.noun} and percentage "
        "to one decimal.",
    )
    fresh = (f"Split the {words} of {many} by {group.noun}, in percent to one decimal, {group.noun} first.",)
    return Draft(common, fresh, Steps("portion", inner))


def total(rng: Random, scene: Scene) -> Draft:
    """A figure over the few rows with the highest number."""
    table = scene.relations[0]
    key, down, n = table.pick(rng, "number", solid=True), rng.random() < 0.65, rng.choice((2, 2, 3))
    wanted = phrases.rows(rng, table, but=(key,), counts=(72, 28, 0))
    term, words = phrases.measure(rng, table)
    if term.function in ("max", "min") and term.field is key:
        raise Misfit("no need of steps")
    few = f"the {n} {wanted.many} with the {'highest' if down else 'lowest'} {key.noun}"
    inner = Select(table, (Term("all"),), wanted.where, order=((column(key), down),), limit=n)
    common = (
        f"What is the {words} of {few}?",
        f"[Find|Show|Give] the {words} of {few}.",
        f"Take {few}: what is their {words}?",
    )
    fresh = (f"Restrict to {few} and return the {words}.",)
    return Draft(common, fresh, Steps("total", inner, term=term))


def difference(rng: Random, scene: Scene) -> Draft:
    """A figure of one group minus that of another."""
    table = scene.relations[0]
    group = table.pick(rng, "group")
    values = sorted(set(group.present))
    if len(values) < 2:
        raise Misfit("one group")
    term, words = phrases.measure(rng, table, (group,))
    one, other = [equals(rng, group, value=value) for value in rng.sample(values, 2)]
    first, second = f"{table.many} {one.text}", f"{table.many} {other.text}"
    common = (
        f"What is the {words} of {first} minus the {words} of {second}?",
        f"Subtract the {words} of {second} from that of {first}.",
        f"[Compute|Calculate] the {words} of {first} less that of {second}.",
    )
    fresh = (f"By how much is the {words} of {first} above that of {second} (negative if below)?",)
    parts = [Select(table, (term,), (condition,)) for condition in (one, other)]
    return Draft(common, fresh, Steps("difference", *parts))


def linked(rng: Random, scene: Scene) -> Draft:
    """A figure of the children of each parent, beside the parent's name."""
    parent, child = scene.relations
    if rng.random() < 0.35:
        term, words = Term("count"), "number"
    else:
        term, words = phrases.measure(rng, child, plain=True)
    wanted = phrases.rows(rng, child, but=(term.field,) if term.field else (), counts=(68, 32, 0))
    ref, label = child.ref(parent), parent.label
    inner = Select(child, (column(ref), term), wanted.where, group=(column(ref),))
    op, number, over = "", 0, ""
    if rng.random() < 0.6:
        op, number = ">", 1 if term.function == "count" else cut(rng, term.field)
        over = f" above {number}"
    such, name = f"{parent.one} that has {wanted.many}", f"the {parent.one}'s {label.noun}"
    only, figure = f", where this is{over}" if over else "", f"the {words} of these"
    common = (
        f"For each {such}, [show|give] {name} and {figure}{only}.",
        f"[Show|List], for each {such}, {name} and {figure}{only}.",
        f"Work out the {words} of {wanted.many} per {parent.one} that has any; show {name} and the figure{only}.",
    )
    fresh = (f"Per {such}: {name}, then {figure}{only}.",)
    plan = Steps("linked", inner, op=op, number=number, field=label, link=Link(child, child, parent))
    return Draft(common, fresh, plan)
