"""How far two measures agree on the order of several runs: Kendall's tau-b, with an interval over the rows drawn.

Both measures judge the same runs on the same rows. Not covered: how far another training would change the order.
"""

from collections.abc import Sequence

import numpy

from common.statistics.intervals import Interval

_CHUNK = 250  # resamples drawn at once, which bounds memory


def tau_b(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Kendall's tau-b (Kendall 1945) of two lists of scores, of the same runs in the same order; ties correct it.

    None where it is not defined: fewer than two runs, or all of them tied by one of the two.
    """
    value = float(_taus(numpy.asarray([one], float), numpy.asarray([other], float))[0])
    return None if numpy.isnan(value) else value


def tau_interval(
    one: numpy.ndarray,
    other: numpy.ndarray,
    *,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2_000,
) -> Interval:
    """tau-b between two measures' mean scores, with a percentile bootstrap over rows; n counts rows.

    one, other: (rows, runs), what each measure gives each run on each row. A resample draws the same rows for all runs
    and both measures. groups: one name a row; then whole groups are drawn. Resamples in which tau-b is not defined are
    left out. Raises ValueError where the two are not of one shape.
    """
    if one.shape != other.shape or (groups is not None and len(groups) != len(one)):
        raise ValueError(f"both measures judge the same runs on the same rows; got {one.shape} and {other.shape}")
    n, runs = one.shape
    value = tau_b(one.sum(axis=0), other.sum(axis=0)) if n else None
    if value is None:
        return Interval(None, None, None, n)
    names = numpy.unique(numpy.arange(n) if groups is None else numpy.asarray(groups), return_inverse=True)[1]
    sums = numpy.zeros((2, names.max() + 1, runs))
    for place, measure in enumerate((one, other)):
        numpy.add.at(sums[place], names, measure.astype(float))
    count, rng = sums.shape[1], numpy.random.default_rng(seed)
    taus = []
    for start in range(0, resamples, _CHUNK):
        draws = rng.multinomial(count, numpy.full(count, 1 / count), size=min(_CHUNK, resamples - start)).astype(float)
        taus.append(_taus(*(draws @ side for side in sums)))
    tail = round((1 - level) / 2, 12)
    low, high = numpy.nanquantile(numpy.concatenate(taus), [tail, 1 - tail])
    return Interval(value, float(low), float(high), n)


def _taus(one: numpy.ndarray, other: numpy.ndarray) -> numpy.ndarray:
    """tau-b line by line of two tables of (lines, runs); nan where it is not defined.

    scipy.stats.kendalltau gives the same, one line a call, which is too slow for resamples.
    """
    first, second = numpy.triu_indices(one.shape[1], k=1)
    signs = [numpy.sign(scores[:, first] - scores[:, second]) for scores in (one, other)]
    untied = [numpy.abs(sign).sum(axis=1) for sign in signs]
    with numpy.errstate(invalid="ignore"):
        return (signs[0] * signs[1]).sum(axis=1) / numpy.sqrt(untied[0] * untied[1])
