"""Rows packed as a tree of prefixes, against a trie built by hand; and which rows meet where trees are trained on."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.training.plan import (
    Prefixes,
    balanced,
    evaluation_trees,
    largest_tree,
    steps,
    tree_plan,
    with_dummies,
)
from common.training.tree import shared, tree

LETTERS = st.lists(st.integers(5, 7), min_size=1, max_size=9)
BRANCHES = st.lists(LETTERS, min_size=1, max_size=8)


@st.composite
def token_rows(draw) -> list[list[int]]:
    """Rows over three letters, and some that are equal to others, go on where another ends, or end before it does."""
    rows = draw(BRANCHES)
    for at in draw(st.lists(st.integers(0, len(rows) - 1), max_size=4)):
        kind = draw(st.sampled_from(["equal", "longer", "shorter", "apart"]))
        row = rows[at]
        rows.append(
            {"equal": row, "longer": row + [6, 5], "shorter": row[: len(row) // 2 + 1], "apart": [99, *row]}[kind]
        )
    return draw(st.permutations(rows))


def starts(rows) -> list[tuple[int, ...]]:
    """What rows begin with, each once: the nodes of their trie."""
    return sorted({tuple(row[:count]) for row in rows for count in range(1, len(row) + 1)})


# The tree


@settings(max_examples=150)
@given(token_rows())
def test_a_tree_is_the_trie_of_its_rows(rows):
    packed, nodes = tree(rows), starts(rows)
    assert len(packed.ids) == len(packed.positions) == len(packed.ends) == len(nodes)
    # In alphabetical order a node's descendants follow it, so the nodes of a sorted trie are in depth-first order.
    assert packed.ids.tolist() == [node[-1] for node in nodes]
    assert packed.positions.tolist() == [len(node) - 1 for node in nodes]
    for at, node in enumerate(nodes):
        below = [i for i, other in enumerate(nodes) if other[: len(node)] == node]
        assert below == list(range(at, packed.ends[at]))
    assert len(packed.places) == len(rows)
    for row, places in zip(rows, packed.places, strict=True):
        assert packed.ids[places].tolist() == list(row)
        assert packed.positions[places].tolist() == list(range(len(row)))
        assert places.tolist() == [nodes.index(tuple(row[:count])) for count in range(1, len(row) + 1)]


def test_a_tree_by_hand():
    packed = tree([[5, 6, 8], [5, 6], [4], [5, 6, 7, 7], [5, 6, 8]])
    assert packed.ids.tolist() == [4, 5, 6, 7, 7, 8]
    assert packed.positions.tolist() == [0, 0, 1, 2, 3, 2]
    assert packed.ends.tolist() == [1, 6, 6, 5, 5, 6]
    assert [places.tolist() for places in packed.places] == [[1, 2, 5], [1, 2], [0], [1, 2, 3, 4], [1, 2, 5]]


def test_one_row_is_a_path():
    packed = tree([[9, 3, 9]])
    assert (packed.ids.tolist(), packed.positions.tolist(), packed.ends.tolist()) == ([9, 3, 9], [0, 1, 2], [3, 3, 3])


@given(LETTERS, LETTERS)
def test_what_two_rows_begin_with_alike(one, other):
    import numpy

    count = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))  # noqa: B905
    assert shared(numpy.array(one), numpy.array(other)) == count


def test_an_empty_row_shares_nothing():
    import numpy

    assert shared(numpy.array([], dtype=int), numpy.array([5])) == 0


# What items cost


@settings(max_examples=100)
@given(st.lists(LETTERS, min_size=1, max_size=10), st.data())
def test_items_of_one_row_cost_what_their_tree_has(rows, data):
    prefixes = Prefixes([[row] for row in rows])
    assert prefixes.tokens == [len(row) for row in rows]
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=12))  # an item may come twice
    ranked = prefixes.ranked(chosen)
    assert Counter(ranked) == Counter(chosen)
    cost = prefixes.cost(ranked)
    for first in range(len(ranked)):
        for last in range(first + 1, len(ranked) + 1):
            assert cost(first, last) == len(starts(rows[item] for item in ranked[first:last]))


@settings(max_examples=100)
@given(st.lists(BRANCHES, min_size=1, max_size=8), st.data())
def test_items_of_several_rows_never_cost_too_little(items, data):
    prefixes = Prefixes(items)
    assert prefixes.tokens == [len(starts(rows)) for rows in items]
    ranked = prefixes.ranked(data.draw(st.lists(st.integers(0, len(items) - 1), min_size=1, max_size=10)))
    cost = prefixes.cost(ranked)
    for first in range(len(ranked)):
        for last in range(first + 1, len(ranked) + 1):
            unique = len(starts(row for item in ranked[first:last] for row in items[item]))
            assert unique <= cost(first, last) <= sum(prefixes.tokens[item] for item in ranked[first:last])
            assert cost(first, last) >= cost(first, last - 1) if last - 1 > first else True


def test_what_pairs_cost_by_hand():
    prompt, other = [5, 5, 5, 5], [5, 5, 9]
    items = [[[*prompt, 7, 7], [*prompt, 8]], [[*other, 1], [*other, 2, 2]], [[*prompt, 7], [*prompt, 6]]]
    prefixes = Prefixes(items)
    assert prefixes.tokens == [7, 6, 6]
    assert prefixes.ranked([0, 1, 2]) == [2, 0, 1]  # … 6, then … 7 7, then the other prompt
    cost = prefixes.cost([2, 0, 1])
    assert [cost(0, 1), cost(0, 2), cost(1, 3), cost(0, 3)] == [6, 6 + 7 - 4, 7 + 6 - 2, 6 + 7 + 6 - 4 - 2]
    assert prefixes.cost([0, 0, 1])(0, 2) == 7  # an item that comes again brings nothing new


# The plan

HEAD = list(range(100, 130))


def examples(count: int, seed: int = 0) -> list[list[int]]:
    """Rows that begin alike, go on with one of few schemas, and end as they like."""
    draw = random.Random(seed)
    schemas = [[draw.randrange(9) for _ in range(draw.randint(10, 60))] for _ in range(count // 4 + 1)]
    return [
        HEAD + draw.choice(schemas) + [draw.randrange(50) for _ in range(draw.randint(3, 40))] for _ in range(count)
    ]


def plan(prefixes, *, most_tokens=300, world=1, epochs=2, effective=16, seed=1):
    sizes = {"epochs": epochs, "effective_batch_size": effective, "seed": seed}
    return tree_plan(prefixes, most_tokens=most_tokens, world=world, **sizes)


def flat(step):
    return [item for batch in step for item in batch]


@pytest.mark.parametrize("most_tokens", [1, 64, 300, 10**6])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_full_steps_have_as_many_micro_batches_within_the_bound(most_tokens, world):
    items = [[row] for row in examples(83)]
    prefixes = Prefixes(items)
    made = plan(prefixes, most_tokens=most_tokens, world=world)
    cut = steps(83, epochs=2, effective_batch_size=16, seed=1)
    assert [sorted(flat(step)) for step in made] == [sorted(step) for step in cut]  # 83 × 2 = 10 × 16 + 6
    counts = {len(with_dummies(step, world)) for step in made[:-1]}
    assert len(counts) == 1 and counts.pop() % world == 0
    assert len(with_dummies(made[-1], world)) % world == 0
    assert all(batch for step in made for batch in step)
    for batch in (batch for step in made for batch in step):
        unique = len(starts(items[item][0] for item in batch))
        assert unique <= most_tokens or len(set(batch)) == 1


def test_no_fewer_micro_batches_would_do():
    """The hardest step fills them: one process, and every step as few as it."""
    items = [[row] for row in examples(83)]
    prefixes = Prefixes(items)
    made = plan(prefixes)
    parts = len(made[0])
    fewest = []
    for step in made[:-1]:
        ranked, count, at = prefixes.ranked(flat(step)), 0, 0
        while at < len(ranked):
            last = at + 1
            while last < len(ranked) and len(starts(items[i][0] for i in ranked[at : last + 1])) <= 300:
                last += 1
            count, at = count + 1, last
        fewest.append(count)
    assert parts == max(fewest) > 1


def test_every_epoch_holds_every_item_once_and_the_plan_follows_from_the_seed():
    prefixes = Prefixes([[row] for row in examples(50)])
    order = [item for step in plan(prefixes, epochs=3, effective=1) for item in flat(step)]
    assert [sorted(order[at : at + 50]) for at in (0, 50, 100)] == [list(range(50))] * 3
    assert plan(prefixes) == plan(prefixes) != plan(prefixes, seed=2)


def test_an_item_may_come_twice_in_a_step():
    """Three rows in steps of eight: epochs laid end to end."""
    prefixes = Prefixes([[row] for row in ([5, 5, 6], [5, 5, 7], [9])])
    made = plan(prefixes, epochs=8, effective=8, most_tokens=4)
    assert [Counter(flat(step)) for step in made] == [
        Counter(step) for step in steps(3, epochs=8, effective_batch_size=8, seed=1)
    ]
    assert all(len(step) == 2 for step in made)  # 4 tokens and 1, however often each item comes


def test_micro_batches_of_a_step_are_about_equal():
    prefixes = Prefixes([[row] for row in examples(64)])
    for step in plan(prefixes, epochs=1, effective=32):
        costs = [prefixes.cost(batch)(0, len(batch)) for batch in step]
        longest = max(prefixes.tokens[item] for item in flat(step))
        assert max(costs) <= sum(costs) / len(costs) + longest


def test_rows_that_begin_alike_meet():
    """At least half of what a step's rows share is computed once."""
    rows = examples(64)
    prefixes = Prefixes([[row] for row in rows])
    (step,) = plan(prefixes, epochs=1, effective=64)
    apart, together = sum(map(len, rows)), len(starts(rows))
    made = sum(prefixes.cost(batch)(0, len(batch)) for batch in step)
    at_random = random.Random(0).sample(range(64), 64)
    size = -(-64 // len(step))
    drawn = sum(len(starts(rows[i] for i in at_random[at : at + size])) for at in range(0, 64, size))
    assert together < made < apart - (apart - together) / 2 and made < 0.9 * drawn


def test_groups_are_as_cheap_as_they_can_be():
    draw = random.Random(3)
    for _ in range(200):
        rows = [[draw.randrange(2) for _ in range(draw.randint(1, 6))] for _ in range(draw.randint(1, 7))]
        prefixes = Prefixes([[row] for row in rows])
        ranked = prefixes.ranked(range(len(rows)))
        cost = prefixes.cost(ranked)
        for parts in range(1, len(rows) + 2):
            groups = balanced(ranked, parts, cost)
            assert flat(groups) == ranked and len(groups) == min(parts, len(rows)) and all(groups)
            assert max(prefixes.cost(g)(0, len(g)) for g in groups) == cheapest(len(rows), min(parts, len(rows)), cost)


def cheapest(count: int, parts: int, cost, first: int = 0) -> int:
    """The dearest group's cost in the best of all ways to cut `count` items into so many groups of neighbours."""
    if parts == 1:
        return cost(first, count)
    ends = range(first + 1, count - parts + 2)
    return min(max(cost(first, end), cheapest(count, parts - 1, cost, end)) for end in ends)


def test_the_largest_tree_of_a_plan():
    prefixes = Prefixes([[[5, 5, 6]], [[5, 5, 7, 7]], [[9] * 5], [[1], [2]]])
    largest = largest_tree(prefixes, [1, 2, 7, 2], [[[3, 0, 1], [2]]])
    assert (largest.rows, largest.width, largest.labelled, largest.masked) == (1, 2 + 3 + 4 - 2, 7, True)


def test_evaluation_trees_hold_every_item_once_within_the_bound():
    rows = examples(40)
    prefixes = Prefixes([[row] for row in rows])
    batches = evaluation_trees(prefixes, 300)
    assert sorted(flat(batches)) == list(range(40)) and 1 < len(batches) < 40
    assert all(len(starts(rows[i] for i in batch)) <= 300 for batch in batches)
    assert len(evaluation_trees(prefixes, 10**6)) == 1 and len(evaluation_trees(prefixes, 1)) == 40
