"""What a score is made of: ROUGE-L against the package it restates, and the comparison of values and bags."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from common.scoring.compare import is_contained, same_bag, same_value
from common.scoring.rouge import rouge_l
from tests.cost import cost

# --- ROUGE-L --------------------------------------------------------------------------------------------------------


def test_rouge_l_equals_rouge_score():
    theirs = RougeScorer(["rougeL"], use_stemmer=False)
    draw = random.Random(1)
    alphabet = [
        "select",
        "FROM",
        "a",
        "b",
        "İ",
        "K",
        "ß",
        "t1.x",
        "é",
        "'",
        "<",
        ">",
        "\ud800",
        "\0",
        "_",
        "42",
        "\n",
        " ",
    ]
    for _ in range(3000):
        left, right = ("".join(draw.choices(alphabet, k=draw.randrange(25))) for _ in range(2))
        expected = theirs.score(left, right)["rougeL"].fmeasure
        assert rouge_l(left, right) == pytest.approx(expected, abs=1e-9), (left, right)


def test_rouge_l_by_hand_and_in_bounded_time():
    assert rouge_l("a b c d", "a c x") == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert rouge_l("v > 20", "v < 20") == 1.0
    assert rouge_l("", "a") == rouge_l("a", "") == rouge_l("?", "!") == 0.0
    assert cost(lambda: rouge_l("a b " * 300_000, "b c a " * 300_000), below=20) < 20  # 2; 150 without the limit


# --- comparing bags -------------------------------------------------------------------------------------------------


def test_values():
    assert same_value(3, 3.0) and same_value(None, None) and same_value(1.0, 1.0 + 9e-10)
    assert not same_value(3, "3") and not same_value(None, 0) and not same_value(1.0, 1.0 + 2e-9)
    assert not same_value(10**15, 10**15 + 1) and same_value(float(10**15), 10**15 + 1)
    assert same_value(float("inf"), float("inf")) and not same_value(float("inf"), 1e308)


def test_a_bag_needs_a_pairing_not_just_neighbours():
    step = 8e-10
    a, b, c = 1.0, 1.0 + step, 1.0 + 2 * step  # a~b, b~c, not a~c
    assert not same_value(a, c)
    assert same_bag([(a,), (b,)], [(b,), (c,)])  # though taking the exact pair b, b first would leave a and c
    assert same_bag([(b,), (a,)], [(b,), (c,)])  # here the first row must give way to the second
    assert not same_bag([(a,), (a,)], [(b,), (c,)])
    assert not same_bag([(a, "x"), (c, "y")], [(b, "y"), (a, "y")])
    assert same_bag([(a, 5), (c, 7)], [(b, 7), (b, 5)])
    assert is_contained([(b,)], [(a,), (c,)]) and not is_contained([(b,), (b,), (b,)], [(a,), (c,), (9.0,)])


def test_ten_thousand_rows_of_floats_take_no_quadratic_time():
    draw = random.Random(2)
    rows = [(draw.random(), draw.randrange(5), "x") for _ in range(10_000)]
    other = [(value * (1 + 1e-12), n, text) for value, n, text in rows]
    draw.shuffle(other)
    assert same_bag(rows, other) and not same_bag(rows, [*other[1:], (2.0, 1, "x")])
    assert cost(lambda: same_bag(rows, other), below=15) < 15  # about one; each with each: 300


def test_a_hostile_pairing_is_given_up_in_bounded_time():
    # Four clusters of rows, each within the tolerance of its neighbours; what comes last moves all the others.
    near = [[1 + k * 0.9e-9 + i * 1e-14 for i in range(110)] for k in range(4)]
    left = [(x, 1.0) for k in (1, 2, 3, 0) for x in near[k] for _ in range(20)]
    right = [(x, 1.0) for cluster in near for x in cluster for _ in range(20)]
    # Two rows that pair crosswise keep the quick way, pairs of the sorted rows, from being taken.
    left += [(5.0, 1.0), (5.0 + 1e-9, 1.0 + 1.8e-9)]
    right += [(5.0, 1.0 + 1.8e-9), (5.0 + 1e-9, 1.0)]
    assert cost(lambda: same_bag(left, right), below=15) < 15  # 6.5; 29 without the limit, far more for more rows
    wide = [(*[1.0 + i * 1e-13] * 199, i) for i in range(440)]
    others = [(*[1.0 + i * 2e-13] * 199, i % 439) for i in range(440)]
    assert not same_bag(wide, others)
    assert cost(lambda: same_bag(wide, others), below=25) < 25  # 6.5; 140 without the limit
