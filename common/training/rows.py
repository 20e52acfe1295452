"""Rows as tokens, and the plan of which rows meet in which batch; no model is changed here.

A row is prompt and completion; only the completion is taught. The plan is fixed before the first step, a pure function
of lengths and seed, so that a stopped training goes on exactly where it was.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from common.data import Example
from common.models import LoadedModel
from common.prompts import completion_ids, prompt_ids
from common.training.estimate import Batch

if TYPE_CHECKING:
    import pandas

IGNORED = -100  # the label of a token that is read, not taught


def tokenise(examples: Sequence[Example], loaded: LoadedModel, *, max_length: int) -> list[dict[str, list[int]]]:
    """Rows for the trainer: prompt and completion as `input_ids`; `labels` are -100 over the prompt.

    A row longer than `max_length` tokens is left out, never cut: half a reference would teach half a statement.
    """
    rows = []
    for example in examples:
        prompt, completion = prompt_ids(example, loaded.tokenizer), completion_ids(example, loaded.tokenizer)
        if len(prompt) + len(completion) <= max_length:
            rows.append({"input_ids": prompt + completion, "labels": [IGNORED] * len(prompt) + completion})
    return rows


@torch.inference_mode()
def completion_losses(loaded: LoadedModel, example: Example, completions: Sequence[str]) -> "pandas.DataFrame":
    """The training loss of each completion of one example: mean negative log-likelihood a token, in nats."""
    import pandas

    prompt = prompt_ids(example, loaded.tokenizer)
    losses = []
    for completion in completions:
        tokens = completion_ids(replace(example, sql=completion), loaded.tokenizer)
        ids = torch.tensor([prompt + tokens], device=loaded.model.device)
        labels = torch.tensor([[IGNORED] * len(prompt) + tokens], device=loaded.model.device)
        losses.append(loaded.model(input_ids=ids, labels=labels).loss.item())
    return pandas.DataFrame({"completion": completions, "loss": losses}).round(3)


def step_plan(
    lengths: Sequence[int], *, epochs: int, effective_batch_size: int, per_device_train_batch_size: int, seed: int
) -> list[list[list[int]]]:
    """Row indexes by optimiser step and micro-batch: step → micro-batch → rows.

    Every epoch holds every row once, in an order of its own; steps are cut from the epochs laid end to end, so only the
    last may be smaller. The rows of a step are grouped by length into effective / per-device micro-batches.
    """
    rng, order = random.Random(seed), []
    for _ in range(epochs):
        rows = list(range(len(lengths)))
        rng.shuffle(rows)
        order += rows
    steps = [order[at : at + effective_batch_size] for at in range(0, len(order), effective_batch_size)]
    parts = effective_batch_size // per_device_train_batch_size
    return [group_by_length(rows, lengths, parts) for rows in steps]


def group_by_length(rows: Sequence[int], lengths: Sequence[int], parts: int) -> list[list[int]]:
    """The rows in `parts` groups of neighbours in length, longest first, the largest group as small as it can be.

    A group's size is what it takes when padded: its rows times its longest. Fewer rows than parts: one row a group.
    """
    ranked = sorted(rows, key=lambda row: (-lengths[row], row))
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
    for row in ranked:
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= cap:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def largest(rows: Sequence[dict], plan: Sequence[Sequence[Sequence[int]]], *, pack: bool) -> Batch:
    """The most that any micro-batch of a plan takes, in positions and in taught tokens."""
    lengths = [len(row["input_ids"]) for row in rows]
    completions = [len(row["labels"]) - row["labels"].count(IGNORED) for row in rows]
    groups = [group for step in plan for group in step]
    taught = max(sum(completions[i] for i in group) for group in groups)
    if pack:
        return Batch(1, max(sum(lengths[i] for i in group) for group in groups), taught, masked=True)
    spans = [(len(group), max(lengths[i] for i in group)) for group in groups]
    count, width = max(spans, key=lambda span: (span[0] * span[1], span[1]))
    return Batch(count, width, taught)


def padded(batch: Sequence[dict[str, list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Rows side by side, (rows, longest), padded on the right."""
    width = max(len(row["input_ids"]) for row in batch)
    return {
        "input_ids": torch.tensor([row["input_ids"] + [pad] * (width - len(row["input_ids"])) for row in batch]),
        "attention_mask": torch.tensor(
            [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in batch]
        ),
        "labels": torch.tensor([row["labels"] + [IGNORED] * (width - len(row["labels"])) for row in batch]),
    }


def packed(batch: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Rows end to end, (1, tokens). Positions start anew with each row, from which transformers builds a mask that
    lets no row see another; a row's first token is never taught, so nothing is predicted across a border either."""
    return {
        "input_ids": torch.tensor([[token for row in batch for token in row["input_ids"]]]),
        "position_ids": torch.tensor([[at for row in batch for at in range(len(row["input_ids"]))]]),
        "labels": torch.tensor([[label for row in batch for label in row["labels"]]]),
    }
