"""Expected values are worked out here, by hand or by a formula written out, never by the code under test."""

import math
import random

import numpy
import pytest
from scipy import stats

from common.settings import UserError
from common.statistics import (
    column_order_refusals,
    difference,
    figures,
    holm,
    mean_interval,
    metrics,
    of_split,
    outcomes,
    paired_difference,
    paired_rows,
    slices,
    smallest_difference,
    splits_of,
    strict_only_matches,
)


def row(id: str, match: bool | None, **fields) -> dict:
    return {
        "id": id,
        "complexity": "basic SQL",
        "task_type": "data retrieval",
        "match": match,
        "robust_match": None,
        "score": 1.0 if match else 0.35,
        "published_match": bool(match),
        "published_score": 1.0 if match else 0.7,
        "rouge_l": 0.5,
        "outcome": {True: "match", False: "mismatch", None: "reference_error"}[match],
        "detail": "",
    } | fields


def test_wilson_interval_is_the_formula():
    n, p, z = 10, 0.3, 1.959963984540054
    centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    interval = mean_interval([True] * 3 + [False] * 7)
    assert interval.n == 10 and interval.value == pytest.approx(0.3)
    assert interval.low == pytest.approx((centre - half) / (1 + z * z / n))
    assert interval.high == pytest.approx((centre + half) / (1 + z * z / n))


def test_wilson_does_not_collapse_at_the_ends():
    interval = mean_interval([False] * 20)
    assert interval.low == pytest.approx(0) and 0.1 < interval.high < 0.2


def test_bootstrap_is_near_the_normal_interval_and_seeded():
    rng = random.Random(3)
    values = [rng.gauss(5, 2) for _ in range(400)]
    mean = sum(values) / 400
    error = math.sqrt(sum((v - mean) ** 2 for v in values) / 400 / 400)
    interval = mean_interval(values, seed=1, resamples=10_000)
    assert interval.value == pytest.approx(mean)
    assert interval.low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert interval.high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)
    assert interval == mean_interval(values, seed=1, resamples=10_000)
    assert interval != mean_interval(values, seed=2, resamples=10_000)


def test_a_narrower_level_gives_a_narrower_interval():
    values = [0.0, 0.2, 0.4, 1.0] * 10
    wide, narrow = mean_interval(values), mean_interval(values, level=0.5)
    assert wide.low < narrow.low < 0.4 < narrow.high < wide.high


@pytest.mark.parametrize(
    "values, expected", [([], (None, None, None, 0)), ([0.25], (0.25, 0.25, 0.25, 1)), ([0.5] * 9, (0.5, 0.5, 0.5, 9))]
)
def test_nothing_and_no_spread(values, expected):
    interval = mean_interval(values)
    assert (interval.value, interval.low, interval.high, interval.n) == pytest.approx(expected)
    assert interval.as_dict() == {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}


def test_paired_difference_of_booleans():
    # 12 rows turned right, 3 turned wrong, 25 stayed: the difference is 9/40.
    a = [False] * 12 + [True] * 3 + [True] * 10 + [False] * 15
    b = [True] * 12 + [False] * 3 + [True] * 10 + [False] * 15
    pair = paired_difference(a, b)
    assert pair.value == pytest.approx(9 / 40) and pair.n == 40
    error = math.sqrt(((12 + 3) / 40 - (9 / 40) ** 2) / 40)
    assert pair.low == pytest.approx(9 / 40 - 1.96 * error, abs=0.02)
    assert pair.high == pytest.approx(9 / 40 + 1.96 * error, abs=0.02)
    # McNemar's exact test: 12 or more of 15 discordant pairs one way, twice.
    assert pair.p == pytest.approx(2 * sum(math.comb(15, k) for k in range(12, 16)) / 2**15)


def test_pairing_takes_out_what_both_share():
    rng = random.Random(0)
    a = [rng.random() for _ in range(60)]
    b = [value + 0.1 for value in a]
    pair = paired_difference(a, b)
    assert pair.low == pytest.approx(0.1) and pair.high == pytest.approx(0.1) and pair.p is None


