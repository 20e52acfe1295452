"""Kendall's tau-b: values by hand, the same as scipy's, and an interval over rows."""

import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from common.statistics.concordance import tau_b, tau_interval


@pytest.mark.parametrize(
    "one, other, expected",
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4], [1, 2, 4, 3], (5 - 1) / 6),  # one of six pairs the other way round
        ([1, 2, 2], [1, 2, 3], 2 / math.sqrt(2 * 3)),  # one pair tied on one side
        ([1, 1, 2], [1, 2, 2], 1 / math.sqrt(2 * 2)),  # another pair tied on each
        ([1, 1, 1], [1, 2, 3], None),
        ([5], [7], None),
        ([], [], None),
    ],
)
def test_tau_b_by_hand(one, other, expected):
    assert tau_b(one, other) == (expected if expected is None else pytest.approx(expected, abs=1e-12))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9))
def test_tau_b_is_scipys(pairs):
    expected = kendalltau(*zip(*pairs, strict=True), variant="b").statistic
    value = tau_b(*zip(*pairs, strict=True))
    assert value is None if math.isnan(expected) else value == pytest.approx(expected, abs=1e-12)


def rows(*shares, n=40):
    """Verdicts of one run a share, which is right on the first rows."""
    return numpy.array([[row < share * n for share in shares] for row in range(n)])


def test_an_order_that_no_draw_of_rows_changes_has_no_width():
    clear = rows(0.9, 0.5, 0.1)
    assert tau_interval(clear, clear).as_dict() == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 40}
    assert tau_interval(clear, ~clear).as_dict() == {"value": -1.0, "low": -1.0, "high": -1.0, "n": 40}


def test_an_order_that_hangs_on_one_row_may_be_another():
    """By the second measure the first two runs part on one row: tau-b is 1, or 2 / sqrt(6) where it is not drawn."""
    one, other = rows(0.9, 0.5, 0.1), rows(0.5, 0.475, 0.1)
    interval = tau_interval(one, other)
    assert interval.value == 1.0 and interval.high == 1.0
    assert interval.low == pytest.approx(2 / math.sqrt(6), abs=1e-12)
    assert interval == tau_interval(one, other)  # seeded


def test_groups_are_drawn_whole():
    one, other = rows(0.9, 0.5, 0.1), rows(0.5, 0.475, 0.1)
    whole = tau_interval(one, other, groups=["all"] * 40)
    assert (whole.low, whole.high) == (1.0, 1.0)  # one group shows no spread
    alone = tau_interval(one, other, groups=[f"{row:02}" for row in range(40)])
    assert alone == tau_interval(one, other)


def test_what_is_not_defined_is_none_and_shapes_have_to_agree():
    assert tau_interval(rows(0.5), rows(0.5)).value is None
    assert tau_interval(rows(0.5, 0.5), rows(0.1, 0.9)).value is None
    assert tau_interval(numpy.zeros((0, 3)), numpy.zeros((0, 3))).n == 0
    for bad in ({"other": rows(0.5)}, {"groups": ["x"]}):
        with pytest.raises(ValueError, match="the same runs on the same rows"):
            tau_interval(**({"one": rows(0.5, 0.1), "other": rows(0.5, 0.1)} | bad))
