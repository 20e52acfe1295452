"""Hostile and edge inputs, each through `score` and `score_batch`: one exact outcome, in bounded time, nothing raised.

Covered: what a prediction, a reference or a schema can do to the scorer, each policy point at its edges, and which of
SQLite's errors gets which name. Cases that tests/unit/test_scoring.py has are not repeated here. Not covered: the
processes themselves (test_sandbox_processes.py) and text that is not SQL at all (test_scoring_properties.py).
"""

import pytest

from common.scoring import Scorer, Verdict
from tests.cost import spent
from tests.unit.cases import PATIENCE
from tests.unit.hostile_attacks import ERRORS, HOSTILE, TEXTS
from tests.unit.hostile_orders import ORDER
from tests.unit.hostile_statements import CLOCK, TABLES, VALUES, WRITES
from tests.unit.hostile_ties import TIES

CASES = [*ORDER, *TIES, *VALUES, *CLOCK, *TABLES, *WRITES, *TEXTS, *ERRORS, *HOSTILE]


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=2) as scorer:
        yield scorer


@pytest.fixture(scope="module")
def batch(scorer, in_one_call) -> list[Verdict]:
    return in_one_call(scorer, CASES, seed=1)


def test_names_of_cases_are_distinct():
    assert len({case.name for case in CASES}) == len(CASES) >= 130


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: CASES[number].name)
def test_verdict(scorer, batch, number):
    case = CASES[number]
    before = spent(scorer._pool.pids())
    verdict = scorer.score(schema=case.schema, reference=case.reference, prediction=case.prediction)
    assert spent(scorer._pool.pids()) - before < PATIENCE
    assert (verdict.outcome, verdict.match) == (case.outcome, case.match), verdict.detail
    assert verdict == batch[number]
    assert verdict.score == {None: 0.0, True: 1.0, False: 0.7 * verdict.rouge_l}[case.match]
    assert verdict.robust_match is None and "\n" not in verdict.detail
    assert bool(verdict.detail) != (case.outcome == "match")
    if case.both_empty is not None:
        assert verdict.both_empty == case.both_empty
    assert verdict.match or not verdict.both_empty


def test_all_of_it_once_more_gives_the_same(scorer, batch):
    # Nothing a case did is left in the workers that judge the next one.
    rows = [{"schema": c.schema, "reference": c.reference, "prediction": c.prediction} for c in reversed(CASES)]
    assert scorer.score_batch(rows)[::-1] == batch


def test_generated_databases_change_no_strict_verdict_and_raise_nothing(batch):
    with Scorer(workers=2, databases=2) as robust:
        verdicts = robust.score_batch(
            {"schema": c.schema, "reference": c.reference, "prediction": c.prediction} for c in CASES
        )
    for verdict, strict in zip(verdicts, batch, strict=True):
        same = ("published_match", "published_score", "match", "rouge_l", "outcome", "both_empty")
        assert [getattr(verdict, name) for name in same] == [getattr(strict, name) for name in same]
        assert verdict.robust_match in (
            (None,) if verdict.match is None else (True, False) if verdict.match else (False,)
        )
