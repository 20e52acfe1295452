"""The published recipe, restated to be timed: ROUGE through `evaluate` a row at a time, and SQL without limits.

ROUGE is what `evaluate.load("rouge")` gives (its script lies on the hub, so it is restated here): one call a row, four
types, bootstrap aggregation. Execution: a new in-memory database, the schema, reference and completion on one cursor.
Nothing stops a statement that never ends, so this runs the bench's own rows only.
"""

import sqlite3
from contextlib import closing
from functools import cache

import datasets
import evaluate
from rouge_score import rouge_scorer, scoring

TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class Rouge(evaluate.Metric):
    """`evaluate`'s ROUGE with its default options."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="ROUGE",
            citation="",
            inputs_description="predictions, references: texts",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, *, predictions: list[str], references: list[str]) -> dict[str, float]:
        scorer = rouge_scorer.RougeScorer(rouge_types=list(TYPES), use_stemmer=False, tokenizer=None)
        aggregator = scoring.BootstrapAggregator()
        for reference, prediction in zip(references, predictions, strict=True):
            aggregator.add_scores(scorer.score(reference, prediction))
        return {name: score.mid.fmeasure for name, score in aggregator.aggregate().items()}


@cache
def _rouge() -> Rouge:
    return Rouge(experiment_id="bench")


def score(*, schema: str, reference: str, prediction: str) -> tuple[bool, float]:
    """(match, score) of one raw completion: 1.0 where the row lists are equal, else 0.7 × ROUGE-L."""
    rouge = _rouge().compute(predictions=[prediction], references=[reference])["rougeL"]
    match = executes_alike(schema=schema, reference=reference, prediction=prediction)
    return match, 1.0 if match else 0.7 * float(rouge)


def executes_alike(*, schema: str, reference: str, prediction: str) -> bool:
    """The recipe's other half: whether both give equal lists of rows on one new connection."""
    with closing(sqlite3.connect(":memory:")) as connection:
        cursor = connection.cursor()
        try:
            cursor.executescript(schema)
            expected = cursor.execute(reference).fetchall()
            return cursor.execute(prediction).fetchall() == expected
        except Exception:  # as published: whatever goes wrong is a mismatch
            return False
