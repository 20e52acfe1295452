"""Figures over all rows of a table, or over those that meet conditions ("aggregation")."""

from random import Random

from common.synthetic import phrases
from common.synthetic.conditions import article, cut, listed, plurals
from common.synthetic.plan import Draft, Select, Term
from common.synthetic.tables import Scene


def count(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    wanted = phrases.rows(rng, table, counts=(3, 55, 42))
    return Draft(*phrases.count_frames(wanted), Select(table, (Term("count"),), wanted.where, wanted.any_of))


def figure(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    term, words = phrases.measure(rng, table)
    wanted = phrases.rows(rng, table, but=(term.field,), counts=(25, 50, 25))
    return Draft(*phrases.value_frames(f"the {words}", wanted), Select(table, (term,), wanted.where, wanted.any_of))


def figures(rng: Random, scene: Scene) -> Draft:
    """Two or three figures: of one column or of several, a count among them."""
    table = scene.relations[0]
    one, words = phrases.measure(rng, table)
    terms, nouns = [one], [words]
    if rng.random() < 0.5:
        other, words = phrases.measure(rng, table, but=(one.field,) if len(table.all("number")) > 1 else ())
        if other != one:
            terms, nouns = [*terms, other], [*nouns, words]
    if len(terms) == 1 or rng.random() < 0.25:
        terms, nouns = [Term("count"), *terms], [f"number of {table.many}", *nouns]
    wanted = phrases.rows(rng, table, but=tuple(t.field for t in terms if t.field), counts=(45, 43, 12))
    what = listed([f"the {noun}" for noun in nouns])
    common = (
        f"What are {what} of [all |the |]{wanted.many}?",
        f"[Show|Give|Report] {what} of [all |the |]{wanted.many}.",
        f"For {wanted.many}, [show|give|return] {what}.",
        f"[Compute|Calculate] {what} over [all|the] {wanted.many}.",
    )
    fresh = (f"Summarise {wanted.many}: {what}.",)
    return Draft(common, fresh, Select(table, tuple(terms), wanted.where, wanted.any_of))


def spread(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    number = table.pick(rng, "number")
    wanted = phrases.rows(rng, table, but=(number,), counts=(45, 45, 10))
    what = rng.choice(
        (
            f"the difference between the highest and the lowest {number.noun}",
            f"the gap between the largest and the smallest {number.noun}",
        )
    )
    plan = Select(table, (Term("spread", number),), wanted.where, wanted.any_of)
    return Draft(*phrases.value_frames(what, wanted), plan)


def rounded(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    number, places = table.pick(rng, "number"), rng.choice((1, 1, 2))
    wanted = phrases.rows(rng, table, but=(number,), counts=(40, 48, 12))
    what = f"the average {number.noun}, rounded to {('one decimal', 'two decimals')[places - 1]},"
    plan = Select(table, (Term("rounded", number, number=places),), wanted.where, wanted.any_of)
    return Draft(*phrases.value_frames(what, wanted), plan)


def distinct(rng: Random, scene: Scene) -> Draft:
    table = scene.relations[0]
    group = table.pick(rng, "group")
    wanted = phrases.rows(rng, table, but=(group,), counts=(35, 50, 15))
    many, those = plurals(group.noun), wanted.many
    common = (
        f"How many [different|distinct] {many} do [the |]{those} have?",
        f"Count the [distinct|different|unique] {many} of [the |]{those}.",
        f"What is the number of different {many} among {those}?",
        f"[Find|Give|Tell me] how many different {many} there are among {those}.",
    )
    fresh = (f"Among {those}, how many {many} occur, each counted once?",)
    return Draft(common, fresh, Select(table, (Term("distinct", group),), wanted.where, wanted.any_of))


def share(rng: Random, scene: Scene) -> Draft:
    """How many percent of the rows have a number above a limit."""
    table = scene.relations[0]
    number = table.pick(rng, "number")
    phrases.sound(number)
    limit = cut(rng, number)
    wanted = phrases.rows(rng, table, but=(number,), counts=(55, 40, 5))
    above = f"have {article(number.noun)} above {limit}"
    common = (
        f"What percentage of [all |the |]{wanted.many} {above}? Round to one decimal.",
        f"How many percent of {wanted.many} {above}, rounded to one decimal?",
        f"[Compute|Calculate] the percentage of {wanted.many} that {above}, rounded to one decimal.",
    )
    fresh = (f"Of {wanted.many}, which share in percent, to one decimal, {above.replace('have', 'has', 1)}?",)
    plan = Select(table, (Term("share_above", number, number=limit),), wanted.where, wanted.any_of)
    return Draft(common, fresh, plan)
