"""Whether rows would match but for the order of their columns: looked for where they do not match as they are."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice

from common.sandbox.statements import Row
from common.scoring.compare import is_contained
from common.scoring.pairing import PairingBudget

MOST_COLUMNS = 12
MOST_COMPARISONS = 50_000  # of values, each column with each
MOST_ORDERS = 12  # that are tried in full
MOST_STEPS = 500  # towards them


def fit_in_another_order(
    rows: Sequence[Row], candidates: Sequence[Row], fits: Callable[[list[Row]], bool], budget: PairingBudget
) -> bool:
    """Whether some order of the columns makes the rows fit.

    candidates: rows of the reference, of which a match holds some or all; what each column may hold is tried first.
    """
    width = len(rows[0]) if rows else 0
    if not 2 <= width <= MOST_COLUMNS or width * width * len(candidates) > MOST_COMPARISONS:
        return False
    ours = list(zip(*rows, strict=True))
    theirs = list(zip(*candidates, strict=True))

    @cache
    def may_stand(source: int, place: int) -> bool:
        return is_contained([(value,) for value in ours[source]], [(value,) for value in theirs[place]], budget)

    places = range(len(theirs))
    strangers = [place for place in places if not may_stand(place, place)]
    if not all(any(may_stand(source, place) for source in places) for place in strangers):
        return False
    choices = [[source for source in places if may_stand(source, place)] for place in places]
    return any(
        order != list(places) and fits([tuple([row[i] for i in order]) for row in rows])
        for order in islice(_orders(choices, ours), MOST_ORDERS)
    )


def _orders(choices: list[list[int]], columns: list[tuple]) -> Iterator[list[int]]:
    """Ways to give each place a column of its own; of columns that are alike the first one left is taken."""
    stack: list[list[int]] = [[]]
    for _ in range(MOST_STEPS):
        if not stack:
            return
        order = stack.pop()
        if len(order) == len(choices):
            yield order
            continue
        contents: list[tuple] = []
        for source in choices[len(order)]:
            if source not in order and columns[source] not in contents:
                contents.append(columns[source])
                stack.append([*order, source])
