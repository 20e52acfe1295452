"""Log-probabilities of labelled tokens, a token or a row, and the loss of supervised fine-tuning. Knows no trainer.

Logits are computed where a token is labelled and nowhere else, on every device alike. Every objective is made of these
log-probabilities; only supervised fine-tuning's own loss stands here.
"""

from dataclasses import dataclass, field

import torch

from common.training.rows import IGNORED

Inputs = dict[str, torch.Tensor]  # a micro-batch, see `rows.collated`
_READ = ("input_ids", "position_ids")  # what the model reads of it


@dataclass(frozen=True)
class Loss:
    """Of one micro-batch: the loss summed over its units, and further sums that are reported as means a unit.

    A unit is what a step's loss is a mean over: a labelled token, a pair.
    """

    total: torch.Tensor
    units: torch.Tensor
    sums: dict[str, torch.Tensor] = field(default_factory=dict)


def token_log_probabilities(model, inputs: Inputs, virtual_tokens: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probabilities of the labelled tokens, (labelled,); where they stand in `labels[:, 1:]`, a mask).

    inputs: rows end to end, or side by side and padded on the right. No real token sees such padding in a causal model,
    so the mask is left out, and attention can take its causal kernel. virtual_tokens: how many positions the model puts
    before every row.
    """
    targets = inputs["labels"][:, 1:]
    labelled = targets != IGNORED
    # (rows, positions): a token is predicted at the position before it; of the last one nothing is.
    predicting = torch.nn.functional.pad(labelled, (virtual_tokens, 1))
    fields = {name: inputs[name] for name in _READ if name in inputs}
    logits = model(**fields, logits_to_keep=predicting, use_cache=False).logits  # (labelled, vocabulary)
    return -torch.nn.functional.cross_entropy(logits.float(), targets[labelled], reduction="none"), labelled


def row_log_probabilities(model, inputs: Inputs, virtual_tokens: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of the log-probabilities of each row's labelled tokens, their number), (rows,) each, in the rows' order."""
    chances, labelled = token_log_probabilities(model, inputs, virtual_tokens)
    rows = _row_numbers(inputs)[:, 1:][labelled]
    count = int(_row_numbers(inputs).max()) + 1
    sums = chances.new_zeros(count).index_add(0, rows, chances)
    return sums, torch.bincount(rows, minlength=count)


def _row_numbers(inputs: Inputs) -> torch.Tensor:
    """The row that each position belongs to; packed rows begin at position 0."""
    ids = inputs["input_ids"]
    if "position_ids" in inputs:
        return (inputs["position_ids"] == 0).long().cumsum(dim=1) - 1
    return torch.arange(len(ids), device=ids.device)[:, None].expand_as(ids)


def labelled_tokens(inputs: Inputs) -> torch.Tensor:
    """How many tokens of a micro-batch are labelled."""
    return (inputs["labels"][:, 1:] != IGNORED).sum()


def completion_loss(model, inputs: Inputs, virtual_tokens: int = 0) -> Loss:
    """Negative log-likelihood of the labelled tokens; a unit is one of them."""
    chances, labelled = token_log_probabilities(model, inputs, virtual_tokens)
    return Loss(-chances.sum(), labelled.sum())
