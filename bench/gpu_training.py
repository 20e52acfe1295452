"""Training steps in a bare loop: the published recipe and ours on the same rows and steps, without any trainer.

The published recipe: two rows a device batch in random order, padded to the longer, gradient checkpointing, logits at
every position, the model's own loss over prompt and completion. Ours: micro-batches grouped by length, no padding mask,
logits where a token is labelled, checkpointing only where asked for. Both: fused AdamW, clipping, the same precision.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import peft
import torch
from torch.nn.utils.rnn import pad_sequence

from bench.gpu_model import fits, free
from bench.published_training import random_order
from bench.training_flops import wait
from common.models import LoadedModel, device
from common.training.adapters import adapt
from common.training.arguments import precision_arguments
from common.training.losses import completion_loss
from common.training.memory import peak_bytes, reset_peak
from common.training.optimizers import optimizer_class
from common.training.plan import step_plan
from common.training.recipe import Recipe
from common.training.rows import IGNORED, collated

SEED = 42
MICRO = 2  # the published device batch
Row = dict[str, list[int]]
Plan = list[list[list[int]]]  # step → micro-batch → rows


def recipe(method: str, effective: int) -> Recipe:
    """What both kinds share: the published final runs' sizes."""
    return Recipe(
        method="prompt-random" if method == "prompt" else method,
        effective_batch_size=effective,
        per_device_train_batch_size=MICRO,
        lora_rank=64,
        lora_alpha=256,
        save_every=0,
        seed=SEED,
    )


