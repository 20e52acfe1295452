"""Equality of values, rows, sequences and bags of rows.

Floats are equal within a tolerance, which is not transitive: bags are equal where their rows can be paired off one to
one. Exact pairs are taken first, then pairs of the sorted rest; where that fails, a maximum flow decides, so that the
answer is neither lenient nor dependent on the order of rows.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence

RELATIVE = 1e-9
ABSOLUTE = 1e-12
# A pairing that needs more comparisons of values, or visits of pairs, than this is given up as unequal: only hundreds
# of rows within each other's tolerance get there.
MOST_COMPARISONS = 200_000
MOST_VISITS = 20_000_000
NUMBER = object()  # stands for any number where rows are sorted by kind

Row = Sequence[object]


def same_value(left: object, right: object) -> bool:
    """Equality of two SQL values (None, int, float, str, bytes)."""
    if left == right:  # 3 == 3.0, '3' != 3, b'x' != 'x', exact for large integers
        return True
    if not (isinstance(left, float) or isinstance(right, float)):
        return False
    if not (isinstance(left, int | float) and isinstance(right, int | float)):
        return False
    return math.isclose(left, right, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def same_row(left: Row, right: Row) -> bool:
    """Equality of two rows, column by column."""
    return left == right or (len(left) == len(right) and all(map(same_value, left, right)))


def same_sequence(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """Equal rows in the same order."""
    return left == right or (len(left) == len(right) and all(map(same_row, left, right)))


def same_bag(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """Equal rows with equal multiplicities, in any order."""
    return len(left) == len(right) and is_contained(left, right)


def is_contained(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """Each row on the left has an equal row on the right of its own."""
    if len(left) > len(right):
        return False
    ours, theirs = Counter(map(tuple, left)), Counter(map(tuple, right))
    rest, spare = ours - theirs, theirs - ours
    if not rest:
        return True
    if not (_has_float(rest) or _has_float(spare)):
        return False
    spare_groups = _by_kind(spare)
    for kind, rows in _by_kind(rest).items():
        if not _pairs_in_order(rows, spare_groups.get(kind, Counter())):
            break
    else:
        return True
    groups = _by_kind(theirs)
    return all(_flows(rows, groups.get(kind, Counter())) for kind, rows in _by_kind(ours).items())


def _has_float(rows: Iterable[Row]) -> bool:
    return any(value.__class__ is float for row in rows for value in row)


def _is_number(value: object) -> bool:
    return value.__class__ is float or value.__class__ is int


def _by_kind(rows: Counter) -> dict[tuple, Counter]:
    """Rows that agree in everything but their numbers, with multiplicities."""
    groups: dict[tuple, Counter] = defaultdict(Counter)
    for row, count in rows.items():
        groups[tuple([NUMBER if _is_number(value) else value for value in row])][row] = count
    return groups


def _numbers(row: Row) -> list[float]:
    return [value for value in row if _is_number(value)]


def _pairs_in_order(left: Counter, right: Counter) -> bool:
    ours = sorted(left.elements(), key=_numbers)
    theirs = sorted(right.elements(), key=_numbers)
    return len(ours) == len(theirs) and all(map(same_row, ours, theirs))


def _flows(left: Counter, right: Counter) -> bool:
    """Whether the rows on the left fit into those on the right: a maximum flow between distinct rows."""
    edges = _edges(list(left), list(right))
    if edges is None:
        return False
    need, room = list(left.values()), list(right.values())
    visits = 0
    flow: list[dict[int, int]] = [{} for _ in range(len(room))]  # right -> {left: amount}
    for source, targets in enumerate(edges):
        for target in targets:  # what fits at once
            amount = min(need[source], room[target])
            if amount:
                flow[target][source] = flow[target].get(source, 0) + amount
                need[source] -= amount
                room[target] -= amount
        while need[source]:
            count = _augment(source, edges, need, room, flow)
            visits += count or 0
            if count is None or visits > MOST_VISITS:
                return False
    return True


def _augment(
    source: int, edges: list[list[int]], need: list[int], room: list[int], flow: list[dict[int, int]]
) -> int | None:
    """Move one unit from `source` to any free place, shifting others, and say how many pairs that looked at.

    None where no free place can be reached.
    """
    visits = 0
    came: dict[int, tuple[int, int | None]] = {}  # right -> (left that reaches it, right that this left gives up)
    queue: deque[tuple[int, int | None]] = deque([(source, None)])
    sources = {source}
    while queue:
        row, vacancy = queue.popleft()
        visits += len(edges[row])
        for target in edges[row]:
            if target in came:
                continue
            came[target] = (row, vacancy)
            if room[target]:
                room[target] -= 1
                need[source] -= 1
                step: int | None = target
                while step is not None:
                    taker, before = came[step]
                    flow[step][taker] = flow[step].get(taker, 0) + 1
                    if before is not None:
                        flow[before][taker] -= 1
                    step = before
                return visits
            for holder, amount in flow[target].items():
                if amount and holder not in sources:
                    sources.add(holder)
                    queue.append((holder, target))
    return None


def _edges(left: list[Row], right: list[Row]) -> list[list[int]] | None:
    """For each row on the left the equal rows on the right; None where a row has none, or there are too many."""
    if not right:
        return None
    columns = [i for i, value in enumerate(right[0]) if _is_number(value)]
    if not columns:
        return [[0]] if left == right else None
    # The column that parts the rows best; its near neighbours are the candidates.
    column = max(columns, key=lambda i: len({row[i] for row in right}))
    order = sorted(range(len(right)), key=lambda i: right[i][column])
    values = [right[i][column] for i in order]
    edges, comparisons = [], 0
    for row in left:
        value = row[column]
        reach = max(abs(value) * RELATIVE * 2, ABSOLUTE * 2) if math.isfinite(value) else 0.0
        low, high = bisect_left(values, value - reach), bisect_right(values, value + reach)
        comparisons += (high - low) * (1 + len(row) // 8)
        if comparisons > MOST_COMPARISONS:
            return None
        equal = [order[i] for i in range(low, high) if same_row(row, right[order[i]])]
        if not equal:
            return None
        edges.append(equal)
    return edges
