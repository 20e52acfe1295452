"""Suites on disk: one SQLite file under outputs/cache, by a hash of all that a suite is made from.

A cache and no more: what cannot be read is made again, and where nothing can be written, scoring goes on without.
"""

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path

from common.provenance import code, digest, packages
from common.settings import outputs

_TASK = "common.scoring.judge"
_BATCH = 500  # keys in one question to SQLite
_TABLE = "CREATE TABLE IF NOT EXISTS suite (key TEXT PRIMARY KEY, suite TEXT, sum INTEGER) WITHOUT ROWID"


@cache
def _maker() -> str:
    """Digest of what suites are made by: the worker's code, and the libraries that have a say in them."""
    versions = packages(_TASK)
    return digest(code(_TASK), [versions[name] for name in ("python", "sqlite", "sqlglot")])


def key(schema: str, database: str, reference: str, *, number: int, generator: str, seed: int) -> str:
    """A suite's key. database: a digest of the file, "" where the schema makes the database."""
    facts = [_maker(), "" if database else schema, database, reference, number, generator, seed]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """A digest of a database file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(keys: Iterable[str]) -> dict[str, list[str]]:
    """The suites that are there, by key."""
    keys, found = list(keys), {}
    try:
        if not _path().exists():
            return {}
        with closing(_open()) as connection:
            for start in range(0, len(keys), _BATCH):
                some = keys[start : start + _BATCH]
                marks = ",".join("?" * len(some))
                rows = connection.execute(f"SELECT key, suite, sum FROM suite WHERE key IN ({marks})", some)
                found |= {key: json.loads(text) for key, text, total in rows if zlib.crc32(text.encode()) == total}
    except (sqlite3.Error, ValueError, OSError):
        return found
    return found


def write(suites: Mapping[str, list[str]]) -> None:
    """Keep suites; two writers write the same."""
    if not suites:
        return
    try:
        _path().parent.mkdir(parents=True, exist_ok=True)
        with closing(_open()) as connection, connection:
            connection.execute(_TABLE)
            rows = [(key, text := json.dumps(suite), zlib.crc32(text.encode())) for key, suite in suites.items()]
            connection.executemany("INSERT OR REPLACE INTO suite VALUES (?, ?, ?)", rows)
    except (sqlite3.Error, OSError):
        return


def _path() -> Path:
    return outputs() / "cache" / "suites.sqlite"


def _open() -> sqlite3.Connection:
    return sqlite3.connect(_path(), timeout=30)
