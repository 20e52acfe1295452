"""Examples as token rows, and rows as the tensors of a micro-batch; no model is changed here.

A row is prompt and completion; only the completion is labelled. An item is a list of rows, see `plan`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from common.data import Example
from common.models import LoadedModel
from common.prompts import completion_ids, prompt_ids

if TYPE_CHECKING:
    import pandas

IGNORED = -100  # the label of a token that is read, not learned
Row = dict[str, list[int]]  # input_ids and labels; numbers beside them (a reference's log-probability) go along
Item = list[Row]


def tokenise(examples: Sequence[Example], loaded: LoadedModel, *, max_length: int) -> list[Row]:
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


def length(item: Item) -> int:
    """Tokens of all rows of an item."""
    return sum(len(row["input_ids"]) for row in item)


def labelled(item: Item) -> int:
    """Labelled tokens of all rows of an item."""
    return sum(len(row["labels"]) - row["labels"].count(IGNORED) for row in item)


def dummy(items: Iterable[Item]) -> Item:
    """The shortest item with nothing labelled: its loss and its gradients are zero."""
    return [row | {"labels": [IGNORED] * len(row["labels"])} for row in min(items, key=length)]


def collated(items: Sequence[Item], *, pad: int, pack: bool) -> dict[str, torch.Tensor]:
    """One micro-batch: the rows of the items in order, side by side or end to end; numbers of a row, (rows,) each."""
    rows = [row for item in items for row in item]
    numbers = {name: torch.tensor([row[name] for row in rows]) for name in rows[0].keys() - {"input_ids", "labels"}}
    return (packed(rows) if pack else padded(rows, pad)) | numbers


def padded(rows: Sequence[Row], pad: int) -> dict[str, torch.Tensor]:
    """Rows side by side, (rows, longest), padded on the right."""
    width = max(len(row["input_ids"]) for row in rows)
    return {
        "input_ids": torch.tensor([row["input_ids"] + [pad] * (width - len(row["input_ids"])) for row in rows]),
        "attention_mask": torch.tensor(
            [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
        ),
        "labels": torch.tensor([row["labels"] + [IGNORED] * (width - len(row["labels"])) for row in rows]),
    }


def packed(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Rows end to end, (1, tokens). Positions start anew with each row, from which transformers builds a mask that
    lets no row see another; a row's first token is never labelled, so nothing is predicted across a border either."""
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
        "position_ids": torch.tensor([[at for row in rows for at in range(len(row["input_ids"]))]]),
        "labels": torch.tensor([[label for row in rows for label in row["labels"]]]),
    }
