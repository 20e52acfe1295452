"""Pieces of questions: the rows that are meant, the columns that are asked for, sort orders, and ways to ask.

A frame is a sentence with choices in brackets. Each family of queries has common frames and fresh ones, which only
test splits use.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from common.synthetic.conditions import (
    among,
    between,
    columns,
    joined,
    like,
    listed,
    of_one,
    plural,
    plurals,
    some,
    style,
    unlike,
)
from common.synthetic.plan import Condition, Term
from common.synthetic.tables import Field, Misfit, Relation

WORDS = {
    "sum": ("total", "combined", "overall"),
    "avg": ("average", "mean", "average"),
    "max": ("highest", "maximum", "highest"),
    "min": ("lowest", "minimum", "lowest"),
}
ORDINALS = ("second", "third")
Frames = tuple[tuple[str, ...], tuple[str, ...]]  # common ones, fresh ones


@dataclass(frozen=True)
class Rows:
    """Rows of a table that meet conditions; `many` and `one` say which, `such` is the conditions' text alone."""

    table: Relation
    where: tuple[Condition, ...] = ()
    any_of: bool = False
    beside: str = ""  # what they belong to

    @property
    def such(self) -> str:
        """The words behind the plural noun."""
        return " ".join(filter(None, [joined(self.where, self.any_of), self.beside]))

    @property
    def many(self) -> str:
        return f"{self.table.many} {self.such}".strip()

    @property
    def one(self) -> str:
        where = [replace(c, text=of_one(c.text)) for c in self.where]
        return " ".join(filter(None, [self.table.one, joined(where, self.any_of), of_one(self.beside)]))


def rows(
    rng: Random,
    table: Relation,
    *,
    but: tuple = (),
    counts: tuple[float, float, float] = (30, 46, 24),
    either: bool = True,
) -> Rows:
    """Rows under no, one or two conditions, by the weights `counts`; `but` columns are left alone. either: of two, one
    may be enough."""
    number = rng.choices((0, 1, 2), counts)[0]
    if number < 2:
        return Rows(table, (plain(rng, table, but),) if number else ())
    one, any_of = plain(rng, table, but), either and rng.random() < 0.25
    other = plain(rng, table, (*but, one.field))
    if any_of and style(one.text) != style(other.text):
        raise Misfit("two ways to say it")
    return Rows(table, (one, other), any_of)


def plain(rng: Random, table: Relation, but: tuple = ()) -> Condition:
    """A condition on a row's own columns, of any kind."""
    kind = rng.choices(("some", "among", "between", "like", "unlike", "columns"), (66, 8, 8, 6, 7, 5))[0]
    if kind == "some":
        return some(rng, table, but=but)
    if kind in ("among", "unlike"):
        return (among if kind == "among" else unlike)(rng, table.pick(rng, "group", but=but))
    if kind == "between":
        return between(rng, table.pick(rng, "measure", but=but))
    if kind == "like":
        return like(rng, table.pick(rng, rng.choice(("name", "group")), but=but))
    return columns(rng, table)


def the(rng: Random, nouns: Sequence[str]) -> str:
    """`the name and the area`, in one of two styles."""
    return listed([f"the {noun}" for noun in nouns]) if rng.random() < 0.5 else f"the {listed(nouns)}"


def is_or_are(nouns: Sequence[str]) -> str:
    return "are" if len(nouns) > 1 or plural(nouns[0]) else "is"


def column_frames(rng: Random, nouns: Sequence[str], wanted: Rows, end: str = "") -> Frames:
    """Ways to ask for columns of rows; `end` is the order, with its comma."""
    cols, many, one, be = the(rng, nouns), wanted.many, wanted.one, is_or_are(nouns)
    common = (
        f"[Show|List|Give|Return|Display] {cols} of [all |the |]{many}{end}.",
        f"What {be} {cols} of each {one}{end}?",
        f"For each {one}, [show|give|list|return] {cols}{end}.",
        f"[Find|Get|Look up] {cols} of every {one}{end}.",
        f"[I need|I want to see|Tell me] {cols} of all {many}{end}.",
        f"[Find|Get] [all|the] {many} and [show|return|give] {cols} of each{end}.",
    )
    if all(len(noun.split()) < 4 and not {"minus", "plus", "times"} & set(noun.split()) for noun in nouns):
        common = (*common, f"What are the {listed([plurals(noun) for noun in nouns])} of [all|the] {many}{end}?")
    if not any(c.nested for c in wanted.where):  # a clause is too long for it
        common = (*common, f"Which {many} are there? [Show|Give|List] {cols} of each{end}.")
    fresh = (
        f"[Pull up|Print] {cols} of [all|the] {many}{end}.",
        f"{cols[:1].upper()}{cols[1:]} of all {many}{end}, please.",
    )
    return common, fresh


