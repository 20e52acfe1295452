"""Which rows meet in which batch: expected values by counting, and by trying every grouping of a few rows."""

import math
import random
from collections import Counter
from itertools import combinations

import pytest

from common.training.plan import group_by_length, step_plan

LENGTHS = [(37 * i) % 101 + 20 for i in range(203)]
SIZES = {"effective_batch_size": 16, "per_device_train_batch_size": 4}


def plan(lengths=LENGTHS, *, epochs=3, seed=1, **sizes):
    return step_plan(lengths, epochs=epochs, seed=seed, **(SIZES | sizes))


def flat(step):
    return [row for batch in step for row in batch]


def cells(groups, lengths):
    """Token positions of each group when padded to its longest row."""
    return [len(group) * max(lengths[row] for row in group) for group in groups]


def test_every_epoch_holds_every_row_once():
    """No row comes again before all others have come as often, at any step; a step may hold two epochs' rows."""
    seen = Counter(dict.fromkeys(range(203), 0))
    for number, step in enumerate(plan(), start=1):
        seen.update(flat(step))
        begun = min(16 * number, 3 * 203) / 203
        assert set(seen.values()) <= {int(begun), math.ceil(begun)}
    assert seen == Counter(dict.fromkeys(range(203), 3))


def test_only_the_last_step_is_smaller():
    sizes = [len(flat(step)) for step in plan()]
    assert sizes == [16] * 38 + [1]  # 3 × 203 = 38 × 16 + 1
    assert [len(flat(step)) for step in plan(LENGTHS[:208], epochs=1, effective_batch_size=203 * 2)] == [203]


@pytest.mark.parametrize(("per_device", "parts"), [(1, 16), (2, 8), (4, 4), (8, 2), (16, 1)])
def test_every_full_step_has_as_many_micro_batches_as_the_trainer_gathers(per_device, parts):
    """One too few, and the trainer would take the next step's rows into this one."""
    made = plan(per_device_train_batch_size=per_device)
    assert [len(step) for step in made[:-1]] == [parts] * 38
    assert len(made[-1]) == 1
    assert all(batch for step in made for batch in step)


@pytest.mark.parametrize("lengths", [[50] * 64, [1000] + [10] * 63, [2**i for i in range(10)] * 6 + [3] * 4])
def test_lengths_of_all_kinds_are_cut_into_as_many_micro_batches(lengths):
    for step in plan(lengths, epochs=2):
        assert [len(step), len(flat(step))] == [4, 16]


def test_a_last_step_with_fewer_rows_than_micro_batches_has_a_row_in_each():
    made = plan(LENGTHS[:18], epochs=1)
    assert [[len(batch) for batch in step] for step in made[1:]] == [[1, 1]]
    made = plan(LENGTHS[:21], epochs=1)
    assert len(made[1]) == 4 and len(flat(made[1])) == 5


def test_the_plan_follows_from_lengths_and_seed_alone():
    random.seed(5)
    state = random.getstate()
    first = plan()
    assert random.getstate() == state
    random.seed(6)
    assert plan() == first
    assert plan(seed=2) != first
    assert plan(seed=2) == plan(seed=2)
    assert plan(epochs=1) == first[:12] + plan(epochs=1)[12:]  # more epochs change nothing before them


def test_the_epochs_of_a_plan_and_the_seeds_differ_in_who_meets_whom():
    even = LENGTHS[:192]
    steps = [frozenset(flat(step)) for step in plan(even, epochs=2)]
    first, second = set(steps[:12]), set(steps[12:])
    assert not first & second
    assert not first & {frozenset(flat(step)) for step in plan(even, epochs=1, seed=2)}


def test_rows_are_drawn_without_regard_to_their_length():
    """Else the steps' mean lengths would lie as far apart as the rows' lengths do, which is 100."""
    means = [sum(LENGTHS[row] for row in flat(step)) / 16 for step in plan(epochs=1)[:12]]
    assert max(means) - min(means) < 35  # a mean of 16 has a standard error of 7; sorted rows give over 90
    assert means != sorted(means) and means != sorted(means, reverse=True)


