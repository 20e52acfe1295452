"""Candidates of all offline sources for some questions: samples of a policy, and near misses of the references."""

from collections.abc import Sequence
from pathlib import Path

from common.data import Example
from common.models import LoadedModel
from common.preferences.candidates import Candidate, mutated
from common.preferences.sampled import sampled
from common.profiles import Profile

MISSES = 3  # near misses a question


def offline_candidates(
    policy: LoadedModel,
    examples: Sequence[Example],
    *,
    answers: int,
    profile: Profile,
    folder: Path,
    origin: str,
    seed: int,
) -> list[Candidate]:
    """`answers` samples a question by the policy, kept in `folder`, and up to MISSES near misses of its reference.
    origin: the policy's name."""
    drawn = sampled(
        policy,
        examples,
        answers=answers,
        folder=folder,
        max_new_tokens=profile.max_new_tokens,
        batch_size=profile.eval_batch_size,
        seed=seed,
        origin=origin,
    )
    return [*drawn, *mutated(examples, most=MISSES, seed=seed)]
