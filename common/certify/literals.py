"""Answers that only repeat the reference's result, such as `SELECT 150`: right on the given rows, wrong on any others.

The result is read in the sandbox. Not made for a result without rows, of more than forty rows or of more than 4,000
characters, and for statements that write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas

from common.certify.references import parts_of
from common.scoring import Scorer

if TYPE_CHECKING:
    from common.data import Example

VERDICTS = ("published", "strict", "robust")


def written_out(literals: Sequence[Sequence[str]]) -> dict[str, str]:
    """A result as statements that look at no table, by form. literals: its rows' values as SQL."""
    rows = [", ".join(row) for row in literals]
    if len(rows) == 1:
        return {"SELECT": f"SELECT {rows[0]}", "VALUES": f"VALUES ({rows[0]})"}
    return {
        "VALUES": f"VALUES {', '.join(f'({row})' for row in rows)}",
        "UNION ALL": " UNION ALL ".join(f"SELECT {row}" for row in rows),
    }


def hard_coded(examples: Sequence[Example], scorer: Scorer) -> pandas.DataFrame:
    """One line an answer that repeats a reference's result: id, form, sql, published, strict, robust.

    A reference whose result holds for the data that the question allows, like the number of days in a week, is not told
    from others.
    """
    pairs = [
        (example, form, sql)
        for example, parts in zip(examples, parts_of(examples), strict=True)
        if parts.get("literals")
        for form, sql in written_out(parts["literals"]).items()
    ]
    verdicts = scorer.score_batch([(example, sql) for example, _, sql in pairs])
    return pandas.DataFrame(
        [
            {
                "id": example.id,
                "form": form,
                "sql": sql,
                "published": verdict.published_match,
                "strict": verdict.match,
                "robust": verdict.robust_match,
            }
            for (example, form, sql), verdict in zip(pairs, verdicts, strict=True)
            if verdict.match is not None
        ],
        columns=["id", "form", "sql", *VERDICTS],
    )
