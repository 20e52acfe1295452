"""Rewards: what each pays for, their weighted sum, how they part right from wrong, and that a group is one job.

Expected values are worked out by hand, on a dummy scorer where the real one adds nothing. Not covered: overlap itself
(test_rewards_operations), mistakes of a user's (test_rewards_errors), verdicts (test_scoring and others).
"""

import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.data import Example, load_examples
from common.mutations.neighbours import neighbours
from common.preferences import certification
from common.rewards import NAMES, Rewards, rewards
from common.rewards.display import HAND_MADE, reward_table
from common.rewards.parts import PARTIAL, RUNS
from common.sandbox import pool
from common.scoring import Verdict
from common.scoring.scorer import REWARD_SEED
from tests.unit.cases import ALL, STAFF

EXECUTED = ("strict", "robust", "runs", "partial")


def example(id: str = "q", sql: str = ALL) -> Example:
    return Example(id=id, question="Who?", schema=STAFF, sql=sql)


# --- a dummy scorer: the completion's first word says how it did ----------------------------------------------------

VERDICTS = {
    "right": Verdict(True, 1.0, True, True, 1.0, 1.0, "match", "", False),
    "lucky": Verdict(True, 1.0, True, False, 0.5, 0.35, "match", "", False),
    "wrong": Verdict(False, 0.42, False, False, 0.6, 0.42, "mismatch", "", False),
    "broken": Verdict(False, 0.14, False, False, 0.2, 0.14, "schema_error", "", False),
    "unscorable": Verdict(False, 0.7, None, None, 1.0, 0.0, "reference_error", "", False),
}


class DummyScorer:
    """Notes what it is opened with and what it is asked."""

    options: dict = {}
    batches: list = []

    def __init__(self, **options):
        DummyScorer.options, DummyScorer.batches = options, []

    def score_batch(self, rows):
        self.batches.append(rows)
        return [VERDICTS[completion.split()[0]] for _, completion in rows]

    def close(self):
        self.options["closed"] = True


@pytest.fixture
def dummy(monkeypatch) -> type[DummyScorer]:
    monkeypatch.setattr(rewards, "Scorer", DummyScorer)
    return DummyScorer


def lengths(examples, completions):
    return [len(completion) for completion in completions]


def test_totals_are_weighted_sums_of_the_parts(dummy):
    completions = ["right", "lucky", "wrong", "broken"]
    weights = {"robust": 2.0, "hybrid": 0.5, "runs": 1.0, "strict": 0.25, "length": 0.125}
    result = Rewards(weights, functions={"length": lengths}).score([example()] * 4, completions)
    assert result.parts == {
        "robust": [1.0, 0.0, 0.0, 0.0],
        "hybrid": [1.0, 1.0, 0.42, 0.14],
        "runs": [1.0, RUNS, RUNS, 0.0],
        "strict": [1.0, 1.0, 0.0, 0.0],
        "length": [5.0, 5.0, 5.0, 6.0],
    }
    assert result.totals == pytest.approx(
        [2 + 0.5 + 1 + 0.25 + 0.625, 0.5 + 0.1 + 0.25 + 0.625, 0.21 + 0.1 + 0.625, 0.07 + 0.75]
    )
    assert result.verdicts == [VERDICTS[name] for name in completions]


def test_partial_is_the_overlap_with_the_reference_of_what_runs(dummy, monkeypatch):
    monkeypatch.setitem(VERDICTS, "SELECT", VERDICTS["wrong"])
    monkeypatch.setitem(VERDICTS, "```sql", VERDICTS["lucky"])
    reference = "SELECT a FROM t WHERE b < 3"  # a table, a column, a condition
    texts = ["right", "SELECT a FROM t WHERE b > 3", f"```sql\n{reference}\n```", f"broken {reference}", "SELECT 1"]
    result = Rewards({"partial": 1.0}).score([example(sql=reference)] * 5, texts)
    assert result.totals == pytest.approx([1.0, PARTIAL * 2 / 3, PARTIAL, 0.0, 0.0])


def test_a_reference_that_cannot_be_scored_is_no_reward(dummy):
    weights = dict.fromkeys([*NAMES, "length"], 1.0)
    result = Rewards(weights, functions={"length": lengths}).score([example()] * 2, ["unscorable", "unscorable too"])
    assert result.totals == [0.0, 0.0]
    assert result.parts == dict.fromkeys(weights, [0.0, 0.0])
    assert result.spread == dict.fromkeys(weights, 0.0)


def test_spread_is_the_mean_over_groups_of_the_deviation_within(dummy):
    groups = [example("a")] * 2 + [example("b")] * 4 + [example("c")]
    completions = ["right", "wrong", "right", "right", "right", "right", "wrong"]
    result = Rewards({"robust": 2.0, "length": 0.1}, functions={"length": lengths}).score(groups, completions)
    # Of robust: 1 and 0 deviate by 1/2, four equal ones and a single one by 0.
    assert result.spread == pytest.approx({"robust": 2.0 * 0.5 / 3, "length": 0.0})
    assert Rewards({"robust": 1.0}).score(groups[:2], completions[:2]).spread == {"robust": 0.5}
    # The same example in two places is two groups.
    places = [groups[0], groups[0], groups[6], groups[0]]
    result = Rewards({"robust": 1.0}).score(places, ["right", "wrong", "wrong", "wrong"])
    assert result.spread == pytest.approx({"robust": 0.5 / 3})


