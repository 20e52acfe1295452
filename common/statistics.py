"""Intervals, paired comparisons and corrections, and a run's metrics from its predictions rows.

Shares get Wilson intervals; means get percentile bootstrap intervals; two runs over the same rows are compared row by
row. The intervals are about the test rows drawn, not about what another training seed would have given.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy

from common.settings import UserError

if TYPE_CHECKING:
    from scipy.stats import BinomTestResult

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
    """mean(b) - mean(a) over `n` pairs; `p` is McNemar's exact two-sided p, None unless the values are booleans."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


def mean_interval(
    values: Iterable[bool | float], *, level: float = 0.95, seed: int = 0, resamples: int = 2_000
) -> Interval:
    """The mean of `values`: Wilson's interval for booleans, a seeded percentile bootstrap for other numbers."""
    values = list(values)
    n = len(values)
    if not n:
        return Interval(None, None, None, 0)
    if _boolean(values):
        low, high = _binomial_test(sum(values), n).proportion_ci(level, method="wilson")
    else:
        low, high = _bootstrap(values, level, seed, resamples)
    return Interval(float(numpy.mean(values)), float(low), float(high), n)


def paired_difference(
    a: Sequence[bool | float],
    b: Sequence[bool | float],
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 10_000,
) -> PairedDifference:
    """How much higher `b` is than `a` on the same rows, in the same order; pairs are resampled, never single values."""
    if len(a) != len(b):
        raise ValueError(f"pairs need two values each; got {len(a)} and {len(b)}")
    n = len(a)
    if not n:
        return PairedDifference(None, None, None, 0, None)
    difference = numpy.asarray(b, float) - numpy.asarray(a, float)
    low, high = _bootstrap(difference, level, seed, resamples)
    p = None
    if _boolean(a) and _boolean(b):
        better, worse = int((difference > 0).sum()), int((difference < 0).sum())
        p = float(_binomial_test(better, better + worse).pvalue) if better + worse else 1.0
    return PairedDifference(float(difference.mean()), float(low), float(high), n, p)


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order: valid for all comparisons together, whatever their dependence."""
    adjusted, running = [0.0] * len(pvalues), 0.0
    for rank, i in enumerate(sorted(range(len(pvalues)), key=lambda i: pvalues[i])):
        running = max(running, min(1.0, (len(pvalues) - rank) * pvalues[i]))
        adjusted[i] = running
    return adjusted


def metrics(rows: Sequence[dict]) -> dict[str, dict]:
    """A record's metrics from its predictions rows.

    `match`, `score` and `right` (the headline: robust where databases were generated, else strict) are means over the
    scorable rows (those whose match is not None), `robust_match` over the rows that have it, the published figures,
    `rouge_l` and the share `scorable` over all rows.
    """
    scorable = [row for row in rows if row["match"] is not None]
    found = {
        "match": [row["match"] for row in scorable],
        "right": [is_right(row) for row in scorable],
        "score": [float(row["score"]) for row in scorable],
        "published_score": [float(row["published_score"]) for row in rows],
        "published_match": [row["published_match"] for row in rows],
        "robust_match": [row["robust_match"] for row in rows if row["robust_match"] is not None],
        "rouge_l": [float(row["rouge_l"]) for row in rows],
        "scorable": [row["match"] is not None for row in rows],
    }
    return {name: mean_interval(values).as_dict() for name, values in found.items()}


def is_right(row: dict) -> bool | None:
    """A row's headline verdict: robust where databases were generated, else strict; None where it has none."""
    return row["match"] if row["robust_match"] is None else row["robust_match"]


def slices(rows: Sequence[dict]) -> dict[str, dict[str, dict]]:
    """match, the headline verdict and score by complexity and by task type, over the scorable rows; rows without a name
    are in no slice."""
    found = {}
    for column in ("complexity", "task_type"):
        names = sorted({row[column] for row in rows if row[column]})
        found[column] = {name: _slice([row for row in rows if row[column] == name]) for name in names}
    return found


def _slice(rows: list[dict]) -> dict[str, dict]:
    scorable = [row for row in rows if row["match"] is not None]
    return {
        "match": mean_interval(row["match"] for row in scorable).as_dict(),
        "right": mean_interval(is_right(row) for row in scorable).as_dict(),
        "score": mean_interval(float(row["score"]) for row in scorable).as_dict(),
    }


def outcomes(rows: Iterable[dict]) -> dict[str, int]:
    """How many rows came to each outcome, by name."""
    return dict(sorted(Counter(row["outcome"] for row in rows).items()))


def paired_rows(a_rows: Sequence[dict], b_rows: Sequence[dict]) -> tuple[list[dict], list[dict]]:
    """Both runs' rows aligned by id, in the first run's order. Raises UserError unless both have the same ids."""
    other = {row["id"]: row for row in b_rows}
    alone = {row["id"] for row in a_rows} ^ other.keys()
    if alone or len(a_rows) != len(b_rows) or len(other) != len(b_rows):
        example = f", '{min(alone)}' among them" if alone else ""
        raise UserError(
            f"the two runs did not answer the same rows ({len(alone)} are in one of them only{example}); "
            "run both with the same data, split, size and seed"
        )
    return list(a_rows), [other[row["id"]] for row in a_rows]


def _boolean(values: Iterable) -> bool:
    return all(isinstance(value, (bool, numpy.bool_)) for value in values)


def _binomial_test(successes: int, n: int) -> "BinomTestResult":
    from scipy import stats  # here, so that what tests nothing does without it

    return stats.binomtest(successes, n)


def _bootstrap(values: Sequence[float], level: float, seed: int, resamples: int) -> numpy.ndarray:
    """The percentile interval of the mean."""
    values = numpy.asarray(values, float)
    n, rng = len(values), numpy.random.default_rng(seed)
    distinct, counts = numpy.unique(values, return_counts=True)
    means = []
    for done in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - done)
        if len(distinct) < 32:  # few values, as verdicts have: draw how often each comes, which is the same law
            means.append(rng.multinomial(n, counts / n, size=size) @ distinct / n)
        else:
            means.append(values[rng.integers(n, size=(size, n))].mean(axis=1))
    return numpy.quantile(numpy.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
