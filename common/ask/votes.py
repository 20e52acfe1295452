"""Answers held against each other: those whose results are equal are votes for the same one.

The share of votes is the confidence. It says how sure the model is, not whether it is right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.execution import Execution
from common.scoring.compare import same_bag, same_sequence


@dataclass(frozen=True)
class Answer:
    """A statement and what became of it. votes: of the greedy answer and the samples, those with this result; of:
    their number. others: statements with other results and their votes, the most first. cut: how many of them broke off
    in their statement, at the limit of tokens; such a one has no vote, since its end may say something else."""

    sql: str
    execution: Execution
    votes: int = 1
    of: int = 1
    others: tuple[tuple[str, int], ...] = ()
    cut: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether this statement itself broke off."""
        return not self.votes

    @property
    def agreement(self) -> float:
        """The share of votes, from 0 to 1."""
        return self.votes / self.of


def elected(answers: Sequence[tuple[str, Execution]]) -> Answer:
    """The answer with the most votes, the earlier one of two. An answer that fails or writes is elected only where all
    do; equal results are equal rows, in any order unless both statements have ORDER BY."""
    groups: list[list[tuple[str, Execution]]] = []
    for answer in answers:
        group = next((each for each in groups if _agree(each[0], answer)), None)
        groups.append([answer]) if group is None else group.append(answer)
    ranked = sorted(groups, key=lambda group: (_rank(group[0][1]), -len(group)))
    best = ranked[0]
    others = tuple((group[0][0], len(group)) for group in sorted(ranked[1:], key=len, reverse=True))
    return Answer(*best[0], votes=len(best), of=len(answers), others=others)


def _rank(execution: Execution) -> int:
    return 2 if execution.outcome else int(execution.writes)


def _agree(one: tuple[str, Execution], other: tuple[str, Execution]) -> bool:
    (sql, left), (text, right) = one, other
    if sql == text:
        return True
    if left.outcome or right.outcome or left.writes != right.writes or len(left.tables) != len(right.tables):
        return False
    ordered = all("order by" in each.lower() for each in (sql, text))
    same: Callable[..., bool] = same_sequence if ordered else same_bag
    returned = zip(left.tables, right.tables, strict=True)
    return left.changes == right.changes and all(
        len(a.columns) == len(b.columns) and a.count == b.count and same(a.rows, b.rows) for a, b in returned
    )