def test_paired_difference_of_equal_runs_and_of_nothing():
    assert paired_difference([True, False], [True, False]).p == 1.0
    assert paired_difference([], []).value is None
    with pytest.raises(ValueError, match="2 and 1"):
        paired_difference([True, False], [True])


def test_groups_that_are_alike_count_as_one_row_each():
    groups = [str(n // 10) for n in range(100)]
    alike = mean_interval([n < 50 for n in range(100)], groups=groups)
    # Ten groups, five of them wholly true: a resample has Binomial(10, 1/2) of them, of which two or fewer come with
    # p = .055 and one or fewer with .011, so that the 2.5 % quantile is two of ten. Wilson's for 50 of 100 rows is
    # [.404, .596].
    assert (alike.value, alike.low, alike.high, alike.n) == pytest.approx((0.5, 0.2, 0.8, 100))
    spread = mean_interval([n % 2 == 0 for n in range(100)], groups=groups)  # five of ten in each
    assert (spread.value, spread.low, spread.high) == pytest.approx((0.5, 0.5, 0.5))
    none = mean_interval([False] * 100, groups=groups)
    assert (none.low, none.high) == pytest.approx((0.0, 1.959964**2 / (10 + 1.959964**2)), abs=1e-6)  # Wilson, 0 of 10


def test_the_interval_over_groups_is_wider_by_the_root_of_their_size():
    rng = random.Random(5)
    values = [value for _ in range(60) for value in [rng.gauss(0, 1)] * 9]
    groups = [str(n // 9) for n in range(540)]
    rows, over_groups = mean_interval(values), mean_interval(values, groups=groups, resamples=10_000)
    assert over_groups.value == pytest.approx(rows.value) and over_groups.n == rows.n == 540
    # The variance of a mean over rows that are all alike within groups of nine is nine times that over as many rows.
    assert (over_groups.high - over_groups.low) / (rows.high - rows.low) == pytest.approx(3, rel=0.1)


def test_paired_difference_over_groups():
    # Six schemas of three rows; b has all rows of five schemas right and none of the sixth, a the other way round.
    a, b = [False] * 15 + [True] * 3, [True] * 15 + [False] * 3
    groups = [str(n // 3) for n in range(18)]
    rows, over_groups = paired_difference(a, b), paired_difference(a, b, groups=groups)
    assert rows.value == over_groups.value == pytest.approx(12 / 18) and over_groups.n == 18
    assert rows.p == pytest.approx(2 * sum(math.comb(18, k) for k in range(4)) / 2**18)
    # Over schemas: five or more of six one way, twice.
    assert over_groups.p == pytest.approx(2 * (math.comb(6, 5) + 1) / 2**6)
    # A resample has k schemas of six on b's side, k ~ Binomial(6, 5/6): P(k <= 2) = .009, P(k <= 3) = .062.
    assert (over_groups.low, over_groups.high) == pytest.approx((0.0, 1.0))
    assert rows.low > 0.2 and rows.high == pytest.approx(1.0)


def test_the_test_over_groups_counts_what_each_adds():
    # Groups add 3, 1 and -1: of the eight signings 5, 3, 3 and their negatives are as far from 0 as 3 is.
    a, b = [False] * 4 + [True] * 4, [True] * 4 + [False] + [True] * 3  # the last three groups add nothing
    pair = paired_difference(a, b, groups=list("xxxyzuvw"))
    assert pair.p == pytest.approx(6 / 8)
    pair = paired_difference([True, False] * 4, [False, True] + [True, False] * 3, groups=list("vvuwxyzz"))
    assert pair.p == 1.0
    assert paired_difference([0.1, 0.2] * 4, [0.2, 0.4] * 4, groups=list("vvuwxyzz")).p is None


def test_metrics_of_rows_that_share_a_schema_are_over_schemas():
    matches = [True, None, True, False, False, True, False, True, True]
    rows = [row(name, match) for name, match in zip("abcdefghi", matches, strict=True)]
    groups = ["x", "y", "x", "z", "z", "s", "u", "v", "w"]
    joint = [line | {"schema": name} for line, name in zip(rows, groups, strict=True)]
    means = metrics(joint)
    assert {name: line["value"] for name, line in means.items()} == {n: v["value"] for n, v in metrics(rows).items()}
    assert means["match"] == slices(joint)["complexity"]["basic SQL"]["match"] != metrics(rows)["match"]
    assert metrics([line | {"schema": line["id"]} for line in rows]) == metrics(rows)  # a schema a row
    assert metrics([*joint[:-1], rows[-1]]) == metrics(rows)  # one that does not say its schema
    values = [match for match in matches if match is not None]
    assert means["match"] == mean_interval(values, groups=[*groups[:1], *groups[2:]]).as_dict()
    assert means["scorable"] == mean_interval([match is not None for match in matches], groups=groups).as_dict()


def test_each_value_needs_its_group():
    for call in (
        lambda: mean_interval([True, False], groups=["x"]),
        lambda: paired_difference([True, False], [True, True], groups=["x", "y", "z"]),
    ):
        with pytest.raises(ValueError, match="each value needs its group"):
            call()


def test_figures_are_of_one_split():
    rows = [row("a", True, split="test"), row("b", False, split="test_unseen")]
    assert splits_of(rows) == ["test", "test_unseen"] and of_split(rows) == rows[:1]
    assert figures(of_split(rows, "test_unseen"))["metrics"]["match"]["value"] == 0.0
    for function in (metrics, slices, figures):
        with pytest.raises(ValueError, match="of one split, these rows are of test, test_unseen"):
            function(rows)


def test_a_difference_is_over_the_schemas_of_rows_that_both_have_a_verdict_for():
    names = ["x", "x", "x", "y", "z", "w", "s", "u", "v"]
    a, b = (
        [row(str(n), match, schema=names[n]) for n, match in enumerate(matches)]
        for matches in ([False] * 4 + [True, None] + [True] * 3, [True] * 4 + [False] + [True] * 4)
    )
    pair = difference(a, b)
    assert (pair.n, pair.value, pair.groups) == (8, pytest.approx(3 / 8), 6)
    assert pair.p == pytest.approx(6 / 8)  # of schemas that add 3, 1 and -1, as above
    alone = difference([line | {"schema": line["id"]} for line in a], [line | {"schema": line["id"]} for line in b])
    assert alone.p == pytest.approx(2 * (1 + 5) / 2**5)  # McNemar's: five pairs differ, one for the worse


@pytest.mark.parametrize(("n", "discordant"), [(640, 0.14), (160, 0.18), (2_500, 0.1), (200, 0.3)])
def test_the_smallest_difference_is_found_four_times_in_five(n, discordant):
    """By its definition: the exact power of McNemar's test, each row being turned right, turned wrong or neither."""
    size = smallest_difference(n, discordant)
    right = (discordant + size) / 2 / discordant  # of the rows that differ
    rng = numpy.random.default_rng(0)
    changed = rng.binomial(n, discordant, 20_000)
    better = rng.binomial(changed, right)
    rejected = stats.chi2.sf((2 * better - changed) ** 2 / numpy.maximum(changed, 1), 1) < 0.05
    assert rejected.mean() == pytest.approx(0.8, abs=0.04)


def test_rows_that_go_together_show_less():
    a, b = [False] * 40 + [True] * 10 + [False] * 50, [True] * 40 + [False] * 10 + [False] * 50
    alone, joint = paired_difference(a, b), paired_difference(a, b, groups=[str(n // 5) for n in range(100)])
    assert (alone.discordant, alone.groups, joint.groups) == (0.5, 100, 20)
    assert alone.smallest == smallest_difference(100, 0.5)
    # Ten groups add 5 or -5: they spread a total five times as far as fifty rows that add 1 or -1.
    assert joint.smallest == smallest_difference(100, 0.5, spread=2.5) > 1.9 * alone.smallest


def test_too_few_rows_show_no_difference():
    assert smallest_difference(20, 0.1) is None is smallest_difference(640, 0.0)
    assert paired_difference([0.1, 0.2], [0.3, 0.1]).smallest is None


def test_holm_by_hand():
    # sorted: .01 x 4, .02 x 3, .03 x 2, .5 x 1
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    # never decreasing in rank, never above 1
    assert holm([0.02, 0.021, 0.9]) == pytest.approx([0.06, 0.06, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_metrics_leave_unscorable_rows_out_of_the_strict_means_only():
    rows = [row("a", True), row("b", False), row("c", None, score=0.0, rouge_l=0.2), row("d", True, robust_match=False)]
    means = metrics(rows)
    assert list(means) == [
        "match",
        "right",
        "score",
        "published_score",
        "published_match",
        "robust_match",
        "rouge_l",
        "scorable",
    ]
    assert (means["match"]["value"], means["match"]["n"]) == (pytest.approx(2 / 3), 3)
    assert (means["right"]["value"], means["right"]["n"]) == (pytest.approx(1 / 3), 3)  # d is no robust match
    assert (means["score"]["value"], means["score"]["n"]) == (pytest.approx((1 + 0.35 + 1) / 3), 3)
    assert (means["published_score"]["value"], means["published_score"]["n"]) == (pytest.approx(3.4 / 4), 4)
    assert (means["published_match"]["value"], means["published_match"]["n"]) == (0.5, 4)
    assert (means["robust_match"]["value"], means["robust_match"]["n"]) == (0.0, 1)
    assert (means["rouge_l"]["value"], means["rouge_l"]["n"]) == (pytest.approx(1.7 / 4), 4)
    assert (means["scorable"]["value"], means["scorable"]["n"]) == (0.75, 4)
    assert metrics(rows[:3])["robust_match"] == {"value": None, "low": None, "high": None, "n": 0}
    assert outcomes(rows) == {"match": 2, "mismatch": 1, "reference_error": 1}


def test_refusals_for_the_order_of_columns_alone_are_counted():
    order = {"detail": "the reference's columns in another order"}
    rows = [row("a", True), row("b", False), row("c", False) | order, row("d", False) | order]
    rows += [row("e", None) | order, row("f", False, detail="on generated database 1: " + order["detail"])]
    assert column_order_refusals(rows) == 2
    assert column_order_refusals([]) == 0


def test_robust_matches_that_rest_on_the_given_database_alone():
    alone = {"detail": "strict only: no database could be generated for this reference"}
    rows = [row("a", True, robust_match=True) | alone, row("b", True, robust_match=True), row("c", False) | alone]
    assert strict_only_matches(rows) == 1 and strict_only_matches([]) == 0


def test_slices():
    rows = [row("a", True), row("b", False, complexity="CTEs"), row("c", None, complexity="CTEs"), row("d", False)]
    shares = slices(rows + [row("e", True, complexity="", task_type="")])
    assert {name: (s["match"]["value"], s["match"]["n"]) for name, s in shares["complexity"].items()} == {
        "basic SQL": (0.5, 2),
        "CTEs": (0.0, 1),
    }
    assert shares["task_type"]["data retrieval"]["score"]["value"] == pytest.approx((1 + 0.35 + 0.35) / 3)


def test_paired_rows_align_by_id_or_refuse():
    a, b = [row("x", True), row("y", False)], [row("y", True), row("x", False)]
    assert [(p["match"], q["match"]) for p, q in zip(*paired_rows(a, b), strict=True)] == [(True, False), (False, True)]
    with pytest.raises(UserError, match="1 are in one of them only, 'z'"):
        paired_rows(a, [*b, row("z", True)])
    with pytest.raises(UserError, match="same rows"):
        paired_rows(a, [*b, row("y", True)])
