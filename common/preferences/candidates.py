"""Candidates: completions that may become one side of a preference pair, and where each comes from.

Three sources give them: a large model behind Groq's service (`remote`), near misses of the reference (`mutated`,
here), and samples of the model that is to be trained (`sampled`). None of them is trusted: `certification` says which
are right and which are wrong. Nothing is executed here.
"""

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from common.data import Example
from common.mutations import Neighbour, neighbours

REFERENCE, MUTATION, SAMPLED, GROQ = SOURCES = ("reference", "mutation", "sampled", "groq")

_STRINGS = re.compile(r"""('[^']*'|"[^"]*"|`[^`]*`)""")
_SPACE = re.compile(r"\s+")
# What the parser writes in a changed statement and no reference in its style has: a mark that would tell near misses.
_MARKS = ("<>", "NOT ")


@dataclass(frozen=True)
class Candidate:
    """A completion to an example's question.

    example: the example's id. completion: as the source gave it, fences and reasoning included. source: one of
    SOURCES. origin: what in the source made it: a mutation's operator, a model's name.
    """

    example: str
    completion: str
    source: str
    origin: str = ""


def mutated(examples: Sequence[Example], *, most: int, seed: int) -> list[Candidate]:
    """Near misses of each reference, at most `most` an example, of as many operators as there are, drawn by `seed`.

    Some of them mean the same as the reference, and some do not run. There are none where the parser writes the
    reference itself otherwise (another case, `<>` for `!=`), and none with a mark of the parser's: these could be told
    by their style. The draw for one example depends on the seed and its id alone.
    """
    return [
        Candidate(example.id, miss.sql, MUTATION, miss.operator)
        for example in examples
        for miss in _drawn(example, most, seed)
    ]


def normal(sql: str) -> str:
    """A statement without what never matters: white space outside of strings, and a semicolon at its end. Case stays,
    since it matters in strings."""
    parts = _STRINGS.split(sql)
    parts[::2] = [_SPACE.sub(" ", part) for part in parts[::2]]
    return "".join(parts).strip().rstrip("; ")


def is_rendering(sql: str) -> bool:
    """Whether the parser writes a statement as it stands."""
    import sqlglot

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of what it cannot parse
    with suppress(Exception):  # sqlglot's own errors are not all it raises on odd texts
        trees = sqlglot.parse(sql, dialect="sqlite")
        return "; ".join(tree.sql(dialect="sqlite", comments=False) for tree in trees if tree) == normal(sql)
    return False


def _drawn(example: Example, most: int, seed: int) -> list[Neighbour]:
    if not is_rendering(example.sql):
        return []
    random = Random(f"{seed}:{example.id}")
    by_operator: dict[str, list[Neighbour]] = {}
    for miss in neighbours(example.sql):
        if any(mark in miss.sql and mark not in example.sql for mark in _MARKS):
            continue
        by_operator.setdefault(miss.operator, []).append(miss)
    for misses in by_operator.values():
        random.shuffle(misses)
    groups = list(by_operator.values())
    random.shuffle(groups)
    rounds = max(map(len, groups), default=0)
    return [group[turn] for turn in range(rounds) for group in groups if turn < len(group)][:most]
