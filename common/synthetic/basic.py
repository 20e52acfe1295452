"""Queries on one table: filters, sorting, computed columns ("basic SQL", data retrieval).

Conventions, the same in every module: a question that names no column ("Which farms ...") wants the naming column;
columns come back in the order in which the question names them; sorted results only where the question asks for an
order.
"""

from random import Random

from common.synthetic import conditions
from common.synthetic.check import Draft
from common.synthetic.conditions import Condition
from common.synthetic.scene import Misfit, Relation, Scene, literal

WHICH = (
    "Which {many} are {text}?",
    "List the {many} {text}.",
    "[Show|Give] the {label} of all {many} {text}.",
    "What are the {label}s of {many} {text}?",
    "[Find|List] {many} {text}.",
    "Name [the|all] {many} {text}.",
    "Find the {label} of each {one} {text}.",
)


def which(relation: Relation, text: str, patterns: tuple[str, ...] = WHICH) -> tuple[str, ...]:
    """Ways to ask for the names of the rows that `text` describes."""
    return tuple(p.format(many=relation.many, one=relation.one, label=relation.label.noun, text=text) for p in patterns)


def names_where(relation: Relation, condition: Condition) -> Draft:
    table, label = relation.sql, relation.label.sql
    patterns = WHICH[1:] if condition.text.split()[0] in ("whose", "with", "without", "that") else WHICH
    questions = which(relation, condition.text, patterns)
    if condition.text.startswith("with "):
        questions += (f"Which {relation.many} have {condition.text.removeprefix('with ')}?",)
    return Draft(questions, f"SELECT {label} FROM {table} WHERE {condition.sql};", (f"SELECT {label} FROM {table}",))


