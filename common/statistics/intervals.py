"""Intervals, paired comparisons and corrections, of any values.

Shares get Wilson intervals; means get percentile bootstrap intervals; two runs over the same rows are compared row by
row. Rows that share a database, a domain or a template pass and fail together: with `groups`, one name a row, whole
groups are resampled instead of rows, and where each group holds one row nothing changes. Fewer than FEWEST_GROUPS
cannot stand for others, a single one would show no spread at all: then rows are resampled, and the interval is about
further rows of the same groups. The intervals are about the test rows (or groups) drawn, not about what another
training seed would have given.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from scipy.stats import BinomTestResult

FEWEST_GROUPS = 6  # that are resampled whole: over fewer no exact test reaches one in twenty
_CHUNK = 250  # resamples drawn at once, which bounds memory


@dataclass(frozen=True)
class Interval:
    """A mean over `n` values with its interval; all None where n is 0."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


@dataclass(frozen=True)
class PairedDifference:
    """mean(b) - mean(a) over `n` pairs in `groups` groups; `p` is McNemar's exact two-sided p, `discordant` the share
    of pairs that differ, `smallest` the difference that so many pairs show, see `smallest_difference`; these three are
    None unless the values are booleans.

    With groups `p` is of the same test over whole groups: each may as well have had its difference the other way round.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None
    discordant: float | None = None
    groups: int = 0
    smallest: float | None = None

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


def mean_interval(
    values: Iterable[bool | float],
    *,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2_000,
) -> Interval:
    """The mean of `values`: Wilson's interval for booleans, a seeded percentile bootstrap for other numbers.

    groups: which values belong together, one name a value; then groups are resampled, of booleans too. Raises
    ValueError where there are fewer or more of them than values.
    """
    values = list(values)
    n = len(values)
    _check_groups(groups, n)
    if not n:
        return Interval(None, None, None, 0)
    if _are_joint(groups):
        return grouped_interval(values, groups, level=level, seed=seed, resamples=resamples)
    if _boolean(values):
        low, high = _binomial_test(sum(values), n).proportion_ci(level, method="wilson")
    else:
        low, high = _bootstrap(values, level, seed, resamples)
    return Interval(float(numpy.mean(values)), float(low), float(high), n)


def grouped_interval(
    values: Sequence[bool | float],
    groups: Sequence[str],
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 2_000,
) -> Interval:
    """The mean of `values` with a percentile bootstrap over groups, also where each holds one value; n counts values.

    Booleans that are all alike get Wilson's interval over groups, of which none, or each, is then an exception. A
    single group shows no spread.
    """
    values = list(values)
    if not values:
        return Interval(None, None, None, 0)
    sums, sizes = _by_group(values, groups)
    mean = float(numpy.mean(values))
    if _boolean(values) and mean in (0.0, 1.0):
        low, high = _binomial_test(int(mean) * len(sizes), len(sizes)).proportion_ci(level, method="wilson")
    else:
        low, high = _grouped_bootstrap(sums, sizes, level, seed, resamples)
    return Interval(mean, float(low), float(high), len(values))


def paired_difference(
    a: Sequence[bool | float],
    b: Sequence[bool | float],
    *,
    groups: Sequence[str] | None = None,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 10_000,
) -> PairedDifference:
    """How much higher `b` is than `a` on the same rows, in the same order; pairs are resampled, never single values.

    groups: which pairs belong together, one name a pair; then whole groups are resampled, and tested. Raises ValueError
    where the three are not of one length.
    """
    if len(a) != len(b):
        raise ValueError(f"pairs need two values each; got {len(a)} and {len(b)}")
    n = len(a)
    _check_groups(groups, n)
    if not n:
        return PairedDifference(None, None, None, 0, None)
    difference = numpy.asarray(b, float) - numpy.asarray(a, float)
    joint, test = _are_joint(groups), {"p": None}
    sums, sizes = _by_group(difference, groups) if joint else (difference, numpy.ones(n))
    if joint:
        low, high = _grouped_bootstrap(sums, sizes, level, seed, resamples)
    else:
        low, high = _bootstrap(difference, level, seed, resamples)
    if _boolean(a) and _boolean(b):
        better, worse = int((difference > 0).sum()), int((difference < 0).sum())
        if joint:
            p = _sign_test([int(total) for total in sums])
        else:
            p = float(_binomial_test(better, better + worse).pvalue) if better + worse else 1.0
        discordant, spread = (better + worse) / n, float((sums**2).sum()) / n
        test = {"p": p, "discordant": discordant, "smallest": smallest_difference(n, discordant, spread=spread)}
    count = len(set(groups)) if groups is not None else n
    return PairedDifference(float(difference.mean()), float(low), float(high), n, groups=count, **test)


def smallest_difference(
    n: int, discordant: float, *, spread: float | None = None, power: float = 0.8, level: float = 0.95
) -> float | None:
    """The smallest difference between two shares that McNemar's test on `n` pairs finds with this power, where so large
    a share of the pairs is discordant; None where not even all of them going one way are enough.

    From Connor's formula (Biometrics 43, 1987): n d² = (z sqrt(s) + z' sqrt(s - d²))². spread: the s in it, what a pair
    adds to the variance without a difference; `discordant` where pairs are drawn alone, more where they come in groups
    that go together.
    """
    spread = discordant if spread is None else spread
    z, z_power = NormalDist().inv_cdf((1 + level) / 2), NormalDist().inv_cdf(power)

    def is_found(d: float) -> bool:
        return n * d**2 >= (z * math.sqrt(spread) + z_power * math.sqrt(max(0.0, spread - d**2))) ** 2

    low, high = 0.0, discordant
    if not discordant or not is_found(high):
        return None
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order: valid for all comparisons together, whatever their dependence."""
    bounds, highest = [0.0] * len(pvalues), 0.0
    for rank, i in enumerate(sorted(range(len(pvalues)), key=lambda i: pvalues[i])):
        highest = max(highest, min(1.0, (len(pvalues) - rank) * pvalues[i]))
        bounds[i] = highest
    return bounds


