"""Log-probabilities of labelled tokens, a token or a row, and the loss of supervised fine-tuning. Knows no trainer.

Logits are computed where a token is labelled and nowhere else, on every device alike, and once where rows share what
they begin with. Every objective is made of these log-probabilities; only supervised fine-tuning's own loss stands here.
"""

from dataclasses import dataclass, field

import torch

Inputs = dict[str, torch.Tensor]  # a micro-batch, see `rows.collated`
_READ = ("input_ids", "positions", "ends")  # what the model reads of it


@dataclass(frozen=True)
class Loss:
    """Of one micro-batch: the loss summed over its units, and further sums that are reported as means a unit.

    A unit is what a step's loss is a mean over: a labelled token, a pair.
    """

    total: torch.Tensor
    units: torch.Tensor
    sums: dict[str, torch.Tensor] = field(default_factory=dict)


def token_log_probabilities(model, inputs: Inputs, virtual_tokens: int = 0) -> torch.Tensor:
    """Log-probabilities of the labelled tokens, (labelled,), row by row in the rows' order, in nats.

    inputs: rows as a tree, or side by side and padded on the right. No real token sees such padding in a causal model,
    so the mask is left out, and attention can take its causal kernel. virtual_tokens: how many positions the model puts
    before every row.
    """
    ids, predictors = inputs["input_ids"], inputs["predictors"]
    predicting = torch.zeros(ids.numel(), dtype=torch.bool, device=ids.device)
    predicting[predictors] = True
    places = predicting.cumsum(dim=0)[predictors] - 1  # of each labelled token's logits among those that are computed
    fields = {name: inputs[name] for name in _READ if name in inputs}
    keep = torch.nn.functional.pad(predicting.view_as(ids), (virtual_tokens, 0))
    logits = model(**fields, logits_to_keep=keep, use_cache=False).logits  # (predicting positions, vocabulary)
    return logits.float().log_softmax(dim=-1)[places, inputs["targets"]]


def row_log_probabilities(model, inputs: Inputs, virtual_tokens: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of the log-probabilities of each row's labelled tokens, their number), (rows,) each, in the rows' order."""
    chances, counts = token_log_probabilities(model, inputs, virtual_tokens), inputs["counts"]
    rows = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    return chances.new_zeros(len(counts)).index_add(0, rows, chances), counts


def labelled_tokens(inputs: Inputs) -> torch.Tensor:
    """How many tokens of a micro-batch are labelled."""
    return inputs["counts"].sum()


def completion_loss(model, inputs: Inputs, virtual_tokens: int = 0) -> Loss:
    """Negative log-likelihood of the labelled tokens; a unit is one of them."""
    return Loss(-token_log_probabilities(model, inputs, virtual_tokens).sum(), labelled_tokens(inputs))
