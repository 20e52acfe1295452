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
from common.data.splits import SPLITS, TESTS, split_names, split_rows
from common.provenance import code, files_digest
from common.settings import UserError
from common.synthetic import SPLITS as EMBEDDED_SPLITS
from common.synthetic import generate

__all__ = ["COLUMNS", "DATA_SEED", "EMBEDDED_SIZES", "GRETEL", "Example", "check_no_leak", "ids_hash", "load_examples"]
__all__ += ["load_file", "load_tests", "revision", "without_leaks"]

EMBEDDED_SIZES = {"train": 20_000, "validation": 2_500, "test": 2_500, "test_unseen": 2_500}
EMBEDDED_SIZES |= {"test_forms": 2_500, "post": 20_000}
DATA_SEED = 42  # of the rows and their split; a run's own seed is another matter, so that all seeds have the same rows


def load_examples(source: str, split: str, *, limit: int | None = None, seed: int = DATA_SEED) -> list[Example]:
    """Rows of one split, in the split's fixed order: the first `limit`, or all of them where there are fewer, which is
    told once.

    source: `embedded`; `gretel` or `gretel@REVISION` (needs the hub); `spider:DIR`, see `common.data.spider`; or the
    path of a .parquet, .csv, .jsonl or .json file with the columns sql_prompt, sql_context, sql (optional: id, domain,
    sql_complexity, sql_task_type, split). `post` has rows for what is trained after SFT, which `train` has not. Raises
    UserError for an unknown source or split, a missing column, a cell that is empty or no text, an unreadable file, an
    unreachable hub, or a split without rows.
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


def load_tests(source: str, *, limit: int, other_limit: int) -> dict[str, list[Example]]:
    """What every method is tested on, by split: `limit` rows of test, `other_limit` of each other test split that the
    source has rows of its own for; 0 for none. Raises UserError as `load_examples`."""
    limits = {split: limit if split == "test" else other_limit for split in _test_splits(source)}
    return {split: load_examples(source, split, limit=most) for split, most in limits.items() if most}


def _test_splits(source: str) -> tuple[str, ...]:
    if source == "embedded":
        splits = EMBEDDED_SPLITS
    elif gretel.is_gretel(source) or source.startswith("spider:"):  # Spider's test_unseen has the rows of its test
        splits = ("test",)
    else:
        splits = {"test", *split_names(rows_of(source))}
    return tuple(split for split in TESTS if split in splits)


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
    if split not in EMBEDDED_SPLITS:
        raise UserError(f"embedded has the splits {', '.join(EMBEDDED_SPLITS)}, not {split}")
    size = EMBEDDED_SIZES[split]
    return [example(row, row["id"]) for row in generate(split, min(limit or size, size), seed=seed)]


def _folder(source: str) -> Path:
    return Path(source.removeprefix("spider:")).expanduser()
