"""A neighbour's SQL with the names and values of another question: what is retrieved, made to fit.

Phrases of the two questions are paired in order of mention. A name in the SQL becomes what its phrase's partner is
called like; one that no phrase speaks of becomes a column with the same part to play: key, reference, name, kind of
value. A text or number that stands in the neighbour's question becomes its partner's. SQL is read as pieces of text,
not parsed: a name without a table that two tables have is taken for the first one's.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice, permutations

from common.retrieval.questions import NAME, NOUN, NUMBER, VALUE, Phrase, Question
from common.retrieval.schemas import Column, Table, tokens, unquoted

MOST_ASSIGNMENTS = 120  # of tables to tables
_LABELS = ("name", "title", "label")  # what a row is called
_LITERAL = re.compile(r"'|\d")
Pairs = Sequence[tuple[Phrase, Phrase]]


@dataclass(frozen=True)
class Filling:
    """The SQL, and whether all of its names and texts, and all of the question's values, found their counterparts."""

    sql: str
    is_complete: bool


@dataclass(frozen=True)
class _Use:
    """A column in the neighbour's SQL, and the value that it stands beside, "" for none."""

    table: Table
    column: Column
    value: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.table.name, self.column.name


@dataclass(frozen=True)
class _Assignment:
    """What stands for the neighbour's tables and columns, by their names; None for a column that has nothing."""

    tables: Mapping[str, Table]
    columns: Mapping[tuple[str, str], Column | None]
    score: float


def fill(neighbour: Question, sql: str, target: Question) -> Filling:
    """The neighbour's SQL for the target's question. As it is where the target has fewer tables. Never raises."""
    pieces = tokens(sql)
    tables, pairs = _tables(pieces, neighbour.tables), _pairs(neighbour, target)
    owners = _owners(pieces, tables)
    uses = _uses(pieces, owners)
    choices = islice(permutations(target.tables, len(tables)), MOST_ASSIGNMENTS)
    assignments = [_assignment(uses, dict(zip([t.name for t in tables], c, strict=True)), pairs) for c in choices]
    if not assignments:
        return Filling(sql, False)
    best = max(assignments, key=lambda assignment: assignment.score)  # the first of the best
    literals = _literals(pieces, pairs)
    texts = [_written(place, pieces, owners, best, literals) for place in range(len(pieces))]
    values = [phrase.text for phrase in target.phrases if phrase.kind != NOUN]
    is_complete = (
        None not in best.columns.values()
        and all(piece in literals for piece in pieces if piece.startswith("'"))
        and all(any(value in text for text in literals.values()) for value in values)
    )
    return Filling(_joined(sql, pieces, texts), is_complete)


def _tables(pieces: Sequence[str], tables: Sequence[Table]) -> list[Table]:
    """The tables in the SQL, in its order."""
    names = dict.fromkeys(unquoted(piece).lower() for piece in pieces)
    return [table for name in names for table in tables if table.name.lower() == name]


def _owners(pieces: Sequence[str], tables: Sequence[Table]) -> dict[str, Table]:
    """The SQL's tables by their names and aliases, in small letters."""
    owners = {table.name.lower(): table for table in tables}
    for place, piece in enumerate(pieces):
        if (table := owners.get(unquoted(piece).lower())) is not None:
            following = [other.lower() for other in pieces[place + 1 : place + 3] if other.lower() != "as"][:1]
            is_source = pieces[place - 1].lower() in ("from", "join", ",")
            if is_source and following and re.fullmatch(r"\w+", following[0]):
                owners.setdefault(following[0], table)  # a keyword that follows does no harm: it qualifies nothing
    return owners


def _column(pieces: Sequence[str], place: int, owners: Mapping[str, Table]) -> tuple[Table, Column] | None:
    """The column that a piece of SQL names, with its table; None where it names none."""
    if not re.match(r"[\w\"`\[]", pieces[place]):
        return None
    qualifier = unquoted(pieces[place - 2]).lower() if place > 1 and pieces[place - 1] == "." else ""
    for table in [owners[qualifier]] if qualifier in owners else owners.values():
        if (column := table.column(unquoted(pieces[place]))) is not None:
            return table, column
    return None


def _uses(pieces: Sequence[str], owners: Mapping[str, Table]) -> list[_Use]:
    """The columns in the SQL, in its order."""
    uses: dict[tuple[str, str], _Use] = {}
    for place in range(len(pieces)):
        if (pair := _column(pieces, place, owners)) is not None:
            value = next((unquoted(piece) for piece in pieces[place + 1 : place + 4] if _LITERAL.match(piece)), "")
            use = _Use(*pair, value)
            if value or use.key not in uses:
                uses[use.key] = use
    return list(uses.values())


def _pairs(neighbour: Question, target: Question) -> list[tuple[Phrase, Phrase]]:
    """Phrases of the two questions that stand for each other: kind by kind in order where both have as many, else
    where the masked questions agree, and what is left in order."""
    masks = neighbour.mask, target.mask
    blocks = SequenceMatcher(None, *masks, autojunk=False).get_matching_blocks()
    matches = [(block.a + n, block.b + n) for block in blocks for n in range(block.size)]
    places: list[tuple[int, int]] = []
    for kind in (NOUN, VALUE, NUMBER, NAME):
        ours, theirs = ([place for place, each in enumerate(mask) if each == kind] for mask in masks)
        agreed = [pair for pair in matches if pair[0] in ours] if len(ours) != len(theirs) else []
        left = ([p for p in ours if p not in dict(agreed)], [p for p in theirs if p not in dict(agreed).values()])
        places += [*agreed, *zip(*left, strict=False)]
    return [(neighbour.pieces[one], target.pieces[other]) for one, other in places]


