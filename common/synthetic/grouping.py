"""Figures for each group of a table's rows ("aggregation"). The answer has the group first, then the figure."""

from random import Random

from common.synthetic import phrases
from common.synthetic.conditions import article, cut, plurals
from common.synthetic.phrases import Rows, column
from common.synthetic.plan import Draft, Having, Select, Term
from common.synthetic.tables import Field, Misfit, Relation, Scene

OPS = ((">", "above"), (">", "more than"), ("<", "below"), ("<", "less than"), (">=", "at least"))


def _group(rng: Random, table: Relation, but: tuple = ()) -> Field:
    group = table.pick(rng, rng.choice(("group", "group", "group", "year")) if table.has("year") else "group", but=but)
    phrases.sound(group)
    if len(set(group.values)) == table.size and rng.random() < 0.7:
        raise Misfit("every group has one row")
    return group


def _figure(rng: Random, table: Relation, but: tuple) -> tuple[Term, str]:
    if rng.random() < 0.35:
        return Term("count"), "number"
    return phrases.measure(rng, table, but, plain=True)


def each(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    group = _group(rng, table)
    if rng.random() < 0.3:
        term, noun = Term("count"), "number"
    else:
        term, noun = phrases.measure(rng, table, (group,))
    wanted = phrases.rows(rng, table, but=(group, term.field), counts=(52, 38, 10))
    plan = Select(table, (column(group), term), wanted.where, wanted.any_of, group=(column(group),))
    return Draft(*phrases.group_frames(rng, [group.noun, noun], group.noun, wanted), plan)


def each_two(rng: Random, scene: Scene) -> Draft:
    """Two figures of each group."""
    table = scene.relations[0]
    group = _group(rng, table)
    one, first = phrases.measure(rng, table, (group,))
    other, second = (Term("count"), "number") if rng.random() < 0.5 else phrases.measure(rng, table, (group,))
    if other == one:
        raise Misfit("the same twice")
    if other.function == "count":
        one, other, first, second = other, one, second, first
    wanted = phrases.rows(rng, table, but=(group, one.field, other.field), counts=(70, 28, 2))
    plan = Select(table, (column(group), one, other), wanted.where, wanted.any_of, group=(column(group),))
    return Draft(*phrases.group_frames(rng, [group.noun, first, second], group.noun, wanted), plan)


def two_groups(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    one = _group(rng, table)
    other = _group(rng, table, (one,))
    term, noun = _figure(rng, table, (one, other))
    common = (
        f"For each combination of {one.noun} and {other.noun}, show both and the {noun} of {table.many}.",
        f"[Show|List] {one.noun}, {other.noun} and {noun} of {table.many} per {one.noun} and {other.noun}.",
        f"By {one.noun} and {other.noun}: give the two and the {noun} of the {table.many}.",
    )
    fresh = (f"Break the {table.many} down by {one.noun}, then {other.noun}, with the {noun} last.",)
    keys = (column(one), column(other))
    return Draft(common, fresh, Select(table, (*keys, term), group=keys))


def having(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    group = _group(rng, table)
    both = rng.random() < 0.35
    if rng.random() < 0.45:
        op, number = rng.choice(((">", 1), (">", 1), (">=", 2), ("=", 1), ("=", 2)))
        word = {">": "more than", ">=": "at least", "=": "exactly"}[op]
        term, noun = Term("count"), "number"
        wanted = phrases.rows(rng, table, but=(group,), counts=(60, 40, 0))
        words = f"{word} {number} {wanted.one if number == 1 else wanted.many}"
    else:
        term, noun = phrases.measure(rng, table, (group,))
        wanted = phrases.rows(rng, table, but=(group, term.field), counts=(68, 32, 0))
        op, word = rng.choice(OPS)
        number = _between_groups(rng, group, term)
        words = f"the {noun} of {wanted.many} is {word} {number}"
    many, then = plurals(group.noun), f" and the {noun}" if both else ""
    with_it = f", with the {noun}." if both else "."
    if term.function == "count":
        be = "is" if number == 1 and op == "=" else "are"
        common = (
            f"Which {many} have {words}? [Show|Give] the {group.noun}{then}.",
            f"[List|Show|Find] each {group.noun} that has {words}{with_it}",
            f"[Find|Get] every {group.noun} with {words}{with_it}",
            f"For which {many} {be} there {words}? [Show|Give] the {group.noun}{then}.",
        )
        fresh = (f"Return all {many} having {words}{with_it}",)
    else:
        common = (
            f"For which {many} is the {noun} of {wanted.many} {word} {number}? [Show|Give] the {group.noun}{then}.",
            f"[List|Show|Find] each {group.noun} where {words}{with_it}",
            f"[Find|Get] every {group.noun} for which {words}{with_it}",
        )
        fresh = (f"Return all {many} where {words}{with_it}",)
    terms = (column(group), term) if both else (column(group),)
    plan = Select(table, terms, wanted.where, wanted.any_of, group=(column(group),), having=(Having(term, op, number),))
    return Draft(common, fresh, plan)


def _between_groups(rng: Random, group: Field, term: Term) -> float:
    """A limit near the groups' figures."""
    values = term.field.present
    scale = len(values) / len(set(group.values)) if term.function == "sum" else 1
    limit = cut(rng, term.field) * scale
    return int(limit) if limit >= 4 else round(limit, 1)


def ordered(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    group = _group(rng, table)
    term, noun = _figure(rng, table, (group,))
    down = rng.random() < 0.6
    wanted = phrases.rows(rng, table, but=(group, term.field), counts=(66, 32, 2))
    if rng.random() < 0.3:
        key, end = column(group), phrases.sorting(rng, group, down)
    else:
        key = term
        first = "highest" if down else "lowest"
        end = rng.choice((f"sorted by {noun}, {first} first", f"sorted by that figure, {first} first"))
    plan = Select(
        table, (column(group), term), wanted.where, wanted.any_of, group=(column(group),), order=((key, down),)
    )
    return Draft(*phrases.group_frames(rng, [group.noun, noun], group.noun, wanted, f", {end}"), plan)


def best(rng: Random, scene: Scene) -> Draft:
    """The group with the highest figure, or the first few."""
    table = scene.relations[0]
    group, down = _group(rng, table), rng.random() < 0.65
    term, noun = _figure(rng, table, (group,))
    wanted = phrases.rows(rng, table, but=(group, term.field), counts=(60, 35, 5))
    if term.function == "count":
        end = f"the {'most' if down else 'fewest'} {wanted.many}"
    else:
        end = f"the {'highest' if down else 'lowest'} {noun} of {wanted.many}"
    both = rng.random() < 0.3
    show = f" [Show|Give] the {group.noun} and the {noun}." if both else ""
    common = (
        f"Which {group.noun} has {end}?{show}",
        f"[Find|Show|Give] the {group.noun} with {end}" + (f", and the {noun}." if both else "."),
        f"What is the {group.noun} with {end}?{show}",
        f"[Return|Tell me] the {group.noun} that has {end}" + (f", with the {noun}." if both else "."),
    )
    fresh = (f"Name the {group.noun} having {end}" + (f" and that {noun}." if both else "."),)
    terms = (column(group), term) if both else (column(group),)
    plan = Select(table, terms, wanted.where, wanted.any_of, group=(column(group),), order=((term, down),), limit=1)
    return Draft(common, fresh, plan)


def by_year(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    date = table.field("date")
    phrases.sound(date)
    year = Term("year", date)
    if rng.random() < 0.5:
        term, noun = Term("count"), "number"
    else:
        term, noun = phrases.measure(rng, table)
    wanted = phrases.rows(rng, table, but=(date, term.field), counts=(60, 40, 0))
    plan = Select(table, (year, term), wanted.where, wanted.any_of, group=(year,))
    return Draft(*phrases.group_frames(rng, ["year", noun], f"year of the {date.noun}", wanted), plan)


def count_above(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    group, number = _group(rng, table), table.pick(rng, "number")
    phrases.sound(number)
    limit = cut(rng, number)
    wanted = Rows(table)
    words = f"{wanted.many} with {article(number.noun)} above {limit}"
    common = (
        f"For each {group.noun}, show it and how many {words} it has, 0 included.",
        f"[Show|List] each {group.noun} and its number of {words}, even where it is 0.",
        f"Per {group.noun}, count the {words}, including 0; show {group.noun} and count.",
    )
    fresh = (f"How many {words} are there in each {group.noun}, zero allowed? {group.noun.capitalize()} first.",)
    terms = (column(group), Term("count_above", number, number=limit))
    return Draft(common, fresh, Select(table, terms, group=(column(group),)))
