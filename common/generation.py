"""Greedy batched decoding: rows of like length share a batch, padded on the left.

The batch plan depends on the prompts and the batch size only, so an evaluation that was stopped and goes on
answers each row in the same company and with the same result. Not covered yet: sampling, continuous batching.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
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
    pad = tokenizer.pad_token_id
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=pad, eos_token_id=sorted(ends), use_cache=True
    )
    was_training = model.training
    model.eval()
    if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        answers = model.get_base_model().generate(**_behind_virtual_tokens(model, prompts), generation_config=config)
    else:
        ids, mask = _left_padded(prompts, pad, model.device)
        answers = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, ids.shape[1] :]
    model.train(was_training)
    return [_completion(answer, ends, tokenizer) for answer in answers.tolist()]


def _left_padded(prompts: Sequence[list[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, (rows, longest)."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids, mask


def _behind_virtual_tokens(model: PeftModel, prompts: Sequence[list[int]]) -> dict[str, torch.Tensor]:
    """Embeddings and mask of prompts with the model's virtual tokens before each, padded before both.

    peft itself puts the virtual tokens before the padding: the shorter a row, the farther it stands from them.
    """
    embed, count = model.get_base_model().get_input_embeddings(), model.active_peft_config.num_virtual_tokens
    # Any token holds the places of the virtual ones until their vectors are put there.
    ids, mask = _left_padded([[0] * count + prompt for prompt in prompts], 0, model.device)
    embedded = embed(ids)
    virtual = model.get_prompt(batch_size=1)[0].to(embedded.dtype)
    for row, prompt in zip(embedded, prompts, strict=True):
        at = len(row) - len(prompt)
        row[at - count : at] = virtual
    return {"inputs_embeds": embedded, "attention_mask": mask}


def _end_tokens(loaded: LoadedModel) -> set[int]:
    ends = loaded.model.generation_config.eos_token_id
    ends = set(ends) if isinstance(ends, list) else {ends}
    return (ends | {loaded.tokenizer.eos_token_id}) - {None}


def _completion(answer: list[int], ends: set[int], tokenizer) -> Completion:
    end = next((i for i, token in enumerate(answer) if token in ends), None)
    kept = answer if end is None else answer[:end]
    return Completion(tokenizer.decode(kept, skip_special_tokens=True), len(answer) if end is None else end + 1)
