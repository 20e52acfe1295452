"""The schema of a SQLite file as one line of CREATE statements, as prompts show it. Tables and views; never rows."""

import re
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

_TOKENS = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\]  # texts and names in quotes
    | (?P<space>\s+ | --[^\n]* | /\*.*?(?:\*/|\Z))
    | [^'"`\[\s/-]+ | .""",
    re.DOTALL | re.VERBOSE,
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def schema_text(file: Path) -> str:
    """The statements that made the file's tables and views, on one line, without comments and needless quotes.

    "" for a database without tables. Raises sqlite3.Error for a file that is no database.
    """
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        connection.text_factory = _decoded
        rows = connection.execute(
            "SELECT type = 'table', sql FROM sqlite_master WHERE type IN ('table', 'view') AND sql <> '' "
            "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, rowid"
        ).fetchall()
    tables, views = ([_line(sql) for is_table, sql in rows if is_table == kind] for kind in (1, 0))
    words = [_line(sql, bare=True) for is_table, sql in rows if is_table]
    # What stands in quotes may be a text and no name, as in CHECK (size IN ("S", "M")): then all quotes stay.
    columns = _columns(words)
    tables = words if columns is not None and columns == _columns(tables) else tables
    return " ".join(f"{sql};" for sql in (*tables, *views))


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")  # as old exports wrote it


def _line(sql: str, *, bare: bool = False) -> str:
    """A statement on one line. bare: names that need no quotes lose them."""
    line, space = "", False
    for match in _TOKENS.finditer(sql.strip().rstrip(";")):
        token = match[0]
        if match["space"]:
            space = True
            continue
        if space and line and not line.endswith("(") and token[0] not in "),":
            line += " "
        space = False
        line += token[1:-1] if bare and token[0] in '"`[' and _is_bare(token[1:-1]) else token
    return line


@cache
def _is_bare(name: str) -> bool:
    """Whether SQLite takes a name without quotes for the name it is."""
    if not _WORD.fullmatch(name):
        return False
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            return connection.execute(f"SELECT {name} FROM (SELECT 1 AS {name})").fetchone() == (1,)
        except sqlite3.Error:
            return False


def _columns(statements: list[str]) -> list | None:
    """What the tables of the statements are; None where SQLite refuses one."""
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            for statement in statements:
                connection.execute(statement)
        except sqlite3.Error:
            return None
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        pragmas = ("table_xinfo", "foreign_key_list")
        return [
            (name, *(connection.execute(f"SELECT * FROM pragma_{pragma}(?)", (name,)).fetchall() for pragma in pragmas))
            for name in names
        ]
