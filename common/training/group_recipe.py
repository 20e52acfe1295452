"""What a training by rewards is asked to do, checked before anything is loaded. Knows no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from common.settings import UserError, outputs
from common.training.recipe import Recipe

LOSS_TYPES = ("dapo", "grpo", "dr_grpo")
SCALES = ("group", "batch", "none")


@dataclass(frozen=True)
class GroupRecipe(Recipe):
    """A recipe for training by rewards (GRPO); a batch's rows are prompts, of which `generations` completions each are
    sampled at `temperature`.

    reward: (name, weight) pairs, see `common.rewards`. scale_rewards: by what spread advantages are divided. loss_type:
    see `groups.items`. sft_weight: of the anchor, the references of the same prompts. max_steps: of the plan, 0 for all
    of it. start: as in `PreferenceRecipe`.
    least_divergence: nats a sequence that the policy has to move in its first steps, or the training ends there; 0 lets
    it go on. sampling_calls: in how many calls a step's completions are drawn; several processes share them, and as
    many calls draw the same completions in any number of processes. divergence_rows, divergence_samples: held-out
    prompts, and the start's samples of each, by which the divergence is measured.
    """

    module: ClassVar[str] = "common.training.grpo"

    reward: tuple[tuple[str, float], ...] = (("robust", 1.0),)
    generations: int = 8
    temperature: float = 1.0
    scale_rewards: str = "batch"
    loss_type: str = "dapo"
    sft_weight: float = 0.0
    max_steps: int = 0
    start: str = ""
    least_divergence: float = 1e-4
    sampling_calls: int = 1
    divergence_rows: int = 32
    divergence_samples: int = 4

    def __post_init__(self):
        super().__post_init__()
        if self.method not in ("lora", "qlora"):
            raise UserError(f"training by rewards is by lora or qlora, not by {self.method}")
        for name, value, choices in (
            ("scale_rewards", self.scale_rewards, SCALES),
            ("loss_type", self.loss_type, LOSS_TYPES),
        ):
            if value not in choices:
                raise UserError(f"unknown {name} '{value}'; choose one of {', '.join(choices)}")
        if self.generations < 2:
            raise UserError("a group is at least 2 completions, or none is better than another; raise generations")
        if not 0 < self.temperature < float("inf"):
            raise UserError("a temperature is above 0")
        if min(self.sft_weight, self.least_divergence, self.max_steps) < 0:
            raise UserError("sft_weight, least_divergence and max_steps are not negative")
        if min(self.sampling_calls, self.divergence_rows, self.divergence_samples) < 1:
            raise UserError("sampling_calls, divergence_rows and divergence_samples are at least 1")
        if not self.reward:
            raise UserError("a training by rewards needs a reward")
        object.__setattr__(self, "reward", tuple((str(name), float(weight)) for name, weight in _pairs(self.reward)))

    @property
    def start_folder(self) -> Path | None:
        return outputs() / self.start if self.start else None


def _pairs(reward: Mapping[str, float] | tuple) -> list:
    return list(reward.items() if isinstance(reward, Mapping) else reward)
