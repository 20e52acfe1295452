"""The loss over the completion's tokens alone, without logits that nothing is taught at. Knows no trainer."""

import torch


def completion_loss(
    model, inputs: dict[str, torch.Tensor], virtual_tokens: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of the negative log-likelihoods of the taught tokens, their number) of one micro-batch.

    inputs: rows end to end, or side by side and padded on the right. No real token sees such padding in a causal model,
    so the mask is left out, and attention can take its causal kernel. virtual_tokens: how many positions the model puts
    before every row.
    """
    targets = inputs["labels"][:, 1:]
    taught = targets != -100
    fields = {name: value for name, value in inputs.items() if name not in ("labels", "attention_mask")}
    # (rows, positions): a token is predicted at the position before it; of the last one nothing is.
    asked = torch.nn.functional.pad(taught, (virtual_tokens, 1))
    logits = model(**fields, logits_to_keep=asked, use_cache=False).logits  # (taught tokens, vocabulary)
    total = torch.nn.functional.cross_entropy(logits.float(), targets[taught], reduction="sum")
    return total, taught.sum()
