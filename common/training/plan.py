"""Which rows meet in which micro-batch of which step, for any number of processes. Knows no torch.

An item is what is weighed as one: a row in supervised fine-tuning, the two rows of a pair in preference training. The
plan is fixed before the first step, a pure function of the items' lengths and the seed, so that a stopped training goes
on exactly where it was. Of each step's micro-batches the trainer's loader gives number i to process i mod n; where a
step has too few for a last round, dummy ones, in which nothing is labelled, fill it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from common.settings import UserError
from common.training.recipe import CUDA_OPTIMIZERS, Recipe

Plan = list[list[list[int]]]  # step → micro-batch → items


@dataclass(frozen=True)
class MicroBatch:
    """A padded micro-batch, or the largest of several in each size: rows, tokens a row, and labelled tokens, which
    alone have logits. masked: rows are packed, so attention is given a mask, for which keys and values are repeated to
    the number of heads."""

    rows: int
    width: int
    labelled: int
    masked: bool = False


def step_plan(
    lengths: Sequence[int], *, epochs: int, effective_batch_size: int, per_device_train_batch_size: int, seed: int
) -> Plan:
    """Item indexes by optimiser step and micro-batch: step → micro-batch → items. lengths: tokens of each item.

    Every epoch holds every item once, in an order of its own; steps are cut from the epochs laid end to end, so only
    the last may be smaller. The items of a step are grouped by length into effective / per-device micro-batches.
    """
    rng, order = random.Random(seed), []
    for _ in range(epochs):
        items = list(range(len(lengths)))
        rng.shuffle(items)
        order += items
    steps = [order[at : at + effective_batch_size] for at in range(0, len(order), effective_batch_size)]
    parts = effective_batch_size // per_device_train_batch_size
    return [group_by_length(items, lengths, parts) for items in steps]


def group_by_length(items: Sequence[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """The items in `parts` groups of neighbours in length, longest first, the largest group as small as it can be.

    A group's size is what it takes when padded: its items times its longest. Fewer items than parts: one item a group.
    """
    ranked = sorted(items, key=lambda item: (-lengths[item], item))
    parts = min(parts, len(ranked))
    low, high = lengths[ranked[0]], lengths[ranked[0]] * len(ranked)
    while low < high:  # the smallest cap that needs no more than `parts` groups
        cap = (low + high) // 2
        low, high = (low, cap) if len(_cut(ranked, lengths, cap)) <= parts else (cap + 1, high)
    groups = _cut(ranked, lengths, low)
    while len(groups) < parts:
        widest = max((g for g in groups if len(g) > 1), key=lambda group: len(group) * lengths[group[0]])
        at = groups.index(widest)
        groups[at : at + 1] = [widest[: len(widest) // 2], widest[len(widest) // 2 :]]
    return groups


def _cut(ranked: Sequence[int], lengths: Sequence[int], cap: int) -> list[list[int]]:
    groups: list[list[int]] = []
    for item in ranked:
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= cap:
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups


def largest(widths: Sequence[Sequence[int]], labelled: Sequence[int], plan: Plan, *, pack: bool) -> MicroBatch:
    """The most that any micro-batch of a plan takes, in positions and in labelled tokens.

    widths: tokens of each row of each item. labelled: labelled tokens of each item.
    """
    groups = [group for step in plan for group in step]
    most = max(sum(labelled[i] for i in group) for group in groups)
    if pack:
        return MicroBatch(1, max(sum(sum(widths[i]) for i in group) for group in groups), most, masked=True)
    spans = [(sum(len(widths[i]) for i in group), max(max(widths[i]) for i in group)) for group in groups]
    rows, width = max(spans, key=lambda span: (span[0] * span[1], span[1]))
    return MicroBatch(rows, width, most)


def evaluation_batches(lengths: Sequence[int], recipe: Recipe) -> list[list[int]]:
    """Item indexes by micro-batch; twice as many a batch as in training: nothing is kept for a backward pass."""
    parts = -(-len(lengths) // (2 * recipe.per_device_train_batch_size))
    return group_by_length(range(len(lengths)), lengths, parts)


def micro_batches(recipe: Recipe) -> int:
    """Micro-batches of a full step, over all processes."""
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
