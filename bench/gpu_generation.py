"""Answering the test set: our decoding against the published loop, on prompts as long as the published ones.

A random model ends nowhere, so the weights are set to count down: a prompt's last token is a number, each answer token
is one less, and behind the lowest comes the end token. How long an answer gets is then decided by its prompt alone, in
any way of decoding, while every layer does its work. Covers greedy decoding without scoring.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bench import library_generation, published_generation
from bench.gpu_lines import ANSWERED
from bench.gpu_model import FIRST_TOKEN, Setting, answer_lengths, free, row_lengths
from bench.training_flops import wait
from common.data import EMBEDDED_SIZES, load_examples
from common.generation import complete
from common.models import LoadedModel, device, load_model
from common.prompts import prompt_ids
from common.training.memory import peak_bytes, reset_peak

LOWEST = 100  # the token that ends a countdown; 512 above it are numbers too
LONGEST_ANSWER = 512
QUIET = 1e-4  # what is left of the layers' part in the answer


@torch.no_grad()
def count_down(model: torch.nn.Module, end: int) -> None:
    """Make a Qwen3 model answer each number token with the one below it, and LOWEST with the `end` token.

    Its head gets weights of its own, turned by one place over those tokens; what the layers add is made so small that
    the last token's embedding decides.
    """
    embedded = model.get_input_embeddings().weight
    head = embedded.detach().clone()
    chain = torch.tensor([end, *range(LOWEST, LOWEST + LONGEST_ANSWER + 1)], device=head.device)
    head[chain] = embedded[chain.roll(-1)]
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(head)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.mul_(QUIET)
        layer.mlp.down_proj.weight.mul_(QUIET)


def make_prompts(count: int, vocabulary: int, seed: int) -> tuple[list[list[int]], list[int]]:
    """Prompts of published length in random order, and the new tokens that each is answered with."""
    rng, answers = random.Random(seed), answer_lengths(count, seed)
    prompts = []
    for length, answer in zip(row_lengths(count, seed), answers, strict=True):
        ids = [rng.randrange(FIRST_TOKEN, vocabulary) for _ in range(max(length - answer, 10))]
        prompts.append([*ids[:-1], LOWEST + answer - 1])
    return prompts, answers


@dataclass(frozen=True)
class Answered:
    """How many prompts were answered in how many seconds, the new tokens of each, and the peak of memory in bytes."""

    seconds: float
    new_tokens: list[int]
    peak: int


def by_published_loop(
    loaded: LoadedModel, prompts: Sequence[list[int]], max_new_tokens: int, seconds: float
) -> Answered:
    """Batch by batch until `seconds` are over, after a first one that is not timed."""
    published_generation.complete(loaded, prompts[: published_generation.BATCH], max_new_tokens=max_new_tokens)
    reset_peak()
    start, new_tokens = time.perf_counter(), []
    for at in range(0, len(prompts), published_generation.BATCH):
        batch = prompts[at : at + published_generation.BATCH]
        answers = published_generation.complete(loaded, batch, max_new_tokens=max_new_tokens)
        new_tokens += [answer.new_tokens for answer in answers]
        if time.perf_counter() - start > seconds:
            break
    wait(device())
    return Answered(time.perf_counter() - start, new_tokens, peak_bytes())


def by_us(
    loaded: LoadedModel, prompts: Sequence[list[int]], max_new_tokens: int, batch_size: int, seconds: float
) -> Answered:
    """All prompts, or as many as `seconds` allow by the pace of the first `batch_size`, which are the warm-up.

    That pace is the slower one: while its last rows are answered, other slots stay empty.
    """
    warm = prompts[:batch_size]
    complete(loaded, warm[: published_generation.BATCH], max_new_tokens=max_new_tokens, batch_size=batch_size)
    start = time.perf_counter()
    complete(loaded, warm, max_new_tokens=max_new_tokens, batch_size=batch_size)
    wait(device())
    affordable = int(seconds / (time.perf_counter() - start) * len(warm))
    reset_peak()
    start = time.perf_counter()
    answers = complete(
        loaded, prompts[: max(affordable, len(warm))], max_new_tokens=max_new_tokens, batch_size=batch_size
    )
    wait(device())
    return Answered(time.perf_counter() - start, [answer.new_tokens for answer in answers], peak_bytes())


def measure(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    *,
    prefix: str,
    batch_size: int,
    seconds: float,
    lengths: Sequence[int] | None = None,
) -> dict:
    """Both ways on the same prompts: values by line name, and notes. lengths: new tokens of each, checked."""
    tokens = LONGEST_ANSWER
    theirs = by_published_loop(loaded, prompts, tokens, seconds / 4)
    free()
    mine = by_us(loaded, prompts, tokens, batch_size, 1.5 * seconds)
    values = {}
    for suffix, run in (("-published", theirs), ("", mine)):
        values[f"{prefix}-rows{suffix}"] = [len(run.new_tokens) / run.seconds]
        values[f"{prefix}-tokens{suffix}"] = [sum(run.new_tokens) / run.seconds]
        values[f"{prefix}-memory{suffix}"] = [run.peak / 1e9]
    if len(mine.new_tokens) == ANSWERED:
        values[f"{prefix}-seconds"] = [mine.seconds]
    note = (
        f"{prefix}: greedy, at most {tokens} new tokens. Ours {len(mine.new_tokens):,} rows, {batch_size} at once; the "
        f"published loop {len(theirs.new_tokens):,} of them in batches of {published_generation.BATCH} in data order."
    )
    for run in (theirs, mine):
        check_lengths(run, lengths or run.new_tokens)
    return {"values": values, "notes": [note]}


def check_lengths(run: Answered, lengths: Sequence[int]) -> None:
    """Raises RuntimeError where more than one answer in a hundred did not end where its prompt said."""
    right = sum(a == b for a, b in zip(run.new_tokens, lengths, strict=False))
    if right < 0.99 * len(run.new_tokens):
        raise RuntimeError(f"only {right} of {len(run.new_tokens)} answers ended where they should")


def on_random_weights(setting: Setting) -> dict:
    """The published test set's shape on a model that counts down."""
    loaded, sizes = setting.load(), setting.sizes
    count_down(loaded.model, loaded.tokenizer.eos_token_id)
    prompts, lengths = make_prompts(sizes.answered, sizes.architecture["vocab_size"], seed=7)
    return measure(
        loaded, prompts, prefix="generation", batch_size=setting.batch_size, seconds=setting.seconds, lengths=lengths
    )


