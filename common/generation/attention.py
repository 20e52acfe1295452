"""Attention of a decoding step on a CPU in bfloat16: one query a row against keys that lie column behind column.

PyTorch's own rearranges all keys at every step; here they are written so that a plain product reads them as they lie,
and the query heads of one key head are the rows of that product, so nothing is repeated. The mask is made numbers once
a step. Covers models that take PyTorch's attention ("sdpa") through transformers' interface; softcaps, sinks, biases of
position and prefills go the way that they always went, and so do float32 and GPUs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME, PLAIN = "columns", "sdpa"
_incompatible: WeakSet[torch.nn.Module] = WeakSet()  # models that do not compute alike with it


@contextmanager
def attention_by_columns(model: PreTrainedModel) -> Iterator[None]:
    """Within it, the model's decoding steps use this attention, where it is one of those covered."""
    config = model.config
    is_covered = model.device.type == "cpu" and model.dtype == torch.bfloat16 and model not in _incompatible
    try:
        if is_covered and config._attn_implementation == PLAIN:
            config._attn_implementation = NAME
        yield
    finally:
        if is_by_columns(model):
            config._attn_implementation = PLAIN


def is_by_columns(model: PreTrainedModel) -> bool:
    """Whether the model uses this attention now."""
    return model.config._attn_implementation == NAME


def exclude(model: PreTrainedModel) -> None:
    """Give the model its attention back, for good."""
    _incompatible.add(model)
    model.config._attn_implementation = PLAIN


def key_block(like: torch.Tensor, slots: int, columns: int) -> torch.Tensor:
    """Zeros for keys, (slots, heads, columns, head size), of which each head's columns lie one behind the other."""
    return like.new_zeros(slots, like.shape[1], like.shape[3], columns).transpose(2, 3)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options,
) -> tuple[torch.Tensor, None]:
    """What transformers wants of an attention: (rows, queries, heads, head size) of queries (rows, heads, queries, head
    size), keys and values (rows, key heads, columns, head size), and nothing of the weights."""
    if key.stride(3) == 1:  # no block's
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    is_usual = query.shape[2] == 1 and attention_mask is not None and attention_mask.shape[1:3] == (1, 1)
    if not is_usual or any(options.get(name) is not None for name in ("softcap", "s_aux", "position_bias")):
        return sdpa_attention_forward(
            module, query, key.contiguous(), value, attention_mask, scaling=scaling, **options
        )
    rows, heads, _, size = query.shape
    groups = query.reshape(rows * key.shape[1], -1, size)
    scores = torch.bmm(groups, key.transpose(2, 3).flatten(0, 1)).view(rows, heads, -1).float()
    scores.mul_(size**-0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores.add_(attention_mask[:, 0])
    weights = scores.softmax(dim=-1).to(value.dtype).view(*groups.shape[:2], -1)
    return torch.bmm(weights, value.flatten(0, 1)).view(rows, 1, heads, -1), None


def number_mask(*args, **kwargs) -> torch.Tensor | None:
    """The mask of PyTorch's attention; for a decoding step in numbers to be added, 0 and −inf."""
    mask = sdpa_mask(*args, **kwargs)
    if mask is None or mask.shape[2] > 1:
        return mask
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, -torch.inf)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, number_mask)
