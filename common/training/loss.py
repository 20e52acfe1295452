"""The loss over the completion's tokens alone, without logits that nothing is taught at. Knows no trainer."""

import torch


def completion_loss(
    model, inputs: dict[str, torch.Tensor], virtual_tokens: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of the negative log-likelihoods of the taught tokens, their number) of one micro-batch.

    virtual_tokens: how many positions the model puts before every row.
    """
    targets = inputs["labels"][:, 1:]
    taught = (targets != -100).any(dim=0).nonzero().squeeze(1)
    fields = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**fields, logits_to_keep=taught + virtual_tokens, use_cache=False).logits
    targets = targets[:, taught].flatten()
    total = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets, reduction="sum")
    return total, (targets != -100).sum()
