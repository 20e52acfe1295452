"""A second objective on the training core: preference pairs by the sigmoid loss of DPO (Rafailov et al. 2023).

It is here to show what an objective has to bring: rows, a loss, and what it reports. The study's own preference
training adds certified pairs and further losses to this.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from torch.nn.functional import logsigmoid
from trl import DPOConfig, DPOTrainer

from common.data import Example
from common.models import LoadedModel
from common.settings import UserError
from common.training.adapters import adapt
from common.training.losses import Inputs, Loss, row_log_probabilities
from common.training.objective import Objective, Trained
from common.training.recipe import Recipe
from common.training.rows import Item, collated, tokenise
from common.training.session import Session, check
from common.training.trainer import SessionMixin

Pair = tuple[Example, str]  # a question with its right answer, and a wrong one


@dataclass(frozen=True)
class PairRecipe(Recipe):
    """A recipe for pairs. beta: how dear it is to leave the reference, the model that the training starts from."""

    module: ClassVar[str] = "common.training.session"  # this file lies outside of `common`
    beta: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        if not self.beta > 0:
            raise UserError("beta is above 0")


class PairTrainer(SessionMixin, DPOTrainer):
    """TRL's DPO trainer in this study's session."""


def pair_loss(model, inputs: Inputs, virtual_tokens: int, *, beta: float) -> Loss:
    """−log σ(β (margin − the reference's margin)) summed over pairs; a micro-batch's rows are chosen, rejected, …"""
    sums, counts = row_log_probabilities(model, inputs, virtual_tokens)
    chosen, rejected = (sums - inputs["reference"]).view(-1, 2).unbind(dim=1)
    real = counts.view(-1, 2).sum(dim=1) > 0  # a dummy pair has nothing labelled
    losses = -logsigmoid(beta * (chosen - rejected)) * real
    further = {"margin": (chosen - rejected) * real, "accuracy": (chosen > rejected).float() * real}
    return Loss(losses.sum(), real.sum(), {name: value.sum().detach() for name, value in further.items()})


def pairs(inputs: Inputs) -> torch.Tensor:
    """How many pairs of a micro-batch are labelled."""
    return (inputs["counts"].view(-1, 2).sum(dim=1) > 0).sum()


def train_pairs(
    loaded: LoadedModel,
    train: Sequence[Pair],
    valid: Sequence[Pair],
    recipe: PairRecipe,
    *,
    folder: Path,
    start: Path | None = None,
    trainer: type = PairTrainer,
    config: type = DPOConfig,
) -> Trained:
    """Train on pairs; the reference is the model that the training starts from, asked once before the first step."""
    check(loaded, recipe)
    parts = [_items(part, loaded, recipe) for part in (train, valid)]
    _add_references(parts, loaded, recipe, start)
    objective = Objective(
        trainer,
        config,
        *parts,
        loss=lambda model, inputs, virtual_tokens: pair_loss(model, inputs, virtual_tokens, beta=recipe.beta),
        units=pairs,
        options={"max_length": None},
        dropped=len(train) - len(parts[0]),
    )
    return Session(loaded, objective, recipe, folder, {}, start).run()


def _items(part: Sequence[Pair], loaded: LoadedModel, recipe: Recipe) -> list[Item]:
    """An item a pair: the row of the right answer and that of the wrong one."""
    both = [
        tokenise([example, replace(example, sql=wrong)], loaded, max_length=recipe.max_length)
        for example, wrong in part
    ]
    return [rows for rows in both if len(rows) == 2]


@torch.no_grad()
def _add_references(parts: list[list[Item]], loaded: LoadedModel, recipe: Recipe, start: Path | None) -> None:
    """The log-probability of each row under the model as it starts, beside its tokens."""
    model = adapt(loaded, recipe, start) if start else loaded.model
    for item in (item for part in parts for item in part):
        batch = collated([item], pad=0, as_tree=False)
        for row, value in zip(item, row_log_probabilities(model.eval(), batch)[0].tolist(), strict=True):
            row["reference"] = value
    if start:
        model.unload()  # the adapter comes again with the training
