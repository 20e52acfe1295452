"""Updates whose rows begin alike, packed as a tree of prefixes, against TRL's layout: LoRA on the same items and steps.

`sft`: rows that share the prompt's fixed beginning. `pair`: two answers to one prompt, the loss of DPO without a
reference. `group`: eight answers to one prompt, weighted by advantages. TRL's layout: every row in full, padded in
micro-batches of random order, prompts of a group on the left, its fused head at labelled tokens. Ours: unique tokens
once, micro-batches cut by them. Each takes its fastest micro-batch. Covers the update alone, no sampling.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from bench.gpu_model import FIRST_TOKEN, Setting, fits, free
from bench.gpu_training import MICRO, SEED, Row, Steps, Training, arithmetic_of, padded, passes, recipe, seconds_of
from common.models import device
from common.training import attention, layers
from common.training.adapters import adapt
from common.training.losses import row_log_probabilities
from common.training.plan import balanced
from common.training.rows import IGNORED, collated, labelled, prefixes

BEGINNING = 39  # tokens that all prompts of the study begin with, by Qwen's tokenizer
ANSWERS = {"sft": 1, "pair": 2, "group": 8}  # rows of an item
SHARES = {"sft": 1, "pair": 2, "group": 4}  # a step has so many times fewer items than rows of SFT: 32, 16 and 8
BETA = 0.1  # DPO's
Item = list[Row]
Batch = dict[str, torch.Tensor]


def make_items(rows: Sequence[Row], kind: str) -> list[Item]:
    """Each row as an item: all begin alike; a further answer begins like an earlier one, up to a random place in its
    first half."""
    rng, beginning, items = random.Random(SEED), list(range(FIRST_TOKEN, FIRST_TOKEN + BEGINNING)), []
    for row in rows:
        count = row["labels"].count(IGNORED)
        prompt, answers = (beginning + row["input_ids"][BEGINNING:])[:count], [row["input_ids"][count:]]
        while len(answers) < ANSWERS[kind]:
            model = rng.choice(answers)
            at = rng.randrange(len(model) // 2 + 1)
            answers.append(model[:at] + [rng.randrange(FIRST_TOKEN, 1024) for _ in model[at:]])
        items.append(
            [
                {"input_ids": prompt + answer, "labels": [IGNORED] * len(prompt) + answer}
                | ({"advantage": rng.choice([-1.0, 1.0])} if kind == "group" else {})
                for answer in answers
            ]
        )
    return items


def objective(kind: str, log_probabilities: Callable) -> Callable[[torch.nn.Module, Batch], torch.Tensor]:
    """loss(model, inputs), a sum over rows, pairs or completions.

    log_probabilities(model, inputs): of each row, (rows,).
    """

    def loss(model: torch.nn.Module, inputs: Batch) -> torch.Tensor:
        sums = log_probabilities(model, inputs)
        if kind == "pair":
            return -torch.nn.functional.logsigmoid(BETA * (sums[0::2] - sums[1::2])).sum()
        return -(inputs["advantage"] * sums).sum() if kind == "group" else -sums.sum()

    return loss


def trl_log_probabilities(model, inputs: Batch) -> torch.Tensor:
    """Of a model with TRL's head on it."""
    fields = {name: inputs[name] for name in ("input_ids", "attention_mask", "labels")}
    return model(**fields, fused_lm_head=True).log_probs.sum(dim=1)


def our_log_probabilities(model, inputs: Batch) -> torch.Tensor:
    return row_log_probabilities(model, inputs)[0]


def trl_steps(items: Sequence[Item], kind: str, effective: int, rows_each: int, pad: int) -> Steps:
    """Micro-batches of `rows_each` rows: items in their order, which is random; completions of a step shuffled, as
    GRPO's trainer does, their prompts padded on the left and their answers on the right."""
    rng, batches, weights = random.Random(SEED), [], []
    for at in range(0, len(items), effective):
        rows = [row for item in items[at : at + effective] for row in item]
        if kind == "group":
            rng.shuffle(rows)
        parts = [rows[first : first + rows_each] for first in range(0, len(rows), rows_each)]
        batches.append([(sided if kind == "group" else padded)(part, pad) | _numbers(part) for part in parts])
        weights.append(weight(items[at : at + effective], kind))
    return Steps(batches, weights)


def sided(rows: Sequence[Row], pad: int) -> Batch:
    """Rows with prompts padded on the left and answers on the right."""
    longest = max(row["labels"].count(IGNORED) for row in rows)
    left = [longest - row["labels"].count(IGNORED) for row in rows]
    shifted = [
        {"input_ids": [pad] * n + row["input_ids"], "labels": [IGNORED] * n + row["labels"]}
        for n, row in zip(left, rows, strict=True)
    ]
    batch = padded(shifted, pad)
    for number, n in enumerate(left):
        batch["attention_mask"][number, :n] = 0
    return batch


def _numbers(rows: Sequence[Row]) -> Batch:
    return {"advantage": torch.tensor([row["advantage"] for row in rows])} if "advantage" in rows[0] else {}


def weight(items: Sequence[Item], kind: str) -> int:
    """What a step's loss is divided by: labelled tokens, pairs or completions."""
    counts = {"sft": sum(map(labelled, items)), "pair": len(items), "group": sum(map(len, items))}
    return counts[kind]


