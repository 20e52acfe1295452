"""Answers to prompts: one way in, greedy or sampled, in the prompts' order, in batches of a fixed size.

A row's answer does not depend on the rows beside it, but for rounding where two tokens are nearly as likely; what is
sampled depends on the seed, the stream and the row's number alone. How the batch is kept full is in
`common.generation.batching`; models that it cannot answer as they do alone (Mamba, other states, positions scaled by
length) are answered row by row by the library, which a line on stdout says.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakSet

import torch
from peft import PeftModel
from tqdm import tqdm
from transformers import DynamicCache, PreTrainedModel

from common.generation.attention import attention_by_columns
from common.generation.batching import decode, shared_start
from common.generation.onednn import laid_out
from common.generation.prefill import read
from common.generation.sampling import Choose, Sampling, likeliest, sampler, with_log_probabilities
from common.generation.single import answer_singly
from common.generation.support import obstacle
from common.models import LoadedModel
from common.settings import UserError

_slow: WeakSet[torch.nn.Module] = WeakSet()  # models of which the line was printed


@dataclass(frozen=True)
class Completion:
    """One answer. `token_ids` are all generated tokens, the end token included where it came, and `new_tokens` their
    number; an answer that was read from a disk has the number alone.

    log_probabilities: where they were wanted, each token's natural logarithm of the probability that the model gave it
    as the batch computed it, at the temperature of the sampling (1 for greedy answers) and before top-p cuts tokens
    off: with top_p of 1 those of the distribution that was drawn from.
    """

    text: str
    new_tokens: int
    token_ids: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()


@torch.inference_mode()
def complete(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    batch_size: int = 32,
    sampling: Sampling | None = None,
    progress: str = "",
    on_completion: Callable[[int, Completion], None] | None = None,
    log_probabilities: bool = False,
) -> list[Completion]:
    """Answers to prompts (token ids), in the prompts' order; greedy ones without `sampling`.

    batch_size: the most rows at a time; fewer where the memory that is free does not hold as many, which changes no
    answer. progress: the name of a bar on stderr, "" for none. on_completion: called with each row's number and answer
    as soon as it ends. log_probabilities: whether answers come with them, see `Completion`. A row whose logits overflow
    ends with what it has, and a line on stdout counts such rows. Raises UserError for an empty prompt and for sizes
    below 1.
    """
    if max_new_tokens < 1 or batch_size < 1 or not all(prompts):
        raise UserError("an answer needs a prompt, max_new_tokens of at least 1 and a batch_size of at least 1")
    if not prompts:
        return []
    model, tokenizer, ends = loaded.model, loaded.tokenizer, end_tokens(loaded)
    answers: dict[int, Completion] = {}
    choose = sampler(sampling) if sampling else likeliest
    record: dict[int, list[float]] = {}
    if log_probabilities:
        choose = with_log_probabilities(choose, sampling.temperature if sampling else 1.0, record)
    overflows = 0
    was_training = model.training
    model.eval()
    try:
        with (
            laid_out(model),
            attention_by_columns(_decoder(model)),
            _without_router_loss(model),
            tqdm(total=len(prompts), desc=progress, unit="row", file=sys.stderr, disable=not progress) as bar,
        ):
            rows = _answer(
                model,
                prompts,
                choose=choose,
                ends=ends,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
            )
            for number, tokens in rows:
                answers[number] = completion(tokens, ends, tokenizer, record.pop(number, ()))
                overflows += len(tokens) < max_new_tokens and not ends.intersection(tokens[-1:])
                bar.update()
                if on_completion:
                    on_completion(number, answers[number])
    finally:
        model.train(was_training)
    if overflows:
        print(
            f"{overflows} of {len(prompts)} answers break off where the logits are no numbers: half precision "
            "overflows, or the weights are broken; load the model in bfloat16 or float32"
        )
    return [answers[number] for number in range(len(prompts))]


@contextmanager
def _without_router_loss(model: PreTrainedModel | PeftModel) -> Iterator[None]:
    """Training has a model of experts compute the loss of their balance; it does not know a cache's masks."""
    config = model.config.get_text_config()
    is_on = getattr(config, "output_router_logits", False)
    if is_on:
        config.output_router_logits = False
    try:
        yield
    finally:
        if is_on:
            config.output_router_logits = True


def _answer(
    model: PreTrainedModel | PeftModel,
    prompts: Sequence[list[int]],
    *,
    choose: Choose,
    ends: set[int],
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[tuple[int, list[int]]]:
    """(number, tokens) of every prompt as it ends, from the batch, or row by row where the model is not fit for it."""
    decoder = _decoder(model)
    virtual = model.active_peft_config.num_virtual_tokens if _is_prompt_tuned(model) else 0
    sizes = {"choose": choose, "ends": ends, "max_new_tokens": max_new_tokens}
    reason = obstacle(decoder, virtual + max(map(len, prompts)) + max_new_tokens)
    if not reason:
        count = shared_start(prompts)
        rows, prefix = [prompt[count:] for prompt in prompts], _prefix(model, prompts[0][:count])
        return decode(decoder, rows, prefix, batch_size=batch_size, **sizes)
    if decoder not in _slow:
        _slow.add(decoder)
        print(f"Rows are answered one by one, which is slow: {reason}")
    return answer_singly(_library_model(model), (_inputs(model, prompt) for prompt in prompts), **sizes)


def _is_prompt_tuned(model: PreTrainedModel | PeftModel) -> bool:
    return isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning


def _decoder(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model that reads tokens; one with virtual tokens does so behind `_prefix`."""
    return model.get_base_model() if _is_prompt_tuned(model) else model


def _prefix(model: PreTrainedModel | PeftModel, tokens: Sequence[int]) -> DynamicCache | None:
    """Keys and values of what stands before every prompt: the model's virtual tokens, if any, then `tokens`."""
    if not tokens and not _is_prompt_tuned(model):
        return None
    return read(_decoder(model), _inputs(model, tokens))[1]


def _inputs(model: PreTrainedModel | PeftModel, tokens: Sequence[int]) -> dict[str, torch.Tensor]:
    """Tokens as one row: their ids, or, behind virtual tokens, embeddings."""
    ids = torch.tensor([tokens], dtype=torch.long, device=model.device)
    if not _is_prompt_tuned(model):
        return {"input_ids": ids}
    # peft itself puts the virtual tokens before the padding: the shorter a row, the farther it stands from them.
    vectors = model.get_base_model().get_input_embeddings()(ids)
    return {"inputs_embeds": torch.cat([model.get_prompt(batch_size=1).to(vectors.dtype), vectors], dim=1)}


def _library_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model whose `generate` is the library's own; adapters that lie in its layers have their say."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def end_tokens(loaded: LoadedModel) -> set[int]:
    """The tokens that end an answer."""
    ends = loaded.model.generation_config.eos_token_id
    ends = set(ends) if isinstance(ends, list) else {ends}
    return (ends | {loaded.tokenizer.eos_token_id}) - {None}


def completion(tokens: list[int], ends: set[int], tokenizer, values: Sequence[float] = ()) -> Completion:
    """The answer that generated tokens are, of which the last may be an end token. values: log-probabilities of the
    tokens; one more where the row broke off."""
    content = tokens[:-1] if ends.intersection(tokens[-1:]) else tokens
    text = tokenizer.decode(content, skip_special_tokens=True)
    return Completion(text, len(tokens), tuple(tokens), tuple(values[: len(tokens)]))
