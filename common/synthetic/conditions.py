"""Conditions on a row's own columns, with the words that follow the noun: "farms *in Kent*", "farms *whose area is
above 40*".

Each word means one operator everywhere: above, over, more than: `>`; below, under, less than: `<`; at least: `>=`; at
most: `<=`; between ... and: both ends included; after, before: without the day or year named. A category that is named
by its value alone is looked up in the schema: its wording fits one column only.
"""

import re
from collections.abc import Sequence
from itertools import pairwise
from random import Random

from common.synthetic.plan import Condition
from common.synthetic.tables import Field, Misfit, Relation, comparable

ABOVE = {">": ("above", "over", "more than", "greater than"), ">=": ("of at least",)}
BELOW = {"<": ("below", "under", "less than", "lower than"), "<=": ("of at most",)}
CLAUSES = ("whose ", "that ", "who ", "which ", "other than ")
OUTSIDE = 0.07  # share of the values that are not in the given data: an empty result there


def say(rng: Random, pattern: str) -> str:
    """The pattern with one choice taken from each `[this|that]`."""
    return re.sub(r"\[([^\[\]]*)\]", lambda match: rng.choice(match[1].split("|")), pattern)


def listed(words: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    return f" {last} ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def plural(noun: str) -> bool:
    """Whether the noun's head ends like a plural: "sales", "experience in years" not."""
    head = re.split(r" (?:in|of|per) ", noun)[0]
    return head.endswith("s") and not head.endswith(("ss", "us", "species"))


def article(noun: str) -> str:
    """The noun with its article, or alone where it is a plural."""
    if plural(noun):
        return noun
    vowel = noun[0] in "aeiouE" and not noun.startswith(("us", "uni")) or noun.startswith("hour")
    return f"an {noun}" if vowel else f"a {noun}"


def whose(noun: str) -> str:
    return f"whose {noun} {'are' if plural(noun) else 'is'}"


def joined(conditions: Sequence[Condition], any_of: bool = False) -> str:
    """All texts as one, the short ones first so that none can be taken for a part of another."""
    if any_of:
        return " or ".join([c.text for c in conditions])
    kinds = [" and ".join([c.text for c in conditions if style(c.text) == kind]) for kind in range(3)]
    return " ".join(filter(None, kinds))


def style(text: str) -> int:
    """0 for a plain wording, 1 for `with …`, 2 for a clause."""
    return 2 if text.startswith(CLAUSES) else int(text.startswith(("with ", "without ")))


def of_one(text: str) -> str:
    """The words behind a singular noun."""
    return re.sub(r"^((?:other than \S+ )?that )(have|do not have|belong)\b", _singular, text)


def _singular(match: re.Match) -> str:
    return match[1] + {"have": "has", "do not have": "does not have", "belong": "belongs"}[match[2]]


def plurals(noun: str) -> str:
    """`types of fuel`, `opening years`; a plural stays."""
    head, behind = re.match(r"(.*?)((?: (?:in|of|per|for|to|on|at) .*)?)$", noun).groups()
    if plural(noun):
        return noun
    if head.endswith("y") and head[-2:-1] not in "aeiou":
        return f"{head[:-1]}ies{behind}"
    return f"{head}{'es' if head.endswith(('s', 'x', 'ch', 'sh')) else 's'}{behind}"


def some(rng: Random, relation: Relation, *, but: tuple = ()) -> Condition:
    """The plain condition for a column's kind: equality for a category, a threshold for a number or a time."""
    field = relation.pick(rng, "any", but=but)
    if field.kind == "group":
        return equals(rng, field)
    return when(rng, field) if field.kind in ("year", "date") else threshold(rng, field)


def equals(rng: Random, field: Field, *, value: str = "") -> Condition:
    if not value:
        absent = [v for v in field.column.values if v not in field.values]
        value = rng.choice(absent) if absent and rng.random() < OUTSIDE else rng.choice(field.present)
    return Condition("compare", field, is_value(rng, field, value), values=(value,))


def is_value(rng: Random, field: Field, value: str) -> str:
    if field.column.wording and rng.random() < 0.75:
        return re.sub(r"\ba (?=[aeiouAEIOU])", "an ", rng.choice(field.column.wording).format(value))
    return say(rng, f"[{whose(field.noun)} {value}|with {value} as {field.noun}|with the {field.noun} {value}]")


def unlike(rng: Random, field: Field) -> Condition:
    value = rng.choice(field.present)
    wordings = [wording for wording in field.column.wording if style(wording) == 0]
    if wordings and rng.random() < 0.5:
        text = f"not {rng.choice(wordings).format(value)}"
    else:
        text = say(rng, f"[{whose(field.noun)} not {value}|with {article(field.noun)} other than {value}]")
    return Condition("compare", field, text, "!=", (value,))


def threshold(rng: Random, field: Field) -> Condition:
    op = rng.choice((">", ">", ">", "<", "<", "<", ">=", "<="))
    value = cut(rng, field)
    word = rng.choice((ABOVE if ">" in op else BELOW)[op])
    texts = (f"{whose(field.noun)} {word.removeprefix('of ')} {value}", f"with {article(field.noun)} {word} {value}")
    return Condition("compare", field, rng.choice(texts), op, (value,))


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


def when(rng: Random, field: Field) -> Condition:
    value, date = rng.choice(field.present), field.kind == "date"
    verb = field.column.wording[0] if field.column.wording else ""
    kind = rng.choice(("in", "after", "before"))
    if kind == "in":
        year = str(value)[:4]
        text = f"{verb} in {year}" if verb else f"{whose(field.noun)} {'in ' if date else ''}{year}"
        if date:
            return Condition("in_year", field, text, values=(year,))
        return Condition("compare", field, text, values=(value,))
    if not date:
        value = cut(rng, field)
    text = f"{verb} {kind} {value}" if verb else f"{whose(field.noun)} {kind} {value}"
    return Condition("compare", field, text, ">" if kind == "after" else "<", (value,))


def between(rng: Random, field: Field) -> Condition:
    values = sorted(set(field.present))
    if len(values) < 3:
        raise Misfit("few values")
    start = rng.randrange(len(values) - 1)
    low, high = values[start], values[rng.randrange(start + 1, len(values))]
    if field.column.decimals == 0 and rng.random() < 0.5:
        low, high = max(0, low - rng.randint(0, 3)), high + rng.randint(0, 3)
    verb = f"{field.column.wording[0]} " if field.kind == "year" and field.column.wording else f"{whose(field.noun)} "
    text = rng.choice((f"{verb}between {low} and {high}", f"with {article(field.noun)} between {low} and {high}"))
    return Condition("between", field, text, values=(low, high))


def among(rng: Random, field: Field) -> Condition:
    values = sorted(set(field.present))
    if len(values) < 3:
        raise Misfit("few values")
    one, other = rng.sample(values, 2)
    return Condition("among", field, is_value(rng, field, f"{one} or {other}"), values=(one, other))


def like(rng: Random, field: Field) -> Condition:
    value = rng.choice(field.present)
    kind = rng.choice(("starts", "ends", "contains"))
    if kind == "starts":
        part, verb = value[: rng.choice((1, 1, 2))], rng.choice(("starts with", "begins with"))
    elif kind == "ends":
        part, verb = value[-rng.choice((1, 2)) :], "ends with"
    else:
        start = rng.randrange(max(1, len(value) - 2))
        part, verb = value[start : start + rng.choice((2, 3))].strip(), "contains"
    return Condition(kind, field, f"whose {field.noun} {verb} '{part}'", values=(part,))


def recorded(rng: Random, field: Field) -> Condition:
    if rng.random() < 0.4:
        return Condition("known", field, say(rng, f"[with a known|with a recorded] {field.noun}"))
    return Condition(
        "missing",
        field,
        say(rng, f"[with no {field.noun} recorded|{whose(field.noun)} missing|with unknown {field.noun}]"),
    )


def columns(rng: Random, relation: Relation) -> Condition:
    """One number against another of the same row."""
    field = relation.pick(rng, "number")
    others = [f for f in relation.all(field.kind) if f is not field and comparable(f, field)]
    if not others:
        raise Misfit("nothing to compare with")
    other, op = rng.choice(others), rng.choice("><")
    word = {">": "[above|higher than|greater than]", "<": "[below|lower than|less than]"}[op]
    return Condition("columns", field, say(rng, f"whose {field.noun} is {word} their {other.noun}"), op, other=other)
