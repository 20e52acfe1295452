"""What one way of training adds to a session, and what a session gives back. Trains nothing itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas
import torch

from common.data import Example
from common.models import LoadedModel
from common.training.losses import Inputs, Loss, labelled_tokens
from common.training.rows import Item


@dataclass(frozen=True)
class Objective:
    """What one way of training adds to a session.

    trainer, config: a TRL trainer behind `SessionMixin`, and its arguments' class with `options`. items and
    valid_items: what is trained on and validated on, each a list of token rows. loss(model, inputs, virtual tokens): of
    one micro-batch, with the sums that it reports. units: of a micro-batch. answered: validation examples that are
    answered and scored at each evaluation. dropped: training examples that are in no item, `leaked` of them because
    they are validation rows too.
    """

    trainer: type
    config: type
    items: Sequence[Item]
    valid_items: Sequence[Item]
    loss: Callable[[torch.nn.Module, Inputs, int], Loss]
    units: Callable[[Inputs], torch.Tensor] = labelled_tokens
    options: dict = field(default_factory=dict)
    answered: Sequence[Example] = ()
    dropped: int = 0
    leaked: int = 0


@dataclass(frozen=True)
class Trained:
    """A finished training: the model ready for evaluation, its curve and what it cost.

    weights: the folder of what was trained (an adapter, or all weights). curve: step, loss, eval_loss, eval_score,
    eval_match, learning_rate, and what the objective reports. eval_loss, eval_score, eval_match and step are those of
    the weights that were kept. seconds: the trainer's own over all sittings, without `evaluation_seconds`; `rows` and
    `tokens` (padding excluded) count every epoch. Of several processes, seconds and memory are the main one's.
    code_digest: of the closure of `code_modules`, which trained. merged: whether an adapter was merged into the model
    that is evaluated.
    """

    loaded: LoadedModel
    weights: Path
    curve: pandas.DataFrame
    step: int
    eval_loss: float
    eval_score: float | None
    eval_match: float | None
    seconds: float
    evaluation_seconds: float
    rows: int
    tokens: int
    peak_memory_bytes: int
    recomputed: bool  # activations, in the backward pass: as the recipe or the GPU's memory asked for
    trainable_parameters: int
    total_parameters: int
    train_rows: int
    valid_rows: int
    dropped_rows: int  # too long, or
    leaked_rows: int  # among the validation rows too
    skipped_steps: int  # by float16's overflow
    merged: bool
    code_digest: str
    code_modules: tuple[str, ...]

    @property
    def last_rise(self) -> float:
        """By how much the last evaluation's held-out match lies above the best before it; NaN without two. Above
        zero, the training was ended before its plateau."""
        values = self.curve["eval_match"].dropna() if "eval_match" in self.curve else pandas.Series(dtype=float)
        return float(values.iloc[-1] - values.iloc[:-1].max()) if len(values) > 1 else float("nan")
