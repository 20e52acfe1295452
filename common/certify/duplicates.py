"""Rows of one split that are also, or nearly, in another: what a model may have seen before it is tested.

Exact means equal after spacing and case are set aside. Near means that the two sets of word pairs share at least 80 %
(Jaccard): MinHash and banding find the candidates, then the share is computed exactly, so that none is reported by
chance; fewer than one in ten thousand near pairs is missed. Not covered: paraphrases in other words.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas
from datasketch import MinHash, MinHashLSH

from common.data import Example
from common.statistics import mean_interval

FIELDS = ("question", "schema", "sql")
# What is compared, each field by itself and then together.
COMPARISONS = {
    **{field: (field,) for field in FIELDS},
    "question and sql": ("question", "sql"),
    "question, schema and sql": FIELDS,
}
NEAR = 0.8
# 25 bands of 5: a pair that shares 80 % becomes a candidate with probability 1 - (1 - .8^5)^25 = .99995.
_BANDS, _ROWS = 25, 5
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Duplicate:
    """A held-out row and a training row that are alike in a comparison; similarity 1.0 may differ in word order."""

    comparison: str
    held_out: str
    train: str
    exact: bool
    similarity: float


def duplicates(train: Sequence[Example], held_out: Sequence[Example]) -> list[Duplicate]:
    """For each held-out row and each of COMPARISONS the training row that is most like it, where one is near or equal.

    similarity: of the least similar of the fields that are compared.
    """
    alike = {field: _alike([_text(e, field) for e in train], [_text(e, field) for e in held_out]) for field in FIELDS}
    pairs = []
    for number, example in enumerate(held_out):
        for comparison, fields in COMPARISONS.items():
            common = set.intersection(*(set(alike[field][number]) for field in fields))
            if common:
                best = min(common, key=lambda place: (*_rank(alike, fields, number, place), place))
                exact, similarity = _likeness(alike, fields, number, best)
                pairs.append(Duplicate(comparison, example.id, train[best].id, exact, similarity))
    return pairs


def summary(pairs: Iterable[Duplicate], held_out: int) -> pandas.DataFrame:
    """Shares of the held-out rows with an equal, and with an equal or near, row in training; one line for each of
    COMPARISONS, intervals as `<column>_low` and `<column>_high`."""
    pairs = list(pairs)
    lines = {}
    for comparison in COMPARISONS:
        alike = [duplicate for duplicate in pairs if duplicate.comparison == comparison]
        line = {"n": held_out}
        for name, count in (("equal", sum(d.exact for d in alike)), ("equal or near", len(alike))):
            share = mean_interval([True] * count + [False] * (held_out - count))
            line |= {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
        lines[comparison] = line
    return pandas.DataFrame.from_dict(lines, orient="index")


def similarity(left: str, right: str) -> float:
    """Jaccard of two texts' sets of word pairs: 1 for the same set, 0 for none in common or two empty texts."""
    a, b = _pairs(_normal(left)), _pairs(_normal(right))
    return len(a & b) / len(a | b) if a | b else 0.0


def _text(example: Example, field: str) -> str:
    return _normal(getattr(example, field))


def _normal(text: str) -> str:
    return " ".join(_WORD.findall(text.casefold())).rstrip(" ;.")


def _pairs(text: str) -> set[str]:
    words = ["", *text.split(), ""] if text else []
    return {f"{a} {b}" for a, b in zip(words, words[1:], strict=False)}


def _alike(train: list[str], held_out: list[str]) -> list[dict[int, tuple[bool, float]]]:
    """For each held-out text the training texts that are equal or near: place → (equal, similarity)."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, text in enumerate(train):
        places[text].append(place)
    texts = list(places)
    pairs = [_pairs(text) for text in texts]
    index = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))
    for number, sketch in enumerate(_sketches(pairs)):
        index.insert(number, sketch)
    likeness: dict[str, dict[int, tuple[bool, float]]] = {}
    queries = list(dict.fromkeys(held_out))
    query_pairs = [_pairs(text) for text in queries]
    for text, query, sketch in zip(queries, query_pairs, _sketches(query_pairs), strict=True):
        likeness[text] = {}
        for number in sorted(index.query(sketch)):
            other = pairs[number]
            share = len(query & other) / len(query | other) if query | other else 0.0
            if share >= NEAR:
                likeness[text] |= dict.fromkeys(places[texts[number]], (texts[number] == text, share))
        likeness[text] |= dict.fromkeys(places.get(text, ()), (True, 1.0))
    return [likeness[text] for text in held_out]


def _sketches(pairs: list[set[str]]) -> list[MinHash]:
    words = [sorted(pair.encode() for pair in text_pairs) for text_pairs in pairs]
    return MinHash.bulk(words, num_perm=_BANDS * _ROWS, seed=1) if words else []


def _likeness(alike: dict, fields: Sequence[str], number: int, place: int) -> tuple[bool, float]:
    parts = [alike[field][number][place] for field in fields]
    return all(exact for exact, _ in parts), min(share for _, share in parts)


def _rank(alike: dict, fields: Sequence[str], number: int, place: int) -> tuple[bool, float]:
    exact, share = _likeness(alike, fields, number, place)
    return not exact, -share
