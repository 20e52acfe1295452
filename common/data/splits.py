"""Which of a file's rows are in which split, and in which order: by its own column, else by whole schemas."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from itertools import groupby

from common.data.example import Example
from common.settings import UserError
from common.synthetic import SPLITS

SHARE = 0.1  # of a file's rows that are for testing, and as many for validation
# What other tools call the splits.
_SYNONYMS = {"training": "train", "dev": "validation", "val": "validation", "valid": "validation", "eval": "validation"}


def split_rows(rows: list[tuple[Example, str]], split: str, *, seed: int) -> list[Example]:
    """The split's rows of (example, name of its split, "" for none) pairs; [] where the split has none.

    Where no row names a split, a tenth is for testing and a tenth for validation, in an order that the seed decides.
    Rows of one schema stay together, so a split may have more than its share, and three schemas are the least that give
    three splits. Raises UserError for a split of another name, and for test_unseen where no row names it.
    """
    if any(name.strip() for _, name in rows):
        names = [_split_name(name) for _, name in rows]
        return [example for (example, _), name in zip(rows, names, strict=True) if name == split]
    if split == "test_unseen":
        raise UserError("a file has the splits train, validation and test; name test_unseen in a column 'split'")
    return by_schema((example for example, _ in rows), split, seed=seed)


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