def best_frames(rng: Random, nouns: Sequence[str], wanted: Rows, most: str) -> Frames:
    """Ways to ask for columns of the one row that is first by something: `most`, as in `with the highest price`."""
    cols, many, be = the(rng, nouns), wanted.many, is_or_are(nouns)
    has = most.replace("with ", "has ", 1)
    common = (
        f"[Of|Among] [all|the] {many}, which one {has}? [Show|Give] {cols}.",
        f"[Of|Among] [all|the] {many}, take the one {most} and [show|give|return] {cols}.",
        f"What {be} {cols} of the {wanted.table.one} {most}, among {many}?",
        f"Which of the {many} {has}? [Show|Give|Return] {cols}.",
    )
    one = f"{wanted.table.one} {most}".strip()
    if not wanted.such:
        common = (
            f"What {be} {cols} of the {one}?",
            f"[Show|Give|Return|Tell me] {cols} of the {one}.",
            f"[Find|Look up|Get] the {one} and [show|give|return] {cols}.",
            f"Which is the {one}? [Show|Give] {cols}.",
        )
    fresh = f"Looking at [all|the] {many}, state {cols} of the one {most}." if most else f"State {cols} of the {one}."
    return common, (fresh,)


def value_frames(what: str, wanted: Rows) -> Frames:
    """Ways to ask for a single figure over rows."""
    many = wanted.many
    common = (
        f"What is {what} of [all |the |]{many}?",
        f"[Find|Show|Give|Return] {what} of [all |the |]{many}.",
        f"[Calculate|Compute|Work out] {what} over [all|the] {many}.",
        f"For {many}, what is {what}?",
        f"[Report|Tell me] {what} of {many}.",
        f"[I need|We need] {what} of all {many}.",
    )
    return common, (f"Taking {many} together, what is {what}?", f"[Determine|State] {what} of {many}.")


def count_frames(wanted: Rows) -> Frames:
    many = wanted.many
    common = (
        f"How many {many} are there?",
        f"[Count|Count all|Count the] {many}.",
        f"What is the [number|count] of {many}?",
        f"[Find|Give|Show|Tell me] the number of {many}.",
        f"How many {many} do we have?",
    )
    return common, (f"[Tell|Report] how many {many} exist.", f"Number of {many}?")


def group_frames(rng: Random, nouns: Sequence[str], by: str, wanted: Rows, end: str = "") -> Frames:
    """Ways to ask for figures per group; `nouns` has the group's noun(s) first, then the figures'."""
    many, key = wanted.many, nouns[0]
    figures = listed([f"the {noun}" for noun in nouns[1:]])
    common = (
        f"For each {by}, [show|give|return] the {key} and {figures} of [its |the |]{many}{end}.",
        f"[Show|List|Give] each {key} and {figures} of [its |the |]{many}{end}.",
        f"[Show|Report], per {by}, the {key} and {figures} of {many}{end}.",
        f"What {'is' if len(nouns) == 2 else 'are'} {figures} of {many} for each {by}? Show the {key} first{end}.",
        f"[Group|Split] the {many} by {by}: show the {key} and {figures}{end}.",
        f"By {by}, {figures} of {many}, with the {key} in front{end}.",
    )
    return common, (
        f"[Break down|Summarise] {many} by {by}, giving the {key} and {figures}{end}.",
        f"Per {by}: the {key}, then {figures} of {many}{end}.",
    )


def sorting(rng: Random, field: Field, down: bool) -> str:
    """How a question says a sort order, without a comma."""
    if field.kind in ("name", "group"):
        words = ("in reverse alphabetical order", "from Z to A") if down else ("in alphabetical order", "from A to Z")
        return f"sorted by {field.noun} {rng.choice(words)}"
    if field.kind in ("year", "date"):
        return f"sorted by {field.noun}, {'latest' if down else 'earliest'} first"
    words = (
        ("from highest to lowest", "in descending order") if down else ("from lowest to highest", "in ascending order")
    )
    return f"sorted by {field.noun} {rng.choice(words)}"


def most(rng: Random, field: Field, down: bool, ordinal: str = "") -> str:
    """How a question says which row is first by a column, or the `ordinal` one: `with the highest price`."""
    place = f"{ordinal} " if ordinal else ""
    if field.kind in ("year", "date"):
        return f"with the {place}{'latest' if down else 'earliest'} {field.noun}"
    return f"with the {place}{'highest' if down else 'lowest'} {field.noun}"


def adjective(rng: Random, field: Field, down: bool) -> str:
    """`tallest`, where the column has such a word."""
    wording = field.column.wording
    return wording[not down] if field.kind in ("rate", "sum") and len(wording) == 2 and rng.random() < 0.6 else ""


def measure(rng: Random, table: Relation, but: tuple = (), *, plain: bool = False) -> tuple[Term, str]:
    """An aggregate of a number, and its words: `total price`. plain: no highest or lowest, where the question says
    such a word of the figure itself."""
    field = table.pick(rng, "number", but=but)
    function = rng.choice(
        ("avg", "avg", *(() if plain else ("max", "min")), *("sum",) * (3 if field.kind == "sum" else 0))
    )
    return Term(function, field), f"{rng.choice(WORDS[function])} {field.noun}"


def column(field: Field) -> Term:
    return Term("column", field)


def sound(*fields: Field) -> None:
    """Raises Misfit where a column has NULLs: what a question means by them would not be said."""
    if any(None in f.values for f in fields):
        raise Misfit("NULL")
