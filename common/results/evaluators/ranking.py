"""The methods in the order of each evaluator, how far it is the order by `robust`, and the pairs that change places.

All of it on the rows of one split for which every method has a verdict. Schemas that rows share are resampled and
tested whole, as everywhere in the ledger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy

from common.evaluators import EVALUATORS
from common.statistics import Interval, PairedDifference, holm, mean_interval, paired_difference
from common.statistics.concordance import tau_interval

if TYPE_CHECKING:
    import pandas

REFERENCE = "robust"  # whose order the others are compared with
LEVEL = 0.05  # of Holm's p, below which an order is called significant
_RESAMPLES = 2  # of a difference of which only the p is read


@dataclass(frozen=True)
class Panel:
    """Verdicts of one split: by evaluator a table of booleans, (rows, methods), methods by their `robust` score.

    groups: each row's schema, None where no two rows share one.
    """

    methods: list[str]
    verdicts: dict[str, numpy.ndarray]
    groups: list[str] | None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.verdicts[REFERENCE])


def panel(tables: "Mapping[str, pandas.DataFrame]", split: str, schemas: Mapping[str, str | None]) -> Panel:
    """The verdicts of a split. tables: of `store.tables`, by method; schemas: the schema of each row by its id, None
    where it is not known. Rows that any method has no verdict for are left out."""
    parts = {method: table.xs(split, level="split") for method, table in tables.items()}
    ids = list(next(iter(parts.values())).index)
    parts = {method: part.loc[ids] for method, part in parts.items()}
    scorable = numpy.all([part[REFERENCE].notna() for part in parts.values()], axis=0)
    arrays = {
        name: numpy.column_stack([part[name].to_numpy()[scorable].astype(bool) for part in parts.values()])
        for name in EVALUATORS
    }
    names = [schemas.get(name) for name, has_verdict in zip(ids, scorable, strict=True) if has_verdict]
    groups = None if None in names or len(set(names)) == len(names) else names
    methods = list(parts)
    order = sorted(range(len(methods)), key=lambda i: (-arrays[REFERENCE][:, i].sum(), methods[i]))
    return Panel([methods[i] for i in order], {name: array[:, order] for name, array in arrays.items()}, groups)


def scores(panel: Panel) -> dict[str, dict[str, Interval]]:
    """By method and evaluator the share of right answers with its interval."""
    return {
        method: {
            name: mean_interval(panel.verdicts[name][:, place].tolist(), groups=panel.groups) for name in EVALUATORS
        }
        for place, method in enumerate(panel.methods)
    }


def ranks(panel: Panel, evaluator: str) -> list[int]:
    """Each method's place by an evaluator, 1 for the best; tied methods share the best of their places."""
    counts = panel.verdicts[evaluator].sum(axis=0)
    return [1 + int((counts > count).sum()) for count in counts]


def taus(panel: Panel) -> dict[str, Interval]:
    """By evaluator but for REFERENCE: Kendall's tau-b between its order of the methods and that by REFERENCE."""
    robust = panel.verdicts[REFERENCE]
    return {
        name: tau_interval(robust, panel.verdicts[name], groups=panel.groups)
        for name in EVALUATORS
        if name != REFERENCE
    }


@dataclass(frozen=True)
class Flip:
    """A pair of methods that REFERENCE orders as (better, worse) and an evaluator the other way round; the differences
    are better − worse, by each of the two, with Holm's p over all pairs of methods."""

    evaluator: str
    better: str
    worse: str
    reference: PairedDifference
    other: PairedDifference
    reference_p: float
    other_p: float

    @property
    def is_significant(self) -> bool:
        """Whether one of the two orders is at least."""
        return min(self.reference_p, self.other_p) < LEVEL

    @property
    def is_certain(self) -> bool:
        """Whether both are: no chance in the draw of rows explains the contradiction."""
        return max(self.reference_p, self.other_p) < LEVEL


@dataclass(frozen=True)
class Pairs:
    """What an evaluator makes of all pairs of methods: flips, and how many pairs it or REFERENCE ties; of the pairs
    that REFERENCE orders significantly, how many it orders significantly too."""

    flips: list[Flip]
    ties: int
    significant: int
    confirmed: int


def compare_pairs(panel: Panel) -> dict[str, Pairs]:
    """By evaluator but for REFERENCE. Significant: McNemar's exact test, Holm over all pairs of methods, 5 %."""
    places = list(combinations(range(len(panel.methods)), 2))
    values = {name: _holm_by_pair(panel, name, places) for name in EVALUATORS}
    return {name: _pairs(panel, name, places, values) for name in EVALUATORS if name != REFERENCE}


def _holm_by_pair(panel: Panel, evaluator: str, places: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
    tests = [_difference(panel, evaluator, pair, _RESAMPLES).p for pair in places]
    return dict(zip(places, holm(tests), strict=True))


def _difference(panel: Panel, evaluator: str, pair: tuple[int, int], resamples: int = 10_000) -> PairedDifference:
    """By how much the first of a pair is better than the second."""
    better, worse = (panel.verdicts[evaluator][:, place].tolist() for place in pair)
    return paired_difference(worse, better, groups=panel.groups, resamples=resamples)


def _pairs(
    panel: Panel,
    evaluator: str,
    places: Sequence[tuple[int, int]],
    values: Mapping[str, Mapping[tuple[int, int], float]],
) -> Pairs:
    counts = {name: panel.verdicts[name].sum(axis=0) for name in (REFERENCE, evaluator)}
    flips, ties, significant, confirmed = [], 0, 0, 0
    for pair in places:
        steps = [int(counts[name][pair[0]]) - int(counts[name][pair[1]]) for name in (REFERENCE, evaluator)]
        p_values = [values[name][pair] for name in (REFERENCE, evaluator)]
        ties += 0 in steps
        significant += p_values[0] < LEVEL
        confirmed += max(p_values) < LEVEL and steps[0] * steps[1] > 0
        if steps[0] * steps[1] < 0:  # methods stand in the reference's order, so the first of a pair is the better
            differences = [_difference(panel, name, pair) for name in (REFERENCE, evaluator)]
            better, worse = (panel.methods[place] for place in pair)
            flips.append(Flip(evaluator, better, worse, *differences, *p_values))
    return Pairs(flips, ties, significant, confirmed)
