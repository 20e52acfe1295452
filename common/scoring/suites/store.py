"""Suites on disk: one SQLite file under outputs/cache, by a hash of all that a suite is made from.

A cache and no more: what cannot be read is made again, and where nothing can be written, scoring goes on without. The
file holds the suites of one maker, the code and the libraries of today: whoever writes removes those of any other, so
that the file grows with the references and not with the changes of the code.
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
_TABLE = (
    "CREATE TABLE IF NOT EXISTS suites (maker TEXT, key TEXT, suite TEXT, sum INTEGER, PRIMARY KEY (maker, key)) "
    "WITHOUT ROWID"
)
_EARLIER_TABLE = "suite"  # without makers


@cache
def maker() -> str:
    """Digest of what suites are made by: the worker's code, and the libraries that have a say in them."""
    versions = packages(_TASK)
    return digest(code(_TASK), [versions[name] for name in ("python", "sqlite", "sqlglot")])


def key(schema: str, database: str, reference: str, *, number: int, generator: str, seed: int) -> str:
    """A suite's key. database: a digest of the file, "" where the schema makes the database."""
    facts = ["" if database else schema, database, reference, number, generator, seed]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """A digest of a database file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(keys: Iterable[str]) -> dict[str, list[str]]:
    """The suites of today's maker that are there, by key."""
    keys, suites = list(keys), {}
    try:
        if not keys or not _path().exists():
            return {}
        with closing(_open()) as connection:
            for start in range(0, len(keys), _BATCH):
                some = keys[start : start + _BATCH]
                marks = ",".join("?" * len(some))
                sql = f"SELECT key, suite, sum FROM suites WHERE maker = ? AND key IN ({marks})"
                rows = connection.execute(sql, [maker(), *some])
                suites |= {key: json.loads(text) for key, text, total in rows if zlib.crc32(text.encode()) == total}
    except (sqlite3.Error, ValueError, OSError):
        return suites
    return suites


def write(suites: Mapping[str, list[str]]) -> None:
    """Keep suites, and only those of today's maker; two writers write the same."""
    if not suites:
        return
    rows = [(maker(), key, text := json.dumps(suite), zlib.crc32(text.encode())) for key, suite in suites.items()]
    try:
        _path().parent.mkdir(parents=True, exist_ok=True)
        with closing(_open()) as connection:
            connection.execute("BEGIN IMMEDIATE")  # writers take turns; who is stopped has written nothing
            connection.execute(f"DROP TABLE IF EXISTS {_EARLIER_TABLE}")
            connection.execute(_TABLE)
            for other in ("<", ">"):  # not <>, for which SQLite would read the whole table
                connection.execute(f"DELETE FROM suites WHERE maker {other} ?", [maker()])
            connection.executemany("INSERT OR REPLACE INTO suites VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
    except (sqlite3.Error, OSError):
        return


def _path() -> Path:
    return outputs() / "cache" / "suites.sqlite"


def _open() -> sqlite3.Connection:
    return sqlite3.connect(_path(), timeout=30, isolation_level=None)
