"""The settings of training by rewards, by profile: the one place for them.

At `t4` and `h100` the published ones where a notebook has them: LoRA of rank 64, 8 generations, the hybrid reward. At
`cpu` settings that learn in half an hour on two cores; at `smoke` any that train a tiny model.
"""

from dataclasses import dataclass
from types import MappingProxyType

from common.profiles import Profile
from common.training.group_recipe import GroupRecipe


@dataclass(frozen=True)
class Sizes:
    """prompts: of the split `post` that the policy is tried on; those that teach are trained on. batch: prompts a step.
    steps: of the training; evaluations: of it."""

    prompts: int
    batch: int
    steps: int
    evaluations: int


SIZES = MappingProxyType(
    {
        "smoke": Sizes(12, 4, 3, 1),
        "cpu": Sizes(160, 12, 20, 3),
        "t4": Sizes(9_750, 32, 304, 4),
        "h100": Sizes(9_750, 32, 304, 4),
    }
)
RATES = MappingProxyType({"smoke": 1e-3, "cpu": 1e-5, "t4": 1e-5, "h100": 1e-5})
# An adapter that goes on has its own rank and alpha, with a smaller step at the same rate.
START_RATES = MappingProxyType({"smoke": 1e-3, "cpu": 5e-5, "t4": 1e-5, "h100": 1e-5})
_ROBUST, _HYBRID = (("robust", 1.0),), (("hybrid", 1.0),)
REWARDS = MappingProxyType({"smoke": _HYBRID, "cpu": _ROBUST, "t4": _HYBRID, "h100": _HYBRID})
# With a reward model beside execution; at `t4` and `h100` in the published proportion.
_BESIDE, _SHARE = (("robust", 1.0), ("reward-model", 0.3)), (("hybrid", 0.8), ("reward-model", 0.2))
MODEL_REWARDS = MappingProxyType({"smoke": _BESIDE, "cpu": _BESIDE, "t4": _SHARE, "h100": _SHARE})
ANCHORS = MappingProxyType({"smoke": 0.1, "cpu": 0.1, "t4": 0.1, "h100": 0.1})  # of the anchored training's SFT term


def group_recipe(
    profile: Profile,
    *,
    adapter: dict[str, object] | None = None,
    start: str = "",
    learning_rate: float = 0.0,
    seed: int = 42,
    **values: object,
) -> GroupRecipe:
    """The recipe at a profile, with other `values`; 0 or nothing takes the profile's. adapter and start: see
    `preference_recipe`."""
    sizes, name = SIZES[profile.name], profile.name
    rates = START_RATES if start else RATES
    published = name in ("t4", "h100")
    usual: dict[str, object] = {
        "method": "lora",
        "learning_rate": learning_rate or rates[name],
        "epochs": 1 if published else 8,  # `max_steps` ends it
        "max_steps": 0 if published else sizes.steps,
        "effective_batch_size": sizes.batch,
        "per_device_train_batch_size": 1 if not published else min(sizes.batch, profile.per_device_train_batch_size),
        "max_length": profile.max_length,
        "warmup_ratio": 0.05 if published else 0.0,  # the first step of a warm-up has no rate: samples for nothing
        "start": start,
        "evaluations": sizes.evaluations,
        "score_rows": min(profile.score_rows, profile.stages[-1].valid_rows),
        "select_by": "match",
        "reward": REWARDS[name],
        "least_divergence": 0.0 if name == "smoke" else 1e-4,  # three steps of a random model
        "divergence_rows": 4 if name == "smoke" else 32,
        "seed": seed,
        **({"lora_rank": 8, "lora_alpha": 32} if name == "smoke" else {}),
        **(adapter or {}),
    }
    given = {name: value for name, value in values.items() if value not in (0, "", None, ())}
    return GroupRecipe(**usual).with_values(given)
