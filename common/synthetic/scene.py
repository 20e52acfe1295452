"""Draws a small database for one row: which tables and columns, their values, and the `sql_context` text.

A scene keeps the values it wrote, so that a question can speak of them. It does not know any query.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations
from random import Random

from common.synthetic.content import NUMBERS, Column, Domain, Table, domains

KINDS = {  # what a query may ask for -> kinds of column that will do
    "number": NUMBERS,
    "when": ("year", "date"),
    "any": ("group", "rate", "sum", "year", "date"),
    "measure": ("rate", "sum", "year"),
}


TRIES = 8  # orders of rows to try for a context that is accepted


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

    def _of(self, kinds: tuple[str, ...]):
        return (f for f in self.fields if f.kind in kinds)


@dataclass(frozen=True)
class Scene:
    domain: Domain
    relations: tuple[Relation, ...]
    context: str


def draw(rng: Random, needs: tuple[str, ...], *, unseen: bool, nulls: bool, accept: Callable[[str], bool]) -> Scene:
    """A scene whose tables have the columns asked for, and whose context `accept` likes; Misfit where none was found.

    `needs` has one text per table, the kinds of column it must have (`name group number`). One text is a single
    table; two are a parent and a child that refers to it; three are two parents and, in the middle, the child that
    refers to both. `nulls` puts NULL in one column of the last table; otherwise about one scene in sixteen has some.
    """
    domain, choices = rng.choice(_suitable(needs, unseen))
    tables = rng.choice(choices)
    relations, parents = [None] * len(needs), {}
    order = {1: (0,), 2: (0, 1), 3: (0, 2, 1)}[len(needs)]  # parents before the child
    for position in order:
        relation = _fill(rng, tables[position], needs[position].split(), parents, several=len(needs))
        relations[position] = parents[relation.sql] = relation
    if nulls or rng.random() < 0.06:
        relations[-1] = _with_nulls(rng, relations[-1])
    with_names = rng.random() < 0.06  # name the columns in INSERT
    context = _settle(rng, relations, order[-1], with_names, accept)
    return Scene(domain, tuple(relations), context)


@cache
def _suitable(needs: tuple[str, ...], unseen: bool) -> list[tuple[Domain, list[tuple[Table, ...]]]]:
    """For each domain, the tables (in the order of `needs`) that can serve; domains without any are left out."""
    suitable = []
    for domain in domains():
        choices = [
            tables
            for schema in domain.schemas
            for tables in permutations([domain.tables[name] for name in schema], len(needs))
            if _refers(tables) and all(map(_serves, tables, needs))
        ]
        if choices and domain.unseen == unseen:
            suitable.append((domain, choices))
    return suitable


def _refers(tables: tuple[Table, ...]) -> bool:
    """Whether the second table refers to all the others."""
    if len(tables) == 1:
        return True
    targets = {column.target for column in tables[1].references}
    return all(table.name in targets for table in (tables[0], *tables[2:]))


def _serves(table: Table, need: str) -> bool:
    kinds = [c.kind for c in table.columns]
    for want in need.split():
        fit = [kind for kind in kinds if kind in KINDS.get(want, (want,))]
        if not fit:
            return False
        kinds.remove(fit[0])
    return True


def _fill(rng: Random, table: Table, need: list[str], parents: dict[str, Relation], *, several: int) -> Relation:
    columns = _columns(rng, table, need, parents, several=several)
    child = any(c.kind == "ref" for c in columns)
    if several == 1:
        size = rng.choices((3, 4, 5, 6), (40, 42, 15, 3))[0]
    else:
        size = rng.choices((4, 5, 6), (68, 27, 5))[0] if child else rng.choices((3, 4), (88, 12))[0]
    fields = []
    for column in columns:
        values = _values(rng, column, size, parents)
        noun = rng.choice(column.nouns) if column.nouns else column.name
        fields.append(Field(column, table.name, noun, tuple(values)))
    one, many = rng.choice(table.nouns)
    return Relation(table, one, many, tuple(fields), size)


def _columns(rng: Random, table: Table, need: list[str], parents: dict, *, several: int) -> list[Column]:
    """The needed columns, sometimes more, in the table's own order."""
    columns = [c for c in table.columns if c.kind == "ref" and c.target in parents]
    optional = [c for c in table.columns if c.kind not in ("ref", "name")]
    rng.shuffle(optional)
    for want in need:
        fit = [c for c in optional if c.kind in KINDS.get(want, (want,)) and c not in columns]
        if want == "name":
            columns.append(table.label)
        elif fit:
            columns.append(fit[0])
        else:
            raise Misfit(want)
    if table.label and table.label not in columns and rng.random() < 0.5:
        columns.append(table.label)
    spare = [c for c in optional if c not in columns]
    data = sum(c.kind != "ref" for c in columns)
    more = max(0, 2 - data) if several == 1 else max(0, 1 - data)
    more += rng.random() < (0.2 if several == 1 else 0.08)
    columns += spare[:more]
    columns.sort(key=table.columns.index)
    needs_key = several > 1 and not parents.keys() & {c.target for c in columns}
    if needs_key or rng.random() < (0.15 if several == 1 else 0.06):
        columns.insert(0, Column("id", "key", ("id",)))
    return columns


