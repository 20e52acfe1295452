"""Spider from a folder, in two layouts: as its authors publish it, or packed.

Published: dev.json, train_spider.json, train_others.json where it is there, database/NAME/NAME.sqlite. A row is called
after its place in its file (`spider-dev-0`, `spider-train-0`, `spider-others-0`); the schema is the database's own.
Packed: dev.jsonl, train.jsonl (id, db_id, question, sql a line), schemas.json (db_id → CREATE statements),
databases.tar.gz. The layout may lie one folder deeper. Not covered: Spider's test set, and other data sets' formats.
"""

import json
import sqlite3
import tarfile
import zlib
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

from common.data.cells import kind
from common.data.ddl import schema_text
from common.data.example import Example
from common.data.splits import bucket, without_post
from common.provenance import files_digest
from common.settings import UserError, once, outputs

PUBLISHED = ("dev.json", "train_spider.json")
OTHERS = "train_others.json"
PACKED = ("schemas.json", "train.jsonl", "dev.jsonl", "databases.tar.gz")
VALIDATION = 0.08  # of the training databases

Row = dict[str, str]  # id, db_id, question, sql


def load(folder: Path, split: str, *, seed: int) -> list[Example]:
    """Dev is test (and test_unseen: no database is shared with train); 8 % of train's databases are validation, and the
    last of the other training rows are `post`.

    Raises UserError for a folder without Spider, for files that are missing or cannot be read, and for test_forms.
    """
    if split == "test_forms":
        raise UserError("spider has the splits train, validation, test and post; test_forms is only in embedded")
    home, name = _home(folder), "dev" if split.startswith("test") else "train"
    try:
        rows, schemas, databases = (_published if _is_published(home) else _packed)(home, name)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"no Spider in {home}: {Path(error.filename).name} is missing{_wanted(home)}") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise _broken(home, error) from None
    if name == "train":
        rows = [row for row in rows if (bucket(f"{seed}:{row['db_id']}") < VALIDATION) == (split == "validation")]
        rows.sort(key=lambda row: bucket(f"{seed}:{row['id']}"))
    if split in ("train", "post"):
        rows = without_post(rows, split)
    return [
        Example(
            id=row["id"],
            question=row["question"],
            schema=schemas[row["db_id"]],
            sql=row["sql"],
            domain=row["db_id"],
            database=databases[row["db_id"]],
        )
        for row in rows
    ]


def revision(folder: Path) -> str:
    """A digest of the files that rows, schemas and databases come from; of nothing where there are none."""
    home = _home(folder) if folder.is_dir() else folder
    if not home.is_dir():
        paths = [home]
    elif _is_published(home):
        paths = [home / name for name in (*PUBLISHED, OTHERS)] + [*_files(home).values()]
    else:
        paths = [*home.glob("*.json*"), home / "databases.tar.gz"]
    stats = [(path, path.stat()) for path in sorted(paths) if path.is_file()]
    return _digest(tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats))


@cache  # the published databases are a gigabyte, and a run asks several times
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    return files_digest(path for path, _, _ in files)


def _home(folder: Path) -> Path:
    """The folder that the files lie in: this one, or the only one below it with such files, as downloads nest them."""
    if _has_spider(folder) or not folder.is_dir():
        return folder
    below = [path for path in sorted(folder.iterdir()) if path.name[0] not in "._" and _has_spider(path)]
    if len(below) > 1:
        raise UserError(f"{folder} holds Spider in {', '.join(path.name for path in below)}; name one of them")
    return below[0] if below else folder


def _has_spider(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (*PACKED, *PUBLISHED))


def _is_published(home: Path) -> bool:
    return not (home / "schemas.json").is_file() and any((home / name).is_file() for name in PUBLISHED)


def _wanted(home: Path) -> str:
    if _has_spider(home):
        return ""
    return (
        f"; spider:DIR wants what Spider's authors publish ({', '.join(PUBLISHED)}, database/*/*.sqlite), or "
        f"{', '.join(PACKED)}"
    )


