"""How well scores rank right answers above wrong ones: values worked out by hand, a brute-force count, and chance."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.statistics.ranking import agreement, auc, auc_within, aucs, best_of, calibration, preferences

ANSWERS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=25)  # few scores, so that many tie


def columns(answers) -> tuple[list, list]:
    return [score for score, _ in answers], [is_right for _, is_right in answers]


def wins(scores, right) -> list[float]:
    """1, 0.5 or 0 for each pair of a right and a wrong answer."""
    answers = list(zip(scores, right, strict=True))
    return [float(s > t) + 0.5 * (s == t) for s, good in answers if good for t, bad in answers if not bad]


@pytest.mark.parametrize(
    ("scores", "right", "value"),
    [
        ([2, 1], [True, False], 1.0),
        ([1, 2], [True, False], 0.0),
        ([1, 1], [True, False], 0.5),
        ([0.9, 0.5, 0.5, 0.1], [True, True, False, False], 3.5 / 4),
        ([3, 1, 2, 0], [True, True, False, False], 3 / 4),
        ([5, 5, 5, 5, 1], [True, False, False, False, False], 2.5 / 4),
        ([-math.inf, 0.0, math.inf], [False, True, True], 1.0),
        ([3], [True], math.nan),
        ([3, 4], [False, False], math.nan),
        ([], [], math.nan),
    ],
)
def test_auc_is_as_worked_out_by_hand(scores, right, value):
    assert auc(scores, right) == pytest.approx(value, nan_ok=True)


@given(ANSWERS)
def test_auc_counts_the_pairs(answers):
    scores, right = columns(answers)
    pairs = wins(scores, right)
    value = auc(scores, right)
    assert value == pytest.approx(sum(pairs) / len(pairs)) if pairs else math.isnan(value)


@given(ANSWERS)
def test_auc_sees_ranks_alone_and_turns_round_with_the_scores(answers):
    scores, right = columns(answers)
    value = auc(scores, right)
    assert auc([math.exp(score) for score in scores], right) == pytest.approx(value, nan_ok=True)
    assert auc([-score for score in scores], right) == pytest.approx(1 - value, nan_ok=True)
    assert auc(scores, [not is_right for is_right in right]) == pytest.approx(1 - value, nan_ok=True)


def test_columns_of_unequal_lengths_are_an_error():
    with pytest.raises(ValueError):
        auc([1, 2], [True, False, False])
    with pytest.raises(ValueError):
        calibration([0.5, 0.5], [True])


# Question a is ranked well, b is a tie; c has right answers alone and d wrong ones alone.
SCORES = [2.0, 1.0, 7.0, 7.0, 0.0, 1.0, 3.0, 2.0]
RIGHT = [True, False, True, False, True, True, False, False]
GROUPS = ["a", "a", "b", "b", "c", "c", "d", "d"]


def test_auc_within_is_the_mean_over_questions_with_both_kinds():
    assert auc_within(SCORES, RIGHT, GROUPS) == pytest.approx((1 + 0.5) / 2)
    assert auc_within(SCORES, RIGHT, ["one"] * 8) == auc(SCORES, RIGHT)
    assert math.isnan(auc_within(SCORES, RIGHT, range(8)))  # each answer is a question of its own
    assert math.isnan(auc_within([], [], []))


def test_auc_within_ignores_how_scores_lie_between_questions():
    scores = [2, 1, 102, 101, 52, 51]
    right = [True, False] * 3
    groups = [1, 1, 2, 2, 3, 3]
    assert auc_within(scores, right, groups) == 1.0
    assert auc(scores, right) == pytest.approx(6 / 9)
    order = [4, 0, 3, 1, 5, 2]  # a question's answers need not stand together
    assert auc_within(*([column[i] for i in order] for column in (scores, right, groups))) == 1.0


def test_a_question_counts_once_whatever_its_size():
    scores = [1, 0] + [0] + [1] * 9
    right = [True, False] + [True] + [False] * 9
    assert auc_within(scores, right, ["a"] * 2 + ["b"] * 10) == 0.5


def test_best_of_is_the_share_of_questions_whose_best_answer_is_right():
    assert best_of(SCORES, RIGHT, GROUPS) == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    assert best_of([1, 5, 5, 5], [True, True, False, False], ["q"] * 4) == pytest.approx(1 / 3)
    assert best_of([1, 2], [True, False], ["q", "q"]) == 0
    assert best_of([1, 2], [True, False], ["p", "q"]) == 0.5


@pytest.mark.parametrize(
    ("probabilities", "right", "bins", "value"),
    [
        # Below a half: mean 0.3 against 1 of 2, a gap of 0.2. Above: 0.7 against 2 of 3, a gap of 1 / 30.
        ([0.2, 0.4, 0.5, 0.6, 1.0], [False, True, False, True, True], 2, (2 * 0.2 + 3 / 30) / 5),
        ([0.2, 0.4, 0.5, 0.6, 1.0], [False, True, False, True, True], 1, 0.6 - 0.54),
        ([1.0, 0.0], [True, False], 10, 0.0),
        ([1.0, 0.0], [False, True], 10, 1.0),
        ([0.75, 0.75, 0.75, 0.75], [True, True, True, False], 10, 0.0),
        ([0.95, 1.0], [True, False], 10, 0.475),  # one bin: 1 belongs to the last one
        ([0.05, 0.15], [True, False], 10, (0.95 + 0.15) / 2),  # two bins, so the gaps do not cancel
        ([0.1], [True], 10, 0.9),
    ],
)
def test_calibration_is_as_worked_out_by_hand(probabilities, right, bins, value):
    assert calibration(probabilities, right, bins=bins) == pytest.approx(value)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=20))
def test_calibration_is_between_the_overall_gap_and_one(answers):
    probabilities, right = columns(answers)
    gap = abs(sum(probabilities) - sum(right)) / len(right)
    assert gap - 1e-9 <= calibration(probabilities, right) <= 1 + 1e-9
    assert calibration(probabilities, right, bins=1) == pytest.approx(gap)


def test_agreement_counts_pairs_of_a_kind_of_error():
    scores = [3, 2, 1, 2, 2, 9, 0, 4]
    right = [True, True, False, False, False, False, True, False]
    kinds = ["", "", "filter", "filter", "order", "order", "", "tables"]
    groups = ["a", "a", "a", "a", "a", "b", "b", "c"]
    # Filter: 1 loses to 3 and 2, 2 to 3, and it ties once. Order: 2 as before, and 9 wins over 0. Question c has no
    # right answer.
    assert agreement(scores, right, kinds, groups) == {"filter": (3.5 / 4, 4), "order": (1.5 / 3, 3)}
    assert list(agreement(scores, right, kinds, groups)) == ["filter", "order"]
    assert agreement([1, 2], [False, False], ["x", "y"], ["q", "q"]) == {}
    assert agreement([1, 2], [True, True], ["", ""], ["q", "q"]) == {}
    assert agreement([], [], [], []) == {}


@given(ANSWERS)
def test_agreement_of_one_kind_and_one_question_is_auc(answers):
    scores, right = columns(answers)
    pairs = wins(scores, right)
    parts = agreement(scores, right, ["all"] * len(right), ["q"] * len(right))
    assert parts == ({"all": (pytest.approx(auc(scores, right)), len(pairs))} if pairs else {})


def test_a_score_by_chance_ranks_by_chance():
    draw = random.Random(1)
    scores = [draw.random() for _ in range(8_000)]
    right = [draw.random() < 0.3 for _ in scores]
    groups = [number // 8 for number in range(8_000)]
    kinds = ["filter"] * 8_000
    assert auc(scores, right) == pytest.approx(0.5, abs=0.02)
    assert auc_within(scores, right, groups) == pytest.approx(0.5, abs=0.03)
    assert best_of(scores, right, groups) == pytest.approx(0.3, abs=0.05)
    assert agreement(scores, right, kinds, groups)["filter"][0] == pytest.approx(0.5, abs=0.03)
    assert calibration(scores, right) == pytest.approx(0.29, abs=0.03)  # the mean of |p - 0.3| over p in [0, 1]


def test_preferences_within_a_group_come_both_ways_round():
    pairs = preferences([3.0, 1.0, 5.0, 2.0], [True, False, False, True], ["a", "a", "b", "c"])
    assert pairs == [(2.0, True), (-2.0, False)]
    assert aucs([3.0, 1.0, 5.0, 2.0], [True, False, False, True], ["a", "a", "b", "c"]) == [1.0]
    assert math.isnan(best_of([], [], [])) and math.isnan(calibration([], []))
