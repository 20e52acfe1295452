"""What stage 1 tries: Optuna's TPE over a grid, as a pure function of what is known so far.

For each draw a study in memory is filled with the candidates that have a value, in the order of their ordinals, and
TPE is run on it once, with a seed of this ordinal's own. So the same outcomes give the same draws, in one sitting or in
several and on any storage. The outcomes themselves repeat bit for bit only on a CPU with a fixed number of threads,
else sums are reordered; a search that was stopped goes on from the outcomes in its storage, never from a repeated
training. Values that were drawn before are drawn again: a repeated candidate would spend a trial on what is known.
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
    values = {}
    for name, choices in space.items():
        by_param = dict(enumerate(sorted(choices))) if is_ordered(choices) else {_label(c): c for c in choices}
        values[name] = by_param[params[name]]
    return values


def draw(
    space: Space,
    ordinal: int,
    *,
    trials: int,
    seed: int,
    results: Sequence[tuple[dict, float]],
    rivals: Sequence[dict],
    first: dict,
) -> dict:
    """Values of the candidate with this ordinal, on a grid that has a point left.

    results: (values, what is minimised) by ordinal. rivals: values of other workers' candidates, which TPE keeps away
    from. A third of the `trials`, at least two, come before TPE has a say. first: values of candidate 0, all or some.
    """
    if ordinal == 0:
        return _suggest(space, _seed(seed, 0, 0), 2, [], [], first)
    taboo = [values for values, _ in results] + list(rivals)
    for repeat in range(_TRIES):
        values = _suggest(space, _seed(seed, ordinal, repeat), max(2, trials // 3), results, rivals, {})
        if values not in taboo:
            return values
    rng = random.Random(_seed(seed, ordinal, _TRIES))
    while (values := {name: rng.choice(choices) for name, choices in space.items()}) in taboo:
        pass
    return values


def _suggest(space: Space, seed: int, startup: int, results, rivals, first: dict) -> dict:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup))
    history = [(values, TrialState.COMPLETE, value) for values, value in results]
    history += [(values, TrialState.RUNNING, None) for values in rivals]
    for values, state, value in history:
        study.add_trial(
            optuna.create_trial(
                state=state, params=encode(space, values), distributions=distributions(space), value=value
            )
        )
    if first:
        study.enqueue_trial(encode(space, first))
    return decode(space, study.ask(distributions(space)).params)


def _seed(seed: int, ordinal: int, repeat: int) -> int:
    """Unrelated seeds for neighbouring ordinals, in numpy's range."""
    return int.from_bytes(hashlib.sha256(f"{seed} {ordinal} {repeat}".encode()).digest()[:4], "big")


def _label(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
