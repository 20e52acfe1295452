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
from common.training.plan import Prefixes
from common.training.tree import tree

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


def prefixes(items: Sequence[Item]) -> Prefixes:
    """What items share with one another, as they are read: without each row's last token."""
    return Prefixes([[row["input_ids"][:-1] for row in item] for item in items])


def dummy(items: Iterable[Item]) -> Item:
    """The shortest item with nothing labelled: its loss and its gradients are zero."""
    return [row | {"labels": [IGNORED] * len(row["labels"])} for row in min(items, key=length)]


def collated(items: Sequence[Item], *, pad: int, as_tree: bool) -> dict[str, torch.Tensor]:
    """One micro-batch: the rows of the items as a tree, or side by side; numbers of a row, (rows,) each.

    Beside the tokens: `predictors`, (labelled,), the place in the flattened tokens at which each labelled one is
    predicted, `targets`, (labelled,), those tokens, both row by row, and `counts`, (rows,), how many a row has.
    """
    rows = [row for item in items for row in item]
    labels = [[(at, label) for at, label in enumerate(row["labels"][1:]) if label != IGNORED] for row in rows]
    fields, places = _tree(rows) if as_tree else _padded(rows, pad)
    predictors = [place[at] for place, pairs in zip(places, labels, strict=True) for at, _ in pairs]
    numbers = {name: torch.tensor([row[name] for row in rows]) for name in rows[0].keys() - {"input_ids", "labels"}}
    return (
        fields
        | numbers
        | {
            "predictors": torch.tensor(predictors, dtype=torch.long),
            "targets": torch.tensor([label for pairs in labels for _, label in pairs], dtype=torch.long),
            "counts": torch.tensor([len(pairs) for pairs in labels]),
        }
    )


def _tree(rows: Sequence[Row]) -> tuple[dict[str, torch.Tensor], Sequence]:
    """Ids, positions and ends of the rows' tree, (1, unique tokens) each, and where each row's tokens lie.

    A row's last token predicts none, so it is not read.
    """
    packed = tree([row["input_ids"][:-1] for row in rows])
    names = {"input_ids": packed.ids, "positions": packed.positions, "ends": packed.ends}
    return {name: torch.from_numpy(array)[None] for name, array in names.items()}, packed.places


def _padded(rows: Sequence[Row], pad: int) -> tuple[dict[str, torch.Tensor], Sequence]:
    """Ids of the rows side by side, (rows, longest), padded on the right, and where each row's tokens lie."""
    width = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [pad] * (width - len(row["input_ids"])) for row in rows]
    return {"input_ids": torch.tensor(ids)}, [
        range(number * width, (number + 1) * width) for number in range(len(rows))
    ]
