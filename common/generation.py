"""Answers to prompts: one way in, greedy or sampled, in order, as many rows at a time as a batch has places.

A row's answer does not depend on the rows beside it, but for rounding where two tokens are nearly as likely; what is
sampled depends on the seed and the row's number alone. How the batch is kept full is `common.decoding`'s affair.
"""

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel
from tqdm import tqdm
from transformers import DynamicCache, PreTrainedModel

from common.decoding import decode, shared_start
from common.layout import laid_out
from common.models import LoadedModel
from common.settings import UserError


@dataclass(frozen=True)
class Completion:
    """One answer. `new_tokens` counts generated tokens, the end token included where it came."""

    text: str
    new_tokens: int


@dataclass(frozen=True)
class Sampling:
    """Draw tokens instead of taking the likeliest: from the smallest set of them that together have `top_p` of the
    chances at `temperature` (Holtzman et al. 2020, arXiv:1904.09751). Raises UserError for values out of range."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 42

    def __post_init__(self):
        if not 0 < self.temperature < float("inf") or not 0 < self.top_p <= 1:
            raise UserError(
                "a temperature is above 0 and top_p from above 0 to 1; leave sampling out for greedy answers"
            )

    def chances(self, logits: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary) of chances that sum to 1, 0 where a token cannot be drawn."""
        chances = (logits / self.temperature).softmax(dim=-1)
        if self.top_p == 1:
            return chances
        ranked, tokens = chances.sort(dim=-1, descending=True)
        ranked[ranked.cumsum(dim=-1) - ranked >= self.top_p] = 0
        kept = torch.zeros_like(chances).scatter(-1, tokens, ranked)
        return kept / kept.sum(dim=-1, keepdim=True)


def batch_plan(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Row indexes by batch, longest rows first, so that what runs out of memory does at once."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


@torch.inference_mode()
def complete(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    places: int = 32,
    sampling: Sampling | None = None,
    progress: str = "",
    ended: Callable[[int, Completion], None] | None = None,
) -> list[Completion]:
    """Answers to prompts (token ids), in the prompts' order; greedy ones without `sampling`.

    places: how many rows are answered at a time. progress: the name of a bar on stderr, "" for none. ended: called with
    each row's number and answer as soon as it has ended. Raises UserError for an empty prompt and for sizes below 1.
    """
    if max_new_tokens < 1 or places < 1 or not all(prompts):
        raise UserError("an answer needs a prompt, max_new_tokens of at least 1 and at least 1 place")
    if not prompts:
        return []
    model, tokenizer, ends = loaded.model, loaded.tokenizer, end_tokens(loaded)
    answers: dict[int, Completion] = {}
    was_training = model.training
    model.eval()
    try:
        with (
            laid_out(model),
            tqdm(total=len(prompts), desc=progress, unit="row", file=sys.stderr, disable=not progress) as bar,
        ):
            count = shared_start(prompts)
            rows = decode(
                _decoder(model),
                [prompt[count:] for prompt in prompts],
                _prefix(model, prompts[0][:count]),
                choose=_sampler(sampling) if sampling else _likeliest,
                ends=ends,
                max_new_tokens=max_new_tokens,
                places=places,
            )
            for number, tokens in rows:
                answers[number] = completion(tokens, ends, tokenizer)
                bar.update()
                if ended:
                    ended(number, answers[number])
    finally:
        model.train(was_training)
    return [answers[number] for number in range(len(prompts))]


def _likeliest(logits: torch.Tensor, numbers: list[int]) -> list[int]:
    return logits.argmax(dim=-1).tolist()


def _sampler(sampling: Sampling) -> Callable[[torch.Tensor, list[int]], list[int]]:
    """Draws with random numbers of each row's own, so that a row's draws do not depend on its company."""
    numbers_of: dict[int, random.Random] = {}

    def draw(logits: torch.Tensor, numbers: list[int]) -> list[int]:
        for number in set(numbers) - numbers_of.keys():
            numbers_of[number] = random.Random(sampling.seed * 1_000_003 + number)
        # One look-up for all rows: the token at which the sum of chances passes the number.
        sums = sampling.chances(logits).double().cumsum(dim=-1)
        drawn = torch.tensor(
            [[numbers_of[number].random()] for number in numbers], dtype=sums.dtype, device=sums.device
        )
        return torch.searchsorted(sums, drawn * sums[:, -1:], right=True).squeeze(dim=1).tolist()

    return draw


def _is_prompt_tuned(model: PreTrainedModel | PeftModel) -> bool:
    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def _decoder(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model that reads tokens; one with virtual tokens does so behind `_prefix`."""
    return model.get_base_model() if _is_prompt_tuned(model) else model


def _prefix(model: PreTrainedModel | PeftModel, tokens: Sequence[int]) -> DynamicCache | None:
    """Keys and values of what stands before every prompt: the model's virtual tokens, if any, then `tokens`."""
    decoder = _decoder(model)
    vectors = decoder.get_input_embeddings()(torch.tensor([tokens], dtype=torch.long, device=model.device))
    if _is_prompt_tuned(model):
        # peft itself puts the virtual tokens before the padding: the shorter a row, the farther it stands from them.
        vectors = torch.cat([model.get_prompt(batch_size=1).to(vectors.dtype), vectors], dim=1)
    if not vectors.shape[1]:
        return None
    return decoder(inputs_embeds=vectors, use_cache=True, logits_to_keep=1).past_key_values


def end_tokens(loaded: LoadedModel) -> set[int]:
    """The tokens that end an answer."""
    ends = loaded.model.generation_config.eos_token_id
    ends = set(ends) if isinstance(ends, list) else {ends}
    return (ends | {loaded.tokenizer.eos_token_id}) - {None}


def completion(tokens: list[int], ends: set[int], tokenizer) -> Completion:
    """The answer that generated tokens are, of which the last may be an end token."""
    kept = tokens[:-1] if tokens[-1] in ends else tokens
    return Completion(tokenizer.decode(kept, skip_special_tokens=True), len(tokens))
