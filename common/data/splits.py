"""Which of a file's rows are in which split, and in which order: by its own column, else by whole schemas."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from common.data.example import Example
from common.settings import UserError

SPLITS = ("train", "validation", "test", "test_unseen", "test_forms", "post")
TESTS = ("test", "test_unseen", "test_forms")  # what a method is tested on, where the source has rows of it
SHARE = 0.1  # of a file's rows that are for testing, as many for validation, and of what is left for `post`
POST_ROWS = 4_000  # the most that `post` takes from a source without a split of that name
# What other tools call the splits.
_SYNONYMS = {"training": "train", "dev": "validation", "val": "validation", "valid": "validation", "eval": "validation"}


def split_rows(rows: list[tuple[Example, str]], split: str, *, seed: int) -> list[Example]:
    """The split's rows of (example, name of its split, "" for none) pairs; [] where the split has none.

    Where no row names a split, a tenth is for testing and a tenth for validation, in an order that the seed decides.
    Rows of one schema stay together, so a split may have more than its share, and three schemas are the least that give
    three splits; `post` is cut from the end of `train`. Raises UserError for a split of another name, and for
    test_unseen and test_forms where no row names a split.
    """
    if names := split_names(rows):
        return [example for (example, _), name in zip(rows, names, strict=True) if name == split]
    if split in TESTS[1:]:
        raise UserError(f"a file has the splits train, validation, test and post; name {split} in a column 'split'")
    examples = (example for example, _ in rows)
    if split in ("train", "post"):
        return without_post(by_schema(examples, "train", seed=seed), split)
    return by_schema(examples, split, seed=seed)


def split_names(rows: list[tuple[Example, str]]) -> list[str]:
    """Each row's split in our words; [] where no row names one. Raises UserError for a name that is none."""
    return [_split_name(name) for _, name in rows] if any(name.strip() for _, name in rows) else []


def without_post(examples: Sequence, split: str) -> Sequence:
    """Training rows parted in two, in their order: `post` has the last of them, a tenth and at most POST_ROWS, for
    what is trained after SFT; `train` has the others, so that no row is in both."""
    count = min(round(len(examples) * SHARE), POST_ROWS)
    return examples[len(examples) - count :] if split == "post" else examples[: len(examples) - count]


def _split_name(text: str) -> str:
    name = text.strip().lower()
    name = _SYNONYMS.get(name, name)
    if name not in SPLITS:
        raise UserError(f"the column 'split' says '{text}'; it takes {', '.join(SPLITS)}")
    return name


def by_schema(examples: Iterable[Example], split: str, *, seed: int) -> list[Example]:
    """The split's rows where whole schemas are for testing, then for validation, until each has its share."""
    examples = sorted(examples, key=lambda e: (bucket(f"{seed}:{e.schema}"), e.schema, e.id))
    share, names, counts = round(len(examples) * SHARE), {}, Counter()
    for schema, group in groupby(examples, key=lambda e: e.schema):
        names[schema] = next((name for name in ("test", "validation") if counts[name] < share), "train")
        counts[names[schema]] += len(list(group))
    return sorted((e for e in examples if names[e.schema] == split), key=lambda e: bucket(f"{seed}:{e.id}"))


def bucket(text: str) -> float:
    """A stable number in [0, 1) for a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48
