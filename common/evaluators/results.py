"""Two results beside each other, as other evaluators compare them: as sets, and as bags in any order of the columns.

Values compare as Python's do. Not covered: tolerance, ties and what a statement writes, which are `common.scoring`'s.
"""

from collections import Counter
from collections.abc import Sequence

from common.sandbox.statements import Result, Row
from common.scoring.compare import same_bag

MOST_STEPS = 1_000  # of the search for an order of the columns
# How an answer's rows stand to the reference's, by a letter: the first of these that holds.
RELATIONS = {
    "=": "the same rows in the same order",
    "0": "neither returns rows, and the numbers of columns differ",
    "o": "the same rows in another order",
    "d": "the same rows, each another number of times",
    "c": "the same rows with the columns in another order",
    "p": "the same rows in another order, with the columns in another order",
    "~": "the same rows but for the last digits of numbers",
    "x": "other rows",
    "w": "one of the two writes",
    "!": "the answer fails",
    "?": "the reference cannot be scored",
}


def is_same_set(rows: Sequence[Row], others: Sequence[Row]) -> bool:
    """Whether both hold the same rows, however often and in whatever order."""
    return set(rows) == set(others)


def is_same_bag(rows: Sequence[Row], others: Sequence[Row], *, in_order: bool) -> bool:
    """Whether some one order of the columns makes both the same rows, each as often; `in_order`: in the same order."""
    if len(rows) != len(others):
        return False
    if not rows:
        return True
    if len(rows[0]) != len(others[0]):
        return False
    if in_order:  # the columns, from top to bottom, are then the same bag
        return Counter(zip(*rows, strict=True)) == Counter(zip(*others, strict=True))
    return _fits_in_some_order(list(zip(*rows, strict=True)), list(zip(*others, strict=True)))


def _fits_in_some_order(columns: list[tuple], others: list[tuple]) -> bool:
    """Whether columns can be put in an order in which the rows are the same bag as the others'.

    Columns are placed one by one from the left; whatever is placed must be the same bag as the others' first columns.
    """
    targets = [Counter(zip(*others[: place + 1], strict=True)) for place in range(len(others))]
    stack: list[list[int]] = [[]]
    for _ in range(MOST_STEPS):
        if not stack:
            return False
        order = stack.pop()
        if len(order) == len(columns):
            return True
        free = {columns[place]: place for place in range(len(columns)) if place not in order}  # of equal ones the last
        for place in free.values():
            if Counter(zip(*(columns[i] for i in (*order, place)), strict=True)) == targets[len(order)]:
                stack.append([*order, place])
    return False


def relation(ours: Result, theirs: Result) -> str:
    """The letter of RELATIONS for two results of statements that read."""
    rows, others = ours.rows, theirs.rows
    if rows == others:
        return "=" if ours.width == theirs.width else "0"
    if Counter(rows) == Counter(others):
        return "o"
    if is_same_set(rows, others):
        return "d"
    if is_same_bag(rows, others, in_order=True):
        return "c"
    if is_same_bag(rows, others, in_order=False):
        return "p"
    return "~" if same_bag(rows, others) else "x"
