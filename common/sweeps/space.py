"""The search space: which values of a recipe are tried, by method. Knows no torch and trains nothing.

A space is a grid: parameter name → the values that it may take. `SPACES` holds the published study's, widened where
its own results lay on an edge; on fewer than `FEW` rows only what matters most is searched: rate and batch, every point
of them, and then the rank or the number of virtual tokens. `space` fits it to a profile, `first` is where a search
begins, `check` refuses what a recipe could not be made of.
"""

import dataclasses
import itertools
import math

from common.profiles import Profile
from common.settings import UserError
from common.training.defaults import default_recipe
from common.training.recipe import METHODS, SCHEDULES, Recipe

Space = dict[str, tuple]
LEAST_STEPS = 3  # optimiser steps in stage 1, below which a loss says little about a learning rate
FEW = 1000  # training rows in stage 1, below which the small spaces are searched

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


# The rates of the defaults in the middle; what lies beyond is tried where the best is at an edge.
_SMALL_RATES = {
    "full": (1e-5, 2e-5, 5e-5, 1e-4),
    "lora": (2e-4, 5e-4, 1e-3, 2e-3),
    "prompt": (1e-3, 3e-3, 1e-2, 3e-2),
}
_BEYOND_RATES = {
    "full": (2e-6, 5e-6, 2e-4, 5e-4),
    "lora": (5e-5, 1e-4, 5e-3, 1e-2),
    "prompt": (1e-4, 3e-4, 0.1, 0.3),
}
_SMALL_BATCHES, _BEYOND_BATCHES = (4, 8), (2, 16)
_VARIANTS: dict[str, tuple[dict, ...]] = {
    "full": ({"weight_decay": 0.1}, {"betas": (0.9, 0.95)}, {"optimizer": "nadam"}),
    "lora": (
        {"lora_rank": 4, "lora_alpha": 8},
        {"lora_rank": 64, "lora_alpha": 128},
        {"lora_targets": ("q_proj", "v_proj")},
    ),
    "prompt": ({"virtual_tokens": 10}, {"virtual_tokens": 50}, {"virtual_tokens": 100}),
}


def space(method: str, profile: Profile) -> Space:
    """The method's space at a profile: batches that its device batch divides and that leave a few steps in stage 1."""
    if method not in SPACES:
        raise UserError(f"there is no search space for '{method}'; choose one of {', '.join(METHODS)}")
    stage, device = profile.stages[0], profile.per_device_train_batch_size
    small = stage.train_rows < FEW
    grid = {"learning_rate": _SMALL_RATES[_kind(method)]} if small else SPACES[method]
    batches = _SMALL_BATCHES if small else SPACES[method]["effective_batch_size"]
    steps = stage.steps or LEAST_STEPS
    sizes = tuple(b for b in batches if b % device == 0 and math.ceil(stage.train_rows / b) >= steps)
    return grid | {"effective_batch_size": sizes or (device,)}


def beyond(method: str, profile: Profile) -> Space:
    """Values beyond the ends of the method's space, which are tried once where the best lies at one; none on many rows,
    where a trial costs too much for that."""
    if profile.stages[0].train_rows >= FEW:
        return {}
    batches = tuple(b for b in _BEYOND_BATCHES if b % profile.per_device_train_batch_size == 0)
    return {"learning_rate": _BEYOND_RATES[_kind(method)], "effective_batch_size": batches}


def variants(method: str, profile: Profile) -> tuple[dict, ...]:
    """What is changed in the best candidate of stage 2, one after the other, where the space does not hold it."""
    return _VARIANTS[_kind(method)] if profile.stages[0].train_rows < FEW else ()


def first(method: str, profile: Profile) -> dict:
    """Values of the first trial: those of a training without a search, so that the two are compared.

    Where its batch is not in the space, the nearest one below it, else the smallest.
    """
    grid, usual = space(method, profile), default_recipe(method, profile)
    batches = grid["effective_batch_size"]
    batch = max((b for b in batches if b <= usual.effective_batch_size), default=min(batches))
    return {name: getattr(usual, name) for name in grid} | {"effective_batch_size": batch}


def _kind(method: str) -> str:
    return {"qlora": "lora"}.get(method, method.partition("-")[0])


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
