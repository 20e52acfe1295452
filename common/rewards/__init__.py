"""Rewards for GRPO: built-in ones over the study's scorer, a researcher's own, and their weighted sum.

    with Rewards({"robust": 1.0, "short": 0.1}, functions={"short": short}, bounds={"short": (0.0, 1.0)}) as rewards:
        result = rewards.score(examples, completions)

| name | right answer | wrong answer |
| --- | --- | --- |
| `robust` | 1 | 0 |
| `runs` | 1 | 0.1 if it runs, else 0 |
| `partial` | 1 | 0.3 × overlap of parsed operations if it runs, else 0 |
| `strict` | 1 | 1 if it matches on the given database by luck, else 0 |
| `hybrid`, as published | 1, or 0.7 × ROUGE-L where the published metric refuses it | 1 by luck, else 0.7 × ROUGE-L |

Right is a robust match: on the given database and on each generated one. Runs without torch.
"""

from common.rewards.functions import Reward
from common.rewards.parts import NAMES
from common.rewards.rewards import Rewarded, Rewards

__all__ = ["NAMES", "Reward", "Rewarded", "Rewards"]
