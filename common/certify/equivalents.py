"""Right queries that pass: rewrites that mean the same as their reference, and which verdict keeps them.

Covers what `common.certify.rewrites` proves to be equal on every database. Rewrites that are right only for data as the
question means it (a name that is unique, a column without NULL) are not made and not counted.
"""

from collections.abc import Sequence

import pandas

from common.certify.rewrites import rewrites
from common.data import Example
from common.scoring import Scorer

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
