"""The published answering loop, restated to be timed: batches of 32 in the data's order, padded on the left, and every
batch goes on until its longest answer has ended. Greedy, as ours is here; the study sampled, which costs the same.
"""

from collections.abc import Sequence

import torch
from transformers import GenerationConfig

from common.generation import Completion
from common.generation.answers import completion, end_tokens
from common.models import LoadedModel

BATCH = 32


@torch.inference_mode()
def complete(loaded: LoadedModel, prompts: Sequence[list[int]], *, max_new_tokens: int) -> list[Completion]:
    """Answers in the prompts' order, by transformers' own `generate`."""
    pad, ends = loaded.tokenizer.pad_token_id, end_tokens(loaded)
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=pad, eos_token_id=sorted(ends)
    )
    answers = []
    for at in range(0, len(prompts), BATCH):
        batch = prompts[at : at + BATCH]
        width = max(map(len, batch))
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in batch], device=loaded.model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch], device=ids.device)
        outputs = loaded.model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, width:]
        for tokens in outputs.tolist():
            end = next((i + 1 for i, token in enumerate(tokens) if token in ends), len(tokens))
            answers.append(completion(tokens[:end], ends, loaded.tokenizer))
    return answers
