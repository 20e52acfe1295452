"""Examples and where they come from: embedded, gretel from the hub, Spider from a folder, or a file of one's own.

One split for every method: `load_examples` is the only way in, its rows are a pure function of (source, split, seed),
and a smaller `limit` gives the first rows of a larger one. Stage subsets are therefore nested, as published.
Not covered: other SQL dialects; a reference that SQLite refuses is kept here and listed as unscorable by the scorer.
"""

from pathlib import Path

from common.data import gretel, spider
from common.data.cells import COLUMNS, example
from common.data.example import Example, check_no_leak, ids_hash, without_leaks
from common.data.files import rows_of
from common.data.gretel import GRETEL
from common.data.notices import notice
from common.data.splits import split_rows
from common.provenance import code, files_digest
from common.settings import UserError
from common.synthetic import SPLITS, generate

__all__ = ["COLUMNS", "EMBEDDED_SIZES", "GRETEL", "Example", "check_no_leak", "ids_hash", "load_examples", "load_file"]
__all__ += ["revision", "without_leaks"]

EMBEDDED_SIZES = {"train": 20_000, "validation": 2_500, "test": 2_500, "test_unseen": 2_500}


def load_examples(source: str, split: str, *, limit: int | None = None, seed: int = 42) -> list[Example]:
    """Rows of one split, in the split's fixed order: the first `limit`, or all of them where there are fewer, which is
    told once.

    source: `embedded`; `gretel` or `gretel@REVISION` (needs the hub); `spider:DIR`, see `common.data.spider`; or the
    path of a .parquet, .csv, .jsonl or .json file with the columns sql_prompt, sql_context, sql (optional: id, domain,
    sql_complexity, sql_task_type, split). Raises UserError for an unknown source or split, a missing column, a cell
    that is empty or no text, an unreadable file, an unreachable hub, or a split without rows.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split '{split}'; choose one of {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} rows leaves nothing; give at least 1, or None for all")
    advice = "give a larger file or another split"
    if source == "embedded":
        examples = _embedded(split, limit, seed)
    elif gretel.is_gretel(source):
        examples = gretel.load(source, split, limit, seed=seed)
    elif source.startswith("spider:"):
        examples = spider.load(_folder(source), split, seed=seed)
    else:
        rows = rows_of(source)
        examples = split_rows(rows, split, seed=seed)
        schemas = len({row.schema for row, _ in rows})
        advice += f", or name each row's split in a column 'split' ({len(rows)} rows, schemas: {schemas}, none parted)"
    if not examples:
        raise UserError(f"{source} has no rows in split '{split}'; {advice}")
    if limit is not None and len(examples) < limit:
        count = len(examples)
        notice(
            f"{source} has {count} rows in split '{split}', {limit} were asked for; {count} are taken", source, split
        )
    return examples[:limit]


def revision(source: str) -> str:
    """What pins the source's content: the hub's commit for gretel, else a digest of the generator or the files."""
    if source == "embedded":
        return code("common.synthetic")
    if gretel.is_gretel(source):
        return gretel.commit(source)
    if source.startswith("spider:"):
        return spider.revision(_folder(source))
    return files_digest([Path(source).expanduser()])


def load_file(path: str | Path) -> list[Example]:
    """Every row of a .parquet, .csv, .jsonl or .json file, whatever its split. Raises UserError as `load_examples`."""
    return [row for row, _ in rows_of(path)]


def _embedded(split: str, limit: int | None, seed: int) -> list[Example]:
    size = EMBEDDED_SIZES[split]
    return [example(row, row["id"]) for row in generate(split, min(limit or size, size), seed=seed)]


def _folder(source: str) -> Path:
    return Path(source.removeprefix("spider:")).expanduser()
