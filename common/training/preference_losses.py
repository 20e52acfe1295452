"""Losses over pairs of answers to one prompt. Knows no trainer; a micro-batch's rows are chosen, rejected, chosen, …

Preference losses compare the policy's log-probabilities with those of a reference, which each row brings along as the
number `reference`. The reward model's loss reads one logit a row.
"""

import torch
from torch.nn.functional import logsigmoid

from common.training.losses import Inputs, Loss, row_log_probabilities

SIGMOID, IPO = LOSSES = ("sigmoid", "ipo")


def pairs(inputs: Inputs) -> torch.Tensor:
    """How many pairs of a micro-batch are labelled; a dummy one has nothing labelled."""
    return _real(inputs["counts"]).sum()


def _real(counts: torch.Tensor) -> torch.Tensor:
    return counts.view(-1, 2).sum(dim=1) > 0


def _sides(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    chosen, rejected = values.view(-1, 2).unbind(dim=1)
    return chosen, rejected


def preference_loss(
    model, inputs: Inputs, virtual_tokens: int, *, loss: str, beta: float, sft_weight: float, chosen_tokens: float
) -> Loss:
    """The preference loss summed over pairs, with an SFT term on the chosen answers.

    sigmoid (Rafailov et al. 2023, arXiv:2305.18290): −log σ(β (log-ratio of chosen − log-ratio of rejected)). ipo (Azar
    et al. 2023, arXiv:2310.12036): (difference of the log-ratios a token − 1 / 2β)², averaged over tokens as TRL does.
    SFT term: sft_weight times the negative log-likelihood of the chosen answer's tokens, divided by `chosen_tokens`,
    their mean number in the training pairs, so that over an epoch it is TRL's mean a token.

    Reported as means a pair: margin (β times the difference of the log-ratios), accuracy, and of each side its
    log-probability a token and the change of that against the reference.
    """
    sums, counts = row_log_probabilities(model, inputs, virtual_tokens)
    real = _real(counts)
    lengths = counts.clamp(min=1)
    ratios = sums - inputs["reference"]
    chosen, rejected = _sides(ratios)
    margin = beta * (chosen - rejected)
    if loss == SIGMOID:
        losses = -logsigmoid(margin)
    else:
        one, other = _sides(ratios / lengths)
        losses = (one - other - 1 / (2 * beta)).square()
    if sft_weight:
        losses = losses - sft_weight * _sides(sums)[0] / chosen_tokens
    values = {"margin": margin, "accuracy": (margin > 0).float()}
    for name, rows in (("token", sums / lengths), ("change", ratios / lengths)):
        values |= {f"{side}_{name}": value for side, value in zip(("chosen", "rejected"), _sides(rows), strict=True)}
    return Loss((losses * real).sum(), real.sum(), {name: (v * real).sum().detach() for name, v in values.items()})


def row_scores(model, inputs: Inputs, virtual_tokens: int = 0) -> torch.Tensor:
    """The model's one logit at the end of each row, (rows,), 0 for a row with nothing labelled.

    The last token of a row is not read: it stands where its label does, behind the token whose logit is the score.
    """
    ids, predictors, counts = inputs["input_ids"], inputs["predictors"], inputs["counts"]
    reading = torch.zeros(ids.numel(), dtype=torch.bool, device=ids.device)
    reading[predictors] = True
    places = reading.cumsum(dim=0)[predictors] - 1
    fields = {name: inputs[name] for name in ("input_ids", "positions", "ends") if name in inputs}
    keep = torch.nn.functional.pad(reading.view_as(ids), (virtual_tokens, 0))
    logits = model(**fields, logits_to_keep=keep, use_cache=False).logits.reshape(-1).float()
    return logits.new_zeros(len(counts)).masked_scatter(counts > 0, logits[places])


def reward_loss(model, inputs: Inputs, virtual_tokens: int, *, centering: float) -> Loss:
    """−log σ(score of chosen − score of rejected) summed over pairs (Bradley and Terry 1952), plus `centering` times
    the square of the scores' sum, which keeps scores of different prompts near zero (Eisenstein et al. 2023,
    arXiv:2312.09244).

    Reported as means a pair: margin and accuracy.
    """
    real = _real(inputs["counts"])
    chosen, rejected = _sides(row_scores(model, inputs, virtual_tokens))
    losses = (-logsigmoid(chosen - rejected) + centering * (chosen + rejected).square()) * real
    values = {"margin": chosen - rejected, "accuracy": (chosen > rejected).float()}
    return Loss(losses.sum(), real.sum(), {name: (v * real).sum().detach() for name, v in values.items()})
