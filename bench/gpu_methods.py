"""One method's rate, utilisation and memory: the published recipe and ours over the same steps.

On the random model with drawn rows, and on SmolLM2's real weights with embedded ones.
"""

from collections.abc import Callable, Sequence

import torch

from bench.gpu_model import Setting, free, positions, rates
from bench.gpu_training import (
    MICRO,
    Row,
    arithmetic_of,
    fastest_micro,
    labelled_tokens,
    our_steps,
    ours,
    passes,
    plan_of,
    published,
    published_steps,
    recipe,
    seconds_of,
)
from bench.training_flops import products
from common.data import load_examples
from common.models import LoadedModel, load_model
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
        method_recipe=recipe(method, size.effective),
        count=size.passes,
        seconds=setting.seconds,
    )


def on_smollm2(setting: Setting, method: str) -> dict:
    size, method_recipe = setting.sizes, recipe(method, setting.sizes.effective)
    examples = load_examples("embedded", "train", limit=size.effective * size.steps)
    return compare(
        method,
        prefix=f"smollm2-{method}",
        load=lambda quantisation: load_model(setting.smollm2, precision=setting.precision, quantisation=quantisation),
        rows_of=lambda loaded: tokenise(examples, loaded, max_length=method_recipe.max_length),
        precision=setting.precision,
        method_recipe=method_recipe,
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
    method_recipe: Recipe,
    count: int,
    seconds: float,
) -> dict:
    """Both recipes over the same steps: values by line name, and notes. See `bench.gpu_parts` for a part's shape.

    load(quantisation) loads the model anew. count: passes. The published recipe decides how many of the rows' steps are
    timed in about a third of `seconds`, ours takes the same ones.
    """
    arithmetic = arithmetic_of(precision)
    loaded = load(method_recipe.quantisation)
    rows, pad, effective = rows_of(loaded), loaded.tokenizer.pad_token_id, method_recipe.effective_batch_size
    rank = method_recipe.lora_rank if "lora" in method_recipe.method else 0
    counted = products(loaded.model, rank=rank, frozen=method == "prompt")
    plan = plan_of(rows, effective, MICRO)

    training = published(loaded, method_recipe, arithmetic)
    steps = published_steps(rows, plan, pad)
    seconds_of(training, steps.first(1))
    one = seconds_of(training, steps.first(1))
    timed = max(1, min(len(plan), int(seconds / 3 / one / count)))
    theirs = passes(training, steps.first(timed), count, seconds / 3)
    del training, loaded
    free()

    training = ours(load(method_recipe.quantisation), method_recipe, arithmetic)
    micro, tried = fastest_micro(training, rows, effective, pad, seconds / 6)
    plan_here = plan_of(rows, effective, micro)[:timed]
    steps = our_steps(rows, plan_here, pad)
    seconds_of(training, steps)  # every shape once, as the allocator and the kernels' choice need it
    mine = passes(training, steps, count, seconds / 3)

    rows_read = [rows[i] for step in plan[:timed] for batch in step for i in batch]
    ahead = method_recipe.virtual_tokens * len(rows_read) if method == "prompt" else 0
    tokens, labelled = sum(len(row["input_ids"]) for row in rows_read), sum(map(labelled_tokens, rows_read))
    flops = counted.useful_flops(tokens=tokens + ahead, labelled=labelled)
    lengths = [len(row["input_ids"]) for row in rows]
    width = positions([batch for step in plan_here for batch in step], lengths)
    per_batch = width // sum(map(len, plan_here))
    large = rates(counted.layers, rows=per_batch, dtype=arithmetic or torch.float32)["large"]
    values = {}
    for suffix, (taken, peak) in (("-published", theirs), ("", mine)):
        values[f"{prefix}-rows{suffix}"] = [len(rows_read) / second for second in taken]
        values[f"{prefix}-tokens{suffix}"] = [tokens / second for second in taken]
        values[f"{prefix}-utilisation{suffix}"] = [100 * flops / second / large for second in taken]
        values[f"{prefix}-memory{suffix}"] = [peak / 1e9]
    note = (
        f"{prefix}: {timed} steps of {effective} rows ({tokens:,} tokens, {labelled:,} labelled), ours in "
        f"micro-batches of about {micro} rows, the fastest of {tried}; {1 - tokens / width:.1%} of ours is padding."
    )
    return {"values": values, "notes": [note]}
