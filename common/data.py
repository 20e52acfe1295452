"""Examples and where they come from: embedded, gretel from the hub, Spider from a folder, or a file of one's own.

One split for every method: `load_examples` is the only way in, its rows are a pure function of (source, split, seed),
and a smaller `limit` gives the first rows of a larger one. Stage subsets are therefore nested, as published.
Not covered: other SQL dialects; a reference that SQLite refuses is kept here and listed as unscorable by the scorer.
"""

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.hub import hub_commit, no_hub
from common.provenance import code, files_digest
from common.settings import UserError, once, outputs
from common.synthetic import SPLITS, generate

COLUMNS = ("sql_prompt", "sql_context", "sql")
GRETEL = "gretelai/synthetic_text_to_sql"
EMBEDDED_SIZES = {"train": 20_000, "validation": 2_500, "test": 2_500, "test_unseen": 2_500}


@dataclass(frozen=True)
class Example:
    """One question with its reference. Statements run in a database built from `schema`, or a copy of `database`."""

    id: str
    question: str
    schema: str
    sql: str
    domain: str = ""
    complexity: str = ""
    task_type: str = ""
    database: Path | None = None


def load_examples(source: str, split: str, *, limit: int | None = None, seed: int = 42) -> list[Example]:
    """Rows of one split, in the split's fixed order.

    source: `embedded`; `gretel` or `gretel@REVISION` (needs the hub); `spider:DIR`; or the path of a .parquet,
    .jsonl or .csv file with the columns sql_prompt, sql_context, sql (optional: id, domain, sql_complexity,
    sql_task_type, split). Raises UserError for an unknown source or split, a missing column, an unreadable file,
    an unreachable hub, or a limit larger than the split.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split '{split}'; choose one of {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} rows leaves nothing; give at least 1, or None for all")
    if source == "embedded":
        examples = _embedded(split, limit, seed)
    elif source == "gretel" or source.startswith("gretel@"):
        examples = _gretel(source, split, limit, seed)
    elif source.startswith("spider:"):
        examples = _spider(Path(source.removeprefix("spider:")).expanduser(), split, seed)
    else:
        examples = _file_split(_rows_of(source), split, seed)
    if not examples:
        raise UserError(f"{source} has no rows in split '{split}'; give a larger file or another split")
    if limit is not None and len(examples) < limit:
        raise _too_few(source, split, len(examples), limit)
    return examples[:limit]


def _too_few(source: str, split: str, size: int, limit: int) -> UserError:
    return UserError(f"{source} has {size} rows in split '{split}', {limit} were asked for; ask for fewer")


def revision(source: str) -> str:
    """What pins the source's content: the hub's commit for gretel, else a digest of the generator or the files."""
    if source == "embedded":
        return code("common.synthetic")
    if source == "gretel" or source.startswith("gretel@"):
        return _gretel_commit(source)
    path = Path(source.removeprefix("spider:")).expanduser()
    return files_digest([*path.glob("*.json*"), path / "databases.tar.gz"] if path.is_dir() else [path])


def ids_hash(examples: Iterable[Example]) -> str:
    """First 16 hex digits of the SHA-256 over the ids in order: equal only for the same rows in the same order."""
    return hashlib.sha256("\n".join(example.id for example in examples).encode()).hexdigest()[:16]


def without_leaks(train: Iterable[Example], *held_out: Iterable[Example]) -> tuple[list[Example], int]:
    """The training rows that are in none of the held-out sets, in their order, and how many were dropped.

    Rows are the same by id, or by question, schema and reference: a random split of real data parts such pairs, and the
    held-out row is the one that stays. Raises UserError where no training row remains.
    """
    train, leaks = list(train), _overlap(example for examples in held_out for example in examples)
    rows = [example for example in train if not leaks(example)]
    if train and not rows:
        raise UserError(f"all {len(train)} training rows are also held-out rows; split again")
    return rows, len(train) - len(rows)


def check_no_leak(train: Iterable[Example], held_out: Iterable[Example]) -> None:
    """Raises UserError where a held-out row (by id, or by question, schema and reference) is also trained on."""
    trains = _overlap(train)
    leaks = [example.id for example in held_out if trains(example)]
    if leaks:
        raise UserError(
            f"{len(leaks)} held-out rows are also in the training rows, the first is {leaks[0]}; split again"
        )


def _overlap(examples: Iterable[Example]) -> Callable[[Example], bool]:
    """Tells whether a row is one of these, by its id or by its content."""
    keys = {key for example in examples for key in (example.id, _content(example))}
    return lambda example: example.id in keys or _content(example) in keys


def _content(example: Example) -> tuple[str, str, str]:
    return example.question, example.schema, example.sql


def _example(row: dict, id: str) -> Example:
    return Example(
        id=id,
        question=str(row["sql_prompt"]),
        schema=str(row["sql_context"]),
        sql=str(row["sql"]),
        domain=str(row.get("domain") or ""),
        complexity=str(row.get("sql_complexity") or ""),
        task_type=str(row.get("sql_task_type") or ""),
    )


def _embedded(split: str, limit: int | None, seed: int) -> list[Example]:
    size = EMBEDDED_SIZES[split]
    if limit is not None and limit > size:
        raise _too_few("embedded", split, size, limit)
    return [_example(row, row["id"]) for row in generate(split, limit or size, seed=seed)]


def _gretel(source: str, split: str, limit: int | None, seed: int) -> list[Example]:
    if split == "test_unseen":
        raise UserError("gretel has the splits train, validation and test; test_unseen is only in embedded and spider")
    commit, name = _gretel_commit(source), "test" if split == "test" else "train"
    import datasets

    try:
        rows = datasets.load_dataset(GRETEL, split=name, revision=commit)
    except Exception as error:  # the hub's client raises a dozen kinds
        raise no_hub(GRETEL, error) from None
    if split != "test":
        # The published split: 2.5 % for validation, datasets' own shuffle.
        rows = rows.train_test_split(test_size=0.025, seed=seed)["train" if split == "train" else "test"]
    rows = rows.select(range(min(len(rows), limit or len(rows))))
    return [_example(row, f"gretel-{name}-{row['id']}") for row in rows]


def _gretel_commit(source: str) -> str:
    return hub_commit(GRETEL, source.partition("@")[2], kind="dataset")


def _spider(folder: Path, split: str, seed: int) -> list[Example]:
    """Dev is test (and test_unseen: no database is shared with train); 8 % of train's databases are validation."""
    try:
        schemas = json.loads((folder / "schemas.json").read_text())
        name = "dev" if split.startswith("test") else "train"
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").open()]
        databases = _databases(folder / "databases.tar.gz")
    except FileNotFoundError as error:
        raise UserError(f"no Spider in {folder}: {Path(error.filename).name} is missing") from None
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise UserError(f"Spider in {folder} cannot be read ({type(error).__name__}); copy it again") from None
    if missing := sorted({row["db_id"] for row in rows} - {path.stem for path in databases.iterdir()}):
        raise UserError(f"Spider in {folder} lacks {len(missing)} databases, the first is {missing[0]}; copy it again")
    if name == "train":
        held_out = {db for db in schemas if _bucket(f"{seed}:{db}") < 0.08}
        rows = [row for row in rows if (row["db_id"] in held_out) == (split == "validation")]
        rows.sort(key=lambda row: _bucket(f"{seed}:{row['id']}"))
    return [
        Example(
            id=row["id"],
            question=row["question"],
            schema=_one_text(schemas[row["db_id"]]),
            sql=row["sql"],
            domain=row["db_id"],
            database=databases / f"{row['db_id']}.sqlite",
        )
        for row in rows
    ]


