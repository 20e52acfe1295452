"""What a person can do about an answer that brought no rows or failed, in one line; found by looking into the copy."""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from common.ask.copies import Copy
from common.execution import Execution
from common.sandbox.functions import NOW
from common.sandbox.statements import TOKEN
from common.scoring.state import quote

_MISSING = re.compile(r"no such (?P<kind>table|column): (?P<name>.+)|has no column named (?P<other>.+)")
_PATTERN = re.compile(r"[%_]")
_CLOCK = re.compile(r"'now'|\bcurrent_(?:date|time|timestamp)\b", re.IGNORECASE)
NEAR = 0.6  # of difflib's ratio
CUT = "the answer broke off at the limit of its tokens, so its statement may lack its end; ask for less in one question"


def hint(copy: Copy, sql: str, execution: Execution, *, is_cut: bool = False) -> str:
    """One line, or "" where there is nothing to say: for a statement that broke off that it did, for an unknown name
    the nearest ones, for an empty result the texts of the statement that no column holds, for the rest what stopped it
    or what it takes for today."""
    if is_cut:
        return CUT
    if execution.outcome:
        return _failure(copy, sql, execution)
    if _CLOCK.search(sql):
        return f"the sandbox's clock stands at {NOW}; for another day write the date into the question"
    is_empty = not execution.writes and not any(table.rows for table in execution.tables)
    return _absent(copy, sql) if is_empty else ""


def _failure(copy: Copy, sql: str, execution: Execution) -> str:
    if execution.outcome == "schema_error":
        return _unknown(copy, execution.detail)
    if execution.outcome in ("budget", "timeout"):
        return "it did not end within the sandbox's limits; ask about fewer rows or tables"
    if execution.outcome == "too_large" and not sql.lstrip("( \n").lower().startswith(("select", "with", "values")):
        return "its tables are larger than the sandbox compares; run such a statement yourself, on a copy"
    if execution.outcome == "too_large":
        return "its result is larger than the sandbox gives back; ask for a total, or for the first few"
    if execution.outcome == "forbidden":
        return "the sandbox runs one statement that reads or changes tables, nothing else"
    return "ask again in other words, or take a trained run"


def slips(copy: Copy) -> list[str]:
    """Two statements with a slip each, to show what `hint` says: a text without its last letter, where the file has
    texts, and a table whose name has a letter too many."""
    first = copy.tables[0].name
    statements = [f"SELECT * FROM {quote(first + 'x')}"]
    for table in (table for table in copy.tables if not table.is_view):
        for column in table.columns:
            if texts := [text for text in copy.texts(table.name, column) if len(text) > 3]:
                text = texts[0][:-1].replace("'", "''")
                return [f"SELECT * FROM {quote(table.name)} WHERE {quote(column)} = '{text}'", *statements]
    return statements


def _unknown(copy: Copy, detail: str) -> str:
    match = _MISSING.search(detail)
    if not match:
        if "ambiguous" in detail:
            return "several tables have that column; ask again, and name the table in the question"
        return "SQLite has no such function, or not with so many values; ask again in other words"
    qualifier, _, name = (match["name"] or match["other"]).rpartition(".")
    tables = [table.name for table in copy.tables]
    names = tables if match["kind"] == "table" else [column for table in copy.tables for column in table.columns]
    owners = [table.name for table in copy.tables if name.casefold() in map(str.casefold, table.columns)]
    if match["kind"] != "table" and owners:
        other = f"not of '{qualifier}'" if qualifier else "which the statement does not read"
        return f"'{name}' is a column of {_quoted(owners)}, {other}; name that table in the question"
    near = _near(name, dict.fromkeys(names))
    if near:
        return f"the file has {_quoted(near)}; ask in its words"
    return f"its tables are {', '.join(tables[:12])}{', …' if len(tables) > 12 else ''}; ask in their words"


def _absent(copy: Copy, sql: str) -> str:
    texts = [text for text in _texts(sql) if len(text) > 1]
    columns = [(table.name, column) for table in copy.tables if not table.is_view for column in table.columns]
    values: dict[str, None] = {}  # of all columns, read once and only where a text is missing
    for text in texts:
        if any(copy.holds(table, column, text) for table, column in columns):
            continue
        values = values or dict.fromkeys(value for place in columns for value in copy.texts(*place))
        bare = _PATTERN.sub("", text).strip()
        if bare != text and any(bare.casefold() in value.casefold() for value in values):
            continue
        near = _near(bare, values)
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
