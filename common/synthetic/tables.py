"""The tables of one row of the data set, with the words that its question has for them."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from common.synthetic.content import NUMBERS, Column, Domain, Table, is_near

KINDS = {  # what a query may ask for -> kinds of column that will do
    "number": NUMBERS,
    "when": ("year", "date"),
    "any": ("group", "rate", "sum", "year", "date"),
    "measure": ("rate", "sum", "year"),
}
MONEY = frozenset(
    (
        "price",
        "cost",
        "fee",
        "wage",
        "pay",
        "salary",
        "rent",
        "income",
        "budget",
        "value",
        "revenue",
        "bonus",
        "rate",
        "charge",
        "fare",
        "toll",
        "earnings",
        "bill",
        "debt",
    )
)


class Misfit(Exception):
    """The drawn scene does not suit the query; draw again."""


@dataclass(frozen=True)
class Field:
    """A column of a drawn table, with its values in row order and the noun this row uses for it."""

    column: Column
    table: str
    noun: str
    values: tuple

    @property
    def sql(self) -> str:
        return self.column.name

    @property
    def full(self) -> str:
        return f"{self.table}.{self.column.name}"

    @property
    def kind(self) -> str:
        return self.column.kind

    @property
    def present(self) -> list:
        return [value for value in self.values if value is not None]

    @property
    def solid(self) -> bool:
        """No NULL and no value twice: safe to sort by."""
        return None not in self.values and len(set(self.values)) == len(self.values)


def comparable(one: Field, other: Field) -> bool:
    """Whether two numbers may be added or compared: near names, of one unit as far as the nouns tell."""
    return is_near(one.column, other.column) and _unit(one.noun) == _unit(other.noun)


def _unit(noun: str) -> str:
    words = noun.split()
    return "money" if MONEY & set(words) else noun.partition(" in ")[2] or words[-1]


@dataclass(frozen=True)
class Relation:
    """A drawn table; `one` and `many` are the nouns for its rows."""

    table: Table
    one: str
    many: str
    fields: tuple[Field, ...]
    size: int

    @property
    def sql(self) -> str:
        return self.table.name

    @property
    def label(self) -> Field:
        """The column that names a row."""
        return self.field("name")

    def field(self, kind: str) -> Field:
        return next(self._of((kind,)))

    def has(self, kind: str) -> bool:
        return any(self._of((kind,)))

    def all(self, want: str) -> list[Field]:
        return list(self._of(KINDS.get(want, (want,))))

    def pick(self, rng: Random, want: str, *, but: tuple = (), solid: bool = False) -> Field:
        """One column of a kind (see KINDS) that is not among `but`; Misfit where there is none."""
        fit = [f for f in self._of(KINDS.get(want, (want,))) if f not in but and (f.solid or not solid)]
        if not fit:
            raise Misfit(want)
        return rng.choice(fit)

    def link(self, parent: "Relation") -> str:
        """The join condition to a table this one refers to."""
        return f"{self.ref(parent).full} = {parent.sql}.id"

    def ref(self, parent: "Relation") -> Field:
        return next(f for f in self.fields if f.kind == "ref" and f.column.target == parent.sql)

    def _of(self, kinds: tuple[str, ...]) -> Iterator[Field]:
        return (f for f in self.fields if f.kind in kinds)


@dataclass(frozen=True)
class Scene:
    domain: Domain
    relations: tuple[Relation, ...]
    context: str
    chain: bool = False


def literal(value) -> str:
    """A value as SQL."""
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
