"""Pairing rows of floats: as an independent matching does it, and bounded by counts for a whole comparison."""

import random

import pytest

from common.scoring import Scorer, ordering
from common.scoring.compare import is_contained, same_bag, same_row
from common.scoring.pairing import MOST_STEPS, PairingBudget


def fits(left: list[tuple], right: list[tuple]) -> bool:
    """Kuhn's matching, from the definition: each row on the left gets an equal one on the right."""
    holders: dict[int, int] = {}

    def place(row: int, seen: set[int]) -> bool:
        for target, other in enumerate(right):
            if target not in seen and same_row(left[row], other):
                seen.add(target)
                if target not in holders or place(holders[target], seen):
                    holders[target] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(left)))


def test_rows_are_paired_as_an_independent_matching_does():
    draw = random.Random(3)
    answers = []
    for _ in range(3_000):
        width, size, spare = draw.randint(1, 3), draw.randint(1, 7), draw.choice([0, 0, 1, 2])
        base = draw.choice([1.0, -1.0, 1e10, 0.0, 0.5])
        unit = max(abs(base) * 1e-9, 1e-12)  # the tolerance

        def value(base: float = base, unit: float = unit) -> object:
            kind = draw.random()
            if kind < 0.1:
                return int(base) + draw.randint(0, 2)
            if kind < 0.13:
                return draw.choice([None, "a", b"a", float("inf"), float("-inf")])
            return base + draw.randint(-3, 3) * unit * draw.choice([0.3, 0.45, 0.9])

        left = [tuple(value() for _ in range(width)) for _ in range(size)]
        right = [
            tuple(v + draw.uniform(-1, 1) * unit if isinstance(v, float) and draw.random() < 0.8 else v for v in row)
            for row in left
        ]
        right += [tuple(value() for _ in range(width)) for _ in range(spare)]
        if draw.random() < 0.3:
            right[0] = tuple(value() for _ in range(width))
        draw.shuffle(right)
        answers.append(fits(left, right))
        assert is_contained(left, right) == answers[-1], (left, right)
    assert 500 < sum(answers) < 2_500


def test_an_exact_pair_gives_way_where_no_float_is_left_over():
    near = 10**10 + 0.5
    assert same_bag([(10**10,), (near,)], [(near,), (10**10 + 1,)])
    assert not same_bag([(10**10,), (10**10 + 1,)], [(near,), (10**10 + 2,)])


def crossed(groups: int, rows: int, columns: int) -> tuple[list[tuple], list[tuple]]:
    """Rows whose first float tells nothing apart, so that sorting pairs them wrongly, and whose others are near."""
    steps = [7, 11, 13, 17, 19, 23]
    step = 2e-8 / rows

    def row(group: int, j: int, first: float, shift: float) -> tuple:
        values = [1.0 + ((j * steps[i % 6]) % rows + shift) * step for i in range(columns)]
        return (f"k{group}", first, *values)

    left = [row(g, j, 1.0 + (rows - j) * 1e-15, 0.0) for g in range(groups) for j in range(rows)]
    right = [row(g, j, 1.0 + (j * 31 % rows) * 1e-15, 0.3) for g in range(groups) for j in range(rows)]
    return left, right


@pytest.mark.parametrize(("groups", "rows", "columns"), [(22, 440, 1), (1, 5_000, 1), (200, 20, 3), (3, 800, 5)])
def test_crossed_rows_are_paired_with_few_steps(groups, rows, columns):
    budget = PairingBudget()
    assert same_bag(*crossed(groups, rows, columns), budget)
    assert 0 < MOST_STEPS - budget.steps < 5 * groups * rows * (columns + 1)


def test_the_steps_of_a_comparison_are_bounded_together():
    left, right = crossed(2, 300, 2)
    budget = PairingBudget()
    assert same_bag(left, right, budget)
    steps = MOST_STEPS - budget.steps
    assert not same_bag(left, right, PairingBudget(steps - 1))  # given up, and in both groups together
    assert same_bag(left, right, PairingBudget(steps))
    shared = PairingBudget(steps + steps // 2)
    assert same_bag(left, right, shared) and not same_bag(left, right, shared)


def test_a_row_of_a_long_chain_reaches_the_rows_that_it_ties_with():
    draw = random.Random(4)
    for _ in range(300):
        rows = [(value,) for value in sorted(draw.uniform(0, 6) for _ in range(draw.randint(2, 12)))]

        def tie(one: tuple, other: tuple) -> bool:
            return abs(one[0] - other[0]) <= 1

        ties = [[place for place, other in enumerate(rows) if tie(row, other)] for row in rows]
        expected = None if tie(rows[0], rows[-1]) else [(places[0], places[-1]) for places in ties]
        assert ordering._reaches(rows, tie) == expected


def test_a_hostile_reference_is_compared_at_once():
    # The pairs of 22 groups were looked for one group after the other, in 4 seconds.
    tables = (
        "WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM k LIMIT 22), x(j) AS (SELECT 0 UNION ALL SELECT j+1"
        " FROM x LIMIT 440) "
    )
    reference = (
        tables + "SELECT * FROM (SELECT 'k'||i, 1.0+(440-j)*1e-15*3, 1.0+j*4.8780487804878054e-11 FROM k, x "
        "ORDER BY i, j DESC)"
    )
    prediction = (
        tables + "SELECT 'k'||i, 1.0+((j*31)%440)*1e-15*3, 1.0+(j+0.3)*4.8780487804878054e-11 FROM k, x ORDER BY i, j"
    )
    texts = [
        (reference, prediction),
        (reference + " ORDER BY 2 > 0", prediction),  # a block of ties
        (f"INSERT INTO t {reference}", f"INSERT INTO t {prediction}"),
    ]
    rows = [{"schema": "CREATE TABLE t (a, b, c)", "reference": r, "prediction": p} for r, p in texts]
    with Scorer(workers=1) as scorer:
        assert [verdict.outcome for verdict in scorer.score_batch(rows)] == ["match"] * 3
