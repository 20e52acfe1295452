"""Queries on one table whose answer depends on an order: sorted lists, first rows, the second row."""

from random import Random

from common.synthetic import conditions
from common.synthetic.check import Draft
from common.synthetic.scene import Scene


def direction(rng: Random) -> tuple[str, str]:
    """SQL after the sort key, and how a question says it."""
    if rng.random() < 0.5:
        return "", rng.choice(("from lowest to highest", "in ascending order", "starting with the lowest"))
    return " DESC", rng.choice(("from highest to lowest", "in descending order", "starting with the highest"))


def sort(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    key, (order, words) = table.pick(rng, "number", solid=True), direction(rng)
    many, label = table.many, table.label
    select = f"SELECT {label.sql} FROM {table.sql}"
    questions = (
        f"[List|Show] [all|the] {many} sorted by {key.noun} {words}.",
        f"[Give|Show|List] the {label.noun} of all {many}, ordered by {key.noun} {words}.",
        f"Sort the {many} by {key.noun} {words}.",
        f"Order [all|the] {many} by {key.noun} {words}.",
    )
    return Draft(questions, f"{select} ORDER BY {key.sql}{order};", (select,))


def sort_where(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    key, (order, words) = table.pick(rng, "number", solid=True), direction(rng)
    condition = conditions.some(rng, table, but=(key,))
    many, select = table.many, f"SELECT {table.label.sql} FROM {table.sql}"
    questions = (
        f"[List|Show] [the|all] {many} {condition.text}, sorted by {key.noun} {words}.",
        f"[Give|Show] the {table.label.noun} of {many} {condition.text}, ordered by {key.noun} {words}.",
        f"Sort {many} {condition.text} by {key.noun} {words}.",
    )
    sql = f"{select} WHERE {condition.sql} ORDER BY {key.sql}{order};"
    enough = f"SELECT COUNT(*) FROM {table.sql} WHERE {condition.sql}"
    return Draft(
        questions, sql, (f"{select} ORDER BY {key.sql}{order}", f"{select} WHERE {condition.sql}"), enough=enough
    )


def alphabet(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    label, many = table.label, table.many
    back = rng.random() < 0.3
    words = (
        "in reverse alphabetical order"
        if back
        else rng.choice(("alphabetically", "in alphabetical order", "from A to Z"))
    )
    select = f"SELECT {label.sql} FROM {table.sql}"
    questions = (
        f"[List|Show] [all|the] {many} {words}.",
        f"[Show|Give] the {label.noun} of every {table.one} {words}.",
        f"Sort the {many} {words} by {label.noun}.",
    )
    return Draft(questions, f"{select} ORDER BY {label.sql}{' DESC' if back else ''};", (select,))


def extreme(rng: Random) -> tuple[str, str]:
    """SQL after the sort key, and the word for the value that then comes first."""
    high = rng.random() < 0.55
    return (" DESC" if high else ""), rng.choice(("highest", "greatest", "largest") if high else ("lowest", "smallest"))


def most(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    key = table.pick(rng, "number", solid=True)
    order, word = extreme(rng)
    one, select = table.one, f"SELECT {table.label.sql} FROM {table.sql}"
    questions = (
        f"Which {one} has the {word} {key.noun}?",
        f"[Find|Name|Show] the {one} with the {word} {key.noun}.",
        f"What is the {table.label.noun} of the {one} with the {word} {key.noun}?",
    )
    if key.column.wording:
        adjective = key.column.wording[0 if order else 1]
        questions += (f"Which {one} is the {adjective}?", f"[Find|Name] the {adjective} {one}.")
    return Draft(questions, f"{select} ORDER BY {key.sql}{order} LIMIT 1;", (select, f"{select} LIMIT 1"))


def top(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    key = table.pick(rng, "number", solid=True)
    order, word = extreme(rng)
    count = rng.choice((2, 2, 3))
    first = "highest" if order else "lowest"
    many, select = table.many, f"SELECT {table.label.sql} FROM {table.sql}"
    questions = (
        f"[List|Show|Find] the {count} {many} with the {word} {key.noun}, {first} first.",
        f"[Which|What] are the {count} {many} with the {word} {key.noun}, starting with the {first}?",
        f"[Give|Show] the {table.label.noun} of the {count} {many} with the {word} {key.noun}, {first} first.",
        f"{'Top' if order else 'Bottom'} {count} {many} by {key.noun}, {first} first.",
    )
    sql = f"{select} ORDER BY {key.sql}{order} LIMIT {count};"
    return Draft(questions, sql, (f"{select} ORDER BY {key.sql}{order}", f"{select} LIMIT {count}"))


def second(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    key = table.pick(rng, "number", solid=True)
    order, word = (" DESC", "highest") if rng.random() < 0.6 else ("", "lowest")
    select = f"SELECT {table.label.sql} FROM {table.sql}"
    questions = (
        f"Which {table.one} has the second {word} {key.noun}?",
        f"[Find|Name] the {table.one} with the second {word} {key.noun}.",
        f"What is the {table.label.noun} of the {table.one} with the second {word} {key.noun}?",
    )
    weaker = (f"{select} ORDER BY {key.sql}{order} LIMIT 1", f"{select} LIMIT 1")
    return Draft(questions, f"{select} ORDER BY {key.sql}{order} LIMIT 1 OFFSET 1;", weaker)
