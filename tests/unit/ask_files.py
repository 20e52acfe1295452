"""SQLite files to ask, and what is looked at of them: shared by the tests of common.ask."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from common.ask.copies import open_copy
from common.settings import UserError


def database(path: Path, script: str) -> Path:
    """A file that a script has made, with a function, a collation and schema rights that a plain connection lacks."""
    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("of_app", 1, lambda value: value, deterministic=True)
        connection.create_collation("OF_APP", lambda one, other: (one > other) - (one < other))
        connection.executescript(script)
    return path


def tokens(text: str) -> int:
    return len(text.split())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refuse(match: str, file: Path | str) -> None:
    """That a file cannot be asked, and why; in one line."""
    with pytest.raises(UserError, match=match) as refusal, open_copy(file):
        pass
    assert "\n" not in str(refusal.value)
