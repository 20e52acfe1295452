"""A reward model's score as a reward for GRPO: between 0 and 1, so that beside execution it never outweighs it."""

import math
from collections.abc import Sequence

from common.data import Example
from common.models import LoadedModel
from common.preferences.candidates import normal
from common.prompts import extract_sql
from common.rewards import Reward
from common.training.reward import scores

BOUNDS = (0.0, 1.0)


def model_reward(reward_model: LoadedModel, *, max_length: int) -> Reward:
    """The logistic function of the score of each answer's statement, read as the reward model was trained; 0 for no
    statement, and where prompt and answer are longer than `max_length` tokens."""

    def reward(examples: Sequence[Example], completions: Sequence[str]) -> list[float]:
        statements = [normal(extract_sql(completion)) for completion in completions]
        values = scores(reward_model, list(zip(examples, statements, strict=True)), max_length=max_length)
        return [
            0.0 if not statement or math.isnan(value) else 1 / (1 + math.exp(-max(-500.0, value)))
            for statement, value in zip(statements, values, strict=True)
        ]

    return reward
