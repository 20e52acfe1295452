"""One method's rate, utilisation and memory: the published recipe and ours over the same steps.

On the random model with drawn rows, and on SmolLM2's real weights with embedded ones.
"""

from collections.abc import Callable, Sequence

import torch

from bench.gpu_model import Setting, free, positions
from bench.gpu_training import (
    MICRO,
    Row,
    arithmetic_of,
    fastest_micro,
    our_steps,
    ours,
    passes,
    plan_of,
    published,
    published_steps,
    recipe,
    seconds_of,
    taught_tokens,
)
from bench.training_flops import products, rates
from common.data import load_examples
from common.models import LoadedModel, device, load_model
from common.training.recipe import Recipe
from common.training.rows import tokenise


def on_random_weights(setting: Setting, method: str) -> dict:
    size = setting.sizes
    return compare(
        method,
        prefix=method,
        load=setting.load,
        rows_of=lambda loaded: setting.rows(size.effective * size.steps),
        precision=setting.precision,
        told=recipe(method, size.effective),
        count=size.passes,
        seconds=setting.seconds,
    )


def on_smollm2(setting: Setting, method: str) -> dict:
    size, told = setting.sizes, recipe(method, setting.sizes.effective)
    examples = load_examples("embedded", "train", limit=size.effective * size.steps)
    return compare(
        method,
        prefix=f"smollm2-{method}",
        load=lambda quantisation: load_model(setting.smollm2, precision=setting.precision, quantisation=quantisation),
        rows_of=lambda loaded: tokenise(examples, loaded, max_length=told.max_length),
        precision=setting.precision,
        told=told,
        count=size.passes,
        seconds=setting.seconds,
    )


def compare(
    method: str,
    *,
    prefix: str,
    load: Callable[[str], LoadedModel],
    rows_of: Callable[[LoadedModel], Sequence[Row]],
    precision: str,
    told: Recipe,
    count: int,
    seconds: float,
) -> dict:
    """Both recipes over the same steps: found values by line name, and notes. See `bench.gpu_parts` for a part's shape.

    load(quantisation) loads the model anew. count: passes. The published recipe decides how many of the rows' steps are
    timed in about a third of `seconds`, ours takes the same ones.
    """
    arithmetic = arithmetic_of(precision)
    loaded = load(told.quantisation)
    rows, pad, effective = rows_of(loaded), loaded.tokenizer.pad_token_id, told.effective_batch_size
    rank = told.lora_rank if "lora" in told.method else 0
    counted = products(loaded.model, rank=rank, frozen=method == "prompt")
    plan = plan_of(rows, effective, MICRO)

    training = published(loaded, told, arithmetic)
    steps = published_steps(rows, plan, pad)
    seconds_of(training, steps.first(1))
    one = seconds_of(training, steps.first(1))
    timed = max(1, min(len(plan), int(seconds / 3 / one / count)))
    theirs = passes(training, steps.first(timed), count, seconds / 3)
    del training, loaded
    free()

    training = ours(load(told.quantisation), told, arithmetic)
    micro, tried = fastest_micro(training, rows, effective, pad, seconds / 6)
    plan_here = plan_of(rows, effective, micro)[:timed]
    steps = our_steps(rows, plan_here, pad)
    seconds_of(training, steps)  # every shape once, as the allocator and the kernels' choice need it
    mine = passes(training, steps, count, seconds / 3)

    seen = [rows[i] for step in plan[:timed] for batch in step for i in batch]
    ahead = told.virtual_tokens * len(seen) if method == "prompt" else 0
    tokens, taught = sum(len(row["input_ids"]) for row in seen), sum(map(taught_tokens, seen))
    flops = counted.useful_flops(tokens=tokens + ahead, taught=taught)
    lengths = [len(row["input_ids"]) for row in rows]
    width = positions([batch for step in plan_here for batch in step], lengths)
    per_batch = width // sum(map(len, plan_here))
    large = rates(counted.layers, rows=per_batch, dtype=arithmetic or torch.float32, device=device())["large"]
    found = {}
    for suffix, (taken, peak) in (("-published", theirs), ("", mine)):
        found[f"{prefix}-rows{suffix}"] = [len(seen) / second for second in taken]
        found[f"{prefix}-tokens{suffix}"] = [tokens / second for second in taken]
        found[f"{prefix}-utilisation{suffix}"] = [100 * flops / second / large for second in taken]
        found[f"{prefix}-memory{suffix}"] = [peak / 1e9]
    note = (
        f"{prefix}: {timed} steps of {effective} rows ({tokens:,} tokens, {taught:,} taught), ours in micro-batches of "
        f"about {micro} rows, the fastest of {tried}; {1 - tokens / width:.1%} of ours is padding."
    )
    return {"found": found, "notes": [note]}