def by_generate_batch(setting: Setting) -> dict:
    """transformers' continuous batching on the same prompts: as many as the time allows by the pace of the first ones,
    which are the warm-up. How many it has at once, and how much memory its cache takes, is its own choice."""
    loaded, sizes = setting.load(), setting.sizes
    count_down(loaded.model, loaded.tokenizer.eos_token_id)
    prompts, lengths = make_prompts(sizes.answered, sizes.architecture["vocab_size"], seed=7)
    warm = prompts[: setting.batch_size]
    start = time.perf_counter()
    library_generation.complete(loaded, warm, max_new_tokens=LONGEST_ANSWER)
    wait(device())
    affordable = int(setting.seconds / (time.perf_counter() - start) * len(warm))
    some = prompts[: max(affordable, len(warm))]
    reset_peak()
    start = time.perf_counter()
    answers = library_generation.complete(loaded, some, max_new_tokens=LONGEST_ANSWER)
    wait(device())
    run = Answered(time.perf_counter() - start, [answer.new_tokens for answer in answers], peak_bytes())
    check_lengths(run, lengths)
    values = {
        "generation-library-rows": [len(some) / run.seconds],
        "generation-library-tokens": [sum(run.new_tokens) / run.seconds],
        "generation-library-memory": [run.peak / 1e9],
    }
    return {"values": values, "notes": [f"generation-library: greedy, {len(some):,} of the same prompts."]}


def on_smollm2(setting: Setting) -> dict:
    """The embedded test rows, as many as there are up to the published number; answers end by themselves."""
    loaded = load_model(setting.smollm2, precision=setting.precision)
    rows = load_examples("embedded", "test", limit=min(setting.sizes.answered, EMBEDDED_SIZES["test"]))
    prompts = [prompt_ids(row, loaded.tokenizer) for row in rows]
    return measure(loaded, prompts, prefix="smollm2-generation", batch_size=setting.batch_size, seconds=setting.seconds)
