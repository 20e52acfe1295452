"""Right queries that pass: other ways to write a reference, and which verdict keeps them.

`equivalents`: rewrites that `common.certify.rewrites` proves to be equal on every database. `other_readings`: those of
`common.certify.readings`, which are right only for data as the question means them (a name that is unique, no tie for
the first place). Neither covers every right answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas

from common.certify.readings import Repeats, labels, readings
from common.certify.references import parts_of
from common.certify.rewrites import rewrites
from common.scoring import Scorer

if TYPE_CHECKING:
    from common.data import Example

_REPEATS = 'SELECT 1 FROM "{0}" HAVING COUNT("{1}") > COUNT(DISTINCT "{1}")'
VERDICTS = ("published", "strict", "robust")


def equivalents(examples: Sequence[Example], scorer: Scorer) -> pandas.DataFrame:
    """One line a rewrite: id, kind, sql, published, strict, robust, detail. References without verdict have no line.

    detail: why a rewrite is no match, in the scorer's words. robust is None for a scorer without generated databases.
    """
    pairs = [(example, rewrite) for example in examples for rewrite in rewrites(example.sql, example.schema)]
    verdicts = scorer.score_batch([(example, rewrite.sql) for example, rewrite in pairs])
    return pandas.DataFrame(
        [
            {
                "id": example.id,
                "kind": rewrite.kind,
                "sql": rewrite.sql,
                "published": verdict.published_match,
                "strict": verdict.match,
                "robust": verdict.robust_match,
                "detail": verdict.detail,
            }
            for (example, rewrite), verdict in zip(pairs, verdicts, strict=True)
            if verdict.match is not None
        ],
        columns=["id", "kind", "sql", *VERDICTS, "detail"],
    )


def other_readings(examples: Sequence[Example], scorer: Scorer) -> pandas.DataFrame:
    """One line a reading that matches strictly: id, form, debatable, sql, published, strict, robust, detail.

    Only those count that give the reference's rows on the given database, so `strict` is true in every line; results
    without rows are left out. detail: why a reading is no robust match, in the scorer's words.
    """
    repeats = _repeats(examples)
    pairs = [
        (example, reading)
        for example in examples
        for reading in readings(example.sql, example.schema, repeats[example.schema, example.database])
    ]
    verdicts = scorer.score_batch([(example, reading.sql) for example, reading in pairs])
    return pandas.DataFrame(
        [
            {
                "id": example.id,
                "form": reading.form,
                "debatable": reading.debatable,
                "sql": reading.sql,
                "published": verdict.published_match,
                "strict": verdict.match,
                "robust": verdict.robust_match,
                "detail": verdict.detail,
            }
            for (example, reading), verdict in zip(pairs, verdicts, strict=True)
            if verdict.match and not verdict.both_empty
        ],
        columns=["id", "form", "debatable", "sql", *VERDICTS, "detail"],
    )


def _repeats(examples: Sequence[Example]) -> dict[tuple, Repeats]:
    """The labels that repeat in the given rows, by schema and database."""
    places = {(example.schema, example.database): example for example in examples}
    queries = [
        (place, label, replace(example, sql=_REPEATS.format(*label)))
        for place, example in places.items()
        for label in labels(example.schema)
    ]
    answers = parts_of([query for _, _, query in queries])
    repeats: dict[tuple, Repeats] = dict.fromkeys(places, frozenset())
    for (place, label, _), parts in zip(queries, answers, strict=True):
        if parts.get("rows"):
            repeats[place] |= {label}
    return repeats
