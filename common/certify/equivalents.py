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

from common.certify.readings import GROUPS, Repeats, labels, readings
from common.certify.references import parts_of
from common.certify.rewrites import rewrites
from common.certify.shares import shares
from common.scoring import Scorer

if TYPE_CHECKING:
    from common.data import Example

_REPEATS = 'SELECT 1 FROM "{0}" WHERE "{1}" IS NOT NULL GROUP BY "{1}" HAVING COUNT(*) > 1 LIMIT 1'
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
    """One line a reading that is right on the given rows: id, form, group, sql, published, strict, robust, detail.

    What is right is decided by a strict match, so that `strict` is true in every line, but for those of the group
    `layout`, which are right by how they are made. Results without rows are left out. detail: why it is no match, in
    the scorer's words.
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
                "group": reading.group,
                "sql": reading.sql,
                "published": verdict.published_match,
                "strict": verdict.match,
                "robust": verdict.robust_match,
                "detail": verdict.detail,
            }
            for (example, reading), verdict in zip(pairs, verdicts, strict=True)
            if (verdict.match or (reading.group == "layout" and verdict.outcome == "mismatch"))
            and not verdict.both_empty
        ],
        columns=["id", "form", "group", "sql", *VERDICTS, "detail"],
    )


def reading_shares(table: pandas.DataFrame) -> pandas.DataFrame:
    """Shares of readings that each verdict keeps: `all` and each form of the clear ones, then the two other groups.

    table: from `other_readings`. Columns as of `shares`.
    """
    clear, *others = (table[table["group"] == group] for group in GROUPS)
    lines = [shares(clear, VERDICTS, by="form")]
    for group, part in zip(GROUPS[1:], others, strict=True):
        if len(part):
            lines.append(shares(part, VERDICTS, by="group").loc[[group]])
    return pandas.concat(lines)


def strict_only(*tables: pandas.DataFrame) -> int:
    """How many references have no generated databases, by what the verdicts' details say: there robust is strict."""
    return len({id for table in tables for id in table.loc[table["detail"].str.contains("strict only"), "id"]})


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
