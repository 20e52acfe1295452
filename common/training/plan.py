"""Which rows meet in which micro-batch of which step, for any number of processes. Knows no torch.

An item is what is weighed as one: a row in supervised fine-tuning, the two rows of a pair in preference training. The
plan is fixed before the first step, a pure function of the items' lengths and the seed, so that a stopped training goes
on exactly where it was. Of each step's micro-batches the trainer's loader gives number i to process i mod n; where a
step has too few for a last round, dummy ones, in which nothing is labelled, fill it.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy

from common.settings import UserError
from common.training.recipe import CUDA_OPTIMIZERS, Recipe
from common.training.tree import shared, tree

Plan = list[list[list[int]]]  # step → micro-batch → items
Cost = Callable[[int, int], int]  # of a stretch of ranked items, from the first to before the last


@dataclass(frozen=True)
class MicroBatch:
    """A padded micro-batch, or the largest of several in each size: rows, tokens a row, and labelled tokens, which
    alone have logits. masked: attention is given a mask, for which keys and values are repeated to the number of heads;
    of a tree on a CPU it is a part of that."""

    rows: int
    width: int
    labelled: int
    masked: bool = False


def steps(count: int, *, epochs: int, effective_batch_size: int, seed: int) -> list[list[int]]:
    """Item indexes by optimiser step.

    Every epoch holds every one of `count` items once, in an order of its own; steps are cut from the epochs laid end to
    end, so only the last may be smaller.
    """
    rng, order = random.Random(seed), []
    for _ in range(epochs):
        items = list(range(count))
        rng.shuffle(items)
        order += items
    return [order[at : at + effective_batch_size] for at in range(0, len(order), effective_batch_size)]


def step_plan(
    lengths: Sequence[int], *, epochs: int, effective_batch_size: int, per_device_train_batch_size: int, seed: int
) -> Plan:
    """Steps whose items are grouped by length into effective / per-device micro-batches, to be padded.

    lengths: tokens of each item.
    """
    parts = effective_batch_size // per_device_train_batch_size
    cut = steps(len(lengths), epochs=epochs, effective_batch_size=effective_batch_size, seed=seed)
    return [group_by_length(items, lengths, parts) for items in cut]


def group_by_length(items: Sequence[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """The items in `parts` groups of neighbours in length, longest first, the largest group as small as it can be.

    A group's size is what it takes when padded: its items times its longest. Fewer items than parts: one item a group.
    """
    ranked = sorted(items, key=lambda item: (-lengths[item], item))
    return balanced(ranked, parts, lambda first, last: (last - first) * lengths[ranked[first]])


class Prefixes:
    """What items cost beside one another where rows share what they begin with: unique tokens.

    items: the token rows of each item. The first row in alphabetical order stands for an item; what else two items have
    in common is not counted, so a cost is never too low. tokens: of each item alone.
    """

    def __init__(self, items: Sequence[Sequence[Sequence[int]]]):
        heads = [min(map(list, rows)) for rows in items]
        order = sorted(range(len(items)), key=lambda item: (heads[item], item))
        arrays = [numpy.asarray(heads[item], dtype=numpy.int64) for item in order]
        self._rank = {item: rank for rank, item in enumerate(order)}
        self._shared = numpy.array([0, *(shared(one, other) for one, other in pairwise(arrays))])
        self.tokens = [len(tree(rows).ids) for rows in items]

    def ranked(self, items: Iterable[int]) -> list[int]:
        """The items in the order in which neighbours share the most."""
        return sorted(items, key=lambda item: self._rank[item])

    def cost(self, ranked: Sequence[int]) -> Cost:
        """Unique tokens of each stretch of ranked items."""
        ranks = [self._rank[item] for item in ranked]
        # Two items share what all that stand between them share; an item that comes again brings nothing new.
        gains = [
            self.tokens[item] if one == other else int(self._shared[one + 1 : other + 1].min())
            for item, (one, other) in zip(ranked[1:], pairwise(ranks), strict=True)
        ]
        sums = [0, *accumulate(self.tokens[item] for item in ranked)]
        shares = [0, *accumulate(gains)]
        return lambda first, last: sums[last] - sums[first] - (shares[last - 1] - shares[first])


def tree_plan(
    prefixes: Prefixes, *, epochs: int, effective_batch_size: int, most_tokens: int, world: int, seed: int
) -> Plan:
    """Steps whose items are grouped by what they begin with into micro-batches of at most `most_tokens` unique tokens,
    or of one item. All full steps have as many micro-batches: a multiple of `world`, the fewest with which all fit.
    """
    cut = steps(len(prefixes.tokens), epochs=epochs, effective_batch_size=effective_batch_size, seed=seed)
    ranked = [prefixes.ranked(items) for items in cut]
    costs = [prefixes.cost(items) for items in ranked]
    parts = max(len(_greedy(len(items), most_tokens, cost)) for items, cost in zip(ranked, costs, strict=True))
    parts = -(-parts // world) * world
    return [balanced(items, parts, cost) for items, cost in zip(ranked, costs, strict=True)]


def balanced(ranked: Sequence[int], parts: int, cost: Cost) -> list[list[int]]:
    """The items, in their order, in `parts` groups of neighbours, the dearest group as cheap as it can be.

    Fewer items than parts: one item a group.
    """
    count, parts = len(ranked), min(parts, len(ranked))
    low, high = max(cost(at, at + 1) for at in range(count)), cost(0, count)
    while low < high:  # the smallest cap that needs no more than `parts` groups
        cap = (low + high) // 2
        low, high = (low, cap) if len(_greedy(count, cap, cost)) <= parts else (cap + 1, high)
    groups = _greedy(count, low, cost)
    while len(groups) < parts:
        first, last = max((group for group in groups if group[1] - group[0] > 1), key=lambda group: cost(*group))
        at, middle = groups.index((first, last)), (first + last) // 2
        groups[at : at + 1] = [(first, middle), (middle, last)]
    return [list(ranked[first:last]) for first, last in groups]


def _greedy(count: int, cap: int, cost: Cost) -> list[tuple[int, int]]:
    """Stretches of `count` ranked items, from the first to before the last, each as long as `cap` lets it be."""
    groups: list[tuple[int, int]] = []
    for at in range(count):
        if groups and cost(groups[-1][0], at + 1) <= cap:
            groups[-1] = (groups[-1][0], at + 1)
        else:
            groups.append((at, at + 1))
    return groups


def largest(widths: Sequence[Sequence[int]], labelled: Sequence[int], plan: Plan) -> MicroBatch:
    """The most that any padded micro-batch of a plan takes, in positions and in labelled tokens.

    widths: tokens of each row of each item. labelled: labelled tokens of each item.
    """
    groups = [group for step in plan for group in step]
    most = max(sum(labelled[i] for i in group) for group in groups)
    spans = [(sum(len(widths[i]) for i in group), max(max(widths[i]) for i in group)) for group in groups]
    rows, width = max(spans, key=lambda span: (span[0] * span[1], span[1]))
    return MicroBatch(rows, width, most)


def largest_tree(prefixes: Prefixes, labelled: Sequence[int], plan: Plan) -> MicroBatch:
    """The same of micro-batches that are trees: one row of all unique tokens."""
    groups = [group for step in plan for group in step]
    most = max(prefixes.cost(group)(0, len(group)) for group in groups)
    return MicroBatch(1, most, max(sum(labelled[i] for i in group) for group in groups), masked=True)


def evaluation_batches(lengths: Sequence[int], recipe: Recipe) -> list[list[int]]:
    """Item indexes by padded micro-batch; twice as many a batch as in training: nothing is kept for a backward pass."""
    parts = -(-len(lengths) // (2 * recipe.per_device_train_batch_size))
    return group_by_length(range(len(lengths)), lengths, parts)


def evaluation_trees(prefixes: Prefixes, most_tokens: int) -> list[list[int]]:
    """The same of micro-batches that are trees, as large as in training: what a look takes is not the peak."""
    ranked = prefixes.ranked(range(len(prefixes.tokens)))
    cost = prefixes.cost(ranked)
    return [ranked[first:last] for first, last in _greedy(len(ranked), most_tokens, cost)]


def micro_batches(recipe: Recipe) -> int:
    """Padded micro-batches of a full step, over all processes."""
    return recipe.effective_batch_size // recipe.per_device_train_batch_size


def check_processes(recipe: Recipe, world: int, *, sharded: bool) -> None:
    """Raises UserError where the micro-batches of a step do not go evenly into `world` processes, and where a model
    that the method trains cannot be sharded."""
    count = micro_batches(recipe)
    if count % world:
        raise UserError(
            f"{world} processes cannot share the {count} micro-batches of a step; lower the rows a micro-batch, or "
            f"give an effective batch of a multiple of {world * recipe.per_device_train_batch_size} rows"
        )
    if sharded and (recipe.method not in ("full", "lora") or recipe.optimizer in CUDA_OPTIMIZERS):
        raise UserError(
            f"sharding trains by full or lora and with torch's optimisers, not by {recipe.method} with "
            f"{recipe.optimizer}; take --config_file examples/ddp.yaml"
        )


def with_dummies(batches: list[list[int]], world: int) -> list[list[int]]:
    """The micro-batches and, up to a multiple of the processes, dummy ones, which hold no item."""
    return batches + [[]] * (-len(batches) % world)
