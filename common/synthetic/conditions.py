"""Conditions on one column: the SQL and the words that follow a noun ("farms *in Kent*", "farms *whose area is above
40*").

Each word means one operator everywhere: above, over, more than: `>`; below, under, less than: `<`; at least: `>=`; at
most: `<=`; between ... and: both ends included; after, before: without the day or year named.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from common.synthetic.scene import Field, Misfit, Relation, literal

ABOVE = {">": ("above", "over", "more than", "greater than"), ">=": ("of at least", "at least")}
BELOW = {"<": ("below", "under", "less than", "lower than"), "<=": ("of at most", "at most")}


@dataclass(frozen=True)
class Condition:
    sql: str
    text: str
    field: Field


def say(rng: Random, pattern: str) -> str:
    """The pattern with one choice taken from each `[this|that]`."""
    return re.sub(r"\[([^\[\]]*)\]", lambda match: rng.choice(match[1].split("|")), pattern)


def plural(noun: str) -> bool:
    """Whether the noun's head ends like a plural: "sales", "experience in years" not."""
    head = re.split(r" (?:in|of|per) ", noun)[0]
    return head.endswith("s") and not head.endswith(("ss", "us", "species"))


def article(noun: str) -> str:
    """The noun with its article, or alone where it is a plural."""
    if plural(noun):
        return noun
    vowel = noun[0] in "aeiouE" and not noun.startswith(("usage", "use", "union", "uni")) or noun.startswith("hour")
    return f"an {noun}" if vowel else f"a {noun}"


def whose(noun: str) -> str:
    return f"whose {noun} {'are' if plural(noun) else 'is'}"


def on(rng: Random, field: Field, *, full: bool = False) -> Condition:
    """The plain condition for the column's kind: equality for a category, a threshold for a number or a time."""
    if field.kind == "group":
        return equals(rng, field, full=full)
    if field.kind in ("year", "date"):
        return when(rng, field, full=full)
    return threshold(rng, field, full=full)


def some(rng: Random, relation: Relation, *, but: tuple = (), full: bool = False) -> Condition:
    return on(rng, relation.pick(rng, "any", but=but), full=full)


def column(field: Field, full: bool) -> str:
    return field.full if full else field.sql


def equals(rng: Random, field: Field, *, full: bool = False, value: str | None = None) -> Condition:
    value = value or rng.choice(field.present)
    return Condition(f"{column(field, full)} = {literal(value)}", is_value(rng, field, value), field)


def is_value(rng: Random, field: Field, value: str) -> str:
    if field.column.wording and rng.random() < 0.7:
        return field.column.wording[0].format(value)
    return say(rng, f"[{whose(field.noun)} {value}|with {field.noun} {value}|with the {field.noun} {value}]")


def threshold(rng: Random, field: Field, *, full: bool = False, operators: str = "") -> Condition:
    operator = rng.choice(operators.split() or (">", ">", ">", "<", "<", "<", ">=", "<="))
    value = cut(rng, field)
    word = rng.choice((ABOVE if ">" in operator else BELOW)[operator])
    bare = word.removeprefix("of ")
    text = rng.choice((f"{whose(field.noun)} {bare} {value}", f"with {article(field.noun)} {word} {value}"))
    return Condition(f"{column(field, full)} {operator} {value}", text, field)


def cut(rng: Random, field: Field) -> float | int:
    """A value to compare with: one of the column's own, or a round one between two of them."""
    values = sorted(set(field.present))
    if len(values) < 2:
        raise Misfit("one value")
    if rng.random() < 0.4:
        return rng.choice(values)
    low, high = rng.choice(list(pairwise(values)))
    middle = round((low + high) / 2, field.column.decimals)
    middle = middle if field.column.decimals else int(middle)
    round_number = round(middle / 10) * 10
    return round_number if low < round_number < high else middle


def when(rng: Random, field: Field, *, full: bool = False) -> Condition:
    name, value = column(field, full), rng.choice(field.present)
    date = field.kind == "date"
    verb = field.column.wording[0] if field.column.wording else ""
    kind = rng.choice(("in", "after", "before"))
    if kind == "in":
        year = value[:4] if date else value
        text = (
            f"{verb} in {year}" if verb else f"{whose(field.noun)} in {year}" if date else f"with {field.noun} {year}"
        )
        return Condition(f"{name} LIKE '{year}%'" if date else f"{name} = {year}", text, field)
    if not date:
        value = cut(rng, field)
    text = f"{verb} {kind} {value}" if verb else f"{whose(field.noun)} {kind} {value}"
    return Condition(f"{name} {'>' if kind == 'after' else '<'} {literal(value)}", text, field)


def between(rng: Random, field: Field) -> Condition:
    values = sorted(set(field.present))
    if len(values) < 3:
        raise Misfit("few values")
    first = rng.randrange(len(values) - 1)
    low, high = values[first], values[rng.randrange(first + 1, len(values))]
    if field.column.decimals == 0 and rng.random() < 0.5:
        low, high = low - rng.randint(0, 3), high + rng.randint(0, 3)
    verb = field.column.wording[0] + " " if field.kind == "year" and field.column.wording else f"{whose(field.noun)} "
    text = rng.choice((f"{verb}between {low} and {high}", f"with {article(field.noun)} between {low} and {high}"))
    return Condition(f"{field.sql} BETWEEN {low} AND {high}", text, field)


def among(rng: Random, field: Field) -> Condition:
    values = sorted(set(field.present))
    if len(values) < 3:
        raise Misfit("few values")
    first, second = rng.sample(values, 2)
    either = is_value(rng, field, f"{first} or {second}")
    return Condition(f"{field.sql} IN ({literal(first)}, {literal(second)})", either, field)


def like(rng: Random, field: Field) -> Condition:
    value = rng.choice(field.present)
    word = rng.choice(value.split())
    kind = rng.choice(("start", "end", "contain", "contain"))
    if kind == "start":
        part = value[: rng.choice((1, 1, 2))]
        pattern, verb = f"{part}%", rng.choice(("starts with", "begins with"))
    elif kind == "end":
        part = value[-rng.choice((1, 2)) :]
        pattern, verb = f"%{part}", "ends with"
    else:
        start = rng.randrange(max(1, len(word) - 3))
        part = word[start : start + 3] if rng.random() < 0.6 else word
        pattern, verb = f"%{part}%", "contains"
    return Condition(f"{field.sql} LIKE '{pattern}'", f"whose {field.noun} {verb} '{part}'", field)


def null_test(rng: Random, field: Field, *, present: bool) -> Condition:
    if present:
        return Condition(
            f"{field.sql} IS NOT NULL", say(rng, f"[with a known|that have a|with a recorded] {field.noun}"), field
        )
    text = say(
        rng,
        f"[with no {field.noun}|{whose(field.noun)} missing|{whose(field.noun)} unknown|without {article(field.noun)}]",
    )
    return Condition(f"{field.sql} IS NULL", text, field)
