"""One question with its reference; which rows a set holds, and rows that two sets have in common. Loads nothing."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from common.settings import UserError


@dataclass(frozen=True)
class Example:
    """One question with its reference. Statements run in a database built from `schema`, or a copy of `database`."""

    id: str
    question: str
    schema: str
    sql: str
    domain: str = ""
    complexity: str = ""
    task_type: str = ""
    database: Path | None = None


def ids_hash(examples: Iterable[Example]) -> str:
    """First 16 hex digits of the SHA-256 over the ids in order: equal only for the same rows in the same order."""
    return hashlib.sha256("\n".join(example.id for example in examples).encode()).hexdigest()[:16]


def without_leaks(train: Iterable[Example], *held_out: Iterable[Example]) -> tuple[list[Example], int]:
    """The training rows that are in none of the held-out sets, in their order, and how many were dropped.

    Rows are the same by id, or by question, schema and reference: a random split of real data parts such pairs, and the
    held-out row is the one that stays. Raises UserError where no training row remains.
    """
    train, leaks = list(train), _overlap(example for examples in held_out for example in examples)
    rows = [example for example in train if not leaks(example)]
    if train and not rows:
        raise UserError(f"all {len(train)} training rows are also held-out rows; split again")
    return rows, len(train) - len(rows)


def check_no_leak(train: Iterable[Example], held_out: Iterable[Example]) -> None:
    """Raises UserError where a held-out row (by id, or by question, schema and reference) is also trained on."""
    trains = _overlap(train)
    leaks = [example.id for example in held_out if trains(example)]
    if leaks:
        raise UserError(
            f"{len(leaks)} held-out rows are also in the training rows, the first is {leaks[0]}; split again"
        )


def _overlap(examples: Iterable[Example]) -> Callable[[Example], bool]:
    """Tells whether a row is one of these, by its id or by its content."""
    keys = {key for example in examples for key in (example.id, _content(example))}
    return lambda example: example.id in keys or _content(example) in keys


def _content(example: Example) -> tuple[str, str, str]:
    return example.question, example.schema, example.sql