def test_the_rows_of_a_micro_batch_are_neighbours_in_length():
    for step in plan():
        assert [LENGTHS[row] for row in flat(step)] == sorted((LENGTHS[row] for row in flat(step)), reverse=True)


def test_rows_of_one_length_stay_in_their_order():
    assert group_by_length([3, 1, 2, 0], [7, 7, 7, 7], 2) == [[0, 1], [2, 3]]


def test_groups_by_hand():
    lengths = [10, 2, 9, 3, 3, 2]
    # 2 groups: {10, 9} and {3, 3, 2, 2} take 20 and 12; {10} and {9, 3, 3, 2, 2} 10 and 45; {10, 9, 3} … 30 and 9.
    assert group_by_length(range(6), lengths, 2) == [[0, 2], [3, 4, 1, 5]]
    # 3 groups: {10}, {9}, {3, 3, 2, 2} take 10, 9, 12; no other takes at most 12.
    assert group_by_length(range(6), lengths, 3) == [[0], [2], [3, 4, 1, 5]]
    assert group_by_length(range(6), lengths, 1) == [[0, 2, 3, 4, 1, 5]]
    assert group_by_length([4, 2], lengths, 5) == [[2], [4]]
    assert group_by_length([2], lengths, 1) == [[2]]


def smallest_largest(ranked, parts, lengths):
    """The largest group's cells in the best of all ways to cut ranked rows into so many groups."""
    cuts = combinations(range(1, len(ranked)), parts - 1)
    edges = ([0, *cut, len(ranked)] for cut in cuts)
    return min(max(cells([ranked[a:b] for a, b in zip(e, e[1:], strict=False)], lengths)) for e in edges)


def partitions(rows, parts):
    """All ways to put rows into so many groups, neighbours or not."""
    if not rows:
        return [[]] if parts == 0 else []
    first, rest = rows[0], rows[1:]
    found = [[[first], *groups] for groups in partitions(rest, parts - 1)] if parts else []
    for groups in partitions(rest, parts):
        found += [groups[:i] + [[first, *groups[i]]] + groups[i + 1 :] for i in range(len(groups))]
    return found


def test_the_largest_group_is_as_small_as_it_can_be():
    rng = random.Random(0)
    for _ in range(300):
        lengths = [rng.choice([1, 2, 3, 5, 8, 13, 40, rng.randint(1, 60)]) for _ in range(rng.randint(1, 10))]
        for parts in range(1, len(lengths) + 1):
            groups = group_by_length(range(len(lengths)), lengths, parts)
            ranked = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
            assert flat(groups) == ranked and len(groups) == parts
            assert max(cells(groups, lengths)) == smallest_largest(ranked, parts, lengths)


def test_no_grouping_of_rows_that_are_no_neighbours_is_better():
    rng = random.Random(1)
    for _ in range(25):
        lengths = [rng.randint(1, 30) for _ in range(7)]
        for parts in range(1, 8):
            best = min(max(cells(groups, lengths)) for groups in partitions(list(range(7)), parts))
            assert max(cells(group_by_length(range(7), lengths, parts), lengths)) == best


def test_little_of_a_batch_is_padding():
    real = sum(LENGTHS)
    made = sum(sum(cells(step, LENGTHS)) for step in plan(epochs=1))
    order = random.Random(3).sample(range(203), 203)
    at_random = sum(cells([order[at : at + 4] for at in range(0, 203, 4)], LENGTHS))
    assert at_random > 1.3 * real
    assert made < 1.15 * real
    widest = max(max(cells(step, LENGTHS)) for step in plan(epochs=1))
    assert widest < 0.85 * max(cells([order[at : at + 4] for at in range(0, 203, 4)], LENGTHS))
