"""Tables, columns, keys and values as the text of a schema gives them, without a database.

Covers CREATE TABLE and INSERT … VALUES in SQLite's usual spellings. What it cannot read it leaves out; never raises.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

TOKENS = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | \[[^\]]*\]  # texts and quoted names
    | --[^\n]* | /\*.*?\*/ | \d+(?:\.\d+)? | \w+ | [<>!=|]{2} | \S""",
    re.DOTALL | re.VERBOSE,
)
_CONSTRAINTS = {"primary", "foreign", "unique", "check", "constraint", "key", "exclude"}
_KINDS = {"number": r"int|real|floa|doub|dec|num|bool|money", "date": r"date|time|year"}


@dataclass
class Column:
    """One column. kind: "number", "date" or "text". target: the table that it refers to, "" for none."""

    name: str
    kind: str
    target: str = ""
    is_key: bool = False
    values: list[str] = field(default_factory=list)


@dataclass
class Table:
    """One table, its columns in their order."""

    name: str
    columns: list[Column]

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name.lower() == name.lower()), None)


def tokens(sql: str) -> list[str]:
    """SQL in pieces, without spaces and comments."""
    return [token for token in TOKENS.findall(sql) if not token.startswith(("--", "/*"))]


def unquoted(token: str) -> str:
    """A name or a text without its quotes."""
    if token[:1] in ("'", '"', "`"):
        return token[1:-1].replace(token[0] * 2, token[0])
    return token[1:-1] if token[:1] == "[" and len(token) > 1 else token


def stems(name: str) -> tuple[str, ...]:
    """The words of a name or phrase in small letters, singular."""
    words = re.findall(r"[A-Za-z][a-z]*|[A-Z]+|\d+", name.replace("_", " "))
    return tuple(stem(word) for word in words)


def stem(word: str) -> str:
    """A word in small letters without its plural's end. Rough, but the same for both numbers."""
    word = word.lower()
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if len(word) > 3 and word.endswith("e"):
        word = f"{word[:-2]}y" if word.endswith("ie") else word[:-1]
    return word


@lru_cache(maxsize=4096)
def read_schema(text: str) -> tuple[Table, ...]:
    """The tables of a schema, in their order."""
    tables: list[Table] = []
    for statement in _statements(tokens(text)):
        words = [token.lower() for token in statement[:6]]
        if words[:1] == ["create"] and "table" in words[1:3]:
            if (table := _table(statement)) is not None:
                tables.append(table)
        elif words[:2] == ["insert", "into"]:
            _add_values(statement, tables)
    _complete_keys(tables)
    return tuple(tables)


def _statements(pieces: Sequence[str]) -> list[list[str]]:
    statements: list[list[str]] = [[]]
    for piece in pieces:
        if piece == ";":
            statements.append([])
        else:
            statements[-1].append(piece)
    return [statement for statement in statements if statement]


def _groups(pieces: Sequence[str]) -> list[list[list[str]]]:
    """What stands in the outermost parentheses, each split at its commas."""
    groups, depth = [], 0
    for piece in pieces:
        depth -= piece == ")"
        if depth == 1 and piece == ",":
            groups[-1].append([])
        elif depth > 0:
            groups[-1][-1].append(piece)
        elif piece == "(":
            groups.append([[]])
        depth += piece == "("
    return groups


def _table(statement: Sequence[str]) -> Table | None:
    opening = statement.index("(") if "(" in statement else 0
    groups = _groups(statement)
    if opening < 3 or not groups:
        return None  # CREATE TABLE … AS SELECT
    table = Table(unquoted(statement[opening - 1]), [])
    for item in groups[0]:
        words = [piece.lower() for piece in item]
        if not item:
            continue
        if words[0] in _CONSTRAINTS:
            names = [unquoted(group[0]) for group in (_groups(item) or [[]])[0] if group]
            for column in filter(None, map(table.column, names)):
                column.is_key |= words[0] == "primary"
                column.target = _reference(item) if "foreign" in words[:3] else column.target
            continue
        kind = next((kind for kind, pattern in _KINDS.items() if re.match(pattern, " ".join(words[1:2]))), "text")
        table.columns.append(Column(unquoted(item[0]), kind, _reference(item), "primary" in words))
    return table


def _reference(item: Sequence[str]) -> str:
    words = [piece.lower() for piece in item]
    place = words.index("references") + 1 if "references" in words else len(item)
    return unquoted(item[place]) if place < len(item) else ""


def _add_values(statement: Sequence[str], tables: Sequence[Table]) -> None:
    table = next((table for table in tables if table.name.lower() == unquoted(statement[2]).lower()), None)
    words = [piece.lower() for piece in statement]
    if table is None or "values" not in words:
        return
    start = words.index("values")
    names = [unquoted(item[0]) for group in _groups(statement[:start]) for item in group if item]
    columns = [table.column(name) for name in names] if names else table.columns
    for row in _groups(statement[start:]):
        for column, cell in zip(columns, row, strict=False):
            if column is not None and len(cell) == 1 and cell[0].lower() != "null":
                column.values.append(unquoted(cell[0]))


def _complete_keys(tables: Sequence[Table]) -> None:
    """Keys that are not declared go by their names: `id`, and `<table>_id`, or how the table's name begins, for what
    refers to that table."""
    owners = {table.name: stems(table.name) for table in tables}
    for table in tables:
        for column in table.columns:
            words = stems(column.name)
            column.is_key |= words in (("id",), (*stems(table.name), "id"))
            if not column.target and words[-1:] == ("id",) and words[:-1] not in ((), stems(table.name)):
                fitting = (name for name, owner in owners.items() if owner[: len(words) - 1] == words[:-1])
                column.target = next((name for name in fitting if name != table.name), "")
