"""Which verdicts differ on which answers, and what the difference comes from, read off what is recorded of a row.

A row has one kind: the first that explains it. Nothing is executed here.
"""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from common.evaluators import EVALUATORS
from common.results.evaluators.ranking import REFERENCE

if TYPE_CHECKING:
    import pandas

OTHER = "something else"
# An answer that the evaluator accepts and `robust` refuses.
LENIENT = {
    "luck": "right on the given database only",
    "write": "one of the two writes, and neither returns rows",
    "after": "it fails by itself, and runs after the reference's change",
    "words": "the words agree and the rows do not",
    "empty": "neither returns rows, and the numbers of columns differ",
    "duplicates": "the same rows, each another number of times",
    "order": "the same rows in another order than the reference asks for",
    "columns": "the same rows with the columns in another order",
    "other": OTHER,
}
# An answer that it refuses and `robust` accepts.
STRICT = {
    "prose": "prose or a fence around the statement",
    "after": "a change that cannot be made a second time, after the reference's",
    "words": "the same rows in other words",
    "ties": "rows that tie under the reference's ORDER BY",
    "inner": "rows in another order, where only a subquery or a window of the reference orders",
    "order": "rows in another order, where the reference does not order",
    "digits": "the last digits of numbers",
    "other": OTHER,
}
_WORDS = ("clauses", "text")
_RELATIONS = {"w": "write", "0": "empty", "d": "duplicates", "o": "order", "c": "columns", "p": "columns"}
_ORDERS = {"o": "ties", "i": "inner", "-": "order"}


def disagreements(tables: "Mapping[str, pandas.DataFrame]") -> dict[str, dict[str, int]]:
    """How many answers of all methods and splits the first evaluator accepts and the second refuses."""
    accepted = {name: _column(tables, name, True) for name in EVALUATORS}
    refused = {name: _column(tables, name, False) for name in EVALUATORS}
    return {
        one: {other: sum(a and r for a, r in zip(accepted[one], refused[other], strict=True)) for other in EVALUATORS}
        for one in EVALUATORS
    }


def _column(tables: "Mapping[str, pandas.DataFrame]", name: str, value: bool) -> list[bool]:
    return [verdict is value for table in tables.values() for verdict in table[name]]


def count_kinds(tables: "Mapping[str, pandas.DataFrame]", evaluator: str) -> tuple[Counter, Counter]:
    """Of all methods' answers, by kind: those that the evaluator accepts and REFERENCE refuses (LENIENT), and those
    that it refuses and REFERENCE accepts (STRICT)."""
    lenient, strict = Counter(), Counter()
    for table in tables.values():
        facts = zip(
            *(table[name] for name in (evaluator, REFERENCE, "strict", "relation", "order", "bare")), strict=True
        )
        for verdict, robust, match, relation, order, bare in facts:
            if verdict is True and robust is False:
                lenient[lenient_kind(evaluator, match=match, relation=relation)] += 1
            elif verdict is False and robust is True:
                strict[strict_kind(evaluator, relation=relation, order=order, bare=bare)] += 1
    return lenient, strict


def lenient_kind(evaluator: str, *, match: bool, relation: str) -> str:
    """Why an evaluator accepts what REFERENCE refuses, a key of LENIENT. match: the strict verdict."""
    if match:
        return "luck"
    if evaluator in _WORDS:
        return "words"
    if evaluator == "published" and relation == "!":  # it runs both on one database
        return "after"
    return _RELATIONS.get(relation, "other")


def strict_kind(evaluator: str, *, relation: str, order: str, bare: bool) -> str:
    """Why an evaluator refuses what REFERENCE accepts, a key of STRICT. bare: the completion is its SQL and no more."""
    if evaluator == "published" and not bare:
        return "prose"
    if evaluator == "published" and relation == "w":
        return "after"
    if evaluator in _WORDS:
        return "words"
    if relation == "~":
        return "digits"
    # A block of ties that LIMIT cuts may hold other rows.
    return _ORDERS[order] if relation == "o" or (relation == "x" and order == "o") else "other"