def tree_steps(items: Sequence[Item], kind: str, effective: int, parts: int, pad: int) -> Steps:
    """The same steps in `parts` micro-batches of about as many unique tokens."""
    batches, shares = [], prefixes(items)
    for at in range(0, len(items), effective):
        ranked = shares.ranked(range(at, min(at + effective, len(items))))
        groups = balanced(ranked, parts, shares.cost(ranked))
        batches.append([collated([items[i] for i in group], pad=pad, as_tree=True) for group in groups])
    return Steps(batches, [weight(items[at : at + effective], kind) for at in range(0, len(items), effective)])


@dataclass(frozen=True)
class Way:
    """training() loads one; steps(n) are its steps at a size of micro-batches, of which `sizes` are tried, the largest
    micro-batches first; within reading(model) the model reads them."""

    training: Callable[[], Training]
    steps: Callable[[int], Steps]
    sizes: Sequence[int]
    reading: Callable[[torch.nn.Module], AbstractContextManager]


def ways(setting: Setting, kind: str, items: Sequence[Item], effective: int) -> tuple[dict[str, Way], str]:
    """Both layouts by the suffix of their lines, and the attention by which ours reads trees.

    Raises RuntimeError where the model keeps rows apart by none.
    """
    arithmetic, method_recipe = arithmetic_of(setting.precision), recipe("lora", MICRO)  # steps are cut here
    loaded = setting.load()
    pad = loaded.tokenizer.pad_token_id
    implementation = attention.choice(loaded.model, max(len(row["input_ids"]) for item in items for row in item))
    if not implementation:
        raise RuntimeError("no attention of this device reads trees")
    del loaded

    def trl() -> Training:
        from trl.trainer.utils import add_fused_lm_head

        loaded = setting.load()
        add_fused_lm_head(loaded.model)
        return Training(adapt(loaded, method_recipe), method_recipe, objective(kind, trl_log_probabilities), arithmetic)

    def ours() -> Training:
        model, loss = adapt(setting.load(), method_recipe), objective(kind, our_log_probabilities)
        training = Training(model, method_recipe, loss, arithmetic)
        layers.accelerate(training.model, arithmetic or torch.float32)
        return training

    rows, least = effective * ANSWERS[kind], 2 if kind == "pair" else 1
    return {
        "-trl": Way(
            trl,
            lambda size: trl_steps(items, kind, effective, size, pad),
            [rows >> n for n in range(6) if rows >> n >= least],
            lambda model: nullcontext(),
        ),
        "": Way(
            ours,
            lambda parts: tree_steps(items, kind, effective, parts, pad),
            [1 << n for n in range(6) if 1 << n <= effective],
            lambda model: attention.reading(model, implementation),
        ),
    }, implementation


def fastest(training: Training, way: Way, seconds: float) -> tuple[int, str]:
    """(the size that trains the fastest, what was tried): from the largest micro-batch on, until three fit or `seconds`
    are over; one step each after one of warm-up. Raises torch.OutOfMemoryError where none fits."""
    taken, tried = {}, []
    for size in way.sizes:
        if len(taken) == 3 or sum(taken.values()) > seconds / 2:
            break
        step = way.steps(size).first(1)
        if fits(lambda step=step: seconds_of(training, step)):
            taken[size] = seconds_of(training, step)
        else:
            training.forget()
        tried.append(f"{size}{'' if size in taken else ' (too large)'}")
    if not taken:
        raise torch.OutOfMemoryError("a step does not fit in memory, however it is cut")
    return min(taken, key=taken.get), ", ".join(tried)


def measure(setting: Setting, kind: str) -> dict:
    """Both layouts over the same items and steps: rates, peaks, and how far the losses of the first step part."""
    size = setting.sizes
    effective = size.effective // SHARES[kind]
    items = make_items(setting.rows(effective * size.steps), kind)
    both, implementation = ways(setting, kind, items, effective)
    values, losses, tried, prefix = {}, {}, {}, f"tree-{kind}"
    done = len(items) * (ANSWERS[kind] if kind == "group" else 1)
    for suffix, way in both.items():
        free()
        training = way.training()
        with way.reading(training.model):
            first = way.steps(way.sizes[-1]).first(1)
            losses[suffix] = training.step(first.batches[0], first.weights[0]).item()  # from the same weights
            best, tried[suffix] = fastest(training, way, setting.seconds / 6)
            steps = way.steps(best)
            seconds_of(training, steps)
            taken, peak = passes(training, steps, size.passes, setting.seconds / 4)
        values[f"{prefix}-rows{suffix}"] = [done / second for second in taken]
        values[f"{prefix}-memory{suffix}"] = [peak / 1e9]
        tried[suffix] = f"{best} (of {tried[suffix]})"
        del training
    values[f"{prefix}-loss"] = [100 * abs(losses[""] - losses["-trl"]) / abs(losses["-trl"])]
    tokens = sum(len(row["input_ids"]) for item in items for row in item)
    whole = tree_steps(items, kind, effective, 1, 0)
    unique = sum(batch["input_ids"].numel() for step in whole.batches for batch in step)
    note = (
        f"{prefix}: LoRA, {size.steps} steps of {effective * ANSWERS[kind]} rows, {tokens:,} tokens of which "
        f"{unique:,} are unique; TRL's layout in micro-batches of {tried['-trl']} rows, ours in {tried['']} a step, "
        f"read by {implementation} on {device().type}."
    )
    return {"values": values, "notes": [note]}
