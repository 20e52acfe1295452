"""What a question asks, before it is SQL or English: the only thing that both are made from.

A plan says which rows are meant, which columns the answer has in which order, and how it is sorted. Its convention,
which every question follows: the answer has exactly the columns that the question names, in the order in which it
names them; a sentence that names none asks for a count; rows come in any order unless the question names one; rows
that are equal stay unless the question says "different" or "without repeats"; "the X with the highest Y" is one row,
"all that tie included" is every row that has it.
"""

from dataclasses import dataclass, field

from common.synthetic.tables import Field, Relation

AGGREGATES = ("count", "distinct", "sum", "avg", "max", "min", "spread", "rounded", "count_above", "share_above")
WINDOWS = ("rank", "running", "group_avg", "group_max", "group_count", "previous", "next", "portion", "gap")


@dataclass(frozen=True)
class Term:
    """One column of an answer. `function` says what it is, f its `field`, o its `other` field, n its `number`:

    all every column; column f; times f · n; plus f + o; minus f − o; year the year of a date, as text; upper, lower,
    length of a text; label the first of `words` where f > n, else the second.
    Over rows: count, of those that have f where it is given; distinct how many values f has; sum, avg, max, min;
    spread max − min; rounded the average to n places; count_above how many rows have f > n; share_above their share
    in percent, to one place.
    Beside each row, within the rows of the same `by` where given: rank 1 for the highest o (`down`) or the lowest,
    equal values share one; running sum of f over the rows up to this one in order of o; group_avg, group_max,
    group_count; previous, next value of f in order of o; portion of the sum of f in percent, to one place; gap
    between f and the average. Where the plan has conditions, other rows have no part in them.
    """

    function: str
    field: Field | None = None
    other: Field | None = None
    by: Field | None = None
    number: float = 0
    down: bool = False
    words: tuple[str, str] = ()


@dataclass(frozen=True)
class Condition:
    """What a row must meet; `text` is how the question says it, behind the noun for the rows.

    compare: f `op` value; between low and high, both included; among the values; starts, ends, contains: a text, in
    any case; missing, known; in_year of a date; columns: f `op` other.
    whole: f `op` the `function` of f over all rows of its table; group: over the rows with the same `other`; extreme:
    the row meets `inner`, and f is the highest (max) or lowest (min) of all rows that do; row: f `op` that of the row
    whose name (`other`) is the value; alike: f is that of the named row, which is left out itself.
    has, lacks: some or no row of `relation` that meets `inner` refers to this one; count: how many do, `op` value.
    """

    kind: str
    field: Field | None
    text: str
    op: str = "="
    values: tuple = ()
    other: Field | None = None
    relation: Relation | None = None
    inner: tuple["Condition", ...] = ()
    function: str = ""

    @property
    def nested(self) -> bool:
        return self.kind in ("whole", "group", "extreme", "row", "alike", "has", "lacks", "count")


@dataclass(frozen=True)
class Link:
    """A joined table: `child` refers to `parent`, one of them is `relation`, the other is there already. outer: rows
    without a partner stay."""

    relation: Relation
    child: Relation
    parent: Relation
    outer: bool = False


@dataclass(frozen=True)
class Having:
    """What a group must meet."""

    term: Term
    op: str
    value: float


@dataclass(frozen=True)
class Select:
    """Rows of `source` with what `links` join to them, that meet `where` (all of it, or any of it): the columns
    `terms`. grouped: one row for each value of `group`. best: only the rows with the highest (down) or lowest value
    of the second field among those that share the first. order: (term, down) by importance; `limit` rows after
    `offset` skipped ones."""

    source: Relation
    terms: tuple[Term, ...]
    where: tuple[Condition, ...] = ()
    any_of: bool = False
    links: tuple[Link, ...] = ()
    group: tuple[Term, ...] = ()
    having: tuple[Having, ...] = ()
    best: tuple[Field, Field, bool] | None = None
    order: tuple[tuple[Term, bool], ...] = ()
    limit: int = 0
    offset: int = 0
    distinct: bool = False


@dataclass(frozen=True)
class Compound:
    """Rows that are in either list (union), in both (intersect), or in the first alone (except); each once."""

    op: str
    left: Select
    right: Select


@dataclass(frozen=True)
class Steps:
    """A result made from a first result, `inner`, whose columns are named k (what identifies a row) and v (a number).

    mean: the `function` of all v. around: k (and v if `both`) of rows with v `op` the average of all v. extreme: those
    with the highest (max) or lowest (min) v. portion: k and v in percent of the sum, to one place. total: the `term`
    over the rows of `inner`, which are whole rows of its table. difference: v of `inner` minus that of `second`.
    linked: `inner` gives v for every parent's id; `field` of the parent and v, where v `op` number.
    """

    kind: str
    inner: Select
    second: Select | None = None
    function: str = ""
    op: str = ""
    number: float = 0
    both: bool = False
    term: Term | None = None
    field: Field | None = None
    link: Link | None = None


Plan = Select | Compound | Steps


@dataclass(frozen=True)
class Draft:
    """A query, ways to ask for it, and what it is. `fresh` ways occur in test splits only.

    A statement that changes something has no plan: `statement` is its SQL, `target` the table it must change in part,
    `probe` what must not be empty and differ from `weaker`.
    """

    frames: tuple[str, ...]
    fresh: tuple[str, ...]
    plan: Plan | None = None
    statement: str = ""
    target: str = ""
    probe: str = ""
    weaker: str = ""
    ties: bool = field(default=False)  # equal sort keys in the given data are what the question is about
