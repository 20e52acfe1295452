"""What a step samples and what that is worth: the two functions that TRL's GRPO trainer calls between two updates.

Completions are drawn by `common.generation` from the policy as it stands, their seeds from the training's seed and the
step alone, so that a step that is repeated after a kill draws the same ones.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from common.data import Example
from common.generation import Sampling, complete
from common.generation.answers import end_tokens
from common.models import LoadedModel
from common.rewards import Rewarded, Rewards
from common.training.group_recipe import GroupRecipe
from common.training.rows import IGNORED, Row


@dataclass
class Rollouts:
    """loaded: the tokenizer, and the model before it was adapted. rows and examples: the prompts' by number. decoding:
    `max_new_tokens` and `batch_size`.

    rewarded, seconds, entropy: of the last step's samples in this process; seconds by phase.
    """

    loaded: LoadedModel
    rows: Sequence[Row]
    examples: Sequence[Example]
    recipe: GroupRecipe
    rewards: Rewards
    decoding: dict
    rewarded: Rewarded | None = None
    entropy: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        tokenizer = self.loaded.tokenizer
        self.prompts = [row["input_ids"][: row["labels"].count(IGNORED)] for row in self.rows]
        self.texts = [tokenizer.decode(prompt) for prompt in self.prompts]
        self._number = {text: number for number, text in enumerate(self.texts)}
        self._calls: list[tuple[int, int]] = []

    def inputs(self, numbers: Sequence[int], step: int, slots: Sequence[int]) -> list[dict]:
        """The step's prompts as TRL's trainer has them, each as often as it is sampled, call by call.

        numbers: the prompts'. slots: of the whole step, over all processes, in which each of them lies; they say in
        which of the step's calls it is sampled.
        """
        calls = self.recipe.sampling_calls
        by_call = [[n for n, slot in zip(numbers, slots, strict=True) if slot % calls == call] for call in range(calls)]
        self._calls = [(step * calls + call, len(part)) for call, part in enumerate(by_call) if part]
        order = [number for part in by_call for number in part]
        return [{"prompt": self.texts[n], "number": n} for n in order for _ in range(self.recipe.generations)]

    def sample(self, prompts: list[str], trainer) -> dict[str, list]:
        """TRL's rollout_func: completions of prompts that come repeated, in order."""
        begin = time.perf_counter()
        repeated = [self.prompts[self._number[text]] for text in prompts]
        policy = replace(self.loaded, model=trainer.whole())
        count, at, completions = self.recipe.generations, 0, []
        for stream, size in self._calls:
            part, at = repeated[at : at + size * count], at + size * count
            with trainer.compute_loss_context_manager():
                completions += complete(
                    policy,
                    part,
                    max_new_tokens=self.decoding["max_new_tokens"],
                    batch_size=self.decoding["batch_size"],
                    sampling=Sampling(temperature=self.recipe.temperature, seed=self.recipe.seed, stream=stream),
                    log_probabilities=True,
                )
        ends = end_tokens(self.loaded)
        self.seconds["sampling"] = time.perf_counter() - begin
        chances = [chance for completion in completions for chance in completion.log_probabilities]
        self.entropy = -sum(chances) / max(1, len(chances))
        return {
            "prompt_ids": repeated,
            # An answer that broke off before its first token: the end token, since TRL needs one.
            "completion_ids": [list(completion.token_ids) or [min(ends)] for completion in completions],
            "logprobs": None,  # the update's arithmetic is another than sampling's
            "text": [completion.text for completion in completions],
        }

    def reward(self, prompts: list[str], number: list[int], text: list[str], log_metric, **_: object) -> list[float]:
        """TRL's reward function: one number a completion; parts, their spread and what verdicts say are logged."""
        begin = time.perf_counter()
        rewarded = self.rewards.score([self.examples[n] for n in number], text)
        self.rewarded = rewarded
        for name, values in rewarded.parts.items():
            log_metric(f"part_{name}", sum(values) / len(values))
            log_metric(f"spread_{name}", rewarded.spread[name])
        for name, value in verdict_shares(rewarded).items():
            log_metric(name, value)
        self.seconds["reward"] = time.perf_counter() - begin
        return rewarded.totals


def verdict_shares(rewarded: Rewarded) -> dict[str, float]:
    """What rewards may be gained by without being right, as shares of the completions that can be scored."""
    verdicts = [verdict for verdict in rewarded.verdicts if verdict.match is not None]
    count = max(1, len(verdicts))
    robust, strict, published, empty = (
        sum(bool(getattr(v, name)) for v in verdicts) / count
        for name in ("robust_match", "match", "published_match", "both_empty")
    )
    return {
        "robust": robust,
        "both_empty": empty,
        "strict_minus_robust": strict - robust,
        "published_minus_strict": published - strict,
    }
