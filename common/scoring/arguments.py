"""What a caller of the scorer may give, checked before any work: options, rows, database files.

Mistakes are named in one line: a `UserError` where a value makes no sense, a TypeError where a row is not made as rows
are. What the texts of a row hold is no mistake of the caller's and is not looked at here.
"""

import numbers
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.sandbox.pool import LARGEST_FILE
from common.settings import UserError

MOST_DATABASES = 32
MOST_WORKERS = 256
GENERATORS = ("conservative", "aggressive")

Row = tuple[str, str, Path | None, str]  # schema, reference, database, prediction
_TEXTS = ("schema", "reference", "prediction")
_ROW = "a row is a dict with schema, reference, prediction and perhaps database, or a pair (Example, completion)"
_HOT_JOURNAL = bytes.fromhex("d9d505f920a163d7")  # how a rollback journal begins that is still to be rolled back


def check_options(*, workers: object, databases: object, generator: object, seed: object) -> None:
    """Raises UserError for a number or a generator that makes no sense."""
    for name, value in {"workers": workers, "databases": databases, "seed": seed}.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise UserError(f"{name}={value!r} is no whole number; give one without quotes, such as {name}=2")
    if workers < 1:
        raise UserError(f"workers={workers} leaves nobody to score; give at least 1")
    if workers > MOST_WORKERS:
        raise UserError(f"workers={workers} are too many processes; give about as many as there are processor cores")
    if not 0 <= databases <= MOST_DATABASES:
        raise UserError(f"databases={databases} is not possible; give 0 for the strict match, or 1 to 32, such as 4")
    if generator not in GENERATORS:
        raise UserError(f"unknown generator {generator!r}; choose one of {', '.join(GENERATORS)}")


def rows_of(rows: Iterable[Any]) -> list[Row]:
    """A batch's rows. Raises TypeError for one of another shape, naming its number, counted from 1."""
    if isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Iterable):
        raise TypeError(f"score_batch takes a list of rows, not {_kind(rows)}; {_ROW}")
    return [_quick_row(row) or row_of(row, f"row {number}: ") for number, row in enumerate(rows, start=1)]


def _quick_row(row: Any) -> Row | None:
    """A row with its three texts and nothing else, at a fifth of the time; None for any other."""
    if row.__class__ is not dict or len(row) != 3:
        return None
    schema, reference, prediction = row.get("schema"), row.get("reference"), row.get("prediction")
    if not schema.__class__ is reference.__class__ is prediction.__class__ is str:
        return None
    return schema, reference, None, prediction


def row_of(row: Any, place: str = "") -> Row:
    """One row; place: what an error's line begins with."""
    if isinstance(row, Mapping):
        if unknown := row.keys() - {*_TEXTS, "database"}:
            raise TypeError(f"{place}unknown keys in a row: {', '.join(sorted(map(str, unknown)))}; {_ROW}")
        if missing := [name for name in _TEXTS if name not in row]:
            raise TypeError(f"{place}a row without {' and '.join(missing)}; {_ROW}")
        schema, reference, prediction = (row[name] for name in _TEXTS)
        database = row.get("database")
    else:
        if not isinstance(row, tuple | list) or len(row) != 2:
            size = f" of {len(row)}" if isinstance(row, tuple | list) else ""
            raise TypeError(f"{place}{_kind(row)}{size} is no row; {_ROW}")
        example, prediction = row
        try:
            schema, reference, database = example.schema, example.sql, example.database
        except AttributeError:
            raise TypeError(f"{place}{_kind(example)} is no Example; {_ROW}") from None
    for name, value in zip(_TEXTS, (schema, reference, prediction), strict=True):
        if not isinstance(value, str):
            raise TypeError(f"{place}{name} is {_kind(value)}; schema, reference and prediction are strings")
    if not isinstance(database, str | os.PathLike | None):
        raise TypeError(f"{place}database is {_kind(database)}; give the path of a SQLite file, or None")
    return schema, reference, None if database is None else Path(database), prediction


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def check_file(database: Path) -> None:
    """Raises UserError for a path that is no file with a whole database's content; never waits for one."""
    try:
        status = database.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise UserError(f"cannot read the database {database}: it is {kind}; give the path of a SQLite file")
        with database.open("rb"):
            pass
        is_logged = _size(database, "-wal") or _begins(database, "-journal", _HOT_JOURNAL)
    except (OSError, ValueError) as error:  # a path with NUL is a ValueError
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot read the database {database}: {reason}; check the path") from error
    if status.st_size > LARGEST_FILE:
        raise UserError(
            f"the database {database} has {status.st_size / 2**20:,.0f} MiB, at most {LARGEST_FILE // 2**20} can be "
            "scored; give a smaller copy"
        )
    if is_logged:
        raise UserError(
            f"the database {database} has changes in a log beside it, which is not read; close the programs that use "
            "it, or give a copy made by VACUUM INTO"
        )


def _beside(database: Path, suffix: str) -> Path:
    database = database.resolve()  # SQLite keeps a log beside the file, not beside a link to it
    return database.with_name(database.name + suffix)


def _size(database: Path, suffix: str) -> int:
    try:
        return _beside(database, suffix).stat().st_size
    except FileNotFoundError:
        return 0


def _begins(database: Path, suffix: str, beginning: bytes) -> bool:
    path = _beside(database, suffix)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning
