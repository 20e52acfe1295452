"""What stage 1 tries: Optuna's TPE over a grid, as a pure function of what is known so far.

For each draw a study in memory is filled with the finished candidates in the order of their ordinals and asked once,
with a seed of this ordinal's own. So a search that was stopped draws what one that never stopped would have drawn, and
on any storage. Values that were drawn before are drawn again: training is deterministic, so a repeated candidate
would spend a trial, and this method's equal share of tokens, on a loss that is known.
"""

import hashlib
import json
import random
from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from common.sweeps.space import Space, is_ordered

_TRIES = 20  # draws by TPE before a point that is new is picked blindly; a small grid is soon used up


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Optuna's view of a space. Numbers are drawn by their index, so that TPE sees their order but not their distances,
    which a grid over powers of ten would get wrong; anything else is a category."""
    return {
        name: IntDistribution(0, len(values) - 1)
        if is_ordered(values)
        else CategoricalDistribution([_label(value) for value in values])
        for name, values in space.items()
    }


def encode(space: Space, values: dict) -> dict[str, int | str]:
    """Values of a grid as Optuna's parameters; its storages keep numbers and text only, so a tuple becomes text."""
    return {
        name: sorted(space[name]).index(value) if is_ordered(space[name]) else _label(value)
        for name, value in values.items()
    }


def decode(space: Space, params: dict[str, int | str]) -> dict:
    """The values again, exactly those of the grid, in the order of the space."""
    found = {}
    for name, choices in space.items():
        of = dict(enumerate(sorted(choices))) if is_ordered(choices) else {_label(choice): choice for choice in choices}
        found[name] = of[params[name]]
    return found


def draw(
    space: Space,
    ordinal: int,
    *,
    trials: int,
    seed: int,
    finished: Sequence[tuple[dict, float]],
    running: Sequence[dict],
    first: dict,
) -> dict:
    """Values of the candidate with this ordinal, on a grid that has a point left.

    finished: (values, loss) by ordinal. running: values of other workers' candidates, which TPE keeps away from. A
    third of the `trials`, at least two, come before TPE has a say. first: what the candidate 0 is told.
    """
    if ordinal == 0:
        return _ask(space, _seed(seed, 0, 0), 2, [], [], first)
    known = [values for values, _ in finished] + list(running)
    for attempt in range(_TRIES):
        values = _ask(space, _seed(seed, ordinal, attempt), max(2, trials // 3), finished, running, {})
        if values not in known:
            return values
    rng = random.Random(_seed(seed, ordinal, _TRIES))
    while (values := {name: rng.choice(choices) for name, choices in space.items()}) in known:
        pass
    return values


def _ask(space: Space, seed: int, startup: int, finished, running, fixed: dict) -> dict:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup))
    known = [(values, TrialState.COMPLETE, loss) for values, loss in finished]
    known += [(values, TrialState.RUNNING, None) for values in running]
    for values, state, loss in known:
        study.add_trial(
            optuna.create_trial(
                state=state, params=encode(space, values), distributions=distributions(space), value=loss
            )
        )
    if fixed:
        study.enqueue_trial(encode(space, fixed))
    return decode(space, study.ask(distributions(space)).params)


def _seed(seed: int, ordinal: int, attempt: int) -> int:
    """Unrelated seeds for neighbouring ordinals, in numpy's range."""
    return int.from_bytes(hashlib.sha256(f"{seed} {ordinal} {attempt}".encode()).digest()[:4], "big")


def _label(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
