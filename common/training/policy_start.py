"""The policy before the first step: its held-out answers, and samples by which its later divergence is measured.

Taken once and kept, so that a training that goes on measures by the same samples.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common import distributed, provenance
from common.data import Example
from common.generation import Sampling, complete
from common.models import LoadedModel, base_digest, weights_digest
from common.prompts import prompt_ids
from common.settings import outputs, replace_text, writable
from common.training.adapters import adapt
from common.training.group_recipe import GroupRecipe
from common.training.held_out import held_out_means
from common.training.likelihoods import by_row, log_probabilities
from common.training.rows import IGNORED, Item


@dataclass(frozen=True)
class PolicyStart:
    """means: see `held_out_means`, {} where nothing is answered. items: a list of samples a prompt, each with the
    number `reference`, its log-probability under the start. seconds: that all of it took."""

    means: dict[str, float]
    items: list[Item]
    seconds: float


def policy_start(
    loaded: LoadedModel, answered: Sequence[Example], drawn: Sequence[Example], recipe: GroupRecipe, decoding: dict
) -> PolicyStart:
    """Answers to `answered`, and `recipe.divergence_samples` samples of each of `drawn`, by the base model or the
    adapter that the recipe starts from. Kept in outputs/references/; of several processes the main one takes them."""
    folder = recipe.start_folder
    digest = provenance.digest(
        base_digest(loaded.model) + (weights_digest(folder) if folder else ""),
        [[[e.id, e.question, e.schema, e.sql] for e in part] for part in (answered, drawn)],
        [recipe.divergence_samples, recipe.temperature, recipe.seed],
        {name: value for name, value in decoding.items() if name != "batch_size"},
        provenance.code(*provenance.SCORING),
        provenance.basis(recipe.module, without=provenance.SCORING),
    )
    path = writable(outputs() / "references") / f"{digest}.json"
    start = distributed.from_main(lambda: _read(path))
    if start is None:
        start = _measure(loaded, answered, drawn, recipe, decoding)
        distributed.from_main(lambda: replace_text(path, json.dumps(vars(start))))
    return start


def _read(path: Path) -> PolicyStart | None:
    try:
        return PolicyStart(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _measure(loaded: LoadedModel, answered, drawn, recipe: GroupRecipe, decoding: dict) -> PolicyStart:
    model, folder = loaded.model, recipe.start_folder
    begin = time.perf_counter()
    trained = adapt(loaded, recipe, folder) if folder else model
    try:
        policy = replace(loaded, model=trained.eval())
        items = distributed.from_main(
            lambda: _with_references(policy, model, _samples(policy, drawn, recipe, decoding), recipe)
        )
        means = held_out_means(policy, answered, **decoding) if answered else {}  # processes share the rows
    finally:
        if folder:
            trained.unload()  # the adapter comes again with the training
    return PolicyStart(means, items, time.perf_counter() - begin)


def _with_references(policy: LoadedModel, base, items: list[Item], recipe: GroupRecipe) -> list[Item]:
    """The items, each row with its log-probability. base: the model as it was loaded."""
    options = {"base": base, "pad": policy.tokenizer.pad_token_id, "dtype": base.dtype}
    references = by_row(policy.model, items, recipe, numbers=log_probabilities, **options)
    return [
        [row | {"reference": value} for row, value in zip(item, values, strict=True)]
        for item, values in zip(items, references, strict=True)
    ]


def _samples(policy: LoadedModel, drawn: Sequence[Example], recipe: GroupRecipe, decoding: dict) -> list[Item]:
    """An item a prompt, of what was sampled for it."""
    prompts = [prompt_ids(example, policy.tokenizer) for example in drawn]
    count = recipe.divergence_samples
    completions = complete(
        policy,
        [prompt for prompt in prompts for _ in range(count)],
        max_new_tokens=decoding["max_new_tokens"],
        batch_size=decoding["batch_size"],
        sampling=Sampling(temperature=recipe.temperature, seed=recipe.seed, stream=-1),  # no step has that one
    )
    rows = [
        {"input_ids": prompt + list(ids), "labels": [IGNORED] * len(prompt) + list(ids)}
        for prompt, ids in zip(
            (prompt for prompt in prompts for _ in range(count)), (c.token_ids for c in completions), strict=True
        )
    ]
    return [rows[at : at + count] for at in range(0, len(rows), count)]
