"""Queries in queries ("subqueries") and with named parts ("CTEs")."""

from random import Random

from common.synthetic import conditions
from common.synthetic.aggregates import WORDS
from common.synthetic.basic import WHICH, which
from common.synthetic.check import Draft
from common.synthetic.scene import Misfit, Relation, Scene, literal


def against_average(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    number = table.pick(rng, "number")
    operator, word = rng.choice(((">", "above"), (">", "higher than"), ("<", "below"), ("<", "lower than")))
    questions = which(table, f"{conditions.whose(number.noun)} {word} the average", WHICH[1:]) + (
        f"Which {table.many} have {conditions.article(number.noun)} {word} the average {number.noun}?",
    )
    select = f"SELECT {table.label.sql} FROM {table.sql}"
    sql = f"{select} WHERE {number.sql} {operator} (SELECT AVG({number.sql}) FROM {table.sql});"
    return Draft(questions, sql, (select,))


def at_extreme(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    number, other = table.pick(rng, "number"), table.pick(rng, "any")
    function, word = rng.choice((("MAX", "highest"), ("MAX", "maximum"), ("MIN", "lowest"), ("MIN", "minimum")))
    if other is number:
        columns, words = f"{table.label.sql}, {number.sql}", f"{table.label.noun} and {number.noun}"
    else:
        columns, words = f"{table.label.sql}, {other.sql}", f"{table.label.noun} and {other.noun}"
    questions = (
        f"[Show|List|Give] the {words} of every {table.one} with the {word} {number.noun}.",
        f"What are the {words} of the {table.many} that have the {word} {number.noun}?",
        f"[Find|Show] {words} for all {table.many} whose {number.noun} equals the {word} one.",
    )
    select = f"SELECT {columns} FROM {table.sql}"
    return Draft(
        questions, f"{select} WHERE {number.sql} = (SELECT {function}({number.sql}) FROM {table.sql});", (select,)
    )


def than_name(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    number, name = table.pick(rng, "number"), rng.choice(table.label.values)
    label = table.label
    operator, word = rng.choice(((">", "higher"), (">", "greater"), ("<", "lower"), ("<", "smaller")))
    questions = (
        f"Which {table.many} have a {word} {number.noun} than {name}?",
        f"[List|Find|Show] [all|the] {table.many} with a {word} {number.noun} than {name}.",
        f"[Show|Give] the {label.noun} of {table.many} with {conditions.article(number.noun)} {word} than {name}'s.",
    )
    select = f"SELECT {label.sql} FROM {table.sql}"
    inner = f"SELECT {number.sql} FROM {table.sql} WHERE {label.sql} = {literal(name)}"
    others = f"{select} WHERE {label.sql} != {literal(name)}"
    return Draft(questions, f"{select} WHERE {number.sql} {operator} ({inner});", (select, others))


def same_group(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group, name = table.pick(rng, "group"), rng.choice(table.label.values)
    questions = (
        f"Which {table.many} have the same {group.noun} as {name}, {name} included?",
        f"[List|Find|Show] all {table.many} with the {group.noun} of {name}, {name} included.",
        f"[Show|Give] the {table.label.noun} of {table.many} that share the {group.noun} of {name}, including {name}.",
    )
    select = f"SELECT {table.label.sql} FROM {table.sql}"
    inner = f"SELECT {group.sql} FROM {table.sql} WHERE {table.label.sql} = {literal(name)}"
    only = f"{select} WHERE {table.label.sql} = {literal(name)}"
    return Draft(questions, f"{select} WHERE {group.sql} = ({inner});", (select, only))


def above_group_average(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group, number = table.pick(rng, "group"), table.pick(rng, "number")
    if None in group.values:
        raise Misfit("NULL")
    operator, word = rng.choice(((">", "above"), ("<", "below")))
    questions = (
        f"Which {table.many} have {conditions.article(number.noun)} {word} the average of their {group.noun}?",
        f"[List|Find] {table.many} {conditions.whose(number.noun)} {word} the average for the same {group.noun}.",
        f"[Show|Give] the {table.label.noun} of {table.many} {word} the average {number.noun} of their {group.noun}.",
    )
    select = f"SELECT {table.label.sql} FROM {table.sql}"
    inner = f"SELECT AVG({number.sql}) FROM {table.sql} AS t WHERE t.{group.sql} = {table.sql}.{group.sql}"
    overall = f"{select} WHERE {number.sql} {operator} (SELECT AVG({number.sql}) FROM {table.sql})"
    return Draft(questions, f"{select} WHERE {number.sql} {operator} ({inner});", (select, overall))


def _having(parent: Relation, child: Relation, text: str) -> tuple[str, ...]:
    return (
        f"Which {parent.many} have [a|at least one|some] {child.one} {text}?",
        f"[List|Show|Find] [the|all] {parent.many} that have [a|at least one|some] {child.one} {text}.",
        f"[Show|Give] the {parent.label.noun} of {parent.many} with at least one {child.one} {text}.",
    )


def with_child(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    condition = conditions.some(rng, child)
    select, key = f"SELECT {parent.label.sql} FROM {parent.sql}", child.ref(parent).sql
    inner = f"SELECT {key} FROM {child.sql}"
    weaker = (select, f"{select} WHERE id IN ({inner})")
    return Draft(
        _having(parent, child, condition.text), f"{select} WHERE id IN ({inner} WHERE {condition.sql});", weaker
    )


def without_child(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    condition = conditions.some(rng, child)
    questions = (
        f"Which {parent.many} have no {child.one} {condition.text}?",
        f"[List|Show|Find] [the|all] {parent.many} that have no {child.many} {condition.text}.",
        f"[Show|Give] the {parent.label.noun} of {parent.many} without any {child.one} {condition.text}.",
    )
    select, key = f"SELECT {parent.label.sql} FROM {parent.sql}", child.ref(parent).sql
    inner = f"SELECT {key} FROM {child.sql}"
    weaker = (select, f"{select} WHERE id NOT IN ({inner})")
    return Draft(questions, f"{select} WHERE id NOT IN ({inner} WHERE {condition.sql});", weaker)


def exists(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    yes = rng.random() < 0.5
    if yes:
        questions = (
            f"Which {parent.many} have at least one {child.one}?",
            f"[List|Show|Find] [the|all] {parent.many} that have any {child.many}.",
            f"[Show|Give] the {parent.label.noun} of {parent.many} for which a {child.one} exists.",
            f"Name the {parent.many} that have {child.many}.",
        )
    else:
        questions = (
            f"[List|Show|Find] [the|all] {parent.many} for which no {child.one} exists.",
            f"[Show|Give] the {parent.label.noun} of {parent.many} for which there are no {child.many}.",
            f"For which {parent.many} are there no {child.many}?",
        )
    select = f"SELECT {parent.label.sql} FROM {parent.sql}"
    inner = f"SELECT 1 FROM {child.sql} WHERE {child.link(parent)}"
    return Draft(questions, f"{select} WHERE {'' if yes else 'NOT '}EXISTS ({inner});", (select,))


def parent_of_extreme(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    number = child.pick(rng, "number", solid=True)
    function, word = rng.choice((("MAX", "highest"), ("MIN", "lowest")))
    field = parent.pick(rng, "any") if parent.all("any") else parent.label
    questions = (
        f"What is the {field.noun} of the {parent.one} whose {child.one} has the {word} {number.noun}?",
        f"[Find|Show|Give] the {field.noun} of the {parent.one} with the {child.one} of the {word} {number.noun}.",
        f"The {child.one} with the {word} {number.noun} belongs to a {parent.one}: show its {field.noun}.",
    )
    select, key = f"SELECT {field.sql} FROM {parent.sql}", child.ref(parent).sql
    inner = f"SELECT {key} FROM {child.sql} WHERE {number.sql} = (SELECT {function}({number.sql}) FROM {child.sql})"
    return Draft(questions, f"{select} WHERE id = ({inner});", (select,))


def average_group_size(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group = table.pick(rng, "group")
    if None in group.values:
        raise Misfit("NULL")
    function, word = rng.choice((("AVG", "average"), ("MAX", "largest"), ("MIN", "smallest")))
    questions = (
        f"What is the {word} number of {table.many} per {group.noun}?",
        f"[Find|Show|Calculate] the {word} number of {table.many} for a single {group.noun}.",
        f"Counting the {table.many} of each {group.noun}, what is the {word} count?",
    )
    inner = f"SELECT COUNT(*) AS n FROM {table.sql} GROUP BY {group.sql}"
    weaker = tuple(f"SELECT {f}(n) FROM ({inner})" for f in ("AVG", "MAX", "MIN") if f != function)
    return Draft(questions, f"SELECT {function}(n) FROM ({inner});", weaker)


def _totals(rng: Random, table: Relation) -> tuple[str, str, str, str]:
    """A CTE of one value per group: its SQL, the group column, the words for a value, the noun of the group."""
    group = table.pick(rng, "group")
    if None in group.values:
        raise Misfit("NULL")
    if rng.random() < 0.4:
        value, words = "COUNT(*)", f"number of {table.many}"
    else:
        field = table.pick(rng, "number")
        function = "SUM" if field.kind == "sum" else "AVG"
        value, words = f"{function}({field.sql})", f"{WORDS[function][0]} {field.noun}"
    cte = f"WITH g AS (SELECT {group.sql}, {value} AS v FROM {table.sql} GROUP BY {group.sql})"
    return cte, group.sql, words, group.noun


def cte_above_average(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    cte, group, words, noun = _totals(rng, table)
    if " of " not in words:
        words = f"{words} of {table.many}"
    questions = (
        f"Compute the {words} per {noun}, then show each {noun} whose value is above the average of these values.",
        f"Which values of {noun} have {conditions.article(words)} above the average over all {noun} values?",
        f"Using a CTE with the {words} for each {noun}, list each {noun} above the average of these.",
    )
    select = f"{cte} SELECT {group} FROM g"
    return Draft(questions, f"{select} WHERE v > (SELECT AVG(v) FROM g);", (select,))


def cte_extreme(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    cte, group, words, noun = _totals(rng, table)
    function, word = rng.choice((("MAX", "highest"), ("MIN", "lowest")))
    if " of " not in words:
        words = f"{words} of {table.many}"
    questions = (
        f"Compute the {words} per {noun}, then show the {noun} and value of the {word} one.",
        f"Using a CTE with the {words} for each {noun}, show the {noun} and value where the value is {word}.",
        f"Of the {words} for each {noun}, show the {word} with its {noun}: {noun} first, then value.",
    )
    select = f"{cte} SELECT {group}, v FROM g"
    return Draft(questions, f"{select} WHERE v = (SELECT {function}(v) FROM g);", (select,))


def cte_filter(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    condition = conditions.some(rng, table)
    number = table.pick(rng, "number", but=(condition.field,))
    function = "SUM" if number.kind == "sum" and rng.random() < 0.5 else "AVG"
    words = f"{WORDS[function][0]} {number.noun}"
    questions = (
        f"First take the {table.many} {condition.text}, then give their number and {words}.",
        f"Using a CTE for {table.many} {condition.text}, show how many there are and their {words}.",
        f"From {table.many} {condition.text} only, report the count and the {words}.",
    )
    sql = (
        f"WITH s AS (SELECT * FROM {table.sql} WHERE {condition.sql}) SELECT COUNT(*), {function}({number.sql}) FROM s;"
    )
    weaker = (f"SELECT COUNT(*), {function}({number.sql}) FROM {table.sql}",)
    return Draft(questions, sql, weaker, enough=f"SELECT COUNT(*) FROM {table.sql} WHERE {condition.sql}")


def cte_join(rng: Random, scene: Scene) -> Draft:
    parent, child = scene.relations
    number, key = child.pick(rng, "number"), child.ref(parent).sql
    function = "SUM" if number.kind == "sum" else "AVG"
    words, label = f"{WORDS[function][0]} {number.noun}", parent.label
    questions = (
        f"Compute the {words} of {child.many} per {parent.one}, then show each {label.noun} with its value.",
        f"Using a CTE with the {words} of {child.many} for each {parent.one}, show {label.noun} and value.",
        f"Find the {words} of each {parent.one}'s {child.many}, then list {parent.one} {label.noun} and value.",
    )
    cte = f"WITH g AS (SELECT {key}, {function}({number.sql}) AS v FROM {child.sql} GROUP BY {key})"
    enough = f"SELECT COUNT(DISTINCT {key}) FROM {child.sql}"
    return Draft(
        questions, f"{cte} SELECT {label.sql}, v FROM {parent.sql} JOIN g ON g.{key} = {parent.sql}.id;", enough=enough
    )