def test_a_weight_of_zero_computes_and_does_not_count(dummy):
    result = Rewards({"strict": 1.0, "length": 0}, functions={"length": lengths}).score([example()], ["right"])
    assert (result.totals, result.parts["length"], result.spread["length"]) == ([1.0], [5.0], 0.0)


def test_no_rows_have_no_rewards(dummy):
    result = Rewards({"robust": 1.0}).score([], [])
    assert (result.totals, result.parts, result.verdicts, result.spread) == ([], {"robust": []}, [], {"robust": 0.0})


def test_a_function_is_called_once_a_batch_with_lists_of_its_own(dummy):
    calls = []

    def greedy(examples, completions):
        calls.append((list(examples), list(completions)))
        examples.clear()
        return (float(len(completions.pop(0))) for _ in range(len(completions)))

    rows = [example("a"), example("b")], ["right one", "wrong"]
    result = Rewards({"mine": 1.0, "robust": 1.0}, functions={"mine": greedy}).score(*rows)
    assert calls == [rows]
    assert result.totals == [10.0, 5.0]
    assert dummy.batches == [list(zip(*rows, strict=True))]


def test_the_scorer_has_databases_of_the_reward_seed(dummy):
    with Rewards({"robust": 1.0}, workers=3):
        assert dummy.options == {"workers": 3, "databases": rewards.DATABASES, "seed": REWARD_SEED}
    assert dummy.options["closed"]
    assert rewards.DATABASES == certification.DATABASES
    Rewards({"strict": 1.0, "hybrid": 1.0}, databases=0)
    assert dummy.options["databases"] == 0 and dummy.options["workers"] >= 1


@pytest.mark.parametrize(
    ("weights", "bounds", "is_safe"),
    [
        ({"robust": 1.0}, {}, True),
        ({"runs": 1.0}, {}, True),
        ({"partial": 1e-12}, {}, True),
        ({"strict": 1.0}, {}, False),  # a lucky match has as much as a right answer
        ({"hybrid": 1.0}, {}, False),
        ({"robust": 1.0, "strict": 5.0}, {}, True),
        ({"robust": 1.0, "hybrid": 0.9}, {}, True),
        ({"robust": 1.0, "hybrid": 1.0}, {}, False),
        ({"partial": 1.0, "hybrid": 0.6}, {}, True),
        ({"partial": 1.0, "hybrid": 0.7}, {}, False),
        ({"robust": 1.0, "mine": 0.001}, {}, False),
        ({"robust": 1.0, "mine": 0.0}, {}, True),
        ({"robust": 1.0, "mine": 0.2}, {"mine": (0.0, 1.0)}, True),
        ({"robust": 1.0, "mine": 0.2}, {"mine": (-5, 0)}, False),
        ({"robust": 0.3, "mine": 0.1}, {"mine": (0.0, 3.0)}, False),
    ],
)
def test_is_safe_where_no_wrong_answer_reaches_a_right_one(dummy, weights, bounds, is_safe):
    functions = {"mine": lengths} if "mine" in weights else {}
    assert Rewards(weights, functions=functions, bounds=bounds).is_safe is is_safe


# --- the real scorer ------------------------------------------------------------------------------------------------


def test_the_hand_made_completions_get_what_they_deserve():
    table = reward_table(functions={"length": lengths})
    assert list(table) == ["completion", *NAMES, "length", "outcome"]
    labels = {
        "right": (1.0, 1.0, 1.0, 1.0, 1.0, "match"),
        "right: other aliases, conditions in another order": (1.0, 1.0, 1.0, 1.0, 1.0, "match"),
        "right: in a fence": (0.687, 1.0, 1.0, 1.0, 1.0, "match"),  # 27 words and the fence's label: 0.7 × 54/55
        "wrong: an operator": (0.7, 0.0, 0.0, 0.1, 0.273, "mismatch"),  # all words, 10 of 11 operations: 0.3 × 10/11
        # 5 operations of its 7 and the reference's 11: 0.3 × 10/18
        "wrong: another query of the right tables": (0.456, 0.0, 0.0, 0.1, 0.167, "mismatch"),
        "lucky: a constant": (1.0, 1.0, 0.0, 0.1, 0.0, "match"),
        "truncated": (0.613, 0.0, 0.0, 0.0, 0.0, "syntax_error"),  # 21 of the 27 words: 0.7 × 42/48
        "prose": (0.074, 0.0, 0.0, 0.0, 0.0, "syntax_error"),
        "empty": (0.0, 0.0, 0.0, 0.0, 0.0, "empty_prediction"),
        "hostile: drops a table": (0.047, 0.0, 0.0, 0.1, 0.0, "mismatch"),  # it runs, on a copy
        "hostile: attaches a file": (0.0, 0.0, 0.0, 0.0, 0.0, "forbidden"),
    }
    values = {label: (*row[: len(NAMES)], row[-1]) for label, *row in table.drop(columns="completion").itertuples()}
    assert values == labels
    assert list(table["length"]) == [len(text) for _, text in HAND_MADE[1]]
    assert len({label for label, _ in HAND_MADE[1]}) == len(HAND_MADE[1])


