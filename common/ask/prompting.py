"""The schema of a prompt: the tables that a question is about, with a few rows, in as many tokens as there are.

All tables stand in it where they fit, first with fewer rows. Else those whose names, columns and texts share words with
the question, and those that link them. Covers word overlap alone: a question in other words than the schema's needs a
schema that fits.
"""

import re
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import cache

from common.ask.copies import Copy, SourceTable
from common.ask.places import scratch
from common.data.ddl import schema_text
from common.sandbox.statements import TOKEN
from common.scoring.state import quote

LONGEST_TEXT = 40  # characters of a value in the prompt
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")
_OF_NAME, _OF_COLUMN, _OF_TEXT = 3.0, 1.0, 2.0  # what a shared word is worth


def prompt_schema(copy: Copy, question: str, *, most: int, count: Callable[[str], int], rows: int = 3) -> str:
    """CREATE statements and a few INSERTs of `copy`, of at most `most` tokens, as `count` counts them; one table at
    least. rows: of each table, at most."""
    low, high = 0, min(rows, max(len(table.rows) for table in copy.tables))
    number = high  # most schemas are small
    while low <= high:
        text = _text(copy.tables, number)
        if count(text) <= most:
            best, low = text, number + 1
        else:
            high = number - 1
        number = (low + high + 1) // 2
    if low:
        return best
    chosen: list[SourceTable] = []
    for table in relevant(copy, question):
        if chosen and count(_text([*chosen, table], min(1, rows))) > most:
            break
        chosen.append(table)
    return _text(sorted(chosen, key=copy.tables.index), min(1, rows))


def relevant(copy: Copy, question: str) -> list[SourceTable]:
    """All tables, those first that share the most with the question; behind each table that does, those that link it to
    the ones before."""
    asked_for = words(question)
    scores = {table.name: _score(copy, table, asked_for, question) for table in copy.tables}
    ranked = sorted(copy.tables, key=lambda table: -scores[table.name])
    order: dict[str, SourceTable] = {}
    by_name = {table.name.casefold(): table for table in copy.tables}
    for table in ranked:
        links = _path(copy.tables, table, order.values()) if order and scores[table.name] else []
        for each in (table, *links):
            order.setdefault(each.name, by_name[each.name.casefold()])
    return list(order.values())


def words(text: str) -> set[str]:
    """Words of a text or a name: parted at capitals and underscores, in small letters, without a plural's ending."""
    return {_singular(word.lower()) for word in _WORD.findall(text)}


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _score(copy: Copy, table: SourceTable, wanted: set[str], question: str) -> float:
    score = _OF_NAME * len(words(table.name) & wanted)
    score += _OF_COLUMN * len(set().union(*map(words, table.columns)) & wanted)
    low = question.casefold()
    for column in () if table.is_view else table.columns:
        if any(len(text) > 2 and text.casefold() in low for text in copy.texts(table.name, column)):
            score += _OF_TEXT
    return score


def _path(tables: Sequence[SourceTable], start: SourceTable, goals: Iterable[SourceTable]) -> list[SourceTable]:
    """The tables between `start` and the nearest of the goals, along foreign keys in either direction."""
    by_name = {table.name.casefold(): table for table in tables}
    links: dict[str, set[str]] = {name: set() for name in by_name}
    for name, table in by_name.items():
        for target in map(str.casefold, table.targets):
            if target in by_name:
                links[name].add(target)
                links[target].add(name)
    ends, first = {table.name.casefold() for table in goals}, start.name.casefold()
    before: dict[str, str] = {first: ""}
    queue = deque([first])
    while queue:
        name = queue.popleft()
        if name in ends:
            between = []
            while (name := before[name]) and name != first:
                between.append(by_name[name])
            return between
        for other in sorted(links[name] - before.keys()):
            before[other] = name
            queue.append(other)
    return []


def _text(tables: Sequence[SourceTable], rows: int) -> str:
    with scratch() as folder:
        path = folder / "schema.sqlite"
        try:
            with closing(sqlite3.connect(path)) as connection:
                for table in tables:
                    connection.execute(table.definition)
                connection.commit()
            definitions = schema_text(path)
        except sqlite3.Error:  # it needs what the file's own application brings
            definitions = " ".join(f"{_one_line(table.definition)};" for table in tables)
    return " ".join([definitions, *filter(None, (_insert(table, rows) for table in tables))])


def _one_line(definition: str) -> str:
    """A statement that SQLite does not take here, without comments; texts and names in quotes stay as they are."""
    line = ""
    for token in TOKEN.finditer(definition):
        if token.lastgroup not in ("space", "comment"):
            line += token.group()
        elif not line.endswith((" ", "(")):
            line += " "
    return line.strip(" ;")


def _insert(table: SourceTable, most: int) -> str:
    """The first rows as an INSERT statement; "" where there are none. A view has none of its own."""
    if not table.rows[:most] or table.is_view:
        return ""
    columns = ", ".join(map(_name, table.columns))
    rows = ", ".join(f"({', '.join(map(_literal, row))})" for row in table.rows[:most])
    return f"INSERT INTO {_name(table.name)} ({columns}) VALUES {rows};"


def _literal(value: object) -> str:
    """As SQL writes it: a long text is cut, a blob says nothing to a reader."""
    if value is None or isinstance(value, bytes):
        return "NULL"
    if isinstance(value, str):
        short = value if len(value) <= LONGEST_TEXT else value[: LONGEST_TEXT - 1] + "…"
        return "'" + short.replace("'", "''") + "'"
    return repr(value)


@cache
def _name(name: str) -> str:
    """In quotes where SQLite wants them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            is_bare = name.isidentifier() and connection.execute(f"SELECT 1 AS {name}").fetchone() == (1,)
        except sqlite3.Error:
            is_bare = False
    return name if is_bare else quote(name)
