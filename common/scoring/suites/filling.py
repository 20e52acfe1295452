"""The rows of one generated database: each mode stresses something else."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from common.scoring.suites.mentions import Mentions, Place
from common.scoring.suites.survey import Column, Survey, Table
from common.scoring.suites.values import ValuePool

MOST_LIMIT = 60  # a LIMIT up to here gets more rows than it lets through
Rows = list[tuple[object, ...]]


@dataclass(frozen=True)
class Mode:
    """How many rows a table gets, and the chances of where a value comes from; the rest of a chance is new values."""

    name: str
    least: int
    most: int
    near: float
    sample: float
    few: int = 0  # so many values a column at most, so that they repeat
    keeps: bool = False  # given rows stay
    groups: bool = False  # keys come in blocks of the sizes that are counted
    one_off: bool = False  # each row fits all constants but one


MODES = (
    Mode("boundary", 8, 14, 0.85, 0.10, one_off=True),
    Mode("mixed", 9, 16, 0.45, 0.35),
    Mode("kept", 4, 8, 0.55, 0.25, keeps=True),
    Mode("groups", 12, 20, 0.50, 0.20, groups=True),
    Mode("fresh", 8, 14, 0.30, 0.05),
    Mode("dense", 12, 20, 0.60, 0.40, few=3),
    Mode("tiny", 1, 3, 0.60, 0.30),
    Mode("hits", 14, 22, 0.95, 0.05, one_off=True, groups=True),
)
WRITING = ("boundary", "mixed", "kept", "dense")  # a statement that writes needs no more
_NULL_CHANCE = 0.18
_EDGE_CHANCE = 0.25


def fill(
    survey: Survey, pools: dict[Place, ValuePool], mentions: Mentions, mode: Mode, rng: random.Random
) -> list[Rows]:
    """Rows for each table of the survey, in its order. A child's keys are its parent's, in circles of tables too."""
    values: dict[Place, list[object]] = {}
    hot: dict[Place, list[object]] = {}
    tables, late = [], []
    for number, table in enumerate(survey.tables):
        late += [(number, i, c) for i, c in enumerate(table.columns) if c.parent and not _is_there(c, table, values)]
        tables.append(_table(table, pools, mentions, mode, rng, values, hot))
    for number, position, column in late:  # the parent's table came later
        pool, parents = pools[column.place], values.get(column.parent.place, [])
        keys = _keys(parents, hot.get(column.parent.place, ()), pool, mentions, mode, rng, len(tables[number]))
        pairs = zip(tables[number], keys, strict=False)  # fewer keys than rows: the rest go
        tables[number] = [(*row[:position], key, *row[position + 1 :]) for row, key in pairs]
    return _with_whole_keys(survey, tables, rng)


def _with_whole_keys(survey: Survey, tables: list[Rows], rng: random.Random) -> list[Rows]:
    """The rows; a key of several columns that no parent has, each drawn by itself, becomes one that a parent has."""
    numbers = {table.name: number for number, table in enumerate(survey.tables)}
    for number, table in enumerate(survey.tables):
        for ours, parent, theirs in table.composite_links:
            places = _places(table, ours)
            target = _places(survey.tables[numbers[parent]], theirs)
            keys = [tuple(row[i] for i in target) for row in tables[numbers[parent]]]
            keys = list(dict.fromkeys(key for key in keys if None not in key))
            rows = []
            for row in tables[number]:
                key = [row[i] for i in places]
                if None not in key and tuple(key) not in keys:
                    if not keys:
                        continue
                    parts = dict(zip(places, rng.choice(keys), strict=True))
                    row = tuple(parts.get(i, value) for i, value in enumerate(row))
                rows.append(row)
            tables[number] = rows
    return tables


def _places(table: Table, names: Sequence[str]) -> list[int]:
    """Positions of columns in a row, in the order of their names."""
    order = [column.name for column in table.columns]
    return [order.index(name) for name in names]


def _is_there(column: Column, table: Table, values: dict[Place, list[object]]) -> bool:
    """Whether a child's parents are known when its own table is filled."""
    return column.parent.place in values or column.parent.table == table.name


