"""Rows that share a schema are drawn together where the schemas are enough to stand for others."""

from dataclasses import replace

import pytest

from common.statistics import mean_interval, paired_difference


def test_groups_of_several_sizes_weigh_by_their_rows():
    # Of six groups the large one is not drawn with p = .33, and thrice or more with p = .06: 0 and 18/21 are the ends.
    interval = mean_interval([1.0] * 6 + [0.0] * 5, groups=["a"] * 6 + ["b", "c", "d", "e", "f"])
    assert (interval.value, interval.low, interval.high) == (pytest.approx(6 / 11), 0.0, pytest.approx(18 / 21))


@pytest.mark.parametrize("values", [[True] * 7 + [False] * 13, [n / 7 for n in range(20)]])
@pytest.mark.parametrize("groups", [1, 2, 5])
def test_too_few_groups_to_stand_for_others_leave_rows(values, groups):
    names, others = [str(n % groups) for n in range(20)], values[::-1]
    interval = mean_interval(values, groups=names)
    assert interval == mean_interval(values) and interval.low < interval.value < interval.high
    pair = paired_difference(values, others, groups=names)
    assert pair.groups == groups and pair.low < pair.value < pair.high
    assert pair == replace(paired_difference(values, others), groups=groups)
    assert mean_interval(values, groups=[str(n % 6) for n in range(20)]) != interval


@pytest.mark.parametrize("values", [[True] * 7 + [False] * 13, [n / 7 for n in range(50)]])
def test_one_row_a_group_is_no_grouping(values):
    names = [f"row {n}" for n in range(len(values))]
    assert mean_interval(values, groups=names) == mean_interval(values)
    others = values[::-1]
    assert paired_difference(values, others, groups=names) == paired_difference(values, others)
