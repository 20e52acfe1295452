"""Losses of training by rewards, over rows that a policy has sampled. Knows no trainer, no reward and no sampling.

Rows bring numbers along: `advantage` times `weight` of a sampled one, `anchor` of a reference; or `reference`, the
start's log-probability of a row that is only measured.
"""

import torch

from common.training.losses import Inputs, Loss, row_log_probabilities, token_log_probabilities

LARGEST_RATIO = 10.0  # nats: e to it is as far as a row may pull the mean


def group_loss(model, inputs: Inputs, virtual_tokens: int = 0) -> Loss:
    """The policy gradient's loss and the anchor's, summed over labelled tokens; a unit is one of them.

    −advantage × (probability / probability without a gradient), a token (Shao et al. 2024, arXiv:2402.03300, with one
    update a sample, where the ratio is 1 and nothing is clipped); −anchor × log-probability, a token of a reference.
    """
    chances, counts = token_log_probabilities(model, inputs, virtual_tokens), inputs["counts"]
    advantages, anchors = (torch.repeat_interleave(inputs[name], counts) for name in ("advantage", "anchor"))
    ratios = (chances - chances.detach()).exp()
    return Loss(-(advantages * ratios + anchors * chances).sum(), counts.sum())


def divergence_loss(model, inputs: Inputs, virtual_tokens: int = 0) -> Loss:
    """The Kullback-Leibler divergence of the policy from its start, in nats a sequence, summed over rows that the start
    has sampled; a unit is a row.

    Of each row r − 1 − log r, r being its probability over that under the start: never negative, its mean is the
    divergence, and near the start it scatters far less than −log r (Schulman 2020, joschu.net/blog/kl-approx.html).
    """
    sums, counts = row_log_probabilities(model, inputs, virtual_tokens)
    real = counts > 0
    ratios = ((sums - inputs["reference"]) * real).clamp(max=LARGEST_RATIO)
    return Loss((ratios.expm1() - ratios).sum(), real.sum())