def _table(
    table: Table,
    pools: dict[Place, ValuePool],
    mentions: Mentions,
    mode: Mode,
    rng: random.Random,
    values: dict[Place, list[object]],
    hot: dict[Place, list[object]],
) -> Rows:
    """Adds to values those of each column, and to hot those of rows that fit a constant of the reference."""
    count = rng.randint(mode.least, mode.most)
    if 0 < mentions.limit <= MOST_LIMIT and mode.name != "tiny":
        count = max(count, mentions.limit + rng.randint(2, 6))
    if mode.groups and mentions.counts:
        count = min(max(count, 3 * (max(mentions.counts) + 1)), MOST_LIMIT)
    given_rows = _given_rows(table, pools, rng, values) if mode.keeps else []
    if given_rows:
        count = max(count - len(given_rows), 3)
    # A key that no two rows share: no more rows than parents, rather than rows without one.
    for position, column in enumerate(table.columns):
        if column.parent is not None and column.parent.place in values:
            parents, pool = set(values[column.parent.place]), pools[column.place]
            if not parents and not pool.may_be_null:
                count = 0
            elif pool.unique:
                count = min(count, len(parents - {row[position] for row in given_rows}))
    cells: dict[int, list[object]] = {}
    constant_columns = [c for c in table.columns if pools[c.place].exact or pools[c.place].near]
    off = [rng.choice([*constant_columns, None]) if constant_columns else None for _ in range(count)]
    # Of a key of several columns those that lead nowhere differ half of the time, or few rows would fit in.
    spread = {name for names in table.unique_sets for name in names} if rng.random() < 0.5 and not mode.few else set()
    # Keys of the table's own rows come after what they point to.
    order = sorted(range(len(table.columns)), key=lambda i: _depth(table.columns[i], table))
    for position in order:
        column = table.columns[position]
        loose = {i for i in range(count) if off[i] is column}
        given_cells = [row[position] for row in given_rows]
        spreads = column.name in spread and not pools[column.place].finite
        cells[position] = _cells(
            column, pools[column.place], mentions, mode, rng, count, values, hot, loose, given_cells, spreads
        )
        values[column.place] = [value for value in [*given_cells, *cells[position]] if value is not None]
    rows = given_rows + list(zip(*(cells[i] for i in range(len(table.columns))), strict=True))
    exact = [(i, set(pools[column.place].exact)) for i, column in enumerate(table.columns)]
    fits = [row for row in rows if any(row[i] in constants for i, constants in exact)]
    for i, column in enumerate(table.columns):
        hot[column.place] = [row[i] for row in fits if row[i] is not None]
    rng.shuffle(rows)
    return _without_repetitions(table, rows)


def _depth(column: Column, table: Table) -> int:
    depth = 0
    while column.parent is not None and column.parent.table == table.name and depth < 5:
        column, depth = column.parent, depth + 1
    return depth


def _without_repetitions(table: Table, rows: Rows) -> Rows:
    """The rows, of those that share what no two given rows share only the first."""
    for names in table.distinct_sets:
        places = [i for i, column in enumerate(table.columns) if column.name in names]
        rows = list({tuple(row[i] for i in places): row for row in reversed(rows)}.values())[::-1]
    return rows


def _given_rows(
    table: Table, pools: dict[Place, ValuePool], rng: random.Random, values: dict[Place, list[object]]
) -> Rows:
    """Most of the given rows, their keys put right where the parent's row is gone."""
    rows = [row for row in table.rows[:16] if rng.random() < 0.75]
    for position, column in enumerate(table.columns):
        parents = values.get(column.parent.place) if column.parent else None
        if parents is None:
            continue
        there = set(parents)
        free = [value for value in there if value not in {row[position] for row in rows}]
        rng.shuffle(free := sorted(free, key=repr))  # a set has no order
        right = []
        for row in rows:
            if row[position] is not None and row[position] not in there:
                others = free if pools[column.place].unique else parents
                if not others:
                    continue
                other = free.pop() if pools[column.place].unique else rng.choice(parents)
                row = (*row[:position], other, *row[position + 1 :])
            right.append(row)
        rows = right
    return rows


def _cells(
    column: Column,
    pool: ValuePool,
    mentions: Mentions,
    mode: Mode,
    rng: random.Random,
    count: int,
    values: dict[Place, list[object]],
    hot: dict[Place, list[object]],
    loose: set[int],
    given_cells: list[object],
    spread: bool,
) -> list[object]:
    """One column of new rows."""
    if column.parent is not None and column.parent.place in values:
        parents = values[column.parent.place]
        if pool.unique:
            parents = [value for value in parents if value not in set(given_cells)]
        cells = _keys(parents, hot.get(column.parent.place, ()), pool, mentions, mode, rng, count)
    elif pool.unique or spread:
        return _distinct(pool, mode, rng, count, set(given_cells) | pool.exclusions)
    elif mode.few:
        few = [_draw(pool, mode, rng) for _ in range(mode.few)]
        if pool.exact:
            few[0] = rng.choice(pool.exact)
        cells = [rng.choice(few) for _ in range(count)]
    elif mode.groups and any(column is group for group in mentions.groups):
        starts = list(dict.fromkeys([*pool.exact, *(_draw(pool, mode, rng) for _ in range(6))]))
        cells = _blocks(starts, mentions, rng, count)
    elif mode.one_off:
        cells = [_any(pool, rng) if i in loose else _draw(pool, mode, rng) for i in range(count)]
    else:
        cells = [_draw(pool, mode, rng) for _ in range(count)]
    if pool.may_be_null:
        cells = [None if rng.random() < _NULL_CHANCE else cell for cell in cells]
    return cells


