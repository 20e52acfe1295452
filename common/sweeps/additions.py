"""Candidates that follow from a stage's own outcomes: beyond an edge on which the best lies, and variants of the best.

Both are pure functions of the outcomes that they look at, so that every worker adds the same candidates.
"""

from common.sweeps.attempts import Slot
from common.sweeps.result import BATCH, best
from common.sweeps.sweep import Sweep


def widened(sweep: Sweep, number: int, slots: dict[int, Slot]) -> list[dict]:
    """At most `sweep.widening` candidates beyond the ends of the grid on which the best of a stage lies.

    Of stage 1. Where its steps are fixed, so that losses of different batches cannot be compared in it, these are
    beyond the best of each batch, and the batch itself is widened in stage 2.
    """
    by_batch, waits = bool(sweep.stages[number - 1].steps), bool(sweep.stages[0].steps)
    names = [name for name in sweep.beyond if (name == BATCH and waits) == (number == 2 and not by_batch)]
    if number > 2 or not names:
        return []
    ranking = best(sweep, slots, len(slots), by_batch=by_batch)
    batches = {slot.values.get(BATCH) for slot in ranking} if by_batch else {None}
    candidates = []
    for distance in range(sweep.widening):  # the nearest value of each first
        for slot in ranking[: len(batches)]:
            for name in names:
                values = _outside(sweep, name, slot.values[name])
                candidates += [slot.values | {name: value} for value in values[distance : distance + 1]]
    known = [slot.values for slot in slots.values()]
    fresh = [values for i, values in enumerate(candidates) if values not in known + candidates[:i]]
    return fresh[: sweep.widening]


def varied(sweep: Sweep, number: int, slots: dict[int, Slot]) -> list[dict]:
    """The best candidate of a stage with each of the sweep's variants."""
    known = [slot.values for slot in slots.values()]
    winner = best(sweep, slots, 1, by_batch=bool(sweep.stages[number - 1].steps))
    candidates = [winner[0].values | changes for changes in sweep.variants] if winner else []
    return [values for i, values in enumerate(candidates) if values not in known + candidates[:i]]


def _outside(sweep: Sweep, name: str, value: float) -> list[float]:
    """The values beyond the end of the grid that `value` is, the nearest first; none where it is no end."""
    low, high = min(sweep.space[name]), max(sweep.space[name])
    above = sorted(v for v in sweep.beyond[name] if v > high) if value == high else []
    below = sorted((v for v in sweep.beyond[name] if v < low), reverse=True) if value == low else []
    return above or below
