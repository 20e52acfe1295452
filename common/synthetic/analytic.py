"""Window functions and set operations. Results are unordered unless a question asks for an order."""

from random import Random

from common.synthetic import conditions
from common.synthetic.check import Draft
from common.synthetic.scene import Field, Misfit, Relation, Scene


def _parts(rng: Random, table: Relation) -> Field:
    group = table.pick(rng, "group")
    if None in group.values:
        raise Misfit("NULL")
    return group


def _order(rng: Random) -> tuple[str, str]:
    return rng.choice(
        ((" DESC", "from highest to lowest"), (" DESC", "from highest to lowest"), ("", "from lowest to highest"))
    )


def rank(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    key, (order, words) = table.pick(rng, "number", solid=True), _order(rng)
    label = table.label
    questions = (
        f"Rank the {table.many} by {key.noun} {words}, showing {label.noun} and rank.",
        f"[Show|List] the {label.noun} and rank of each {table.one} by {key.noun} {words}.",
        f"Give every {table.one} a rank by {key.noun} {words}; show {label.noun} and rank.",
        f"What rank does each {table.one} have by {key.noun} {words}? Show {label.noun} and rank.",
    )
    return Draft(questions, f"SELECT {label.sql}, RANK() OVER (ORDER BY {key.sql}{order}) FROM {table.sql};")


def number_in_group(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group, key, (order, words) = _parts(rng, table), table.pick(rng, "number", solid=True), _order(rng)
    label = table.label
    questions = (
        f"Number the {table.many} within each {group.noun} by {key.noun} {words}, showing {label.noun} and number.",
        f"[Show|List] the {label.noun} and rank of each {table.one} within its {group.noun} by {key.noun} {words}.",
        f"Within each {group.noun}, rank the {table.many} by {key.noun} {words}; show {label.noun} and rank.",
    )
    window = f"OVER (PARTITION BY {group.sql} ORDER BY {key.sql}{order})"
    overall = f"SELECT {label.sql}, RANK() OVER (ORDER BY {key.sql}{order}) FROM {table.sql}"
    return Draft(questions, f"SELECT {label.sql}, ROW_NUMBER() {window} FROM {table.sql};", (overall,))


def running(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    number = table.pick(rng, "sum")
    key = table.pick(rng, "when", solid=True) if table.all("when") else number
    if not key.solid or None in number.values:
        raise Misfit("ties")
    words = f"in order of {key.noun}" if key is not number else "from the smallest up"
    label = table.label
    questions = (
        f"[Show|List] the {label.noun} of each {table.one} and the running total of {number.noun} {words}.",
        f"For each {table.one}, give the {label.noun} and the cumulative {number.noun} {words}.",
        f"What is the running total of {number.noun} over the {table.many} {words}? Show {label.noun} and total.",
    )
    return Draft(questions, f"SELECT {label.sql}, SUM({number.sql}) OVER (ORDER BY {key.sql}) FROM {table.sql};")


def beside_group(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group, number = _parts(rng, table), table.pick(rng, "number")
    function, words = rng.choice((("AVG", "average"), ("MAX", "highest"), ("MIN", "lowest")))
    label = table.label
    questions = (
        f"[Show|List] the {label.noun} of each {table.one} and the {words} {number.noun} of its {group.noun}.",
        f"For each {table.one}, give the {label.noun} and the {words} {number.noun} within the same {group.noun}.",
        f"Next to the {label.noun} of every {table.one}, show the {words} {number.noun} in its {group.noun}.",
    )
    select = f"SELECT {label.sql}, {function}({number.sql}) OVER ({{}}) FROM {table.sql}"
    return Draft(
        questions,
        select.format(f"PARTITION BY {group.sql}") + ";",
        (select.format(""), f"SELECT {label.sql}, {number.sql} FROM {table.sql}"),
    )


def first_in_group(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group, key = _parts(rng, table), table.pick(rng, "number", solid=True)
    order, word = rng.choice(((" DESC", "highest"), (" DESC", "largest"), ("", "lowest")))
    label = table.label
    questions = (
        f"Which {table.one} has the {word} {key.noun} in each {group.noun}? Show only the {label.noun}.",
        f"[Show|List|Find] the {label.noun} of the {table.one} with the {word} {key.noun} in each {group.noun}.",
        f"For each {group.noun}, name the {table.one} with the {word} {key.noun}.",
    )
    number = f"ROW_NUMBER() OVER (PARTITION BY {group.sql} ORDER BY {key.sql}{order})"
    inner = f"SELECT {label.sql}, {number} AS r FROM {table.sql}"
    return Draft(
        questions, f"SELECT {label.sql} FROM ({inner}) WHERE r = 1;", (f"SELECT {label.sql} FROM {table.sql}",)
    )


def previous(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    key = table.pick(rng, "measure", solid=True)
    label = table.label
    questions = (
        f"[Show|List] the {label.noun} of each {table.one} and the next lower {key.noun}, if any.",
        f"For each {table.one}, give the {label.noun} and the {key.noun} that comes just before its own.",
        f"Next to the {label.noun} of every {table.one}, show the previous {key.noun} in ascending order.",
    )
    return Draft(questions, f"SELECT {label.sql}, LAG({key.sql}) OVER (ORDER BY {key.sql}) FROM {table.sql};")


def group_size(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group, label = _parts(rng, table), table.label
    questions = (
        f"[Show|List] the {label.noun} of each {table.one} and how many {table.many} share its {group.noun}.",
        f"For each {table.one}, give the {label.noun} and the number of {table.many} in the same {group.noun}.",
        f"Next to each {table.one}'s {label.noun}, show the count of {table.many} in its {group.noun}.",
    )
    select = f"SELECT {label.sql}, COUNT(*) OVER ({{}}) FROM {table.sql}"
    return Draft(questions, select.format(f"PARTITION BY {group.sql}") + ";", (select.format(""),))


def _two(rng: Random, table: Relation) -> tuple[conditions.Condition, conditions.Condition]:
    first = conditions.some(rng, table)
    return first, conditions.some(rng, table, but=(first.field,))


def combine(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    first, second = _two(rng, table)
    word = rng.choice(("UNION", "INTERSECT", "EXCEPT"))
    a, b, many = first.text, second.text, table.many
    questions = {
        "UNION": (
            f"Combine the {many} {a} with the {many} {b}, without repeats.",
            f"List the union of {many} {a} and {many} {b}.",
            f"Merge two lists, {many} {a} and {many} {b}, each shown once.",
        ),
        "INTERSECT": (
            f"Which {many} are in both lists: those {a} and those {b}?",
            f"List the intersection of {many} {a} and {many} {b}.",
            f"Find {many} common to two lists: {many} {a} and {many} {b}.",
        ),
        "EXCEPT": (
            f"Take the {many} {a} and leave out those {b}.",
            f"List the {many} {a}, except those {b}.",
            f"Find {many} {a} but remove the ones {b}.",
        ),
    }[word]
    select = f"SELECT {table.label.sql} FROM {table.sql}"
    sides = (f"{select} WHERE {first.sql}", f"{select} WHERE {second.sql}")
    return Draft(questions, f"{sides[0]} {word} {sides[1]};", tuple(f"{side} ORDER BY 1" for side in sides))


def names_of_both(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    a, b = parent.label, child.label
    if set(a.values) & set(b.values):
        raise Misfit("repeats")  # so that UNION and UNION ALL agree
    questions = (
        f"List the {a.noun}s of all {parent.many} together with the {b.noun}s of all {child.many} in one column.",
        f"[Show|Give] one list with every {parent.one} {a.noun} and every {child.one} {b.noun}.",
        f"Combine the {a.noun} of each {parent.one} and the {b.noun} of each {child.one} into a single list.",
    )
    return Draft(questions, f"SELECT {a.sql} FROM {parent.sql} UNION SELECT {b.sql} FROM {child.sql};")


def ids(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    key = child.ref(parent).sql
    word, questions = rng.choice(
        (
            (
                "EXCEPT",
                (
                    f"Which {parent.one} ids have no {child.many}?",
                    f"[List|Show] the ids of {parent.many} that never appear among the {child.many}.",
                    f"Take all {parent.one} ids and leave out those found in the {child.many}.",
                ),
            ),
            (
                "INTERSECT",
                (
                    f"Which {parent.one} ids also appear in the {child.many}? Show each once.",
                    f"[List|Show] the ids common to the {parent.many} and the {child.many}, each once.",
                    f"Find {parent.one} ids that occur in the {child.many} too, without repeats.",
                ),
            ),
        )
    )
    weaker = (f"SELECT id FROM {parent.sql}", f"SELECT {key} FROM {child.sql}")
    return Draft(questions, f"SELECT id FROM {parent.sql} {word} SELECT {key} FROM {child.sql};", weaker)


def groups_of_two(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group = _parts(rng, table)
    first, second = (conditions.some(rng, table, but=(group,)) for _ in range(2))
    word = rng.choice(("INTERSECT", "EXCEPT"))
    if first == second:
        raise Misfit("the same twice")
    a, b, many = first.text, second.text, table.many
    if word == "INTERSECT":
        questions = (
            f"Which {group.noun} values occur both for {many} {a} and for {many} {b}?",
            f"[List|Find] each {group.noun} shared by {many} {a} and {many} {b}.",
            f"Show the {group.noun} values common to {many} {a} and {many} {b}.",
        )
    else:
        questions = (
            f"Which {group.noun} values occur for {many} {a} but not for {many} {b}?",
            f"[List|Find] each {group.noun} of {many} {a} that no {table.one} {b} has.",
            f"Show the {group.noun} values of {many} {a}, except those of {many} {b}.",
        )
    select = f"SELECT {group.sql} FROM {table.sql}"
    sides = (f"{select} WHERE {first.sql}", f"{select} WHERE {second.sql}")
    weaker = tuple(side.replace("SELECT", "SELECT DISTINCT", 1) + " ORDER BY 1" for side in sides)
    return Draft(questions, f"{sides[0]} {word} {sides[1]};", weaker)