def loss_over_everything(model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The published loss: the model's own, a mean over all tokens but padding, from logits at every position."""
    return model(**inputs, use_cache=False).loss


def plain_completion_loss(model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The loss over the completion the plain way, a sum: the mask given, logits at every position."""
    fields = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**fields, use_cache=False).logits[:, :-1]
    targets = inputs["labels"][:, 1:]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), targets.flatten(), reduction="sum", ignore_index=IGNORED
    )


class Training:
    """A model with its optimiser, trained one optimiser step at a call.

    loss(model, inputs) gives a micro-batch's sum; a step's loss is the sum of them all over `weight`. arithmetic: the
    dtype that autocast computes in, None for the weights' own; float16 has its loss scaled.
    """

    def __init__(self, model: torch.nn.Module, recipe: Recipe, loss: Callable, arithmetic: torch.dtype | None):
        self.model, self._loss, self._arithmetic = model.train(), loss, arithmetic
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in self.trained:
            parameter.data = parameter.data.float()  # as the product's trainer does
        kind, options = optimizer_class(recipe)
        self.optimizer = kind(self.trained, **options, weight_decay=recipe.weight_decay)
        self._max_norm, self._device = recipe.max_grad_norm, device()
        self.forget()

    def _autocast(self) -> AbstractContextManager:
        return torch.autocast(self._device.type, self._arithmetic) if self._arithmetic else nullcontext()

    def step(self, batches: Sequence[dict[str, torch.Tensor]], weight: int) -> torch.Tensor:
        """One optimiser step over micro-batches; its loss, which stays on the device."""
        total = 0.0
        for batch in batches:
            inputs = {name: value.to(self._device, non_blocking=True) for name, value in batch.items()}
            with self._autocast():
                part = self._loss(self.model, inputs) / weight
            self._scaler.scale(part).backward()
            total = total + part.detach()
        self._scaler.unscale_(self.optimizer)  # does nothing where nothing is scaled
        torch.nn.utils.clip_grad_norm_(self.trained, self._max_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return total

    def forget(self) -> None:
        """Drop what a failed step has left: gradients, and the scaler's account of them."""
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._arithmetic == torch.float16)
        free()


@dataclass(frozen=True)
class Steps:
    """Micro-batches ready to train on, by step, with what each step's loss is divided by."""

    batches: list[list[dict[str, torch.Tensor]]]
    weights: list[int]

    def first(self, count: int) -> "Steps":
        return Steps(self.batches[:count], self.weights[:count])

    def after_first(self) -> "Steps":
        return Steps(self.batches[1:], self.weights[1:])

    def largest(self) -> "Steps":
        """The step with the largest micro-batch alone."""
        sizes = [max(batch["input_ids"].numel() for batch in step) for step in self.batches]
        at = sizes.index(max(sizes))
        return Steps(self.batches[at : at + 1], self.weights[at : at + 1])


def our_steps(rows: Sequence[Row], plan: Plan, pad: int) -> Steps:
    """Each step's loss is a mean over its labelled tokens."""
    labelled = [sum(labelled_tokens(rows[i]) for batch in step for i in batch) for step in plan]
    batches = [[collated([[rows[i]] for i in batch], pad=pad, as_tree=False) for batch in step] for step in plan]
    return Steps(batches, labelled)


def plain_steps(rows: Sequence[Row], plan: Plan, pad: int) -> Steps:
    """The same micro-batches with labels beside the tokens, and a mask."""
    batches = [[padded([rows[i] for i in batch], pad) for batch in step] for step in plan]
    return Steps(batches, our_steps(rows, plan, pad).weights)


def padded(rows: Sequence[Row], pad: int) -> dict[str, torch.Tensor]:
    """Rows side by side, (rows, longest), padded on the right: as transformers and TRL take them."""
    fields = {"input_ids": pad, "attention_mask": 0, "labels": IGNORED}
    whole = [row | {"attention_mask": [1] * len(row["input_ids"])} for row in rows]
    return {
        name: pad_sequence([torch.tensor(row[name]) for row in whole], batch_first=True, padding_value=filler)
        for name, filler in fields.items()
    }


def published_steps(rows: Sequence[Row], plan: Plan, pad: int) -> Steps:
    """The rows of the same steps, two by two in random order, all of a row labelled; a mean over the device batches."""
    order, batches = random_order(plan, SEED), []
    whole = [{"input_ids": rows[i]["input_ids"], "labels": rows[i]["input_ids"]} for i in order]
    for step in plan:
        count = sum(map(len, step))
        here, whole = whole[:count], whole[count:]
        batches.append([padded(here[at : at + MICRO], pad) for at in range(0, count, MICRO)])
    return Steps(batches, [len(step) for step in batches])


def labelled_tokens(row: Row) -> int:
    return sum(label != IGNORED for label in row["labels"])


def plan_of(rows: Sequence[Row], effective: int, micro: int) -> Plan:
    """The same rows in the same steps, whatever the micro-batch."""
    lengths = [len(row["input_ids"]) for row in rows]
    return step_plan(lengths, epochs=1, effective_batch_size=effective, per_device_train_batch_size=micro, seed=SEED)


def arithmetic_of(precision: str) -> torch.dtype | None:
    """What the product's trainer would compute in with base weights of that dtype; sets TF32 as it would."""
    chosen = precision_arguments(getattr(torch, precision))
    if chosen.get("tf32"):
        torch.set_float32_matmul_precision("high")
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(next((k for k in chosen if chosen[k] is True), ""))


def ours(loaded: LoadedModel, recipe: Recipe, arithmetic: torch.dtype | None) -> Training:
    """Our training of a model that was just loaded."""
    model = adapt(loaded, recipe)
    if recipe.gradient_checkpointing:
        _checkpoint(model)
    ahead = recipe.virtual_tokens if recipe.method.startswith("prompt") else 0
    return Training(model, recipe, lambda model, inputs: completion_loss(model, inputs, ahead).total, arithmetic)


def published(loaded: LoadedModel, recipe: Recipe, arithmetic: torch.dtype | None) -> Training:
    """The published training of a model that was just loaded."""
    if recipe.quantisation:
        peft.prepare_model_for_kbit_training(loaded.model, use_gradient_checkpointing=False)
    model = adapt(loaded, recipe)
    _checkpoint(model)
    return Training(model, recipe, loss_over_everything, arithmetic)


def _checkpoint(model: torch.nn.Module) -> None:
    # The older of its two names, which transformers 4 knows too.
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def seconds_of(training: Training, steps: Steps) -> float:
    """One pass over the steps, until the device has done them."""
    wait(device())
    start = time.perf_counter()
    for batches, weight in zip(steps.batches, steps.weights, strict=True):
        training.step(batches, weight)
    wait(device())
    return time.perf_counter() - start


def passes(training: Training, steps: Steps, count: int, seconds: float) -> tuple[list[float], int]:
    """(seconds of each of `count` passes, peak of memory in bytes); fewer where `seconds` are over, at least one."""
    reset_peak()
    begin, seconds_each = time.perf_counter(), []
    while not seconds_each or (len(seconds_each) < count and time.perf_counter() - begin + seconds_each[-1] < seconds):
        seconds_each.append(seconds_of(training, steps))
    return seconds_each, peak_bytes()


def fastest_micro(training: Training, rows: Sequence[Row], effective: int, pad: int, seconds: float) -> tuple[int, str]:
    """(mean rows of a micro-batch that train the fastest, what was tried), by one step each after one of warm-up.

    Tried: the whole step, its half, quarter and so on, until three fit or `seconds` are over; the step is the one with
    the largest micro-batch. Raises torch.OutOfMemoryError where not even single rows fit.
    """
    begin, fastest, tried = time.perf_counter(), {}, []
    for micro in (effective >> halved for halved in range(effective.bit_length())):
        if effective % micro or len(fastest) == 3 or (fastest and time.perf_counter() - begin > seconds):
            break
        steps = our_steps(rows, plan_of(rows, effective, micro), pad).largest()
        if fits(lambda steps=steps: seconds_of(training, steps)):
            fastest[micro] = seconds_of(training, steps)
        else:
            training.forget()
        tried.append(f"{micro}{'' if micro in fastest else ' (too large)'}")
    if not fastest:
        raise torch.OutOfMemoryError("a step does not fit in memory, not even row by row")
    return min(fastest, key=fastest.get), ", ".join(tried)
