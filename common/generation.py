"""Greedy batched decoding: rows of like length share a batch, padded on the left.

The batch plan depends on the prompts and the batch size only, so an evaluation that was stopped and goes on
answers each row in the same company and with the same result. Not covered yet: sampling, continuous batching.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig

from common.models import LoadedModel


@dataclass(frozen=True)
class Completion:
    """One answer. `new_tokens` counts generated tokens, the end token included where it came."""

    text: str
    new_tokens: int


def batch_plan(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Row indexes by batch, longest rows first, so that what runs out of memory does at once."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


@torch.inference_mode()
def complete(loaded: LoadedModel, prompts: Sequence[list[int]], *, max_new_tokens: int) -> list[Completion]:
    """Greedy answers to one batch of prompts (token ids), in the prompts' order."""
    model, tokenizer = loaded.model, loaded.tokenizer
    ends = _end_tokens(loaded)
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=pad, eos_token_id=sorted(ends), use_cache=True
    )
    was_training = model.training
    model.eval()
    answers = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, width:].tolist()
    model.train(was_training)
    return [_completion(answer, ends, tokenizer) for answer in answers]


def _end_tokens(loaded: LoadedModel) -> set[int]:
    ends = loaded.model.generation_config.eos_token_id
    ends = set(ends) if isinstance(ends, list) else {ends}
    return (ends | {loaded.tokenizer.eos_token_id}) - {None}


def _completion(answer: list[int], ends: set[int], tokenizer) -> Completion:
    end = next((i for i, token in enumerate(answer) if token in ends), None)
    kept = answer if end is None else answer[:end]
    return Completion(tokenizer.decode(kept, skip_special_tokens=True), len(answer) if end is None else end + 1)
