"""Weighted rewards of a batch of completions over one `Scorer`, on databases of the reward seed.

What is optimised is not what is measured: results come from databases of another seed. A group, the completions of one
example, is one job of the scorer, which runs the reference once for all of them; near misses of a reference and its
generated databases are made when an answer to it first matches, and are then kept on disk.
Not covered: advantages and their scaling, which are the trainer's; the truth of a researcher's function.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, pstdev

from common.data import Example
from common.rewards.functions import Bounds, Reward, check_bounds, check_functions, check_weights, values_of
from common.rewards.parts import GAPS, NAMES, NEED_DATABASES, part
from common.scoring import Scorer, Verdict
from common.scoring.scorer import REWARD_SEED
from common.settings import UserError

DATABASES = 4
_ROUNDING = 1e-9  # of sums of weights, relative


@dataclass(frozen=True)
class Rewarded:
    """The rewards of n completions.

    totals: n weighted sums. parts: by name n rewards without their weight. verdicts: n. spread: by name the weight ×
    the standard deviation (of a population) within a group, mean over the groups; a group is the consecutive rows of
    one example id. The larger of two spreads decides more of what is learned, whatever the weights.
    A row whose reference cannot be scored has 0.0 throughout: it is never a reward.
    """

    totals: list[float]
    parts: dict[str, list[float]]
    verdicts: list[Verdict]
    spread: dict[str, float]


class Rewards:
    """Rewards by name with their weights; a context manager, which owns the scorer's processes."""

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        functions: Mapping[str, Reward] | None = None,
        bounds: Mapping[str, Bounds] | None = None,
        databases: int = DATABASES,
        workers: int = 0,
    ):
        """weights: by name, finite and at least 0, one above 0; with 0 a reward is computed and not counted.

        functions: a researcher's rewards by name, each called once a batch with the examples and the raw completions,
        row by row, and giving a number a completion. bounds: least and greatest value of functions, by name; a value
        outside of them raises. databases: generated ones for a robust match; 0 is enough for `hybrid` and `strict`.
        workers: processes; 0 takes one a processor. Raises UserError, which names the reward, for what makes no sense.
        """
        self._functions = check_functions(functions or {}, NAMES)
        self.weights = check_weights(weights, NAMES, self._functions)
        self._bounds = check_bounds(bounds or {}, self._functions)
        if not databases and (names := [name for name in self.weights if name in NEED_DATABASES]):
            raise UserError(f"the reward '{names[0]}' needs generated databases; give some, such as databases=4")
        self._scorer = Scorer(workers=workers or _processors(), databases=databases, seed=REWARD_SEED)

    @property
    def is_safe(self) -> bool:
        """Whether every right answer has a higher total than every wrong one, whatever they are.

        Right is a robust match. True is a promise: the sum over the rewards of weight × the least that a right answer
        has more than a wrong one is above 0. That least is 1 of robust, 0.9 of runs, 0.7 of partial, 0 of strict, which
        a lucky match has too, −1 of hybrid, and of a function its least value − its greatest. A function without
        bounds may give anything, so with it nothing is promised.
        """
        weights = {name: weight for name, weight in self.weights.items() if weight}
        gaps = GAPS | {name: low - high for name, (low, high) in self._bounds.items()}
        if not weights.keys() <= gaps.keys():
            return False
        margin = _ROUNDING * sum(weights.values())
        return sum(weight * gaps[name] for name, weight in weights.items()) > margin

    def score(self, examples: Sequence[Example], completions: Sequence[str]) -> Rewarded:
        """The rewards of raw completions, each an answer to the example in the same place.

        Raises UserError for lists of different lengths, for a completion that is no text, and for what a function does
        wrong (see `functions`); otherwise as `Scorer`, never for anything in a completion.
        """
        examples, completions = _rows(examples, completions)
        # First, since a mistake in them shows at once and the scorer may take minutes.
        values = {
            name: values_of(name, function, examples, completions, self._bounds.get(name))
            for name, function in self._functions.items()
        }
        verdicts = self._scorer.score_batch(list(zip(examples, completions, strict=True)))
        rows = list(zip(examples, completions, verdicts, strict=True))
        parts = {}
        for name in self.weights:
            if name in values:
                given = zip(values[name], verdicts, strict=True)
                parts[name] = [0.0 if verdict.match is None else value for value, verdict in given]
            else:
                parts[name] = [part(name, *row) for row in rows]
        totals = [sum(weight * parts[name][row] for name, weight in self.weights.items()) for row in range(len(rows))]
        ids = [example.id for example in examples]
        spread = {name: weight * _spread(ids, parts[name]) for name, weight in self.weights.items()}
        return Rewarded(totals, parts, verdicts, spread)

    def close(self) -> None:
        """End the scorer's processes. Safe to call again."""
        self._scorer.close()

    def __enter__(self) -> "Rewards":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _rows(examples: Sequence[Example], completions: Sequence[str]) -> tuple[list[Example], list[str]]:
    if isinstance(completions, str):  # or each of its characters would be scored
        raise UserError("the completions are one text; give a list of texts")
    examples, completions = list(examples), list(completions)
    if len(examples) != len(completions):
        raise UserError(f"{len(examples)} examples and {len(completions)} completions; give an example a completion")
    for row, completion in enumerate(completions, start=1):
        if not isinstance(completion, str):
            raise UserError(f"completion {row} is a {type(completion).__name__}; give its text")
    return examples, completions


def _spread(ids: Sequence[str], values: Sequence[float]) -> float:
    """Mean over the groups, runs of equal ids, of the values' standard deviation within one; 0.0 without rows."""
    groups = groupby(zip(ids, values, strict=True), key=lambda row: row[0])
    return fmean([pstdev([value for _, value in group]) for _, group in groups] or [0.0])


def _processors() -> int:
    """As `distributed.cpus`, without torch."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
