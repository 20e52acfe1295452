"""TRL's layout of a step, as its trainers lay rows out and read them on a CPU, with TRL's own padding and output head.

A group of completions: prompts padded on the left and completions on the right, all rows of the step to one width.
Pairs: the chosen rows of a micro-batch above the rejected ones, padded on the right. Rows of supervised fine-tuning: in
random order, padded on the right to the longer. TRL's head on a CPU computes the logits of every position, prompt and
padding included, in tiles. Left out: entropies, references' log-probabilities and the trainers themselves.
"""

import random
from collections.abc import Sequence

import torch
from trl.trainer.utils import add_fused_lm_head, pad

from common.training.rows import IGNORED, Item, Row

ROWS = {"group": 8, "pairs": 8, "rows": 2}  # of a micro-batch, by the kind of step
SEED = 42
MicroBatch = tuple[list[int], dict[str, torch.Tensor]]  # numbers of its rows, and the model's arguments


def add_head(model: torch.nn.Module) -> None:
    """Give a model TRL's output head; before peft wraps it."""
    add_fused_lm_head(model)


def micro_batches(kind: str, items: Sequence[Item], padding: int) -> list[MicroBatch]:
    """A step's micro-batches. Rows are numbered item by item; padding: the token."""
    rows = [row for item in items for row in item]
    numbers = list(range(len(rows)))
    if kind == "pairs":  # a pair's rows are neighbours, the chosen one first
        count = ROWS[kind] // 2
        pairs = [numbers[at : at + 2 * count] for at in range(0, len(rows), 2 * count)]
        groups = [part[::2] + part[1::2] for part in pairs]
    else:
        if kind == "rows":
            random.Random(SEED).shuffle(numbers)
        groups = [numbers[at : at + ROWS[kind]] for at in range(0, len(rows), ROWS[kind])]
    prompts, completions = [_prompt(row) for row in rows], [_completion(row) for row in rows]
    if kind == "group":
        whole = _side_by_side(prompts, completions, padding)
        return [(group, {name: tensor[group] for name, tensor in whole.items()}) for group in groups]
    return [
        (group, _right_padded([prompts[i] for i in group], [completions[i] for i in group], padding))
        for group in groups
    ]


def log_probabilities(model, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Of each row's completion tokens, (tokens,) a row."""
    outputs = model(**inputs, use_cache=False, fused_lm_head=True)
    labelled = inputs["labels"][:, 1:] != IGNORED
    return [chances[mask] for chances, mask in zip(outputs.log_probs, labelled, strict=True)]


def _prompt(row: Row) -> list[int]:
    return row["input_ids"][: row["labels"].count(IGNORED)]


def _completion(row: Row) -> list[int]:
    return row["input_ids"][row["labels"].count(IGNORED) :]


def _padded(texts: Sequence[list[int]], padding: int, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), (rows, longest) each."""
    ids = [torch.tensor(text) for text in texts]
    masks = [torch.ones_like(text) for text in ids]
    return pad(ids, padding_value=padding, padding_side=side), pad(masks, padding_value=0, padding_side=side)


def _side_by_side(prompts: Sequence[list[int]], completions: Sequence[list[int]], padding: int) -> dict:
    left, left_mask = _padded(prompts, padding, "left")
    right, right_mask = _padded(completions, padding, "right")
    labels = right.masked_fill(right_mask == 0, IGNORED)
    return {
        "input_ids": torch.cat([left, right], dim=1),
        "attention_mask": torch.cat([left_mask, right_mask], dim=1),
        "labels": torch.cat([torch.full_like(left, IGNORED), labels], dim=1),
    }


def _right_padded(prompts: Sequence[list[int]], completions: Sequence[list[int]], padding: int) -> dict:
    rows = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    ids, mask = _padded(rows, padding, "right")
    labels = [[IGNORED] * len(prompt) + completion for prompt, completion in zip(prompts, completions, strict=True)]
    labels, _ = _padded(labels, IGNORED, "right")
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
