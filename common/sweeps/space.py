"""The search space: which values of a recipe are tried, by method. Knows no torch and trains nothing.

A space is a grid: parameter name → the values that it may take. `SPACES` holds the published study's, widened where
its own results lay on an edge; `space` fits it to a profile, `first` is where a search begins, `check` refuses what a
recipe could not be made of.
"""

import dataclasses
import itertools
import math

from common.profiles import Profile
from common.settings import UserError
from common.training.recipe import METHODS, SCHEDULES, Recipe

Space = dict[str, tuple]
LEAST_STEPS = 3  # optimiser steps in stage 1, below which a loss says little about a learning rate
SMALL = 1000  # training rows in stage 1, below which batches smaller than the published ones are tried too

_SHARED: Space = {
    "optimizer": ("adam", "adamw", "nadam", "adamax"),
    "effective_batch_size": (16, 32, 64, 128, 256, 512),
    "schedule": SCHEDULES,
    "weight_decay": (0.0, 0.01, 0.1),
    "betas": ((0.9, 0.999), (0.95, 0.999), (0.9, 0.9999)),
    "warmup_ratio": (0.05, 0.1, 0.2),
}
# The published grid without its rates below 1e-5 and its alphas 2 and 4, which move nothing, and with higher ones.
# An update is scaled by alpha / rank, so a large alpha acts like a large learning rate: TPE sees them together.
_LORA: Space = {
    "learning_rate": (1e-5, 5e-5, 1e-4, 3e-4, 1e-3, 3e-3),
    "lora_rank": (4, 8, 16, 32, 64),
    "lora_alpha": (8, 16, 32, 64, 128, 256),
    "lora_dropout": (0.0, 0.01, 0.05, 0.1, 0.2),
    "lora_targets": ("all-linear", ("q_proj", "v_proj")),
}
_PROMPT: Space = {"learning_rate": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2), "virtual_tokens": (10, 20, 50, 100)}
SPACES: dict[str, Space] = {
    "full": {"learning_rate": (1e-6, 5e-6, 1e-5, 5e-5, 1e-4, 3e-4, 1e-3), **_SHARED},
    "lora": _LORA | _SHARED,
    "qlora": _LORA | _SHARED,
    "prompt-random": _PROMPT | _SHARED,
    "prompt-text": _PROMPT | _SHARED,
}

_SHARED_FIRST = {"optimizer": "adamw", "schedule": "cosine", "weight_decay": 0.0, "betas": (0.9, 0.999)} | {
    "warmup_ratio": 0.1
}
_LORA_FIRST = {"learning_rate": 3e-4, "lora_rank": 16, "lora_alpha": 32, "lora_dropout": 0.05} | {
    "lora_targets": "all-linear"
}
_FIRST: dict[str, dict] = {
    # The published study's final full fine-tuning.
    "full": {"learning_rate": 1e-4}
    | _SHARED_FIRST
    | {"optimizer": "nadam", "betas": (0.95, 0.999), "warmup_ratio": 0.05},
    "lora": _LORA_FIRST | _SHARED_FIRST,
    "qlora": _LORA_FIRST | _SHARED_FIRST,
    "prompt-random": {"learning_rate": 1e-2, "virtual_tokens": 20} | _SHARED_FIRST,
    "prompt-text": {"learning_rate": 1e-2, "virtual_tokens": 20} | _SHARED_FIRST,
}


def space(method: str, profile: Profile) -> Space:
    """The method's space at a profile: batches that its device batch divides and that leave a few steps in stage 1."""
    if method not in SPACES:
        raise UserError(f"there is no search space for '{method}'; choose one of {', '.join(METHODS)}")
    rows, device = profile.stages[0].train_rows, profile.per_device_train_batch_size
    published = SPACES[method]["effective_batch_size"]
    batches = (4, 8, *published) if rows < SMALL else published
    sizes = tuple(b for b in batches if b % device == 0 and math.ceil(rows / b) >= LEAST_STEPS)
    return SPACES[method] | {"effective_batch_size": sizes or (device,)}


def first(method: str, profile: Profile) -> dict:
    """Values of the first trial: the method's usual ones, so that a search is never worse than no search.

    The batch is the largest up to 32 that leaves twice the least number of steps in stage 1, else the smallest.
    """
    batches = space(method, profile)["effective_batch_size"]
    rows = profile.stages[0].train_rows
    roomy = [b for b in batches if b <= 32 and math.ceil(rows / b) >= 2 * LEAST_STEPS]
    return _FIRST[method] | {"effective_batch_size": max(roomy, default=min(batches))}


def is_ordered(values: tuple) -> bool:
    """Whether a search may use that the values have an order: all are numbers."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def size(space: Space) -> int:
    """How many points the grid has."""
    return math.prod(len(values) for values in space.values())


def check(space: Space, recipe: Recipe, first: dict) -> None:
    """Raises UserError unless a recipe can be made of every point of the grid, and `first` lies on it.

    Any field of the recipe's class may be searched but the method, by values of the type of its default. What a recipe
    checks concerns one parameter or two, so all pairs of values stand for all points.
    """
    defaults = dataclasses.asdict(type(recipe)())
    del defaults["method"]
    for name, values in space.items():
        if name not in defaults:
            names = ", ".join(defaults)
            raise UserError(f"the search space names '{name}', which is not searched; choose from {names}")
        if not isinstance(values, tuple) or not values or any(values.count(value) > 1 for value in values):
            raise UserError(f"the search space of '{name}' is a tuple of one or more values, each named once")
        if wrong := [value for value in values if not _is_like(value, defaults[name])]:
            raise UserError(f"the search space of '{name}' holds {wrong[0]!r}; give values such as {defaults[name]!r}")
    start = {name: values[0] for name, values in space.items()}
    for (one, ones), (other, others) in itertools.combinations_with_replacement(space.items(), 2):
        for values in itertools.product(ones, others):
            recipe.with_values(start | dict(zip((one, other), values, strict=True)))
    for name, value in first.items():
        if value not in space.get(name, ()):
            raise UserError(f"the first trial's {name}={value} is not in the search space; add it, or choose another")


def _is_like(value: object, default: object) -> bool:
    """Whether a recipe's field takes a value's type, judged by the field's default; a float may be whole."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, tuple):
        return isinstance(value, tuple) and len(value) == len(default) and all(map(_is_like, value, default))
    return isinstance(value, int) if isinstance(default, int) else isinstance(value, str | tuple)
