"""Candidates that follow from a stage's own outcomes: beyond an edge on which the best lies, and variants of the best.

Both are pure functions of the outcomes that they look at, so that every worker adds the same candidates.
"""

from common.sweeps.attempts import Slot
from common.sweeps.result import BATCH, best
from common.sweeps.sweep import Sweep


def widened(sweep: Sweep, number: int, slots: dict[int, Slot]) -> list[dict]:
    """At most `sweep.widening` candidates beyond the ends of the grid on which the best of a stage lies.

    In a stage of fixed steps, where losses of different batches cannot be compared, these are the best of each batch,
    and the batch itself is not widened.
    """
    by_batch = bool(sweep.stages[number - 1].steps)
    ranking = best(sweep, slots, len(slots), by_batch=by_batch)
    batches = {slot.values.get(BATCH) for slot in ranking} if by_batch else {None}
    names = [name for name in sweep.beyond if not (by_batch and name == BATCH)]
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
