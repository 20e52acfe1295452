"""Whether rows of numbers can be paired off one to one, each with a row that is equal within the tolerance.

Equality within a tolerance is not transitive, so this is a matching in a bipartite graph. Rows that no chain of near
values links are parted first. Within such a part each row's partners are bits of one whole number, and with a single
column that tells rows apart the first choice is final already. The answer is exact and does not depend on the order of
rows, up to a number of steps (`PairingBudget`): beyond it rows count as unequal, and only thousands of rows with many
columns, all of them linked by near values, get there. No clock is asked.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from operator import itemgetter

RELATIVE = 1e-9
ABSOLUTE = 1e-12
MOST_STEPS = 800_000  # enough to look up every value of the largest result
STEPS_A_VALUE = 3  # a value whose partners are looked up, against one pair that is looked at again

Numbers = tuple[int | float, ...]
Cell = tuple[list[Numbers], list[Numbers]]


@dataclass
class PairingBudget:
    """How much more a comparison may do, in steps of about a microsecond."""

    steps: int = MOST_STEPS

    def take(self, steps: int) -> bool:
        """Use so many steps; False where there are not as many left."""
        self.steps -= steps
        return self.steps >= 0


def is_near(left: float, right: float) -> bool:
    """Whether two numbers are equal within the tolerance; of two integers it says nothing."""
    return math.isclose(left, right, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def fit(left: Sequence[Numbers], right: Sequence[Numbers], budget: PairingBudget) -> bool:
    """Whether each row on the left has an equal one on the right of its own; all rows are of one width."""
    if len(left) > len(right):
        return False
    cells: list[Cell] = [(list(left), list(right))]
    for column in range(len(left[0])):
        cells = [part for cell in cells for part in _parted(*cell, column)]
        if any(len(ours) > len(theirs) for ours, theirs in cells):
            return False
    return all(_fit_cell(ours, theirs, budget) for ours, theirs in cells)


def _parted(left: list[Numbers], right: list[Numbers], column: int) -> list[Cell]:
    """The rows, cut where a column's sorted values leave a gap: parts with rows on the left, no row near another's."""
    values = sorted([row[column] for row in chain(left, right)])
    is_exact = not any(value.__class__ is float for value in values)
    cuts = [high for low, high in pairwise(values) if low != high and (is_exact or not is_near(low, high))]
    if not cuts:
        return [(left, right)]
    cells: list[Cell] = [([], []) for _ in range(len(cuts) + 1)]
    for side, rows in enumerate((left, right)):
        for row in rows:
            cells[bisect_right(cuts, row[column])][side].append(row)
    return [cell for cell in cells if cell[0]]


def _fit_cell(left: list[Numbers], right: list[Numbers], budget: PairingBudget) -> bool:
    widths = [_spread(column) for column in zip(*left, *right, strict=True)]
    main = max(range(len(widths)), key=widths.__getitem__, default=0)
    if not any(widths):
        return True  # no row differs from another
    left, right = (sorted(rows, key=itemgetter(main)) for rows in (left, right))
    if not budget.take(STEPS_A_VALUE * len(left) * sum(map(bool, widths))):
        return False
    edges = [(1 << len(right)) - 1] * len(left)
    for column, width in enumerate(widths):
        if width and not _narrow(edges, [row[column] for row in left], [row[column] for row in right]):
            return False
    return saturates(edges, len(right), budget)


def _spread(column: Sequence[int | float]) -> float:
    """How far apart a column's values are, for their size; 0.0 where they are all equal."""
    low, high = min(column), max(column)
    if low == high:
        return 0.0
    return (high - low) / max(abs(low), abs(high)) if math.isfinite(low) and math.isfinite(high) else 1.0


def _narrow(edges: list[int], left: list[int | float], right: list[int | float]) -> bool:
    """Take from each left row's partners those that are not near in a column; False where one has none left."""
    order = sorted(range(len(right)), key=right.__getitem__)
    floats, equal = 0, defaultdict(int)  # integers are near only to floats, and equal to themselves
    for place, number in enumerate(right):
        if number.__class__ is float:
            floats |= 1 << place
        else:
            equal[number] |= 1 << place
    window = low = high = 0
    for row in sorted(range(len(left)), key=left.__getitem__):
        number = left[row]
        while high < len(order) and (right[order[high]] <= number or is_near(number, right[order[high]])):
            window |= 1 << order[high]
            high += 1
        while low < high and right[order[low]] < number and not is_near(number, right[order[low]]):
            window ^= 1 << order[low]
            low += 1
        is_float = number.__class__ is float
        edges[row] &= window if is_float or not equal else (window & floats) | equal.get(number, 0)
        if not edges[row]:
            return False
    return True


def saturates(edges: list[int], size: int, budget: PairingBudget) -> bool:
    """Whether each left row gets a right one of its own. edges: the partners of each, as bits; size: right rows."""
    free = (1 << size) - 1
    holders = [-1] * size
    queue = []
    for row, partners in enumerate(edges):
        if choice := partners & free:
            place = (choice & -choice).bit_length() - 1
            holders[place], free = row, free ^ (1 << place)
        else:
            queue.append(row)
    while queue:
        # One round: paths that shift others, through each right row once. The first search of a round sees all.
        unseen, rest = (1 << size) - 1, []
        for number, row in enumerate(queue):
            path, places = [row], []
            while path:
                partners = edges[path[-1]]
                if choice := partners & free:
                    place = (choice & -choice).bit_length() - 1
                    free ^= 1 << place
                    for taker, target in zip(path, [*places, place], strict=True):
                        holders[target] = taker
                    break
                if choice := partners & unseen:
                    place = (choice & -choice).bit_length() - 1
                    unseen ^= 1 << place
                    path.append(holders[place])
                    places.append(place)
                    if not budget.take(1):
                        return False
                else:
                    path.pop()
                    if places:
                        places.pop()
            else:
                if not number:
                    return False
                rest.append(row)
        queue = rest
    return True
