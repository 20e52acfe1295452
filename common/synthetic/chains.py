"""Queries over three tables ("multiple_joins"): two parents and, in the middle, the child that refers to both."""

from random import Random

from common.synthetic import conditions
from common.synthetic.aggregates import WORDS
from common.synthetic.check import Draft
from common.synthetic.joins import function_of
from common.synthetic.scene import Scene, literal


def chain(scene: Scene) -> str:
    first, middle, last = scene.relations
    return f"FROM {first.sql} JOIN {middle.sql} ON {middle.link(first)} JOIN {last.sql} ON {middle.link(last)}"


def links(rng: Random, scene: Scene) -> Draft:
    first, middle, last = scene.relations
    condition = conditions.some(rng, middle, full=True)
    a, b = f"{first.one} {first.label.noun}", f"{last.one} {last.label.noun}"
    questions = (
        f"[Show|List] the {a} and the {b} of {middle.many} {condition.text}.",
        f"For {middle.many} {condition.text}, [show|give] the {a} and the {b}.",
        f"Which {a} and which {b} belong to {middle.many} {condition.text}?",
    )
    select = f"SELECT {first.label.full}, {last.label.full} {chain(scene)}"
    return Draft(questions, f"{select} WHERE {condition.sql};", (select,))


def links_of(rng: Random, scene: Scene) -> Draft:
    first, middle, last = scene.relations
    name = rng.choice(first.label.values)
    questions = (
        f"[Show|List] the {last.one} {last.label.noun} for each {middle.one} of the {first.one} {name}.",
        f"For every {middle.one} of the {first.one} {name}, [show|give] the {last.one}'s {last.label.noun}.",
        f"Which {last.one} belongs to each {middle.one} of the {first.one} {name}?",
    )
    select = f"SELECT {last.label.full} {chain(scene)}"
    return Draft(questions, f"{select} WHERE {first.label.full} = {literal(name)};", (select,))


def links_value(rng: Random, scene: Scene) -> Draft:
    first, middle, last = scene.relations
    function, field = function_of(rng, middle)
    label, name, words = first.label.noun, rng.choice(last.label.values), f"{rng.choice(WORDS[function])} {field.noun}"
    condition = f"{last.label.full} = {literal(name)}"
    questions = (
        f"For each {first.one} with {middle.many} of the {last.one} {name}, show the {label} and the {words}.",
        f"Per {first.one}, what is the {words} of {middle.many} of the {last.one} {name}? Show {label} and value.",
        f"[Report|Show] each {first.one}'s {label} and {words} over {middle.many} of the {last.one} {name}.",
    )
    select, end = f"SELECT {first.label.full}, {function}({field.full}) {chain(scene)}", f"GROUP BY {first.sql}.id"
    enough = f"SELECT COUNT(*) {chain(scene)} WHERE {condition}"
    return Draft(questions, f"{select} WHERE {condition} {end};", (f"{select} {end}",), enough=enough)


def links_full(rng: Random, scene: Scene) -> Draft:
    first, middle, last = scene.relations
    field = middle.pick(rng, "any")
    a, b = f"{first.one} {first.label.noun}", f"{last.one} {last.label.noun}"
    questions = (
        f"[Show|List] the {a}, the {b} and the {field.noun} of each {middle.one}.",
        f"For each {middle.one}, [show|give] the {a}, the {b} and the {field.noun}.",
        f"List all {middle.many} with {a}, {b} and {field.noun}.",
    )
    return Draft(questions, f"SELECT {first.label.full}, {last.label.full}, {field.full} {chain(scene)};")
