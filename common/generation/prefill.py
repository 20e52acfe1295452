"""Prompts read: one in stretches, so that a long one takes no more memory at once than a short one, or several at once.

Every row stands whole, padded on its left, so that the model's code makes its own masks. Covers what stands before all
prompts, which is read once and copied by nobody.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from common.generation.columns import PrefixLayer

PREFILL = {"cpu": 512, "cuda": 16_384}  # positions read at once, rows × longest: enough for fast products
States = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Reading:
    """What is left of a prompt that was read: logits of the next token, (vocabulary), and each layer's keys and values,
    (heads, length, head size) each, with those that stand before it; None where a layer takes another one's."""

    logits: torch.Tensor
    states: list[States | None]
    length: int

    def clone(self) -> "Reading":
        """One that holds nothing of the prompts it was read with."""
        states = [each and (each[0].clone(), each[1].clone()) for each in self.states]
        return Reading(self.logits.clone(), states, self.length)


def most_positions(device: torch.device) -> int:
    """How many positions are read at once."""
    return PREFILL.get(device.type, PREFILL["cuda"])


def read(
    model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], prefix: Cache | None = None
) -> tuple[torch.Tensor, Cache]:
    """Read one row behind `prefix`, stretch by stretch: logits of its next token, (1, vocabulary), and all keys and
    values. inputs: `input_ids` (1, length) or `inputs_embeds` (1, length, width)."""
    cache, before = DynamicCache(), 0  # of no config: a windowed layer would keep its window alone
    if prefix is not None:
        cache, before = Cache([_continued(layer) for layer in prefix.layers]), prefix.get_seq_length()
    (name, row), *_ = inputs.items()
    for stretch in row.split(most_positions(model.device), dim=1):
        end = before + stretch.shape[1]
        output = model(
            **{name: stretch},
            attention_mask=torch.ones(1, end, dtype=torch.long, device=row.device),
            position_ids=torch.arange(before, end, device=row.device)[None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache, before = output.past_key_values, end
    return output.logits[:, -1], cache


def _continued(layer: DynamicLayer) -> DynamicLayer:
    """A layer that goes on behind another one, and leaves it as it is."""
    continued = DynamicLayer()
    if layer.keys is not None:  # else it takes another layer's
        continued.lazy_initialization(layer.keys, layer.values)
        continued.keys, continued.values = layer.keys, layer.values
    return continued


def read_padded(model: PreTrainedModel, prompts: Sequence[Sequence[int]], prefix: Cache | None) -> list[Reading]:
    """Read several prompts at once, each behind `prefix`."""
    before, width = prefix.get_seq_length() if prefix is not None else 0, max(map(len, prompts))
    gaps = [width - len(prompt) for prompt in prompts]
    ids = torch.tensor([[0] * gap + list(p) for gap, p in zip(gaps, prompts, strict=True)], device=model.device)
    mask = torch.tensor([[0] * gap + [1] * (before + width - gap) for gap in gaps], device=model.device)
    cache = DynamicCache()
    if prefix is not None:
        columns = torch.tensor(
            [[*range(before, before + gap), *range(before), *range(before + gap, before + width)] for gap in gaps],
            device=model.device,
        )
        layers = [(layer.keys, layer.values) for layer in prefix.layers]  # None: it takes another layer's
        cache = Cache([PrefixLayer(k, v, columns) if k is not None else DynamicLayer() for k, v in layers])
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0)[:, before:],
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return readings(output.logits[:, -1], output.past_key_values, [before + len(prompt) for prompt in prompts])


def readings(logits: torch.Tensor, cache: Cache, lengths: Sequence[int]) -> list[Reading]:
    """Each row's of what was read together, padded on the left."""
    layers = [(layer.keys, layer.values) if layer.is_initialized else None for layer in cache.layers]
    return [
        Reading(vector, [each and tuple(s[row, :, -length:] for s in each) for each in layers], length)
        for row, (vector, length) in enumerate(zip(logits, lengths, strict=True))
    ]
