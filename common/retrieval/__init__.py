"""The floor that needs no model: the nearest training question's SQL, filled with the names and values of this one.

Questions are compared with their nouns, values and numbers masked, so what is retrieved is a form of query. Its names
and values are then replaced in order of mention. Reads text alone: nothing is executed, nothing is random, and equal
rows give equal answers. Covers whatever SQL the training rows hold; it cannot write a query that none of them has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.data import Example
from common.retrieval.filling import Filling, fill
from common.retrieval.neighbours import Index

__all__ = ["Filling", "Index", "Retrieval", "answer", "answers", "fill", "move", "trace"]
CANDIDATES = 8  # nearest questions that are tried in turn, until one's SQL can be filled as a whole


@dataclass(frozen=True)
class Retrieval:
    """What a record says of a retrieval."""

    train_rows: int
    candidates: int = CANDIDATES


def answers(train: Sequence[Example], examples: Sequence[Example]) -> list[str]:
    """The SQL for each example, from the training rows. Raises UserError where there are no training rows."""
    index = Index(train)
    return [answer(index, example) for example in examples]


def answer(index: Index, example: Example) -> str:
    """The SQL of the nearest training question that can be filled as a whole, else of the nearest one."""
    neighbours = index.nearest(example, CANDIDATES)
    fillings = [move(index, neighbours[0], example)]
    for neighbour in neighbours[1:]:
        if fillings[-1].is_complete:
            return fillings[-1].sql
        fillings.append(move(index, neighbour, example))
    return fillings[-1 if fillings[-1].is_complete else 0].sql


def move(index: Index, neighbour: Example, example: Example) -> Filling:
    """A training row's SQL with the names and values of another question."""
    return fill(index.question(neighbour), neighbour.sql, index.question(example))


def trace(index: Index, example: Example) -> dict[str, str]:
    """How the nearest neighbour becomes an answer, in words for a table."""
    neighbour = index.nearest(example, 1)[0]
    return {
        "question": example.question,
        "masked": " ".join(index.question(example).mask),
        "nearest training question": neighbour.question,
        "its SQL": neighbour.sql,
        "filled": move(index, neighbour, example).sql,
    }
