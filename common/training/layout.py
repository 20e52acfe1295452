"""How the items of a training lie in its micro-batches: as trees of prefixes, or padded where the model mixes rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from common import distributed
from common.training import attention, rows
from common.training.plan import (
    MicroBatch,
    Plan,
    Prefixes,
    evaluation_batches,
    evaluation_trees,
    largest,
    largest_tree,
    step_plan,
    tree_plan,
    with_dummies,
)
from common.training.recipe import Recipe
from common.training.rows import Item

# Unique tokens of a micro-batch on a CPU: enough for fast products, few enough that activations take little memory.
CPU_TOKENS = 512


@dataclass(frozen=True)
class Layout:
    """items and valid_items: what is trained on and validated on. implementation: by which attention the model reads
    trees, "" for padded rows. pad: the token that fills them up. device: "cpu" or "cuda"."""

    items: Sequence[Item]
    valid_items: Sequence[Item]
    recipe: Recipe
    implementation: str
    pad: int
    device: str

    @cached_property
    def prefixes(self) -> Prefixes:
        return rows.prefixes(self.items)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each item."""
        return [rows.length(item) for item in self.items]

    @property
    def most_tokens(self) -> int:
        """Unique tokens of a micro-batch."""
        recipe = self.recipe
        on_device = CPU_TOKENS if self.device == "cpu" else recipe.per_device_train_batch_size * recipe.max_length
        return recipe.micro_batch_tokens or on_device

    @cached_property
    def plan(self) -> Plan:
        recipe = self.recipe
        sizes = {"epochs": recipe.epochs, "effective_batch_size": recipe.effective_batch_size, "seed": recipe.seed}
        if self.implementation:
            return tree_plan(self.prefixes, most_tokens=self.most_tokens, world=distributed.world(), **sizes)
        return step_plan(self.lengths, per_device_train_batch_size=recipe.per_device_train_batch_size, **sizes)

    @property
    def accumulation(self) -> int:
        """Micro-batches a step of this process."""
        return len(with_dummies(self.plan[0], distributed.world())) // distributed.world()

    @cached_property
    def valid_batches(self) -> list[list[int]]:
        if self.implementation:
            return evaluation_trees(rows.prefixes(self.valid_items), self.most_tokens)
        return evaluation_batches([rows.length(item) for item in self.valid_items], self.recipe)

    @property
    def largest(self) -> MicroBatch:
        labelled = [rows.labelled(item) for item in self.items]
        if self.implementation:
            return largest_tree(self.prefixes, labelled, self.plan)
        return largest([[len(row["input_ids"]) for row in item] for item in self.items], labelled, self.plan)

    @property
    def largest_items(self) -> list[Item]:
        """Those of the micro-batch with the most positions."""

        def positions(group: list[int]) -> int:
            inputs = self.collated([self.items[i] for i in group])
            return inputs["input_ids"].numel()

        lengths = self.lengths
        groups = {tuple(group) for step in self.plan for group in step}
        # By what they hold alone at first: only a few of the longest are laid out to be compared.
        candidates = sorted(groups, key=lambda group: (-sum(lengths[i] for i in group), group))[:32]
        return [self.items[i] for i in max(candidates, key=positions)]

    def collated(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """The micro-batch of these items, or, of none, one in which nothing is labelled."""
        items = list(items) or [rows.dummy(self.items)]
        return rows.collated(items, pad=self.pad, as_tree=bool(self.implementation))


def implementation(model: torch.nn.Module, items: Sequence[Item], recipe: Recipe) -> str:
    """By which attention `model`, as it was loaded, reads trees of these items; "" where their rows are padded, of
    which a line is printed unless the recipe asks for it."""
    if not recipe.shared_prefixes:
        return ""
    longest = max(len(row["input_ids"]) for item in items for row in item)
    if recipe.method.startswith("prompt"):
        longest += recipe.virtual_tokens
    # A dropout draws for each token: rows that share one would share its draw.
    drops = recipe.lora_dropout > 0 and recipe.method in ("lora", "qlora")
    name = "" if drops else attention.choice(model, longest)
    if not name and distributed.is_main():
        reason = "their dropout draws for each" if drops else "this model would mix them"
        print(f"rows are padded instead of sharing what they begin with: {reason}")
    return name
