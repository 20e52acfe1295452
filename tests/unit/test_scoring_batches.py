"""However rows are handed over (one by one, a list, a generator, few or many workers), their verdicts are the same."""

import dataclasses

import pytest

from common.data import load_examples
from common.scoring import Scorer
from tests.unit.cases import ALL, LONG_STEP, STAFF


def rows() -> list[dict[str, str]]:
    """Embedded rows with right, fenced, wrong and no answers, and one that ends its worker."""
    rows = []
    for number, example in enumerate(load_examples("embedded", "test", limit=60)):
        texts = (example.sql, f"```sql\n{example.sql}\n```", "SELECT 0", "I do not know", example.sql[:-8])
        rows.append({"schema": example.schema, "reference": example.sql, "prediction": texts[number % 5]})
    rows[10:10] = [{"schema": STAFF, "reference": ALL, "prediction": text} for text in (LONG_STEP, ALL)]
    rows.append({"schema": STAFF, "reference": ALL, "prediction": "x" * 4_000_001})
    return [*rows, *rows[:5]]


@pytest.fixture(scope="module")
def expected():
    with Scorer(workers=1) as scorer:
        return [scorer.score(**row) for row in rows()]


@pytest.mark.parametrize(("workers", "size"), [(1, 1_000), (2, 7), (3, 1_000)])
def test_verdicts_do_not_depend_on_the_batch(expected, workers, size):
    given = rows()
    with Scorer(workers=workers) as scorer:
        batches = [scorer.score_batch(given[start : start + size]) for start in range(0, len(given), size)]
        verdicts = [verdict for batch in batches for verdict in batch]
        assert list(map(dataclasses.asdict, verdicts)) == list(map(dataclasses.asdict, expected))
    assert {"match", "mismatch", "timeout", "too_large", "syntax_error"} <= {verdict.outcome for verdict in verdicts}


def test_a_generator_is_a_batch_and_a_batch_may_have_one_row_or_none(expected):
    with Scorer(workers=2) as scorer:
        assert scorer.score_batch(row for row in rows()[12:40]) == expected[12:40]
        assert [scorer.score_batch([row])[0] for row in rows()[12:20]] == expected[12:20]
        assert scorer.score_batch([]) == scorer.score_batch(iter(())) == []
        assert scorer.score_batch(rows()[12:13] * 3) == expected[12:13] * 3
