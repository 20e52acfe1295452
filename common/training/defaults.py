"""The settings of one training without a search, by profile and method: the one place that holds them.

At `t4` and `h100` those of the published final runs, one pass over all rows, but for prompt tuning, whose published
rate of 1e-8 moves nothing. At `cpu` values that were tried on its model and its rows, at `smoke` any that train a tiny
model. A search has them as its first candidate (`common.sweeps.space`), so that it is compared with no search.
"""

from types import MappingProxyType

from common.profiles import Profile
from common.training.recipe import METHODS, Recipe, affordable_evaluations

_PROMPT = {"learning_rate": 1e-2, "virtual_tokens": 20, "warmup_ratio": 0.1}
_PUBLISHED_LORA = {"learning_rate": 1e-5, "lora_rank": 64, "lora_alpha": 256, "warmup_ratio": 0.05}
_PUBLISHED = {
    "full": {"learning_rate": 1e-4, "optimizer": "nadam", "betas": (0.95, 0.999), "warmup_ratio": 0.05},
    "lora": _PUBLISHED_LORA,
    "qlora": _PUBLISHED_LORA,
    "prompt-random": _PROMPT,
    "prompt-text": _PROMPT,
}
# One pass over 320 rows, robust match on 320 validation rows: .653 at this rate in batches of 4, .628 in batches of 8;
# on test rows 1e-3 in batches of 8 had .525.
_CPU_LORA = {"learning_rate": 5e-4, "lora_rank": 16, "lora_alpha": 32, "warmup_ratio": 0.1}
_CPU = {
    "full": {"learning_rate": 1e-5, "warmup_ratio": 0.1},  # at 5e-5 the loss rises in the first steps
    "lora": _CPU_LORA,
    "qlora": _CPU_LORA,
    "prompt-random": _PROMPT,
    "prompt-text": _PROMPT,
}
_SMOKE = _CPU | {"full": {"learning_rate": 1e-4, "warmup_ratio": 0.1}}


def _recipes(by_method: dict[str, dict], **shared: object) -> MappingProxyType:
    return MappingProxyType({method: Recipe(method=method, **shared | by_method[method]) for method in METHODS})


# Profile → method → recipe; what the machine decides (device batch, lengths) comes from the profile.
RECIPES = MappingProxyType(
    {
        "smoke": _recipes(_SMOKE, epochs=2, effective_batch_size=8),
        "cpu": _recipes(_CPU, epochs=1, effective_batch_size=4),
        "t4": _recipes(_PUBLISHED, epochs=1, effective_batch_size=32),
        "h100": _recipes(_PUBLISHED, epochs=1, effective_batch_size=32),
    }
)
# Passes at most of a training that later methods go on from: it ends where held-out match no longer rises.
PLATEAU_EPOCHS = MappingProxyType({"smoke": 2, "cpu": 3, "t4": 1, "h100": 1})
PATIENCE = 3  # evaluations without a better one that end a training, unless a notebook says otherwise


def default_recipe(method: str, profile: Profile, *, seed: int = 42, **values: object) -> Recipe:
    """The method's recipe at a profile, with other `values`; a value of 0 leaves the default.

    Another rank keeps the default's ratio of alpha to it, unless an alpha is given. Raises UserError for what cannot be
    trained.
    """
    usual = RECIPES[profile.name][method]
    values = {name: value for name, value in values.items() if value}
    if rank := values.get("lora_rank"):
        values.setdefault("lora_alpha", max(1, rank * usual.lora_alpha // usual.lora_rank))
    batch = values.get("effective_batch_size", usual.effective_batch_size)
    device = min(batch, profile.per_device_train_batch_size)
    sizes = {"per_device_train_batch_size": device, "max_length": profile.max_length, "seed": seed}
    return usual.with_values(sizes | values)


def final_recipe(
    recipe: Recipe,
    profile: Profile,
    train_rows: int,
    valid_rows: int,
    *,
    epochs: int = 0,
    patience: int = 0,
    gpu: bool | None = None,
) -> Recipe:
    """`recipe` as the last stage trains by it: the profile's passes and evaluations, which answer validation rows.

    The weights are kept, and a training without a better evaluation is ended, by held-out match: it is what is reported
    and what later methods start from, and over several passes it may still rise when the loss does too. epochs and
    patience: 0 takes the default. gpu: see `affordable_evaluations`.
    """
    answered = min(profile.score_rows, valid_rows)
    recipe = recipe.with_values(
        {
            "epochs": epochs or RECIPES[profile.name][recipe.method].epochs,
            "patience": patience or PATIENCE,
            "score_rows": answered,
            "select_by": "match" if answered else "loss",
        }
    )
    looks = recipe.epochs * profile.evaluations or affordable_evaluations(
        recipe, train_rows, valid_rows, max_new_tokens=profile.max_new_tokens, gpu=gpu
    )
    return recipe.with_values({"evaluations": looks})