def _draw(pool: ValuePool, mode: Mode, rng: random.Random) -> object:
    chance = rng.random()
    if pool.edges and rng.random() < (_EDGE_CHANCE / 3 if pool.exact else _EDGE_CHANCE):
        return rng.choice(pool.edges)
    if chance < mode.near and pool.near:
        return rng.choice(pool.exact) if pool.exact and rng.random() < 0.5 else rng.choice(pool.near)
    if chance < mode.near + mode.sample and pool.sample:
        return rng.choice(pool.sample)
    if mode.near >= 0.8 and pool.near and rng.random() < 0.5:
        return rng.choice(pool.near)
    return pool.new(rng)


def _any(pool: ValuePool, rng: random.Random) -> object:
    """A value that most likely does not fit a constant."""
    return rng.choice(pool.sample) if pool.sample and rng.random() < 0.5 else pool.new(rng)


def _distinct(pool: ValuePool, mode: Mode, rng: random.Random, count: int, exclusions: set[object]) -> list[object]:
    """Different values: constants first, some neighbours and given ones, new ones for the rest."""
    constants = [v for v in pool.exact if rng.random() < 0.85]
    chance = 0.3 if mode.name == "fresh" else 0.6
    near, sample = ([v for v in values if rng.random() < chance] for values in ([*pool.near, *pool.edges], pool.sample))
    rng.shuffle(near)
    rng.shuffle(sample)
    cells: list[object] = []
    for value in [*constants, *near[: count // 2], *sample, *near]:  # the given rows do not crowd out what is near
        if len(cells) < count and value not in exclusions:
            exclusions.add(value)
            cells.append(value)
    for serial in range(10 * count):
        if len(cells) == count:
            break
        value = pool.new(rng)
        value = pool.numbered(value, serial) if value in exclusions else value
        if value not in exclusions:
            exclusions.add(value)
            cells.append(value)
    cells += [pool.numbered(f"{serial}", serial) for serial in range(count - len(cells))]  # no more of this kind
    rng.shuffle(cells)
    return cells


def _keys(
    parents: list[object],
    favourites: Sequence[object],
    pool: ValuePool,
    mentions: Mentions,
    mode: Mode,
    rng: random.Random,
    count: int,
) -> list[object]:
    """A child's keys: some parents have many rows, some one, some none. As many as parents where it is unique.

    favourites: parents that fit a constant of the reference; most often one of them is among those with many rows.
    """
    if not parents:
        return [None] * count if pool.may_be_null else []
    if pool.unique:
        different = list(dict.fromkeys(parents))
        return rng.sample(different, min(count, len(different)))
    order = rng.sample(parents, len(parents))
    hits = [value for value in pool.exact if value in set(parents)]
    if favourites and rng.random() < 0.7:
        hits.append(rng.choice(favourites))
    order = list(dict.fromkeys([*hits, *order]))
    if mode.groups:
        return _blocks(order[: max(2, len(order) - 1)], mentions, rng, count)
    hot = order[:2]
    most = order[: max(1, len(order) - 1)]  # one has none
    return [rng.choice(hot) if rng.random() < 0.5 else rng.choice(most) for _ in range(count)]


def _blocks(values: list[object], mentions: Mentions, rng: random.Random, count: int) -> list[object]:
    """Values in blocks of one, two, and the sizes that the reference counts, and one more and less."""
    sizes = [1, 2, 3, 2]
    for number in mentions.counts:
        sizes += [number, number + 1, number + 1, max(1, number - 1), number + 2]
    cells: list[object] = []
    order = list(values)
    rng.shuffle(order)
    while len(cells) < count:
        cells += [order[0]] * max(1, rng.choice(sizes))
        order = order[1:] or [rng.choice(values)]
    cells = cells[:count]
    rng.shuffle(cells)
    return cells
