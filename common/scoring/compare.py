"""Equality of values, rows, sequences and bags of rows.

Floats are equal within a tolerance, which is not transitive: bags are equal where their rows can be paired off one to
one. Exact pairs are taken first, then pairs of the sorted rest; where that fails, `pairing` decides, so that the answer
is neither lenient nor dependent on the order of rows.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress

from common.scoring.pairing import PairingBudget, fit, is_near

Row = Sequence[object]
FEW = 12


def same_value(left: object, right: object) -> bool:
    """Equality of two SQL values (None, int, float, str, bytes)."""
    if left == right:  # 3 == 3.0, '3' != 3, b'x' != 'x', exact for large integers
        return True
    if not (isinstance(left, float) or isinstance(right, float)):
        return False
    return isinstance(left, int | float) and isinstance(right, int | float) and is_near(left, right)


def same_row(left: Row, right: Row) -> bool:
    """Equality of two rows, column by column."""
    return left == right or (len(left) == len(right) and all(map(same_value, left, right)))


def same_sequence(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """Equal rows in the same order."""
    return left == right or (len(left) == len(right) and all(map(same_row, left, right)))


def same_bag(left: Sequence[Row], right: Sequence[Row], budget: PairingBudget | None = None) -> bool:
    """Equal rows with equal multiplicities, in any order. budget: shared by the bags of one comparison."""
    return len(left) == len(right) and is_contained(left, right, budget)


def is_contained(left: Sequence[Row], right: Sequence[Row], budget: PairingBudget | None = None) -> bool:
    """Each row on the left has an equal row on the right of its own. budget: as of `same_bag`."""
    if len(left) > len(right):
        return False
    if len(right) <= FEW:  # at a fraction of the time that counting takes
        spare_rows = list(map(tuple, right))
        with suppress(ValueError):
            for row in left:
                spare_rows.remove(tuple(row))
            return True
        if not (_has_float(left) or _has_float(right)):
            return False
    ours, theirs = Counter(map(tuple, left)), Counter(map(tuple, right))
    rest, spare = ours - theirs, theirs - ours
    if not rest:
        return True
    if not (_has_float(ours) or _has_float(theirs)):
        return False
    groups = _by_kind(spare.elements())
    if all(_pairs_in_order(rows, groups.get(kind, ())) for kind, rows in _by_kind(rest.elements()).items()):
        return True
    groups, budget = _by_kind(right), budget or PairingBudget()
    return all(fit(rows, groups.get(kind, ()), budget) for kind, rows in _by_kind(left).items())


def _has_float(rows: Iterable[Row]) -> bool:
    return any(value.__class__ is float for row in rows for value in row)


def _by_kind(rows: Iterable[Row]) -> dict[tuple, list[tuple]]:
    """The numbers of rows that agree in everything else, and in where numbers stand."""
    groups: dict[tuple, list[tuple]] = defaultdict(list)
    places: dict[tuple, tuple[list[int], list[int]]] = {}  # of numbers and of the rest, by the classes of a row
    for row in rows:
        classes = tuple(map(type, row))
        if classes not in places:
            numbers = [i for i, kind in enumerate(classes) if kind in (int, float)]
            places[classes] = numbers, [i for i in range(len(classes)) if i not in numbers]
        numbers, rest = places[classes]
        groups[tuple(numbers), tuple([row[i] for i in rest])].append(tuple([row[i] for i in numbers]))
    return groups


def _pairs_in_order(left: Sequence[Row], right: Sequence[Row]) -> bool:
    return len(left) == len(right) and all(map(same_row, sorted(left), sorted(right)))