def _one_text(schema: str | list[str]) -> str:
    return schema if isinstance(schema, str) else " ".join(schema)


def _databases(archive: Path) -> Path:
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


def load_file(path: str | Path) -> list[Example]:
    """Every row of a .parquet, .jsonl or .csv file, whatever its split. Raises UserError as `load_examples`."""
    return [example for example, _ in _rows_of(path)]


def _rows_of(path: str | Path) -> list[tuple[Example, str]]:
    import pandas

    path = Path(path).expanduser()
    readers = {
        ".parquet": pandas.read_parquet,
        # Text as it is: "007" is no number and "NA" no gap; only an empty cell is.
        ".csv": partial(pandas.read_csv, dtype=str, keep_default_na=False, na_values=[""]),
        **dict.fromkeys((".jsonl", ".json"), partial(pandas.read_json, lines=True, dtype=False)),
    }
    if path.suffix not in readers:
        raise UserError(f"unknown data '{path}'; give embedded, gretel, spider:DIR, or a .parquet, .jsonl or .csv file")
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the path of a .parquet, .jsonl or .csv file")
    try:
        table = readers[path.suffix](path)
    except Exception as error:  # each reader has its own
        raise UserError(f"{path} is no readable {path.suffix} file ({type(error).__name__}); write it again") from None
    if not len(table):
        raise UserError(f"{path} has no rows")
    table = table.reset_index(drop=True)
    if missing := [column for column in COLUMNS if column not in table.columns]:
        raise UserError(f"{path} lacks the column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    for column in (*COLUMNS, "id"):
        if column in table.columns and (empty := table[column].isna()).any():
            raise UserError(f"{path} has an empty {column} in row {int(empty.idxmax()) + 1}; fill or drop it")
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    pairs = [
        (_example(row, str(row.get("id", f"{path.stem}-{n:05d}"))), str(row.get("split") or ""))
        for n, row in enumerate(rows)
    ]
    if len({example.id for example, _ in pairs}) < len(pairs):
        raise UserError(f"{path} repeats an id; make the ids unique, or leave the column out")
    return pairs


def _file_split(rows: list[tuple[Example, str]], split: str, seed: int) -> list[Example]:
    """By the file's own `split` column; without one 10 % test, 10 % validation, whole schemas, in a seeded order."""
    if any(name for _, name in rows):
        if wrong := sorted({name for _, name in rows} - set(SPLITS)):
            raise UserError(f"the column 'split' says '{wrong[0]}'; it takes {', '.join(SPLITS)}")
        return [example for example, name in rows if name == split]
    if split == "test_unseen":
        raise UserError("a file has the splits train, validation and test; name test_unseen in a column 'split'")
    rows = sorted((example for example, _ in rows), key=lambda e: (_bucket(f"{seed}:{e.schema}"), e.id))
    held_out, names, schema = round(len(rows) * 0.1), {}, None
    for n, example in enumerate(rows):
        if example.schema != schema:  # a schema's rows stay together, so a split may be a little over its share
            name = "test" if n < held_out else "validation" if n < 2 * held_out else "train"
            schema = example.schema
        names[example.id] = name
    return sorted((e for e in rows if names[e.id] == split), key=lambda e: _bucket(f"{seed}:{e.id}"))


def _bucket(text: str) -> float:
    """A stable number in [0, 1) for a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48
