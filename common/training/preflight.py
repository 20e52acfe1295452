"""What a training by rewards can gain, before it begins: samples of the policy to the prompts that it would train on.

A prompt whose samples are all right, or all wrong, teaches nothing as long as that lasts, and is left out. What the
best of a group is worth, above one greedy answer, is the ceiling of what the training can bring out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import pandas

from common.data import Example
from common.generation import complete
from common.models import LoadedModel
from common.preferences.sampled import sampled
from common.prompts import prompt_ids
from common.rewards import Reward, Rewards
from common.settings import UserError
from common.training.group_recipe import GroupRecipe
from common.training.groups import SAME

GREEDY = 64  # prompts that are answered greedily too


@dataclass(frozen=True)
class Preflight:
    """table: a line a figure, as shares. prompts: those of which some samples are right and some are wrong; where there
    are none, those whose rewards have a spread."""

    table: pandas.DataFrame
    prompts: list[Example]


def preflight(
    policy: LoadedModel,
    examples: Sequence[Example],
    recipe: GroupRecipe,
    *,
    folder: Path,
    max_new_tokens: int,
    batch_size: int,
    functions: Mapping[str, Reward] | None = None,
    **_: object,
) -> Preflight:
    """Samples as the training draws them, `recipe.generations` a prompt, kept in `folder` and used again; right is a
    robust match on databases of the reward seed.

    Raises UserError where no prompt is left: all samples of each have one reward.
    """
    count = recipe.generations
    sizes = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    options = {"answers": count, "temperature": recipe.temperature, "seed": recipe.seed, "origin": "the policy"}
    texts = [candidate.completion for candidate in sampled(policy, examples, folder=folder, **sizes, **options)]
    some = examples[:GREEDY]
    greedy = complete(policy, [prompt_ids(example, policy.tokenizer) for example in some], **sizes)
    with Rewards(dict(recipe.reward), functions=functions) as rewards:
        samples = rewards.score([example for example in examples for _ in range(count)], texts)
        answers = rewards.score(some, [answer.text for answer in greedy])
    right = _groups([bool(verdict.robust_match) for verdict in samples.verdicts], count)
    totals = _groups(samples.totals, count)
    mixed = [example for example, group in zip(examples, right, strict=True) if any(group) and not all(group)]
    spread = [max(group) - min(group) > SAME for group in totals]
    if not any(spread):
        raise UserError(
            f"all {count} samples of each of {len(examples)} prompts have one reward: there is nothing to learn from; "
            "give other prompts, or more of them"
        )
    if not mixed:
        print("no prompt has right and wrong samples: those whose rewards differ otherwise are trained on")
    prompts = mixed or [example for example, differs in zip(examples, spread, strict=True) if differs]
    lengths = [len(policy.tokenizer(text, add_special_tokens=False).input_ids) for text in texts]
    lines = {
        "pass@1: one sample is right": mean(map(mean, right)),
        f"pass@{count}: any of {count} is right": mean(map(any, right)),
        f"greedy answer is right (first {len(some)})": mean(bool(v.robust_match) for v in answers.verdicts),
        "prompts with right and wrong samples": len(mixed) / len(examples),
        "always right": mean(map(all, right)),
        "never right": mean(not any(group) for group in right),
        "groups whose rewards have a spread": mean(spread),
        "samples as long as they may be": mean(length >= max_new_tokens for length in lengths),
    }
    return Preflight(pandas.DataFrame({"share": lines}).astype(float).round(3), prompts)


def _groups(values: Sequence, size: int) -> list[Sequence]:
    return [values[at : at + size] for at in range(0, len(values), size)]