def _boolean(values: Iterable) -> bool:
    return all(isinstance(value, (bool, numpy.bool_)) for value in values)


def _binomial_test(successes: int, n: int) -> "BinomTestResult":
    from scipy import stats  # here, so that what tests nothing does without it

    return stats.binomtest(successes, n)


def _check_groups(groups: Sequence[str] | None, n: int) -> None:
    if groups is not None and len(groups) != n:
        raise ValueError(f"each value needs its group; got {len(groups)} groups for {n} values")


def _are_joint(groups: Sequence[str] | None) -> bool:
    """Whether groups are resampled whole: any holds more than one value, and they are enough to stand for others."""
    return groups is not None and FEWEST_GROUPS <= len(set(groups)) < len(groups)


def _by_group(values: Sequence[float], groups: Sequence[str]) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Each group's sum and size, in the order of their names."""
    places = {name: place for place, name in enumerate(sorted(set(groups)))}
    numbers = [places[name] for name in groups]
    return numpy.bincount(numbers, weights=numpy.asarray(values, float)), numpy.bincount(numbers)


def _grouped_bootstrap(
    sums: numpy.ndarray, sizes: numpy.ndarray, level: float, seed: int, resamples: int
) -> numpy.ndarray:
    """The percentile interval of the mean over all values, groups being drawn whole."""
    n, rng = len(sums), numpy.random.default_rng(seed)
    means = []
    for start in range(0, resamples, _CHUNK):
        counts = rng.multinomial(n, numpy.full(n, 1 / n), size=min(_CHUNK, resamples - start))
        means.append(counts @ sums / (counts @ sizes))
    tail = round((1 - level) / 2, 12)
    return numpy.quantile(numpy.concatenate(means), [tail, 1 - tail])


def _sign_test(sums: Sequence[int]) -> float:
    """Exact two-sided p of the total of `sums`, each of which might as well have had the other sign.

    McNemar's exact test where each is 1 or -1.
    """
    steps = [abs(value) for value in sums if value]
    reach = sum(steps)
    chances = numpy.zeros(2 * reach + 1)  # of each total from -reach to reach
    chances[reach] = 1.0
    for step in steps:
        chances = (numpy.roll(chances, step) + numpy.roll(chances, -step)) / 2  # what rolls over the end is zero
    totals = numpy.abs(numpy.arange(-reach, reach + 1))
    return min(1.0, float(chances[totals >= abs(sum(sums))].sum()))


def _bootstrap(values: Sequence[float], level: float, seed: int, resamples: int) -> numpy.ndarray:
    """The percentile interval of the mean."""
    values = numpy.asarray(values, float)
    n, rng = len(values), numpy.random.default_rng(seed)
    distinct, counts = numpy.unique(values, return_counts=True)
    means = []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        if len(distinct) < 32:  # few values, as verdicts have: draw how often each comes, which is the same law
            means.append(rng.multinomial(n, counts / n, size=size) @ distinct / n)
        else:
            means.append(values[rng.integers(n, size=(size, n))].mean(axis=1))
    return numpy.quantile(numpy.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
