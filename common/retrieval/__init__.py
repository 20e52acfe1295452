"""The floor that needs no model: the nearest training question's SQL, filled with the names and values of this one.

Questions are compared with their nouns, values and numbers masked, so what is retrieved is a form of query. Its names
and values are then replaced in order of mention. Reads text alone: nothing is executed, nothing is random, and equal
rows give equal answers. Covers whatever SQL the training rows hold; it cannot write a query that none of them has.
"""

import time
from collections.abc import Sequence

from common.completions import Answer
from common.data import Example
from common.retrieval.filling import fill
from common.retrieval.neighbours import Index

__all__ = ["Index", "answers", "fill"]
CANDIDATES = 8  # nearest questions that are tried in turn, until one's SQL can be filled as a whole


def answers(train: Sequence[Example], examples: Sequence[Example]) -> list[Answer]:
    """An answer for each example, from the training rows. Its `new_tokens` are 0: nothing was generated.

    Raises UserError where there are no training rows.
    """
    index = Index(train)
    completions = []
    for example in examples:
        start = time.perf_counter()
        text = _answer(index, example)
        completions.append(Answer(text, 0, time.perf_counter() - start))
    return completions


def _answer(index: Index, example: Example) -> str:
    target = index.question(example)
    neighbours = index.nearest(example, CANDIDATES)
    fillings = (fill(index.question(neighbour), neighbour.sql, target) for neighbour in neighbours)
    first = None
    for filling in fillings:
        if filling.is_complete:
            return filling.sql
        first = first or filling
    return first.sql
