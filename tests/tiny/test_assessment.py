"""What judges are worth: judged samples, the policy's own log-probabilities, and the tables, by hand."""

import math

import pytest
import torch

from common.assessment import (
    LENGTH,
    MEAN,
    REWARD,
    RUNS,
    SUM,
    Samples,
    ceiling_table,
    free_scores,
    judge_table,
    judged,
    kind_table,
    policy_scores,
)
from common.data import Example
from common.preferences.candidates import SAMPLED, Candidate
from common.prompts import completion_ids, prompt_ids

SCHEMA = "CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y');"
ONE = Example("one", "Which a are there?", SCHEMA, "SELECT a FROM t;")
TWO = Example("two", "Which b are there?", SCHEMA, "SELECT b FROM t;")
BAD = Example("bad", "Which c are there?", SCHEMA, "SELECT c FROM t;")
ANSWERS = [
    (ONE, "```sql\nSELECT a FROM t\n```", True, "", True),
    (ONE, "SELECT b FROM t", False, "columns", True),
    (ONE, "SELECT b FROM t", False, "columns", True),
    (ONE, "SELECT q FROM t", False, "schema_error", False),
    (TWO, "SELECT a FROM t WHERE a > 1", False, "filter", True),
    (TWO, "", False, "empty_prediction", False),
]


@pytest.fixture(scope="module")
def samples() -> Samples:
    drawn = [Candidate(example.id, text, SAMPLED, "x") for example, text, *_ in ANSWERS]
    return judged([ONE, TWO, BAD], [*drawn, Candidate("bad", "SELECT a FROM t", SAMPLED, "x")], databases=2)


def test_samples_are_judged_as_often_as_they_are_drawn_and_unscorable_ones_left_out(samples):
    expected = [(e.id, right, kind, runs) for e, _, right, kind, runs in ANSWERS]
    assert list(zip(samples.groups, samples.right, samples.kinds, samples.runs, strict=True)) == expected
    assert samples.statements[0] == "SELECT a FROM t" and samples.completions[0] == ANSWERS[0][1]


def test_the_policys_scores_are_the_log_probabilities_of_what_it_said(samples, talking):
    policy = talking()
    scores = policy_scores(policy, samples, max_length=4096)
    for number, (example, sql) in enumerate(zip(samples.examples, samples.completions, strict=True)):
        prompt = prompt_ids(example, policy.tokenizer)
        ids = prompt + completion_ids(Example("", "", "", sql), policy.tokenizer)
        with torch.no_grad():
            chances = policy.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        total = sum(chances[at - 1, ids[at]].item() for at in range(len(prompt), len(ids)))
        assert scores[SUM][number] == pytest.approx(total, abs=1e-3)
        assert scores[MEAN][number] == pytest.approx(total / (len(ids) - len(prompt)), abs=1e-4)
    short = policy_scores(policy, samples, max_length=10)
    assert set(short[SUM]) == set(short[MEAN]) == {-math.inf}


def test_what_runs_and_what_is_short(samples):
    scores = free_scores(samples)
    assert scores[RUNS] == [1, 1, 1, 0, 1, 0]
    assert scores[LENGTH] == [-float(len(sql)) for sql in samples.statements]


def error(chances):
    """The calibration error of pairs both ways round, in bins of a tenth."""
    bins = {}
    for chance in chances:
        for value, is_right in ((chance, 1), (1 - chance, 0)):
            bins.setdefault(int(value * 10), []).append((value, is_right))
    gaps = [abs(sum(v for v, _ in b) - sum(r for _, r in b)) for b in bins.values()]
    return sum(gaps) / (2 * len(chances))


def test_the_tables_by_hand(samples):
    judges = {REWARD: [2.0, 1.0, -1.0, 3.0, 0.0, -4.0], RUNS: free_scores(samples)[RUNS]}
    table = judge_table(samples, judges)
    # One right answer; of five wrong ones one lies above it, within its question one of three.
    assert table.loc[REWARD, "AUC, all answers"] == pytest.approx(4 / 5)
    assert table.loc[REWARD, "AUC, within a question"] == pytest.approx(2 / 3)
    assert table.loc[RUNS, "AUC, within a question"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert table.loc[REWARD, "best answer is right"] == 0  # of question one the wrong 3.0, of two there is none
    assert table.loc[RUNS, "best answer is right"] == pytest.approx((1 / 3 + 0) / 2)
    # Of three pairs of answers to one question the right one lies 1 and 3 above, and 1 below: both ways round.
    chances = [1 / (1 + math.exp(-gap)) for gap in (1, 3, -1)]
    assert table.loc[REWARD, "calibration error"] == pytest.approx(error(chances), abs=1e-9)
    assert math.isnan(table.loc[RUNS, "calibration error"])
    assert table.loc[REWARD, "questions"] == 1
    assert table.loc[RUNS, "reward model above"] == pytest.approx(2 / 3 - 2 / 3)
    kinds = kind_table(samples, judges)
    assert kinds[REWARD].to_dict() == {"columns": 1.0, "schema_error": 0.0} and list(kinds["pairs"]) == [2, 1]
    ceiling = ceiling_table(samples, greedy=0.5)["share"]
    assert ceiling.tolist() == pytest.approx([1 / 6, 0.5, 0.5, 0.5])
