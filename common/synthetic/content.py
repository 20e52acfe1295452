"""Reads the domains: what the embedded data set may talk about.

Each file in `domains/` is TOML: one table a domain, with `about` (a sentence), `schemas` (each a list of related table
names) and one text per database table. Its first line gives the nouns of a row (`farm/farms, holding/holdings`); every
other line is a column: `name kind | nouns | values | wording`. The first part is the SQL name, nouns are how a
question may call it, and wording depends on the kind:

    name   text that identifies a row; values are a list, or word lists joined by `+`   (no wording)
    group  a category; `{}` in the wording stands for the value: `in {}`, `made of {}`
    rate   a number that is not meant to be added up; wording is `highest, lowest` as adjectives: `tallest, shortest`
    sum    a number that may be added up; wording as for `rate`
    year   a whole year; wording is a verb: `founded` gives `founded in 1990`, `founded after 1990`
    date   an ISO date; wording as for `year`
    ref    the id of a row of the table given as values

Numbers are ranges, `5..90` or `0.5..9.5` (one decimal). `@people` stands for a list of `words.txt`.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

FOLDER = Path(__file__).parent / "domains"
UNSEEN_FILE = "unseen.toml"  # its domains occur in test_unseen only
NUMBERS = ("rate", "sum")


@dataclass(frozen=True)
class Column:
    name: str
    kind: str
    nouns: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    decimals: int = 0
    wording: tuple[str, ...] = ()
    target: str = ""

    @property
    def sql_type(self) -> str:
        if self.kind in NUMBERS:
            return "REAL" if self.decimals else "INT"
        return {"key": "INT", "ref": "INT", "year": "INT", "date": "DATE"}.get(self.kind, "TEXT")


@dataclass(frozen=True)
class Table:
    name: str
    nouns: tuple[tuple[str, str], ...]  # (singular, plural)
    columns: tuple[Column, ...]

    @property
    def references(self) -> tuple[Column, ...]:
        return tuple(c for c in self.columns if c.kind == "ref")

    @property
    def label(self) -> Column | None:
        return next((c for c in self.columns if c.kind == "name"), None)


@dataclass(frozen=True)
class Domain:
    name: str
    about: str
    schemas: tuple[tuple[str, ...], ...]
    tables: dict[str, Table]
    unseen: bool


@cache
def is_near(one: Column, other: Column) -> bool:
    """Whether a reader may take one column for the other: of one kind, with a word in common."""
    words = [set(f"{c.name.replace('_', ' ')} {' '.join(c.nouns)}".split()) - {"in", "of"} for c in (one, other)]
    return one.kind == other.kind and bool(words[0] & words[1])


@cache
def domains() -> tuple[Domain, ...]:
    """Every domain, in file and then in alphabetical order."""
    every = []
    for path in sorted(FOLDER.glob("*.toml")):
        with path.open("rb") as file:
            content = tomllib.load(file)
        every += [_domain(name, entry, path.name == UNSEEN_FILE) for name, entry in sorted(content.items())]
    return tuple(every)


def _domain(name: str, entry: dict, unseen: bool) -> Domain:
    schemas = tuple(tuple(names.split()) for names in entry["schemas"])
    tables = {t: _table(t, text) for t, text in entry.items() if t not in ("about", "schemas")}
    difference = {t for schema in schemas for t in schema} ^ set(tables)
    if difference:
        raise ValueError(f"domain {name}: tables and schemas disagree on {sorted(difference)}")
    return Domain(name, entry["about"], schemas, tables, unseen)


def _table(name: str, text: str) -> Table:
    first, *lines = text.strip().splitlines()
    nouns = tuple(tuple(noun.strip().split("/")) for noun in first.split(","))
    return Table(name, nouns, tuple(_column(line) for line in lines))


def _column(line: str) -> Column:
    head, *parts = [part.strip() for part in line.split("|")]
    name, kind = head.split()
    if kind == "ref":
        return Column(name, kind, target=parts[0])
    nouns, values = _list(parts[0]), parts[1]
    wording = _list(parts[2]) if len(parts) > 2 else ()
    if kind in ("name", "group"):
        words = [_list(part) for part in values.split("+")]
        return Column(name, kind, nouns, tuple(" ".join(choice) for choice in product(*words)), wording=wording)
    low, high = values.split("..")
    return Column(name, kind, nouns, (), float(low), float(high), int("." in low), wording)


def _list(text: str) -> tuple[str, ...]:
    text = text.strip()
    if text.startswith("@"):
        return _words()[text[1:]]
    return tuple(item.strip() for item in text.split(",") if item.strip())


@cache
def _words() -> dict[str, tuple[str, ...]]:
    lines = (FOLDER / "words.txt").read_text(encoding="utf-8").splitlines()
    return {name: _list(items) for name, items in (line.split(":") for line in lines)}
