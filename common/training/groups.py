"""Sampled groups as the items of a step: rows with their advantages, in micro-batches that keep each group whole.

A group is what was sampled for one prompt. What it costs to train on is known only when it is there, so a step has a
fixed number of slots, and its groups are put into as few of them as hold them. A group whose samples all have the same
reward teaches nothing: it is left out, which changes no gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from common.training import rows
from common.training.layout import Layout
from common.training.plan import MicroBatch, Plan, balanced, group_by_length, steps, tree_plan
from common.training.rows import IGNORED, Item, Row

SAME = 1e-6  # rewards that differ by less are the same


@dataclass(frozen=True)
class Group:
    """What was sampled for one prompt. row: the prompt with its reference; completions: token ids; advantages and
    rewards: a number a completion."""

    row: Row
    completions: list[list[int]]
    advantages: list[float]
    rewards: list[float]

    @property
    def has_spread(self) -> bool:
        return max(self.rewards) - min(self.rewards) > SAME

    @property
    def tokens(self) -> int:
        return sum(map(len, self.completions))


def items(
    groups: Sequence[Group], *, loss_type: str, max_new_tokens: int, sft_weight: float, totals: Sequence[int] = ()
) -> list[Item]:
    """The items of a step, each a group's completions where they have a spread, with its reference where there is an
    anchor; groups of neither are left out.

    The numbers are such that the sum over the rows, divided by the step's sampled tokens, is the loss by `loss_type`:
    dapo a mean over tokens (Yu et al. 2025, arXiv:2503.14476), grpo a mean over completions of means over their
    tokens, dr_grpo a sum over tokens divided by completions times `max_new_tokens` (Liu et al. 2025,
    arXiv:2503.20783); plus `sft_weight` times the mean negative log-likelihood of the references' tokens. totals: the
    step's sampled tokens, completions and reference tokens, where other processes have groups of it too.
    """
    tokens, completions, references = totals or step_totals(groups)
    anchor = sft_weight * tokens / references
    per_token = {"dapo": 1.0, "dr_grpo": tokens / (completions * max_new_tokens)}
    items = []
    for group in groups:
        prompt = group.row["input_ids"][: group.row["labels"].count(IGNORED)]
        item = []
        for ids, advantage in zip(group.completions, group.advantages, strict=True) if group.has_spread else ():
            weight = per_token.get(loss_type, tokens / (completions * len(ids)))
            item.append(_row(prompt, ids, advantage * weight))
        if sft_weight:
            item.append(group.row | {"advantage": 0.0, "anchor": anchor})
        if item:
            items.append(item)
    return items


def step_totals(groups: Sequence[Group]) -> tuple[int, int, int]:
    """Sampled tokens, completions, and tokens of the references."""
    references = sum(rows.labelled([group.row]) for group in groups)
    return sum(group.tokens for group in groups), sum(len(group.completions) for group in groups), references


def prompt_item(row: Row) -> Item:
    """A prompt with its reference, as an item that neither teaches nor anchors."""
    return [row | {"advantage": 0.0, "anchor": 0.0}]


def _row(prompt: list[int], completion: list[int], advantage: float) -> Row:
    labels = [IGNORED] * len(prompt) + list(completion)
    return {"input_ids": prompt + list(completion), "labels": labels, "advantage": advantage, "anchor": 0.0}


@dataclass(frozen=True)
class GroupLayout(Layout):
    """The layout of a training whose items are prompts, of which `generations` completions each are sampled.

    A step's slots hold `per_device_train_batch_size` prompts each as they are planned; what is in its micro-batches is
    decided when the samples are there, see `packed`.
    """

    max_new_tokens: int = 0

    @cached_property
    def plan(self) -> Plan:
        recipe = self.recipe
        sizes = {"epochs": recipe.epochs, "effective_batch_size": recipe.effective_batch_size, "seed": recipe.seed}
        cut = steps(len(self.items), **sizes)[: recipe.max_steps or None]
        slot = recipe.per_device_train_batch_size
        return [[step[at : at + slot] for at in range(0, len(step), slot)] for step in cut]

    def packed(self, items: Sequence[Item], slots: int) -> list[list[Item]]:
        """The items in at most `slots` micro-batches, as few as hold `most_tokens` tokens each where those are
        enough."""
        if not items:
            return []
        if not self.implementation:
            groups = group_by_length(range(len(items)), [rows.length(item) for item in items], slots)
        else:
            prefixes = rows.prefixes(items)
            sizes = {"epochs": 1, "effective_batch_size": len(items), "world": 1, "seed": 0}
            (groups,) = tree_plan(prefixes, most_tokens=self.most_tokens, **sizes)
            if len(groups) > slots:
                ranked = prefixes.ranked(range(len(items)))
                groups = balanced(ranked, slots, prefixes.cost(ranked))
        return [[items[i] for i in group] for group in groups]

    @property
    def largest(self) -> MicroBatch:
        """Of samples that are all as long as they may be."""
        recipe, most = self.recipe, self.max_new_tokens
        prompt = max(len(row["input_ids"]) for item in self.items for row in item)
        count = recipe.generations * (1 if self.implementation else recipe.per_device_train_batch_size)
        if self.implementation:
            return MicroBatch(1, max(self.most_tokens, prompt + count * most), count * most, masked=True)
        return MicroBatch(count, prompt + most, count * most)

    @property
    def largest_items(self) -> list[Item]:
        """The longest prompt with samples as long as they may be, of which no two begin alike."""
        (row,) = max(self.items, key=rows.length)
        prompt = row["input_ids"][: row["labels"].count(IGNORED)]
        ids = [row["labels"][-1]] * self.max_new_tokens
        return [[_row(prompt, [number, *ids[1:]], 1.0) for number in range(self.recipe.generations)]]
