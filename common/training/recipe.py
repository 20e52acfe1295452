"""What a training run is asked to do, checked before anything is loaded. Knows no torch."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from common.settings import UserError

METHODS = ("full", "lora", "qlora", "prompt-random", "prompt-text")
SCHEDULES = ("cosine", "linear", "cosine_with_restarts", "constant_with_warmup")
# 8-bit states (bitsandbytes) and states paged to the host's memory need CUDA; NAdam and Adamax have no 8-bit kind.
CUDA_OPTIMIZERS = ("adam_8bit", "adamw_8bit", "paged_adam_8bit", "paged_adamw_8bit", "paged_adamw")
OPTIMIZERS = ("adam", "adamw", "nadam", "adamax", *CUDA_OPTIMIZERS)
SELECTIONS = ("loss", "score", "match")  # what may say which evaluation is the best; the last two need answers
INIT_TEXT = "Write one SQLite query that answers the question from the tables of the schema. Return only the SQL query."


@dataclass(frozen=True)
class Recipe:
    """What a training run is asked to do.

    effective_batch_size: rows an optimiser step; they are spread over effective / per-device micro-batches of about
    equal length, so `per_device_train_batch_size` is the mean of their rows. warmup_ratio: a share of all steps.
    evaluations: how often the validation rows are looked at, spread evenly, the last at the end; patience: how many
    evaluations without a better one end the training (0: none does). select_by: which evaluation's weights are kept.
    score_rows: validation rows answered and scored at each evaluation. Checkpoints come with evaluations, after
    `save_seconds` without one, and every `save_every` steps (0: never).

    shared_prefixes: what rows of a micro-batch begin with alike is computed once, wherever the model keeps rows apart,
    see `tree`. Such a micro-batch holds at most `micro_batch_tokens` different tokens (0: as many as pay on the
    device), or one item; padded ones alone hold `per_device_train_batch_size` rows. Raises UserError for what cannot be
    trained.

    This one is for supervised fine-tuning; another objective's recipe adds its fields and names its own `module`.
    """

    module: ClassVar[str] = "common.training.sft"  # what trains by this recipe: its `train`, on its `load_rows`

    method: str = "lora"
    optimizer: str = "adamw"
    learning_rate: float = 1e-4
    epochs: int = 1
    effective_batch_size: int = 32
    per_device_train_batch_size: int = 2
    schedule: str = "cosine"
    warmup_ratio: float = 0.05
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = 1.0
    max_length: int = 1024
    lora_rank: int = 64
    lora_alpha: int = 256
    lora_dropout: float = 0.0
    lora_targets: str | tuple[str, ...] = "all-linear"
    virtual_tokens: int = 20
    init_text: str = INIT_TEXT
    evaluations: int = 1
    patience: int = 0
    select_by: str = "loss"
    score_rows: int = 0
    shared_prefixes: bool = True
    micro_batch_tokens: int = 0
    gradient_checkpointing: bool = False
    save_every: int = 0
    save_seconds: float = 300.0
    seed: int = 42

    def __post_init__(self):
        _one_of("method", self.method, METHODS)
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("select_by", self.select_by, SELECTIONS)
        if self.effective_batch_size < 1 or self.per_device_train_batch_size < 1:
            raise UserError("a batch holds at least 1 row; raise effective_batch_size or per_device_train_batch_size")
        if self.effective_batch_size % self.per_device_train_batch_size:
            raise UserError(
                f"an effective batch of {self.effective_batch_size} cannot be made of device batches of "
                f"{self.per_device_train_batch_size}; give a multiple"
            )
        if not 0 < self.learning_rate < float("inf") or self.epochs < 1 or self.evaluations < 1:
            raise UserError("a training needs a learning rate above 0, at least 1 epoch and at least 1 evaluation")
        if self.lora_rank < 1 or self.virtual_tokens < 1 or not 0 <= self.lora_dropout < 1:
            raise UserError("a rank and a number of virtual tokens are at least 1, a dropout is from 0 to below 1")
        if not 0 <= self.warmup_ratio < 1 or not all(0 <= beta < 1 for beta in self.betas) or self.weight_decay < 0:
            raise UserError("a warm-up ratio and both betas are from 0 to below 1, a weight decay is not negative")
        counts = (self.patience, self.score_rows, self.save_every, self.micro_batch_tokens)
        if min(counts) < 0 or min(self.max_length, self.lora_alpha) < 1:
            raise UserError(
                "patience, score_rows, save_every and micro_batch_tokens are not negative, max_length and lora_alpha "
                "are at least 1"
            )
        if not self.save_seconds > 0:
            raise UserError("save_seconds is above 0; give a large number for checkpoints at evaluations alone")
        if not self.max_grad_norm > 0:
            raise UserError("max_grad_norm is above 0; give a large one for no clipping")
        if self.select_by != "loss" and not self.score_rows:
            raise UserError(f"select_by='{self.select_by}' needs validation rows to answer; set score_rows")

    @property
    def quantisation(self) -> str:
        """How the base weights are loaded: `load_model(..., quantisation=recipe.quantisation)`."""
        return "nf4" if self.method == "qlora" else ""

    def with_values(self, values: dict[str, object]) -> Self:
        """This recipe with other values. Raises UserError for a name that it does not have."""
        names = [field.name for field in dataclasses.fields(self)]
        if unknown := [name for name in values if name not in names]:
            raise UserError(f"a recipe has no '{unknown[0]}'; choose from {', '.join(names)}")
        return dataclasses.replace(self, **{name: _frozen(value) for name, value in values.items()})


# How long a step of decoding takes, in rows of training: for however few rows, a CPU reads all weights once, and a GPU
# waits for its kernels to be started while it could train on several rows.
DECODING_ROWS = {"cpu": 1 / 3, "gpu": 10}


def affordable_evaluations(
    recipe: Recipe, train_rows: int, valid_rows: int, *, max_new_tokens: int = 96, gpu: bool | None = None
) -> int:
    """How many evaluations cost at most a tenth of the training, and at least the one at its end.

    By arithmetic, so that the plan is the same everywhere: a forward pass is a third of a training step's work, and a
    step of decoding takes as long as DECODING_ROWS. gpu: None looks whether there is one.
    """
    if gpu is None and recipe.score_rows:
        import torch

        gpu = torch.cuda.is_available()
    decoding = max_new_tokens * DECODING_ROWS["gpu" if gpu else "cpu"] if recipe.score_rows else 0
    return max(1, int(0.1 * train_rows * recipe.epochs / (valid_rows / 3 + decoding)))


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"unknown {name} '{value}'; choose one of {', '.join(choices)}")


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
