"""The rows that the scoring bench runs: embedded references with completions that are right, nearly right, or wrong.

A pure function of its arguments. Every row and every prompt of GRPO's shape draws from the same eight kinds of
completion, so that the two shapes differ in nothing but how many completions share a reference. Completions are not a
model's: of a real model more may be right, or longer.
"""

import re
from collections.abc import Sequence
from random import Random

from common.data import Example, load_examples

KINDS = (
    "right",
    "right, in a fence",
    "near miss",
    "second near miss",
    "another row's reference",
    "third row's reference",
    "cut off",
    "prose",
)
SEED = 42
# What turns a reference into a near miss: the first place where the pattern stands is replaced.
_CHANGES = (
    (r" > ", " < "),
    (r" < ", " >= "),
    (r" >= ", " > "),
    (r" <= ", " < "),
    (r" = ", " <> "),
    (r"\bSUM\(", "AVG("),
    (r"\bAVG\(", "SUM("),
    (r"\bMAX\(", "MIN("),
    (r"\bMIN\(", "MAX("),
    (r"\bCOUNT\(\*\)", "COUNT(*) + 1"),
    (r" DESC\b", ""),
    (r"\bLIMIT (\d+)", r"LIMIT 1\1"),
    (r"\bAND\b", "OR"),
    (r"\bDISTINCT ", ""),
    (r"\bLEFT JOIN\b", "JOIN"),
    (r"\bUNION\b(?! ALL)", "UNION ALL"),
    (r" ORDER BY (\w+)", r" ORDER BY \1 DESC"),
    (r" WHERE [^()]*?(?= GROUP| ORDER| LIMIT|;|$)", ""),
    (r"'(\w+)'", r"'\1x'"),
    (r"\b(\d+)\b", r"\g<1>1"),
    (r"^SELECT (\w+)", r"SELECT \1, \1"),
)

Row = dict[str, str]


def examples(size: int) -> list[Example]:
    """The first rows of the test split, and of test_unseen and validation where that has too few."""
    rows: list[Example] = []
    for split, most in (("test", 2_500), ("test_unseen", 2_500), ("validation", 2_500)):
        if len(rows) < size:
            rows += load_examples("embedded", split, limit=min(most, size - len(rows)))
    if len(rows) < size:
        raise ValueError(f"the embedded data have {len(rows)} rows here, {size} were asked for")
    return rows


def near_misses(sql: str) -> list[str]:
    """Texts that differ from a statement in one place, all different."""
    texts = (re.sub(pattern, new, sql, count=1) for pattern, new in _CHANGES)
    return [text for text in dict.fromkeys(texts) if text != sql]


def completions(example: Example, others: Sequence[Example], random: Random) -> list[str]:
    """One completion of each kind, all different."""
    misses = near_misses(example.sql)
    random.shuffle(misses)
    strange = [other.sql for other in random.sample(others, min(len(others), 12)) if other.sql != example.sql]
    texts = [
        example.sql,
        f"```sql\n{example.sql}\n```",
        *(misses + ["SELECT 0", "SELECT 1 WHERE 0"])[:2],
        *(list(dict.fromkeys(strange)) + ["SELECT 2", "SELECT 3"])[:2],
        example.sql[: max(8, len(example.sql) * 2 // 3)],
        f"The table does not say enough to answer the question {example.question}",
    ]
    # A short text cut off may be another of them; every completion of a prompt is to be scored on its own.
    return [text if text not in texts[:place] else f"{text} -- {place}" for place, text in enumerate(texts)]


def independent(rows: Sequence[Example]) -> list[Row]:
    """One completion a reference, the kinds in turn."""
    random = Random(SEED)
    return [_row(e, completions(e, rows, random)[place % len(KINDS)]) for place, e in enumerate(rows)]


def groups(rows: Sequence[Example]) -> list[Row]:
    """A completion of every kind for each reference, as GRPO asks for with eight generations."""
    random = Random(SEED)
    return [_row(example, text) for example in rows for text in completions(example, rows, random)]


def _row(example: Example, completion: str) -> Row:
    return {"schema": example.schema, "reference": example.sql, "prediction": completion}


def many(rows: Sequence[Row], size: int):
    """Yield `size` rows made of the given ones over and over; a comment in the schema keeps equal rows apart.

    Without it the scorer would score equal rows once, and share a database between those of one schema.
    """
    for place in range(size):
        row = rows[place % len(rows)]
        yield {**row, "schema": f"{row['schema']}\n-- {place // len(rows)}"}
