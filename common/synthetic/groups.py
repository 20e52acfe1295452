"""Queries on one table that aggregate each group ("aggregation"). They return the group, then the value."""

from random import Random

from common.synthetic import conditions
from common.synthetic.aggregates import WORDS, measure
from common.synthetic.check import Draft
from common.synthetic.scene import Field, Misfit, Relation, Scene


def _groups(rng: Random, table: Relation, *, but: tuple = ()) -> Field:
    group = table.pick(rng, "group", but=but)
    if None in group.values:
        raise Misfit("NULL")
    return group


def group_count(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group = _groups(rng, table)
    questions = (
        f"How many {table.many} are there for each {group.noun}?",
        f"[Show|List|Give] each {group.noun} and the number of {table.many}.",
        f"Count the {table.many} per {group.noun}.",
        f"For each {group.noun}, [show|give] the {group.noun} and the number of {table.many}.",
        f"Number of {table.many} by {group.noun}.",
    )
    sql = f"SELECT {group.sql}, COUNT(*) FROM {table.sql} GROUP BY {group.sql};"
    return Draft(questions, sql)


def group_value(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group, (value, words, _) = _groups(rng, table), measure(rng, table)
    questions = (
        f"What is the {words} of {table.many} for each {group.noun}?",
        f"[Show|List|Give] each {group.noun} and the {words} of its {table.many}.",
        f"[Find|Calculate|Compute] the {words} of {table.many} per {group.noun}.",
        f"For each {group.noun}, [show|give] the {group.noun} and the {words} of {table.many}.",
        f"{words.capitalize()} of {table.many} by {group.noun}.",
    )
    sql = f"SELECT {group.sql}, {value} FROM {table.sql} GROUP BY {group.sql};"
    return Draft(questions, sql, (f"SELECT {group.sql}, {_other(value)} FROM {table.sql} GROUP BY {group.sql}",))


def _other(value: str) -> str:
    """A different aggregate of the same column, to make sure that the choice matters."""
    return value.replace("MIN", "MAX") if "MIN" in value else "MIN" + value[3:]


def group_where(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group = _groups(rng, table)
    if rng.random() < 0.4:
        value, words = "COUNT(*)", f"number of {table.many}"
        condition = conditions.some(rng, table, but=(group,))
    else:
        value, words, field = measure(rng, table)
        words += f" of {table.many}"
        condition = conditions.some(rng, table, but=(group, field))
    questions = (
        f"For each {group.noun}, [show|give] the {group.noun} and the {words} {condition.text}.",
        f"What is the {words} {condition.text} for each {group.noun}?",
        f"[Show|List] each {group.noun} and the {words} {condition.text}.",
        f"[Find|Report] the {words} {condition.text}, per {group.noun}.",
    )
    select, end = f"SELECT {group.sql}, {value} FROM {table.sql}", f"GROUP BY {group.sql}"
    enough = f"SELECT COUNT(*) FROM {table.sql} WHERE {condition.sql}"
    return Draft(questions, f"{select} WHERE {condition.sql} {end};", (f"{select} {end}",), enough=enough)


def having_count(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group = _groups(rng, table)
    number = rng.choice((1, 1, 1, 2))
    operator, words = rng.choice(((">", "more than {} {}"), (">=", "at least {} {}"), ("=", "exactly {} {}")))
    number += operator == ">="
    words = words.format(number, table.one if number == 1 else table.many)
    questions = (
        f"Which values of {group.noun} have {words}?",
        f"[List|Show|Find] each {group.noun} that has {words}.",
        f"[List|Show|Find] every {group.noun} with {words}.",
        f"For which {group.noun} are there {words}?",
    )
    select = f"SELECT {group.sql} FROM {table.sql} GROUP BY {group.sql}"
    return Draft(questions, f"{select} HAVING COUNT(*) {operator} {number};", (select,))


def having_value(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group, (value, words, field) = _groups(rng, table), measure(rng, table)
    total = sum(field.present) / 2 if value.startswith("SUM") else sum(field.present) / len(field.present)
    cut = int(total) if total >= 4 else round(total, 1)
    operator, word = rng.choice(((">", "above"), (">", "more than"), ("<", "below"), ("<", "less than")))
    questions = (
        f"Which values of {group.noun} have {conditions.article(words)} of {table.many} {word} {cut}?",
        f"[List|Show|Find] each {group.noun} where the {words} of {table.many} is {word} {cut}.",
        f"For which {group.noun} is the {words} of {table.many} {word} {cut}?",
        f"[List|Find] every {group.noun} whose {table.many} have {conditions.article(words)} {word} {cut}.",
    )
    select = f"SELECT {group.sql} FROM {table.sql} GROUP BY {group.sql}"
    return Draft(questions, f"{select} HAVING {value} {operator} {cut};", (select,))


def group_top(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group, high = _groups(rng, table), rng.random() < 0.6
    if rng.random() < 0.5:
        value, words = "COUNT(*)", table.many
        phrases = (
            f"Which {group.noun} has the {'most' if high else 'fewest'} {table.many}?",
            f"[Find|Show] the {group.noun} with the {'most' if high else 'fewest'} {table.many}.",
            f"For which {group.noun} is the number of {table.many} {'highest' if high else 'lowest'}?",
        )
    else:
        field = table.pick(rng, "number")
        function = "SUM" if field.kind == "sum" and rng.random() < 0.6 else "AVG"
        value, words = f"{function}({field.sql})", f"{WORDS[function][0]} {field.noun}"
        end = "highest" if high else "lowest"
        phrases = (
            f"Which {group.noun} has the {end} {words} of {table.many}?",
            f"[Find|Show] the {group.noun} with the {end} {words} of {table.many}.",
            f"For which {group.noun} is the {words} of {table.many} {end}?",
        )
    select = f"SELECT {group.sql} FROM {table.sql} GROUP BY {group.sql}"
    sql = f"{select} ORDER BY {value}{' DESC' if high else ''} LIMIT 1;"
    keys = f"SELECT {value} FROM {table.sql} GROUP BY {group.sql}"
    return Draft(phrases, sql, (select, f"{select} LIMIT 1"), keys=keys)


def group_order(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group, (value, words, _) = _groups(rng, table), measure(rng, table)
    order, first = rng.choice(((" DESC", "highest"), (" DESC", "highest"), ("", "lowest")))
    questions = (
        f"[Show|List] each {group.noun} and the {words} of {table.many}, {first} first.",
        f"For each {group.noun}, give the {group.noun} and the {words} of {table.many}, {first} first.",
        f"Rank each {group.noun} by the {words} of {table.many}, {first} first, and show both.",
    )
    select = f"SELECT {group.sql}, {value} FROM {table.sql} GROUP BY {group.sql}"
    keys = f"SELECT {value} FROM {table.sql} GROUP BY {group.sql}"
    return Draft(questions, f"{select} ORDER BY {value}{order};", (select,), keys=keys)


def by_year(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    date = table.field("date")
    if None in date.values or len({value[:4] for value in date.values}) in (1, table.size):
        raise Misfit("years")
    verb = f"{date.column.wording[0]} in" if date.column.wording else f"with {conditions.article(date.noun)} in"
    many, are = table.many, "are" if date.column.wording else "are there"
    questions = (
        f"How many {many} {are} {verb} each year? Show the year and the number.",
        f"[Show|List] each year and the number of {many} {verb} it.",
        f"Count the {many} {verb} each year, showing year and count.",
        f"For each year, give the year and the number of {many} {verb} that year.",
    )
    year = f"strftime('%Y', {date.sql})"
    return Draft(questions, f"SELECT {year}, COUNT(*) FROM {table.sql} GROUP BY {year};")


def count_cases(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group, number = _groups(rng, table), table.pick(rng, "number")
    cut = conditions.cut(rng, number)
    questions = (
        f"For each {group.noun}, show it and how many {table.many} have {number.noun} above {cut}, zero included.",
        f"[Show|List] each {group.noun} and its number of {table.many} with {number.noun} above {cut}, even if zero.",
        f"Per {group.noun}, count the {table.many} with {number.noun} above {cut}, including zero; show both.",
    )
    case = f"SUM(CASE WHEN {number.sql} > {cut} THEN 1 ELSE 0 END)"
    select = f"SELECT {group.sql}, {{}} FROM {table.sql} GROUP BY {group.sql}"
    return Draft(questions, select.format(case) + ";", (select.format("COUNT(*)"), select.format(0)))