def _values(rng: Random, column: Column, size: int, parents: dict[str, Relation]) -> list:
    kind = column.kind
    if kind == "key":
        return list(range(1, size + 1))
    if kind == "ref":
        return [rng.randint(1, parents[column.target].size) for _ in range(size)]
    if kind == "name":
        return rng.sample(column.values, size)
    if kind == "group":
        few = rng.sample(column.values, min(len(column.values), rng.choice((2, 2, 3)), size - 1))
        values = few + [rng.choice(few) for _ in range(size - len(few))]
        rng.shuffle(values)
        return values
    if kind == "date":
        years = range(int(column.low), int(column.high) + 1)
        return [f"{rng.choice(years)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}" for _ in range(size)]
    values = _numbers(rng, column, size)
    if kind in NUMBERS and size > 3 and rng.random() < 0.1:  # a tie now and then
        values[-1] = values[0]
    return values


def _numbers(rng: Random, column: Column, size: int) -> list:
    scale = 10**column.decimals
    steps = range(round(column.low * scale), round(column.high * scale) + 1)
    if len(steps) > 300:  # round numbers are shorter and read better
        steps = range(steps.start - steps.start % 10, steps.stop, 10)
    values = rng.sample(steps, size) if len(steps) >= size else [rng.choice(steps) for _ in range(size)]
    return [value / scale for value in values] if column.decimals else values


def _with_nulls(rng: Random, relation: Relation) -> Relation:
    fit = relation.all("any")
    if not fit:
        raise Misfit("nulls")
    field = rng.choice(fit)
    gaps = rng.sample(range(relation.size), rng.choice((1, 1, 2)))
    gappy = replace(field, values=tuple(None if i in gaps else value for i, value in enumerate(field.values)))
    return replace(relation, fields=tuple(gappy if f is field else f for f in relation.fields))


def literal(value) -> str:
    """A value as SQL."""
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def _settle(rng: Random, relations: list[Relation], child: int, with_names: bool, accept: Callable[[str], bool]) -> str:
    """The context, after putting the rows of one table in an order with which `accept` likes it; ids keep theirs."""
    heads = [_head(relation, with_names) for relation in relations]
    bodies = [_bodies(relation) for relation in relations]
    texts = [_text(*parts, range(len(parts[2]))) for parts in zip(relations, heads, bodies, strict=True)]
    relation, order = relations[child], list(range(relations[child].size))
    for _ in range(TRIES):
        rng.shuffle(order)
        texts[child] = _text(relation, heads[child], bodies[child], order)
        context = " ".join(texts)
        if accept(context):
            relations[child] = _in_order(relation, order)
            return context
    raise Misfit("context")


def _head(relation: Relation, with_names: bool) -> str:
    columns = ", ".join([f"{f.sql} {f.column.sql_type}" for f in relation.fields])
    names = " (" + ", ".join([f.sql for f in relation.fields]) + ")" if with_names else ""
    return f"CREATE TABLE {relation.sql} ({columns}); INSERT INTO {relation.sql}{names} VALUES "


def _bodies(relation: Relation) -> list[str]:
    """The rows as text, without ids and parentheses."""
    return [
        ", ".join(row)
        for row in zip(*[map(literal, f.values) for f in relation.fields if f.kind != "key"], strict=True)
    ]


def _text(relation: Relation, head: str, bodies: list[str], order: Iterable[int]) -> str:
    if relation.fields[0].kind == "key":
        return head + ", ".join([f"({number}, {bodies[i]})" for number, i in enumerate(order, 1)]) + ";"
    return head + ", ".join([f"({bodies[i]})" for i in order]) + ";"


def _in_order(relation: Relation, order: list[int]) -> Relation:
    fields = [f if f.kind == "key" else replace(f, values=tuple([f.values[i] for i in order])) for f in relation.fields]
    return replace(relation, fields=tuple(fields))