def _assignment(uses: Sequence[_Use], tables: Mapping[str, Table], pairs: Pairs) -> _Assignment:
    """Columns of these tables, and how well all of it fits what the questions say."""
    columns: dict[tuple[str, str], Column | None] = {}
    for use in uses:
        columns[use.key] = next(_mentioned(use, tables[use.table.name], pairs), None)
    score = _score(uses, tables, pairs) + sum(column is not None for column in columns.values())
    for use in uses:
        if columns[use.key] is None:
            columns[use.key] = _same_part(use, tables, [c for c in columns.values() if c is not None], pairs)
            score -= columns[use.key] is None
    return _Assignment(tables, columns, score)


def _score(uses: Sequence[_Use], tables: Mapping[str, Table], pairs: Pairs) -> float:
    """How well tables fit: whether partners are called like them, and whether they refer to each other alike."""
    score = 0.0
    for ours, theirs in pairs:
        owners = [table for table, _ in theirs.columns]
        score += 0.1 * sum(_is_in(table, tables.values()) for table in (*theirs.tables, *owners))
        for table in ours.tables:
            if table.name in tables and theirs.tables:
                score += 2 if _is_in(tables[table.name], theirs.tables) else -1
    for use in uses:
        if (target := tables.get(use.column.target)) is not None:
            score += 1 if _refers(tables[use.table.name], target) else -3
    return score


def _refers(one: Table, other: Table) -> bool:
    return any(column.target == other.name for column in one.columns)


def _is_in(one: object, many: Sequence[object]) -> bool:
    """By identity: two tables may have equal columns."""
    return any(one is each for each in many)


def _mentioned(use: _Use, table: Table, pairs: Pairs) -> Iterator[Column]:
    """The table's columns that the partner of this one's phrase is called like, or that the partner of its value is
    in."""
    for ours, theirs in pairs:
        is_named = ours.kind == NOUN and any(column is use.column for _, column in ours.columns)
        is_beside = ours.kind == VALUE and use.value and ours.text.lower() == use.value.lower()
        if is_named or is_beside:
            yield from (column for owner, column in theirs.columns if owner is table)


def _same_part(use: _Use, tables: Mapping[str, Table], taken: Sequence[Column], pairs: Pairs) -> Column | None:
    """The column that plays the same part in its table: of several the one that the question names, that has the same
    name, then the first; None where there is none that is free."""
    column, table = use.column, tables[use.table.name]
    if column.target:
        references = [other for other in table.columns if other.target]
        target = tables.get(column.target)
        fitting = [other for other in references if target is not None and other.target == target.name]
        return next(iter(fitting or references), None)
    free = [other for other in table.columns if not _is_in(other, taken)]
    if column.is_key:
        return next((other for other in table.columns if other.is_key), next(iter(free), None))
    plain = [other for other in free if not (other.is_key or other.target)]
    alike = [other for other in plain if other.kind == column.kind]
    named = [c for _, theirs in pairs if theirs.kind == NOUN for _, c in theirs.columns if _is_in(c, alike)]
    same = [other for other in alike if other.name.lower() == column.name.lower()]
    is_label = column is _label(use.table) and column.name.lower().endswith(_LABELS)
    label = [other for other in table.columns if is_label and other is _label(table)]  # free or not
    return next(iter([*label, *named, *same, *alike, *plain]), None)


def _label(table: Table) -> Column | None:
    """The column that says what a row is called: one of the usual names, else the first with texts."""
    texts = [column for column in table.columns if column.kind == "text" and not column.target]
    named = [column for column in texts if column.name.lower().endswith(_LABELS)]
    return next(iter(named or texts), None)


def _literals(pieces: Sequence[str], pairs: Pairs) -> dict[str, str]:
    """For each piece of SQL that stands in the neighbour's question as a value, number or name, what is written for it;
    a pattern of LIKE keeps its marks."""
    literals: dict[str, str] = {}
    for piece in dict.fromkeys(pieces):
        text = unquoted(piece)
        for ours, theirs in pairs:
            inner = text.strip("%") if ours.kind == VALUE and piece.startswith("'") else text
            if ours.kind != NOUN and inner and ours.text.lower() == inner.lower():
                replacement = text.replace(inner, theirs.text)
                literals[piece] = "'" + replacement.replace("'", "''") + "'" if theirs.kind == VALUE else replacement
                break
    return literals


def _written(
    place: int,
    pieces: Sequence[str],
    owners: Mapping[str, Table],
    assignment: _Assignment,
    literals: Mapping[str, str],
) -> str:
    """What is written for a piece of SQL."""
    piece = pieces[place]
    if piece in literals or piece.startswith("'"):
        return literals.get(piece, piece)
    name = unquoted(piece).lower()
    if name in owners and owners[name].name.lower() == name and pieces[place - 1] != ".":
        return assignment.tables[owners[name].name].name
    pair = _column(pieces, place, owners)
    column = assignment.columns.get((pair[0].name, pair[1].name)) if pair else None
    return column.name if column else piece


def _joined(sql: str, pieces: Sequence[str], texts: Sequence[str]) -> str:
    """The SQL with its pieces replaced, what stands between them kept."""
    parts, end = [], 0
    for piece, text in zip(pieces, texts, strict=True):
        start = sql.index(piece, end)
        parts += [sql[end:start], text]
        end = start + len(piece)
    return "".join(parts) + sql[end:]
