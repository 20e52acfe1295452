"""How well scores rank right answers above wrong ones: over all answers, within a question, and as a choice of one.

Ties count half, whichever answer comes first. Questions with right answers alone, or wrong ones alone, say nothing
within a question.
"""

import math
from collections.abc import Hashable, Sequence
from statistics import mean

Scores = Sequence[float]


def auc(scores: Scores, right: Sequence[bool]) -> float:
    """The probability that a right answer's score lies above a wrong one's, ties half; NaN without both kinds.

    By ranks (Mann and Whitney 1947), so that n answers cost n log n.
    """
    count = sum(right)
    others = len(right) - count
    if not count or not others:
        return math.nan
    from scipy.stats import rankdata

    ranks = rankdata(scores)
    total = sum(rank for rank, is_right in zip(ranks, right, strict=True) if is_right)
    return float((total - count * (count + 1) / 2) / (count * others))


def auc_within(scores: Scores, right: Sequence[bool], groups: Sequence[Hashable]) -> float:
    """The mean over the groups of their own `auc`, those that have both kinds of answers; NaN where none has."""
    values = aucs(scores, right, groups)
    return mean(values) if values else math.nan


def aucs(scores: Scores, right: Sequence[bool], groups: Sequence[Hashable]) -> list[float]:
    """The `auc` of each group that has both kinds of answers, in the order in which groups come."""
    values = [auc(*parts) for parts in _by_group(groups, scores, right)]
    return [value for value in values if not math.isnan(value)]


def preferences(scores: Scores, right: Sequence[bool], groups: Sequence[Hashable]) -> list[tuple[float, bool]]:
    """For each right and each wrong answer of one group the difference of their scores, both ways round, and whether
    the first of the two is the right one."""
    pairs = []
    for group_scores, group_right in _by_group(groups, scores, right):
        answers = list(zip(group_scores, group_right, strict=True))
        for score, is_right in answers:
            pairs += [(score - other, is_right) for other, other_right in answers if other_right != is_right]
    return pairs


def best_of(scores: Scores, right: Sequence[bool], groups: Sequence[Hashable]) -> float:
    """The share of groups whose answer with the highest score is right; of several highest ones, the share of them that
    is. NaN without groups."""
    if not groups:
        return math.nan
    return mean(
        mean(r for s, r in zip(*parts, strict=True) if s == max(parts[0])) for parts in _by_group(groups, scores, right)
    )


def calibration(probabilities: Scores, right: Sequence[bool], *, bins: int = 10) -> float:
    """The expected calibration error: the mean distance of the mean probability to the share of right answers, over
    bins of equal width, weighted by their answers (Naeini et al. 2015). NaN without answers."""
    cells: dict[int, list[tuple[float, bool]]] = {}
    for probability, is_right in zip(probabilities, right, strict=True):
        cells.setdefault(min(bins - 1, int(probability * bins)), []).append((probability, is_right))
    gaps = [abs(mean(p for p, _ in cell) - mean(r for _, r in cell)) * len(cell) for cell in cells.values()]
    return sum(gaps) / len(right) if right else math.nan


def agreement(
    scores: Scores, right: Sequence[bool], kinds: Sequence[str], groups: Sequence[Hashable]
) -> dict[str, tuple[float, int]]:
    """Of each kind of wrong answer: how often a right answer of its group has the higher score, ties half, and over how
    many such pairs."""
    counts: dict[str, list[float]] = {}
    for group_scores, group_right, group_kinds in _by_group(groups, scores, right, kinds):
        answers = list(zip(group_scores, group_right, group_kinds, strict=True))
        for score, is_right, kind in answers:
            if not is_right:
                wins = [float(other > score) + 0.5 * (other == score) for other, good, _ in answers if good]
                counts.setdefault(kind, []).extend(wins)
    return {kind: (mean(wins), len(wins)) for kind, wins in sorted(counts.items()) if wins}


def _by_group(groups: Sequence[Hashable], *columns: Sequence) -> list[tuple[list, ...]]:
    """The columns of each group, in the order in which groups come."""
    numbers: dict[Hashable, list[int]] = {}
    for number, group in enumerate(groups):
        numbers.setdefault(group, []).append(number)
    return [tuple([column[i] for i in places] for column in columns) for places in numbers.values()]
