"""The settings of preference training and of the reward model without a search, by profile: the one place for them.

At `t4` and `h100` the published beta with rates that move an adapter; at `smoke` any that train a tiny model. A search
has them as its first candidate.
"""

from dataclasses import dataclass
from types import MappingProxyType

from common.profiles import Profile, Stage
from common.training.dpo import PreferenceRecipe
from common.training.reward import RewardRecipe


@dataclass(frozen=True)
class Sizes:
    """questions: of the split `post`, each sampled `samples` times a policy. stages: of pairs. evaluations: of the last
    stage."""

    questions: int
    samples: int
    stages: tuple[Stage, Stage, Stage]
    evaluations: int


SIZES = MappingProxyType(
    {
        "smoke": Sizes(24, 2, (Stage(8, 2, 2), Stage(12, 2, 2), Stage(16, 4, 1)), 2),
        "cpu": Sizes(160, 8, (Stage(32, 24, 6), Stage(48, 24, 1), Stage(160, 32, 1)), 2),
        "t4": Sizes(3_000, 8, (Stage(512, 128, 8), Stage(1_024, 256, 2), Stage(6_248, 695, 1)), 4),
        "h100": Sizes(3_000, 8, (Stage(512, 128, 8), Stage(1_024, 256, 2), Stage(6_248, 695, 1)), 4),
    }
)
_BATCH = {"smoke": 4, "cpu": 4, "t4": 32, "h100": 32}
_RATES = {"smoke": 1e-3, "cpu": 1e-4, "t4": 2e-5, "h100": 2e-5}
_REWARD_RATES = {"smoke": 1e-3, "cpu": 2e-4, "t4": 1e-4, "h100": 1e-4}
# From an adapter that was trained before, at a rate above these. Where pairs are few, one pass makes no judge.
_FURTHER_REWARD_RATES = _REWARD_RATES | {"cpu": 5e-4}
_FURTHER_REWARD_EPOCHS = {"smoke": 1, "cpu": 3, "t4": 1, "h100": 1}
# Published beta; an SFT term of the weight that keeps right answers likely.
_LOSS = {"pair_loss": "sigmoid", "beta": 0.1, "sft_weight": 1.0}


def preference_recipe(
    method: str, profile: Profile, *, adapter: dict[str, object] | None = None, start: str = "", seed: int = 42
) -> PreferenceRecipe:
    """adapter: rank, alpha and targets of the adapter that the training goes on from. start: its folder, see
    `PreferenceRecipe`."""
    return PreferenceRecipe(
        method=method,
        learning_rate=_RATES[profile.name],
        start=start,
        validation=profile.data,
        evaluations=SIZES[profile.name].evaluations,
        score_rows=min(profile.score_rows, profile.stages[-1].valid_rows),
        select_by="match",
        **_LOSS,
        **_shared(profile, adapter, seed),
    )


def reward_recipe(
    profile: Profile, *, adapter: dict[str, object] | None = None, start: str = "", seed: int = 42
) -> RewardRecipe:
    """As `preference_recipe`."""
    epochs = _FURTHER_REWARD_EPOCHS[profile.name] if start else 1
    return RewardRecipe(
        method="lora",
        learning_rate=(_FURTHER_REWARD_RATES if start else _REWARD_RATES)[profile.name],
        epochs=epochs,
        start=start,
        evaluations=max(epochs, SIZES[profile.name].evaluations),
        **_shared(profile, adapter, seed),
    )


def _shared(profile: Profile, adapter: dict[str, object] | None, seed: int) -> dict[str, object]:
    batch = _BATCH[profile.name]
    small = {"lora_rank": 16, "lora_alpha": 32} if profile.name in ("smoke", "cpu") else {}
    return {
        "effective_batch_size": batch,
        "per_device_train_batch_size": min(batch, profile.per_device_train_batch_size),
        "max_length": profile.max_length,
        "warmup_ratio": 0.1,
        "seed": seed,
        **(small if adapter is None else adapter),
    }