def test_a_group_is_one_job_so_that_its_reference_runs_once(monkeypatch):
    sent = Counter()
    send = pool._sendable

    def counted(piece, file):
        kind = "databases" if "make" in piece.job.shared else "robust" if "suite" in piece.job.shared else "strict"
        sent[piece.job.shared["reference"], kind, len(piece.rest)] += 1
        return send(piece, file)

    monkeypatch.setattr(pool, "_sendable", counted)
    groups = [example("a", ALL), example("b", "SELECT team FROM staff WHERE pay < 15")]
    texts = [[f"SELECT {number}" for number in range(6)] + [each.sql, f"{each.sql};"] for each in groups]
    rows = [each for each in groups for _ in range(8)], [text for group in texts for text in group]
    with Rewards({"robust": 1.0}, workers=2) as opened:
        first = opened.score(*rows)
        # A worker that is sent the reference runs it once for all items: eight completions; then those that matched.
        jobs = [("strict", 8), ("databases", 1), ("robust", 2)]
        assert sent == {(each.sql, *job): 1 for each in groups for job in jobs}
        sent.clear()
        assert opened.score(*rows) == first
        assert sent == {(each.sql, "robust", 8): 1 for each in groups}
    assert first.totals == [0.0] * 6 + [1.0] * 2 + [0.0] * 6 + [1.0] * 2


@pytest.fixture(scope="module")
def rows():
    """Embedded rows with right and wrong answers and near misses: example, completion, whether it is a near miss."""
    rows, chance = [], random.Random(1)
    for each in load_examples("embedded", "post", limit=24):
        misses = [miss.sql for miss in neighbours(each.sql)]
        texts = [each.sql, f"```sql\n{each.sql}\n```", each.sql[:-9], "I do not know.", "SELECT 0", ""]
        rows += [(each, text, False) for text in texts]
        rows += [(each, text, True) for text in chance.sample(misses, min(6, len(misses)))]
    return rows


@pytest.fixture(scope="module")
def result(rows):
    with Rewards(dict.fromkeys(NAMES, 1.0)) as opened:
        return opened.score([row[0] for row in rows], [row[1] for row in rows])


def test_no_wrong_answer_outranks_a_right_one(rows, result):
    is_right = dict.fromkeys(EXECUTED, [verdict.robust_match for verdict in result.verdicts])
    is_right["strict"] = [verdict.match for verdict in result.verdicts]
    is_right["hybrid"] = [verdict.published_match for verdict in result.verdicts]
    for name, right in is_right.items():
        values = result.parts[name]
        assert min(v for v, ok in zip(values, right, strict=True) if ok) == 1.0
        assert max(v for v, ok in zip(values, right, strict=True) if not ok) < 1.0
        assert all(0.0 <= value <= 1.0 for value in values)


WEIGHTS = st.fixed_dictionaries({}, optional=dict.fromkeys([*NAMES, "mine"], st.floats(0.0, 2.0)))


@given(WEIGHTS.filter(lambda weights: any(weights.values())))
def test_where_weights_are_safe_every_right_answer_is_above_every_wrong_one(rows, result, weights):
    right = [verdict.robust_match for verdict in result.verdicts]
    worst = [-1.0 if is_right else 1.0 for is_right in right]  # a function that wants the opposite
    functions = {"mine": lambda examples, completions: worst} if "mine" in weights else {}
    with Rewards(weights, functions=functions, bounds=dict.fromkeys(functions, (-1.0, 1.0)), workers=1) as opened:
        assume(opened.is_safe)
    parts = result.parts | {"mine": worst}
    totals = [sum(weight * parts[name][row] for name, weight in weights.items()) for row in range(len(rows))]
    best = max(total for total, is_right in zip(totals, right, strict=True) if not is_right)
    assert best < min(total for total, is_right in zip(totals, right, strict=True) if is_right)


def test_most_near_misses_get_a_part_and_none_the_whole(rows, result):
    near = [
        value
        for (_, _, is_near), value, verdict in zip(rows, result.parts["partial"], result.verdicts, strict=True)
        if is_near and not verdict.robust_match and verdict.outcome in ("match", "mismatch")
    ]
    assert len(near) > 60
    assert all(0.0 <= value < PARTIAL for value in near)
    assert sum(value > 0.0 for value in near) > 0.95 * len(near)


def test_the_package_does_without_torch():
    code = (
        "import sys, common.rewards, common.rewards.display\n"
        "print(*sorted({'torch', 'transformers', 'trl', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
