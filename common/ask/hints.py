"""What a person can do about an answer that brought no rows or failed, in one line; found by looking into the copy."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from common.ask.copies import Copy
from common.execution import Execution
from common.sandbox.statements import TOKEN
from common.scoring.state import quote

_MISSING = re.compile(r"no such (?P<kind>table|column): (?P<name>.+)|has no column named (?P<other>.+)")
_PATTERN = re.compile(r"[%_]")
NEAR = 0.6  # of difflib's ratio


def hint(copy: Copy, sql: str, execution: Execution) -> str:
    """One line, or "" where there is nothing to say: for an unknown name the nearest ones, for an empty result the
    texts of the statement that no column holds, for the rest what stopped it."""
    if execution.outcome == "schema_error":
        return _unknown(copy, execution.detail)
    if execution.outcome in ("budget", "timeout"):
        return "it did not end within the sandbox's limits; ask about fewer rows or tables"
    if execution.outcome == "too_large":
        return "its result is larger than the sandbox gives back; ask for a total, or for the first few"
    if execution.outcome == "forbidden":
        return "the sandbox runs one statement that reads or changes tables, nothing else"
    if execution.outcome:
        return "ask again in other words, or take a trained run"
    is_empty = not execution.writes and not any(table.rows for table in execution.tables)
    return _absent(copy, sql) if is_empty else ""


def slips(copy: Copy) -> list[str]:
    """Two statements with a slip each, to show what `hint` says: a text without its last letter, where the file has
    texts, and a table whose name has a letter too many."""
    first = copy.tables[0].name
    statements = [f"SELECT * FROM {quote(first + 'x')}"]
    for table in copy.tables:
        for column in table.columns:
            if texts := [text for text in copy.texts(table.name, column) if len(text) > 3]:
                text = texts[0][:-1].replace("'", "''")
                return [f"SELECT * FROM {quote(table.name)} WHERE {quote(column)} = '{text}'", *statements]
    return statements


def _unknown(copy: Copy, detail: str) -> str:
    match = _MISSING.search(detail)
    if not match:
        return "the names of tables and columns are those of the file; ask in its words"
    name = (match["name"] or match["other"]).rpartition(".")[2]
    tables = [table.name for table in copy.tables]
    names = tables if match["kind"] == "table" else [column for table in copy.tables for column in table.columns]
    owners = [table.name for table in copy.tables if name.casefold() in map(str.casefold, table.columns)]
    if match["kind"] != "table" and owners:
        return f"'{name}' is a column of {_quoted(owners)}, which the statement does not read; name that table too"
    near = _near(name, dict.fromkeys(names))
    if near:
        return f"the file has {_quoted(near)}; ask in its words"
    return f"its tables are {', '.join(tables[:12])}{', …' if len(tables) > 12 else ''}; ask in their words"


def _absent(copy: Copy, sql: str) -> str:
    texts = [text for text in _texts(sql) if len(text) > 1]
    columns = [(table.name, column) for table in copy.tables if not table.is_view for column in table.columns]
    for text in texts:
        bare = _PATTERN.sub("", text).strip()
        values = [value for table, column in columns for value in copy.texts(table, column)]
        if any(text == value or (bare != text and bare.casefold() in value.casefold()) for value in values):
            continue
        near = _near(bare, dict.fromkeys(values))
        return f"no column holds '{text}'" + (f", but there is {_quoted(near)}" if near else "")
    return "every text in it occurs in the file, but no row fits all its conditions together" if texts else ""


def _texts(sql: str) -> Iterator[str]:
    for token in TOKEN.finditer(sql):
        if token.lastgroup == "string":
            yield token.group()[1:].removesuffix("'").replace("''", "'")


def _near(name: str, others: Iterable[str]) -> list[str]:
    by_case = {other.casefold(): other for other in others}
    return [by_case[near] for near in get_close_matches(name.casefold(), by_case, n=3, cutoff=NEAR)]


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
