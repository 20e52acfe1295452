"""Queries over two tables, a parent and a child that refers to it ("single join").

Columns are always written `table.column`, and a join as `FROM parent JOIN child ON child.parent_id = parent.id`.
"""

from random import Random

from common.synthetic import conditions
from common.synthetic.aggregates import WORDS
from common.synthetic.check import Draft
from common.synthetic.scene import Field, Misfit, Relation, Scene, literal


def join(parent: Relation, child: Relation, kind: str = "JOIN") -> str:
    return f"FROM {parent.sql} {kind} {child.sql} ON {child.link(parent)}"


def child_column(rng: Random, child: Relation) -> Field:
    """What stands for a row of the child: its name, or another column."""
    return child.label if child.has("name") and rng.random() < 0.7 else child.pick(rng, "any")


def pairs(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    field, label = child_column(rng, child), parent.label
    questions = (
        f"[Show|List] the {field.noun} of each {child.one} and the {label.noun} of its {parent.one}.",
        f"For each {child.one}, [show|give] its {field.noun} and the {parent.one}'s {label.noun}.",
        f"[List|Give] every {child.one}'s {field.noun} with the {label.noun} of its {parent.one}.",
        f"What are the {field.noun} of each {child.one} and the {label.noun} of the {parent.one} it belongs to?",
    )
    return Draft(questions, f"SELECT {field.full}, {label.full} {join(parent, child)};")


def pairs_where(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    condition = conditions.some(rng, child, full=True)
    field = child.label if child.has("name") else condition.field
    label = parent.label
    questions = (
        f"[Show|List] the {field.noun} and the {parent.one} {label.noun} of {child.many} {condition.text}.",
        f"For {child.many} {condition.text}, [show|give] the {field.noun} and the {label.noun} of the {parent.one}.",
        f"[List|Give] the {field.noun} of {child.many} {condition.text}, with the {label.noun} of their {parent.one}.",
        f"What are the {field.noun} and the {parent.one} {label.noun} of {child.many} {condition.text}?",
    )
    select = f"SELECT {field.full}, {label.full} {join(parent, child)}"
    return Draft(questions, f"{select} WHERE {condition.sql};", (select,))


def of_parent(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    field, name = child_column(rng, child), rng.choice(parent.label.values)
    questions = (
        f"[Show|List|Give] the {field.noun} of [all |the |]{child.many} of [the {parent.one} |]{name}.",
        f"What are the {field.noun} values of the {child.many} of {name}?",
        f"For the {parent.one} {name}, [show|list] the {field.noun} of each {child.one}.",
        f"[Find|List] the {field.noun} of each {child.one} that belongs to the {parent.one} {name}.",
    )
    select = f"SELECT {field.full} {join(parent, child)}"
    return Draft(questions, f"{select} WHERE {parent.label.full} = {literal(name)};", (select,))


def of_parents_where(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    field, condition = child_column(rng, child), conditions.some(rng, parent, full=True)
    questions = (
        f"[Show|List|Give] the {field.noun} of {child.many} of {parent.many} {condition.text}.",
        f"What are the {field.noun} values of {child.many} of {parent.many} {condition.text}?",
        f"For {parent.many} {condition.text}, [show|list] the {field.noun} of their {child.many}.",
        f"[Find|List] the {field.noun} of each {child.one} that belongs to {parent.many} {condition.text}.",
    )
    select = f"SELECT {field.full} {join(parent, child)}"
    return Draft(questions, f"{select} WHERE {condition.sql};", (select,))


def parents_having(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    condition, label = conditions.some(rng, child, full=True), parent.label
    questions = (
        f"Which {parent.many} have {child.many} {condition.text}? [Show|List] each once.",
        f"[List|Show] the {label.noun} of each {parent.one} with any {child.one} {condition.text}, without repeats.",
        f"[Find|List] the distinct {parent.many} that have {child.many} {condition.text}.",
        f"Name each {parent.one} with at least one {child.one} {condition.text}, once.",
    )
    select = f"SELECT DISTINCT {label.full} {join(parent, child)}"
    return Draft(questions, f"{select} WHERE {condition.sql};", (select, f"SELECT {label.full} FROM {parent.sql}"))


def pair_order(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    key = child.pick(rng, "number", solid=True)
    order, first = rng.choice(((" DESC", "highest"), ("", "lowest")))
    label = parent.label
    questions = (
        f"[Show|List] the {parent.one} {label.noun} and the {key.noun} of each {child.one}, {first} {key.noun} first.",
        f"For each {child.one}, give its {parent.one}'s {label.noun} and the {key.noun}, sorted from the {first}.",
        f"[List|Give] each {child.one}'s {parent.one} {label.noun} and {key.noun}, with the {first} {key.noun} first.",
    )
    select = f"SELECT {label.full}, {key.full} {join(parent, child)}"
    return Draft(questions, f"{select} ORDER BY {key.full}{order};", (select,))


def top_pair(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    key = child.pick(rng, "number", solid=True)
    order, word = rng.choice(((" DESC", "highest"), (" DESC", "largest"), ("", "lowest"), ("", "smallest")))
    questions = (
        f"Which {parent.one} has the {child.one} with the {word} {key.noun}?",
        f"[Find|Show|Name] the {parent.one} of the {child.one} with the {word} {key.noun}.",
        f"What is the {parent.label.noun} of the {parent.one} whose {child.one} has the {word} {key.noun}?",
    )
    select = f"SELECT {parent.label.full} {join(parent, child)}"
    return Draft(questions, f"{select} ORDER BY {key.full}{order} LIMIT 1;", (select, f"{select} LIMIT 1"))


def count_each(rng: Random, scene: Scene) -> Draft:
    """Parents without children count as zero, and the question says so."""
    parent, child = scene.relations
    label = parent.label
    questions = (
        f"How many {child.many} does each {parent.one} have, zero included? Show {label.noun} and number.",
        f"[Show|List] the {label.noun} of every {parent.one} and its number of {child.many}, even if zero.",
        f"For each {parent.one}, including those without any, show the {label.noun} and the number of {child.many}.",
    )
    key = child.ref(parent).full
    sql = f"SELECT {label.full}, COUNT({key}) {join(parent, child, 'LEFT JOIN')} GROUP BY {parent.sql}.id;"
    return Draft(questions, sql, (f"SELECT {label.full}, COUNT(*) {join(parent, child)} GROUP BY {parent.sql}.id",))


def value_each(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    label = parent.label
    if rng.random() < 0.3:
        value, words = "COUNT(*)", f"number of {child.many}"
    else:
        function, field = function_of(rng, child)
        value, words = f"{function}({field.full})", f"{rng.choice(WORDS[function])} {field.noun} of their {child.many}"
    questions = (
        f"For each {parent.one} with {child.many}, [show|give] the {label.noun} and the {words}.",
        f"[Show|List] the {label.noun} of each {parent.one} that has {child.many} and the {words}.",
        f"For every {parent.one} that has {child.many}, what are the {label.noun} and the {words}?",
        f"[Report|Find] {parent.one} {label.noun} and {words} for each {parent.one} with {child.many}.",
    )
    enough = f"SELECT COUNT(DISTINCT {child.ref(parent).sql}) FROM {child.sql}"
    sql = f"SELECT {label.full}, {value} {join(parent, child)} GROUP BY {parent.sql}.id;"
    return Draft(
        questions,
        sql,
        (f"SELECT {label.full}, {value} {join(parent, child)} GROUP BY {child.sql}.rowid",),
        enough=enough,
    )


def function_of(rng: Random, child: Relation) -> tuple[str, Field]:
    field = child.pick(rng, "number")
    return rng.choice(("SUM", "SUM", "AVG", "MAX") if field.kind == "sum" else ("AVG", "MAX", "MIN")), field


def value_of(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    name = rng.choice(parent.label.values)
    if rng.random() < 0.35:
        value, words = "COUNT(*)", f"number of {child.many}"
    else:
        function, field = function_of(rng, child)
        value, words = f"{function}({field.full})", f"{rng.choice(WORDS[function])} {field.noun} of the {child.many}"
    questions = (
        f"What is the {words} of [the {parent.one} |]{name}?",
        f"[Find|Show|Give] the {words} of [the {parent.one} |]{name}.",
        f"For the {parent.one} {name}, what is the {words}?",
    )
    if value == "COUNT(*)":
        questions += (f"How many {child.many} does [the {parent.one} |]{name} have?",)
    select = f"SELECT {value} {join(parent, child)}"
    sql = f"{select} WHERE {parent.label.full} = {literal(name)};"
    enough = f"SELECT COUNT(*) {join(parent, child)} WHERE {parent.label.full} = {literal(name)}"
    return Draft(questions, sql, (select,), enough=enough)


def value_where(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    condition = conditions.some(rng, parent, full=True)
    function, field = function_of(rng, child)
    words = f"{rng.choice(WORDS[function])} {field.noun}"
    questions = (
        f"What is the {words} of {child.many} of {parent.many} {condition.text}?",
        f"[Find|Show|Calculate] the {words} of all {child.many} of {parent.many} {condition.text}.",
        f"For {parent.many} {condition.text}, what is the {words} of their {child.many}?",
    )
    select = f"SELECT {function}({field.full}) {join(parent, child)}"
    enough = f"SELECT COUNT(*) {join(parent, child)} WHERE {condition.sql}"
    return Draft(questions, f"{select} WHERE {condition.sql};", (select,), enough=enough)


def by_parent_group(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    group = parent.pick(rng, "group")
    if None in group.values:
        raise Misfit("NULL")
    if rng.random() < 0.5:
        value, words = "COUNT(*)", f"number of {child.many}"
    else:
        function, field = function_of(rng, child)
        value, words = f"{function}({field.full})", f"{rng.choice(WORDS[function])} {field.noun} of the {child.many}"
    questions = (
        f"For each {parent.one} {group.noun} with {child.many}, show the {group.noun} and the {words}.",
        f"[Show|List] each {group.noun} of {parent.many} with {child.many}, and the {words}.",
        f"Per {group.noun} of {parent.many} that have {child.many}, give the {group.noun} and the {words}.",
    )
    select = f"SELECT {group.full}, {value} {join(parent, child)}"
    enough = f"SELECT COUNT(DISTINCT {group.full}) {join(parent, child)}"
    weaker = (f"{select} GROUP BY {parent.sql}.id",)
    return Draft(questions, f"{select} GROUP BY {group.full};", weaker, enough=enough)


def without(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    questions = (
        f"Which {parent.many} have no {child.many}?",
        f"[List|Show|Find] [the|all] {parent.many} without [any |]{child.many}.",
        f"[Show|Give] the {parent.label.noun} of {parent.many} that do not have any {child.many}.",
        f"Name every {parent.one} that has no {child.one}.",
    )
    condition = f"{child.ref(parent).full} IS NULL"
    sql = f"SELECT {parent.label.full} {join(parent, child, 'LEFT JOIN')} WHERE {condition};"
    return Draft(questions, sql, (f"SELECT {parent.label.full} FROM {parent.sql}",))


def most_children(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    if rng.random() < 0.5 or not child.all("sum"):
        value, words = "COUNT(*)", (f"the most {child.many}", f"the highest number of {child.many}")
    else:
        field = child.pick(rng, "sum")
        value = f"SUM({field.full})"
        words = (
            f"the highest total {field.noun} of {child.many}",
            f"the largest combined {field.noun} of {child.many}",
        )
    phrase = rng.choice(words)
    questions = (
        f"Which {parent.one} has {phrase}?",
        f"[Find|Name|Show] the {parent.one} with {phrase}.",
        f"What is the {parent.label.noun} of the {parent.one} with {phrase}?",
    )
    select, end = f"SELECT {parent.label.full} {join(parent, child)}", f"GROUP BY {parent.sql}.id"
    keys = f"SELECT {value} {join(parent, child)} {end}"
    return Draft(
        questions, f"{select} {end} ORDER BY {value} DESC LIMIT 1;", (f"{select} {end}", f"{select} LIMIT 1"), keys=keys
    )


def several_children(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    operator, number, words = rng.choice(
        ((">", 1, "more than 1"), (">=", 2, "at least 2"), ("=", 1, "exactly 1"), (">", 2, "more than 2"))
    )
    noun = child.one if number == 1 else child.many
    questions = (
        f"Which {parent.many} have {words} {noun}?",
        f"[List|Show|Find] [the|all] {parent.many} with {words} {noun}.",
        f"[Show|Give] the {parent.label.noun} of {parent.many} that have {words} {noun}.",
    )
    select = f"SELECT {parent.label.full} {join(parent, child)} GROUP BY {parent.sql}.id"
    return Draft(questions, f"{select} HAVING COUNT(*) {operator} {number};", (select,))