def equal(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    return names_where(table, conditions.equals(rng, table.pick(rng, "group")))


def above(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    return names_where(table, conditions.threshold(rng, table.pick(rng, "number")))


def when(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    return names_where(table, conditions.when(rng, table.pick(rng, "when")))


def between(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    return names_where(table, conditions.between(rng, table.pick(rng, "measure")))


def among(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    return names_where(table, conditions.among(rng, table.pick(rng, "group")))


def like(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    return names_where(table, conditions.like(rng, table.label))


def unknown(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    gaps = [f for f in table.all("any") if None in f.values]
    if not gaps:
        raise Misfit("no NULL")
    return names_where(table, conditions.null_test(rng, gaps[0], present=rng.random() < 0.35))


def both(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    first = conditions.some(rng, table)
    second = conditions.some(rng, table, but=(first.field,))
    label = table.label.sql
    text = f"{first.text} and {second.text}"
    weaker = tuple(f"SELECT {label} FROM {table.sql} WHERE {c.sql}" for c in (first, second))
    return Draft(
        which(table, text, WHICH[1:]), f"SELECT {label} FROM {table.sql} WHERE {first.sql} AND {second.sql};", weaker
    )


def either(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    first = conditions.some(rng, table)
    second = conditions.some(rng, table, but=(first.field,))
    label = table.label.sql
    weaker = tuple(f"SELECT {label} FROM {table.sql} WHERE {c.sql}" for c in (first, second))
    questions = which(table, f"{first.text} or {second.text}", WHICH[1:])
    sql = f"SELECT {label} FROM {table.sql} WHERE {first.sql} OR {second.sql};"
    return Draft(questions, sql, (*weaker, f"SELECT {label} FROM {table.sql}"))


def unlike(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group = table.pick(rng, "group")
    if None in group.values:
        raise Misfit("NULL")
    value, label = rng.choice(group.present), table.label.sql
    questions = which(table, f"{conditions.whose(group.noun)} not {value}", WHICH[1:]) + (
        f"Which {table.many} have {conditions.article(group.noun)} other than {value}?",
        f"List all {table.many} except those with {group.noun} {value}.",
    )
    return Draft(
        questions,
        f"SELECT {label} FROM {table.sql} WHERE {group.sql} != {literal(value)};",
        (f"SELECT {label} FROM {table.sql}",),
    )


def columns(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    first = table.label
    second = table.pick(rng, "any")
    extra = [f for f in table.fields if f not in (first, second)]
    questions = (
        f"[List|Show|Give] the {first.noun} and {second.noun} of [every {table.one}|all {table.many}].",
        f"What are the {first.noun} and {second.noun} of each {table.one}?",
        f"For each {table.one}, [show|give] its {first.noun} and {second.noun}.",
        f"Show every {table.one}'s {first.noun} and {second.noun}.",
    )
    if not extra:
        raise Misfit("all columns")
    return Draft(questions, f"SELECT {first.sql}, {second.sql} FROM {table.sql};")


def columns_where(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    condition = conditions.some(rng, table)
    label, other = table.label, table.pick(rng, "any", but=(condition.field,))
    select = f"SELECT {label.sql}, {other.sql} FROM {table.sql}"
    questions = (
        f"[List|Show|Give|Find] the {label.noun} and {other.noun} of {table.many} {condition.text}.",
        f"What are the {label.noun} and {other.noun} of {table.many} {condition.text}?",
        f"For {table.many} {condition.text}, [show|give] the {label.noun} and {other.noun}.",
        f"[List|Show] {table.many} {condition.text}, with {label.noun} and {other.noun}.",
    )
    return Draft(questions, f"{select} WHERE {condition.sql};", (select,))


def everything(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    condition = conditions.some(rng, table)
    questions = (
        f"Show all [details|columns] of {table.many} {condition.text}.",
        f"Show every column for {table.many} {condition.text}.",
        f"[Give|List] the full [record|details|row] of each {table.one} {condition.text}.",
        f"Retrieve all information about {table.many} {condition.text}.",
    )
    return Draft(questions, f"SELECT * FROM {table.sql} WHERE {condition.sql};", (f"SELECT * FROM {table.sql}",))


def lookup(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    field, label = table.pick(rng, "any"), table.label
    value = rng.choice(label.values)
    questions = (
        f"What is the {field.noun} of [the {table.one} |]{value}?",
        f"[Show|Give|Find] the {field.noun} of {value}.",
        f"What {field.noun} does the {table.one} {value} have?",
        f"Look up the {field.noun} [for|of] {value}.",
    )
    select = f"SELECT {field.sql} FROM {table.sql}"
    return Draft(questions, f"{select} WHERE {label.sql} = {literal(value)};", (select,))


def distinct(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    group = table.pick(rng, "group")
    questions = (
        f"[List|Show] the [different|distinct|unique] values of {group.noun} among the {table.many}.",
        f"[Which|What] different values of {group.noun} [occur among|are found for] the {table.many}?",
        f"[Show|List|Give] each {group.noun} of the {table.many} once.",
        f"List every distinct {group.noun} of {table.many}, without repeats.",
    )
    if None in group.values:
        raise Misfit("NULL")
    return Draft(questions, f"SELECT DISTINCT {group.sql} FROM {table.sql};", (f"SELECT {group.sql} FROM {table.sql}",))


def label_case(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    number = table.pick(rng, "number")
    if None in number.values:
        raise Misfit("NULL")
    cut = conditions.cut(rng, number)
    high, low = rng.choice((("high", "low"), ("big", "small"), ("yes", "no"), ("over", "under"), ("A", "B")))
    label, test = table.label.noun, f"with {number.noun} above {cut}"
    questions = (
        f"[Show|List] each {table.one}'s {label} and '{high}' if its {number.noun} is above {cut}, otherwise '{low}'.",
        f"Label each {table.one} '{high}' for {number.noun} above {cut}, else '{low}'; show {label} and label.",
        f"For each {table.one}, show the {label} and '{high}' for {number.noun} above {cut}, else '{low}'.",
        f"Give {label} and label of all {table.many}: '{high}' for those {test}, '{low}' for the rest.",
    )
    case = f"CASE WHEN {number.sql} > {cut} THEN '{high}' ELSE '{low}' END"
    sql = f"SELECT {table.label.sql}, {case} FROM {table.sql};"
    return Draft(questions, sql, tuple(f"SELECT {table.label.sql}, '{word}' FROM {table.sql}" for word in (high, low)))


def arithmetic(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    number = table.pick(rng, "number")
    amount = rng.choice((2, 3, 5, 10, 20))
    sign, words = rng.choice(
        (
            ("+", (f"increased by {amount}", f"plus {amount}", f"after adding {amount}")),
            ("-", (f"reduced by {amount}", f"minus {amount}", f"after subtracting {amount}")),
            ("*", (f"multiplied by {amount}", f"times {amount}")),
        )
    )
    label, word = table.label, rng.choice(words)
    questions = (
        f"[Show|List] the {label.noun} of each {table.one} and its {number.noun} {word}.",
        f"For each {table.one}, give the {label.noun} and the {number.noun} {word}.",
        f"What are the {label.noun} and the {number.noun} {word} of every {table.one}?",
    )
    return Draft(questions, f"SELECT {label.sql}, {number.sql} {sign} {amount} FROM {table.sql};")


def text_function(rng: Random, scene: Scene) -> Draft:
    (table,) = scene.relations
    label = table.label
    function, words = rng.choice(
        (
            ("UPPER({})", "in [upper case|capital letters]"),
            ("LOWER({})", "in [lower case|small letters]"),
            ("LENGTH({})", ""),
        )
    )
    if words:
        questions = (
            f"[List|Show] the {label.noun} of every {table.one} {words}.",
            f"[Give|Show] all {table.one} {label.noun}s {words}.",
            f"[Print|Write] the {label.noun} of each {table.one} {words}.",
        )
    else:
        questions = (
            f"How many characters does the {label.noun} of each {table.one} have?",
            f"[Show|List] the length of the {label.noun} of every {table.one}.",
            f"Give the number of characters in each {table.one}'s {label.noun}.",
        )
    return Draft(questions, f"SELECT {function.format(label.sql)} FROM {table.sql};")