def _broken(home: Path, error: Exception, file: str = "") -> UserError:
    return UserError(f"Spider in {home / file} cannot be read ({type(error).__name__}); copy it again")


# As published


def _published(home: Path, name: str) -> tuple[list[Row], dict[str, str], dict[str, Path]]:
    if name == "dev":
        rows = _json_rows(home, "dev.json", "spider-dev")
    else:
        rows = _json_rows(home, "train_spider.json", "spider-train")
        if (home / OTHERS).is_file():
            rows += _json_rows(home, OTHERS, "spider-others")
    files = _files(home)
    _check_databases(home, rows, files, " in database/")
    schemas = {}
    for database in dict.fromkeys(row["db_id"] for row in rows):
        try:
            schemas[database] = schema_text(files[database])
        except sqlite3.Error as error:
            raise _broken(home, error, f"database/{database}") from None
        if not schemas[database]:
            raise UserError(f"Spider in {home}: the database {database} has no tables; copy it again")
    return rows, schemas, files


def _files(home: Path) -> dict[str, Path]:
    """The databases by name; what an archive of a Mac puts beside them is none."""
    files = (home / "database").glob("*/*.sqlite")
    return {path.stem: path.resolve() for path in files if path.stem == path.parent.name and path.is_file()}


def _json_rows(home: Path, file: str, prefix: str) -> list[Row]:
    rows = _parsed(home, file, (home / file).read_bytes())
    if not isinstance(rows, list):
        raise UserError(f"Spider in {home}: {file} is {kind(rows)}, not a list of rows; copy it again")
    return [_row(home, file, n, row, {"sql": "query"}) | {"id": f"{prefix}-{n}"} for n, row in enumerate(rows)]


# Packed


def _packed(home: Path, name: str) -> tuple[list[Row], dict[str, str], dict[str, Path]]:
    schemas = _parsed(home, "schemas.json", (home / "schemas.json").read_bytes())
    file = f"{name}.jsonl"
    lines = (home / file).read_bytes().split(b"\n")  # a line may hold any other character that ends one
    values = [_parsed(home, file, line) for line in lines if line.strip()]
    rows = [_row(home, file, n, row, {"id": "id", "sql": "sql"}) for n, row in enumerate(values)]
    databases = {path.stem: path for path in _unpacked(home / "databases.tar.gz").iterdir()}
    _check_databases(home, rows, databases)
    texts = {}
    for row in rows:
        schema = schemas.get(row["db_id"]) if isinstance(schemas, dict) else None
        if not isinstance(schema, str | list) or not all(isinstance(part, str) for part in schema):
            raise UserError(f"Spider in {home}: schemas.json has no text for {row['db_id']}; copy it again")
        texts[row["db_id"]] = schema if isinstance(schema, str) else " ".join(schema)
    return rows, texts, databases


def _unpacked(archive: Path) -> Path:
    """The folder of the archive's databases, unpacked once into the cache."""
    stat = archive.stat()
    return once(outputs() / "cache" / f"spider-{stat.st_size}-{stat.st_mtime_ns}", partial(_unpack, archive))


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith(".sqlite"):
                member.name = Path(member.name).name
                tar.extract(member, folder, filter="data")


# Both


def _parsed(home: Path, file: str, text: bytes) -> object:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _broken(home, error, file) from None


def _row(home: Path, file: str, number: int, row: object, names: dict[str, str]) -> Row:
    """A row's texts. names: what the file calls those that have other names in the other layout."""
    values = {}
    for key, name in {"db_id": "db_id", "question": "question", **names}.items():
        value = row.get(name) if isinstance(row, dict) else None
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"Spider in {home}: row {number + 1} of {file} has no text as {name}; copy it again")
        values[key] = value
    return values


def _check_databases(home: Path, rows: list[Row], databases: Iterable[str], place: str = "") -> None:
    if missing := sorted({row["db_id"] for row in rows} - set(databases)):
        raise UserError(
            f"Spider in {home} lacks {len(missing)} databases{place}, the first is {missing[0]}; copy it again"
        )
