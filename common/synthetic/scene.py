"""Draws a small database for one row: which tables and columns, their values, and the `sql_context` text.

The tables that a query needs come with columns of near names beside the needed ones, and with other tables of the
domain that it does not need. A scene keeps the values it wrote, so that a question can speak of them. It does not know
any query.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from itertools import pairwise, permutations
from random import Random

from common.synthetic.content import NUMBERS, Column, Domain, Table, domains, is_near
from common.synthetic.tables import KINDS, Field, Misfit, Relation, Scene, literal

TRIES = 24  # orders of rows and tables to try for a context that is accepted
EXTRA = {1: (54, 32, 14), 2: (76, 21, 3), 3: (92, 8, 0)}  # needed tables -> weights of 0, 1, 2 tables more
WIDTHS = {1: ((4, 5, 6, 7, 8), (50, 30, 12, 5, 3)), 2: ((4, 5, 6), (80, 16, 4)), 3: ((3, 4, 5), (45, 45, 10))}


def draw(
    rng: Random,
    needs: tuple[str, ...],
    *,
    chain: bool = False,
    unseen: bool,
    nulls: bool,
    accept: Callable[[str], bool],
) -> Scene:
    """A scene whose tables have the columns asked for, and whose context `accept` likes; Misfit where none was found.

    `needs` has one text per table, the kinds of column it must have (`name group number`). One text is a single
    table; two are a parent and a child that refers to it; three are two parents and, in the middle, the child that
    refers to both, or, as a `chain`, a table, its child and its child's child. Up to two more tables of the same
    schema follow, which the query does not need. `nulls` puts NULL in one column of the last needed table; otherwise
    about one scene in sixteen has some.
    """
    suitable = _suitable(needs, chain, unseen)
    if not suitable:
        raise Misfit("no domain has such tables")
    domain, choices = rng.choice(suitable)
    tables, others = rng.choice(choices)
    relations, parents = [None] * len(needs), {}
    order = (0, 2, 1) if len(needs) == 3 and not chain else range(len(needs))  # parents before the child
    for position in order:
        relation = _fill(rng, tables[position], needs[position].split(), parents, several=len(needs))
        relations[position] = parents[relation.sql] = relation
    if nulls or rng.random() < 0.06:
        relations[-1] = _with_nulls(rng, relations[-1])
    extra = rng.choices((0, 1, 2), EXTRA[len(needs)])[0]
    spare = [_fill(rng, table, [], parents, several=9) for table in rng.sample(others, min(extra, len(others)))]
    with_names = rng.random() < 0.05  # name the columns in INSERT
    context = _settle(rng, relations, spare, order[-1], with_names, accept)
    return Scene(domain, tuple(relations), context, chain)


@cache
def _suitable(
    needs: tuple[str, ...], chain: bool, unseen: bool
) -> list[tuple[Domain, list[tuple[tuple[Table, ...], list[Table]]]]]:
    """For each domain, the tables (in the order of `needs`) that can serve, and the rest of their schema; domains
    without any are left out."""
    suitable = []
    for domain in domains():
        choices = [
            (tables, [domain.tables[name] for name in schema if domain.tables[name] not in tables])
            for schema in domain.schemas
            for tables in permutations([domain.tables[name] for name in schema], len(needs))
            if _refers(tables, chain) and all(map(_serves, tables, needs))
        ]
        if choices and domain.unseen == unseen:
            suitable.append((domain, choices))
    return suitable


def _refers(tables: tuple[Table, ...], chain: bool) -> bool:
    """Whether the second table refers to all the others, or, in a chain, each to the one before it."""
    if chain or len(tables) == 1:
        pairs = list(pairwise(tables))
    else:
        pairs = [(parent, tables[1]) for parent in (tables[0], *tables[2:])]
    return all(parent.name in {column.target for column in child.references} for parent, child in pairs)


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
        size = rng.choices((3, 4, 5), (64, 28, 8))[0]
    elif several == 9:  # a table that is not needed has a row or two, or none
        size = rng.choices((0, 1, 2), (70, 18, 12))[0]
    else:
        size = rng.choices((3, 4, 5), (44, 46, 10))[0] if child else rng.choices((2, 3, 4), (38, 56, 6))[0]
    fields = []
    for column in columns:
        values = _values(rng, column, size, parents)
        noun = rng.choice(column.nouns) if column.nouns else column.name
        fields.append(Field(column, table.name, noun, tuple(values)))
    one, many = rng.choice(table.nouns)
    return Relation(table, one, many, tuple(fields), size)


def _columns(rng: Random, table: Table, need: list[str], parents: dict, *, several: int) -> list[Column]:
    """The needed columns and more, nearly named ones first, in the table's own order."""
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
    if table.label and table.label not in columns and rng.random() < 0.6:
        columns.append(table.label)
    has_key = several > 1 and not columns[:1] or rng.random() < 0.5
    has_key = has_key or several in (2, 3) and not any(c.kind == "ref" for c in columns)
    width = rng.choices(*WIDTHS.get(several, WIDTHS[2]))[0] - has_key
    spare = [c for c in optional if c not in columns]
    spare.sort(key=lambda c: not any(is_near(c, other) for other in columns))  # stable: near names first
    columns += spare[: max(0, width - len(columns))]
    columns.sort(key=table.columns.index)
    return [Column("id", "key", ("id",)), *columns] if has_key else columns


def _values(rng: Random, column: Column, size: int, parents: dict[str, Relation]) -> list:
    kind = column.kind
    if kind == "key":
        return list(range(1, size + 1))
    if kind == "ref":
        return [rng.randint(1, max(1, parents[column.target].size)) for _ in range(size)]
    if kind == "name" or size < 2 and kind == "group":
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
    if not fit or relation.size < 3:
        raise Misfit("nulls")
    field = rng.choice(fit)
    gaps = rng.sample(range(relation.size), 1 if relation.size == 3 else rng.choice((1, 1, 2)))
    gappy = replace(field, values=tuple(None if i in gaps else value for i, value in enumerate(field.values)))
    return replace(relation, fields=tuple(gappy if f is field else f for f in relation.fields))


def _settle(
    rng: Random,
    relations: list[Relation],
    spare: list[Relation],
    child: int,
    with_names: bool,
    accept: Callable[[str], bool],
) -> str:
    """The context, after putting the tables, and the rows of one, in an order with which `accept` likes it; ids keep
    theirs."""
    every = [*relations, *spare]
    heads = [_head(relation, with_names) for relation in every]
    bodies = [_bodies(relation) for relation in every]
    texts = [_text(*parts, range(len(parts[2]))) for parts in zip(every, heads, bodies, strict=True)]
    relation, order, places = relations[child], list(range(relations[child].size)), list(range(len(every)))
    for _ in range(TRIES):
        rng.shuffle(order)
        rng.shuffle(places)
        texts[child] = _text(relation, heads[child], bodies[child], order)
        context = " ".join([texts[place] for place in places])
        if accept(context):
            relations[child] = _in_order(relation, order)
            return context
    raise Misfit("context")


def _head(relation: Relation, with_names: bool) -> str:
    columns = ", ".join([f"{f.sql} {f.column.sql_type}" for f in relation.fields])
    if not relation.size:
        return f"CREATE TABLE {relation.sql} ({columns});"
    names = " (" + ", ".join([f.sql for f in relation.fields]) + ")" if with_names else ""
    return f"CREATE TABLE {relation.sql} ({columns}); INSERT INTO {relation.sql}{names} VALUES "


def _bodies(relation: Relation) -> list[str]:
    """The rows as text, without ids and parentheses; nothing for a table that is left empty."""
    return [
        ", ".join(row)
        for row in zip(*[map(literal, f.values) for f in relation.fields if f.kind != "key"], strict=True)
    ]


def _text(relation: Relation, head: str, bodies: list[str], order: Iterable[int]) -> str:
    if not bodies:
        return head
    if relation.fields[0].kind == "key":
        return head + ", ".join([f"({number}, {bodies[i]})" for number, i in enumerate(order, 1)]) + ";"
    return head + ", ".join([f"({bodies[i]})" for i in order]) + ";"


def _in_order(relation: Relation, order: list[int]) -> Relation:
    fields = [f if f.kind == "key" else replace(f, values=tuple([f.values[i] for i in order])) for f in relation.fields]
    return replace(relation, fields=tuple(fields))
