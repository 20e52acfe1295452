"""Numbers of a model for rows that it does not train on, row by row: log-probabilities, or a reward model's scores.

Rows share what they begin with, as in training. Covers one process.
"""

import contextlib
from collections.abc import Callable, Sequence

import torch

from common import threads
from common.training import attention
from common.training.layout import Layout, implementation
from common.training.losses import Inputs, row_log_probabilities
from common.training.recipe import Recipe
from common.training.rows import Item


@torch.no_grad()
def by_row(
    model: torch.nn.Module,
    items: Sequence[Item],
    recipe: Recipe,
    *,
    base: torch.nn.Module,
    pad: int,
    dtype: torch.dtype,
    numbers: Callable[[torch.nn.Module, Inputs], torch.Tensor],
) -> list[list[float]]:
    """`numbers` of each row of each item, in the arithmetic of a training.

    base: the model as it was loaded, which says whether rows may share tokens. dtype: of the arithmetic.
    """
    if not items:
        return []
    device = next(model.parameters()).device
    name = implementation(base, items, recipe)
    layout = Layout(items, items, recipe, name, pad, device.type)
    values: list[list[float]] = [[] for _ in items]
    was_training = model.training
    model.eval()
    reading = attention.reading(model, name) if name else contextlib.nullcontext()
    try:
        with reading, torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            for batch in layout.valid_batches:
                threads.adjust()
                inputs = {n: value.to(device) for n, value in layout.collated([items[i] for i in batch]).items()}
                results = iter(numbers(model, inputs).tolist())
                for i in batch:
                    values[i] = [next(results) for _ in items[i]]
    finally:
        model.train(was_training)
    return values


def log_probabilities(model: torch.nn.Module, inputs: Inputs, virtual_tokens: int = 0) -> torch.Tensor:
    """Sums over each row's labelled tokens, (rows,)."""
    return row_log_probabilities(model, inputs, virtual_tokens)[0]
