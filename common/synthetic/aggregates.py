"""Counts, sums and averages over all rows of a table, or over those that meet a condition ("aggregation")."""

from random import Random

from common.synthetic import conditions
from common.synthetic.check import Draft
from common.synthetic.scene import Field, Relation, Scene

WORDS = {
    "SUM": ("total", "combined", "total"),
    "AVG": ("average", "mean", "average"),
    "MAX": ("highest", "maximum", "largest"),
    "MIN": ("lowest", "minimum", "smallest"),
}


def measure(rng: Random, relation: Relation, *, additive: bool = True) -> tuple[str, str, Field]:
    """SQL such as `SUM(price)`, its words ("total price"), and the column."""
    field = relation.pick(rng, "number")
    fit = ["AVG", "MAX", "MIN", "AVG"] + ["SUM"] * (3 if field.kind == "sum" and additive else 0)
    function = rng.choice(fit)
    return f"{function}({field.sql})", f"{rng.choice(WORDS[function])} {field.noun}", field


def count_all(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    questions = (
        f"How many {table.many} are there?",
        f"[Count|Count all] the {table.many}.",
        f"What is the [total|overall] number of {table.many}?",
        f"How many {table.many} [are listed|does the table hold]?",
    )
    return Draft(questions, f"SELECT COUNT(*) FROM {table.sql};")


def counting(table: Relation, text: str) -> tuple[str, ...]:
    return (
        f"How many {table.many} {'are ' if text.split()[0] not in ('with', 'whose') else 'are there '}{text}?",
        f"Count the {table.many} {text}.",
        f"What is the number of {table.many} {text}?",
        f"[Find|Give|Show] the number of {table.many} {text}.",
    )


def count_where(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    condition = conditions.some(rng, table)
    sql = f"SELECT COUNT(*) FROM {table.sql} WHERE {condition.sql};"
    return Draft(counting(table, condition.text), sql, (f"SELECT COUNT(*) FROM {table.sql}", "SELECT 0"))


def count_both(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    first = conditions.some(rng, table)
    second = conditions.some(rng, table, but=(first.field,))
    word = rng.choice(("AND", "AND", "OR"))
    count = f"SELECT COUNT(*) FROM {table.sql}"
    weaker = (f"{count} WHERE {first.sql}", f"{count} WHERE {second.sql}", count, "SELECT 0")
    questions = counting(table, f"{first.text} {word.lower()} {second.text}")
    return Draft(questions, f"{count} WHERE {first.sql} {word} {second.sql};", weaker)


def whole(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    value, words, _ = measure(rng, table)
    questions = (
        f"What is the {words} of [all |the |]{table.many}?",
        f"[Find|Show|Give|Calculate] the {words} of [all|the] {table.many}.",
        f"[Calculate|Compute|Report] the {words} over all {table.many}.",
        f"Across all {table.many}, what is the {words}?",
    )
    return Draft(questions, f"SELECT {value} FROM {table.sql};")


def whole_where(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    value, words, field = measure(rng, table)
    condition = conditions.some(rng, table, but=(field,))
    questions = (
        f"What is the {words} of {table.many} {condition.text}?",
        f"[Find|Show|Give|Calculate] the {words} of {table.many} {condition.text}.",
        f"For {table.many} {condition.text}, what is the {words}?",
        f"[Compute|Report] the {words} of all {table.many} {condition.text}.",
    )
    select = f"SELECT {value} FROM {table.sql}"
    enough = f"SELECT COUNT(*) FROM {table.sql} WHERE {condition.sql}"
    return Draft(questions, f"{select} WHERE {condition.sql};", (select,), enough=enough)


def least_and_most(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    number = table.pick(rng, "number")
    low, high = rng.choice((("lowest", "highest"), ("minimum", "maximum"), ("smallest", "largest")))
    questions = (
        f"What are the {low} and {high} {number.noun} of the {table.many}?",
        f"[Show|Give|Find] the {low} and the {high} {number.noun} of [all|the] {table.many}.",
        f"Report the {low} and {high} {number.noun} among {table.many}.",
    )
    return Draft(questions, f"SELECT MIN({number.sql}), MAX({number.sql}) FROM {table.sql};")


def spread(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    number = table.pick(rng, "number")
    questions = (
        f"What is the difference between the highest and the lowest {number.noun} of the {table.many}?",
        f"[Find|Show|Calculate] the gap between the largest and smallest {number.noun} of {table.many}.",
        f"By how much does the maximum {number.noun} of the {table.many} exceed the minimum?",
    )
    return Draft(questions, f"SELECT MAX({number.sql}) - MIN({number.sql}) FROM {table.sql};", ("SELECT 0",))


def rounding(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    number = table.pick(rng, "number")
    places = rng.choice((0, 1, 1, 2))
    words = {0: "the nearest whole number", 1: "one decimal", 2: "two decimals"}[places]
    questions = (
        f"What is the average {number.noun} of the {table.many}, rounded to {words}?",
        f"[Show|Give|Find] the {number.noun} of {table.many} on average, rounded to {words}.",
        f"Round the average {number.noun} of all {table.many} to {words}.",
    )
    if places == 0:
        places = ""
    sql = f"SELECT ROUND(AVG({number.sql}){f', {places}' if places else ''}) FROM {table.sql};"
    return Draft(questions, sql, (f"SELECT AVG({number.sql}) FROM {table.sql}",))


def count_distinct(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group = table.pick(rng, "group")
    questions = (
        f"How many [different|distinct] values of {group.noun} do the {table.many} have?",
        f"Count the [distinct|different|unique] values of {group.noun} among the {table.many}.",
        f"What is the number of different values of {group.noun} among {table.many}?",
    )
    return Draft(
        questions, f"SELECT COUNT(DISTINCT {group.sql}) FROM {table.sql};", (f"SELECT COUNT(*) FROM {table.sql}",)
    )
