"""Figures for each row or category that other tables' rows refer to ("single join", "multiple_joins")."""

from random import Random

from common.synthetic import phrases
from common.synthetic.linked import beside_rows, links, needed
from common.synthetic.phrases import Rows, column
from common.synthetic.plan import Draft, Having, Link, Select, Term
from common.synthetic.tables import Scene


def each(rng: Random, scene: Scene) -> Draft:
    """A figure of the children of each parent that has some, or of each category of parent; sorted or limited at
    times."""
    child, joins, parents = links(scene)
    parent = rng.choice(parents)
    named = parent.has("name") and rng.random() < 0.6
    group = parent.label if named else parent.pick(rng, "group")
    phrases.sound(group)
    if rng.random() < 0.35:
        term, noun = Term("count"), "number"
    else:
        term, noun = phrases.measure(rng, child, plain=True)
    wanted, where = beside_rows(rng, scene, parent, tuple(f for f in (term.field, group) if f), 0.3)
    key = parent.field("key") if named else group  # names may be alike
    parts = {"where": where, "links": needed(joins, [group], where), "group": (column(key),)}
    by = parent.one if named else f"{group.noun} of the {parent.one}"
    label = f"{parent.one}'s {group.noun}" if named else group.noun
    down, many = rng.random() < 0.65, wanted.many
    kind = rng.choices(("all", "order", "best", "having"), (50, 16, 20, 14))[0]
    if kind == "best":
        first = f"the {'highest' if down else 'lowest'} {noun} of {many}"
        most = f"the {'most' if down else 'fewest'} {many}" if term.function == "count" else first
        common = (
            f"Which {by} has {most}? [Show|Give] the {label}.",
            f"[Find|Show|Give] the {f'{label} for the {by}' if named else by} with {most}.",
            f"What is the {f'{group.noun} of the {by}' if named else by} that has {most}?",
        )
        fresh = (f"Find the {by} that has {most} and return the {label}.",)
        return Draft(common, fresh, Select(child, (column(group),), **parts, order=((term, down),), limit=1))
    if kind == "having":
        number = rng.choice((1, 1, 2))
        words = f"more than {number} {wanted.one if number == 1 else many}"
        common = (
            f"Which {by} has {words}? [Show|Give] every such {label}.",
            f"[List|Find|Show] {f'the {label} for each {by}' if named else f'each {by}'} with {words}.",
            f"[Show|Give] {f'the {label} for' if named else ''} every {by} that has {words}.",
        )
        fresh = (f"Return the {label} wherever a {by} has {words}.",)
        having = (Having(Term("count"), ">", number),)
        return Draft(common, fresh, Select(child, (column(group),), **parts, having=having))
    order, end = (), ""
    if kind == "order":
        order, end = ((term, down),), f", sorted by that {noun}, {'highest' if down else 'lowest'} first"
    common = (
        f"For each {by} that has {many}, [show|give] the {label} and the {noun} of these{end}.",
        f"[Show|List] the {label} and the {noun} of {many} for each {by} that has any{end}.",
        f"[Report|Give] the {label} and the {noun} of {many} per {by}, leaving out those without any{end}.",
    )
    fresh = (f"Break down {many} by {by}, where there are any: the {label}, then the {noun}{end}.",)
    return Draft(common, fresh, Select(child, (column(group), term), **parts, order=order))


def count_each(rng: Random, scene: Scene) -> Draft:
    """Parents without children count as zero, and the question says so."""
    parent, child = scene.relations
    label, many = parent.label, child.many
    where = (phrases.plain(rng, parent, (label,)),) if rng.random() < 0.35 else ()
    one = Rows(parent, where).one
    common = (
        f"How many {many} does each {one} have, 0 included? Show the {parent.one}'s {label.noun} and the number.",
        f"[Show|List] the {label.noun} of every {one} and the number of its {many}, even if it is 0.",
        f"For each {one}, also those without any {many}, [show|give] the {parent.one}'s {label.noun} and their number.",
    )
    fresh = (
        f"Count the {many} of every {one}, with 0 where there are none; the {parent.one}'s {label.noun} comes first.",
    )
    joins = (Link(child, child, parent, outer=True),)
    terms = (column(label), Term("count", child.ref(parent)))
    return Draft(common, fresh, Select(parent, terms, where, links=joins, group=(column(parent.field("key")),)))
