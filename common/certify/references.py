"""References that cannot be scored, or that tell right from wrong badly: one line an example, and how many of each.

A reference runs in the sandbox under the scorer's rules (frozen clock, seeded random(), step budget). Use of the clock
is told by its words, everything else by what it did. Not covered: whether it answers its question, and columns whose
default is the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas

from common.sandbox.pool import Job, Pool
from common.sandbox.statements import TOKEN
from common.statistics import mean_interval

if TYPE_CHECKING:
    from common.data import Example

_CLOCK_WORDS = frozenset({"current_timestamp", "current_date", "current_time"})
# Date functions, and how many arguments they take before their time value; without it they take the clock's.
_DATE_FUNCTIONS = {"date": 0, "time": 0, "datetime": 0, "julianday": 0, "unixepoch": 0, "strftime": 1}

# Flag: (what it says, its words in a table). Shares are over all examples.
FLAGS = {
    "schema_invalid": "schema does not load",
    "no_schema_rows": "schema without rows",
    "fails": "reference fails",
    "nondeterministic": "result depends on random()",
    "clock": "reads the clock",
    "writes": "changes the database",
    "empty": "query that returns no rows",
    "one_row": "query that returns one row",
    "all_null": "query that returns nothing but NULL",
    "ties": "ORDER BY with ties",
    "cut": "LIMIT cuts a tie",
    "unordered": "LIMIT without ORDER BY",
}


def look(examples: Sequence[Example], *, workers: int = 2) -> pandas.DataFrame:
    """One line an example, indexed by id: outcome, detail, rows, columns, and a boolean for each of FLAGS.

    outcome: `runs`, `reference_error`, `reference_nondeterministic`, `schema_invalid`, or `timeout` where the worker
    had to be stopped. rows, columns: of what was returned, 0 where it does not run. Raises SandboxError where our own
    machinery fails, never for anything in a text.
    """
    parts = parts_of(examples, workers=workers)
    lines = [_line(example, part) for example, part in zip(examples, parts, strict=True)]
    return pandas.DataFrame(lines, index=pandas.Index([example.id for example in examples], name="id"))


def parts_of(examples: Sequence[Example], *, workers: int = 2) -> list[dict]:
    """What `probe` says of each reference, in order; `{"killed": stage}` with what came before where it was stopped."""
    groups: dict[tuple, list[int]] = {}
    for number, example in enumerate(examples):
        key = (example.database, "" if example.database else example.schema)
        groups.setdefault(key, []).append(number)
    jobs = [
        Job({"schema": schema}, [[examples[number].sql] for number in numbers], file)
        for (file, schema), numbers in groups.items()
    ]
    pool = Pool("common.certify.probe", workers=workers)
    try:
        results = pool.run(jobs)
    finally:
        pool.close()
    order = [number for numbers in groups.values() for number in numbers]
    by_number = dict(zip(order, (parts for answers in results for parts in answers), strict=True))
    return [by_number[number] for number in range(len(examples))]


def summary(table: pandas.DataFrame) -> pandas.DataFrame:
    """How many examples have each flag, with the share and its interval; indexed by the flag's words."""
    lines = {}
    for flag, words in FLAGS.items():
        share = mean_interval([bool(value) for value in table[flag]])
        lines[words] = {"n": int(table[flag].sum()), "share": share.value}
        lines[words] |= {"share_low": share.low, "share_high": share.high}
    return pandas.DataFrame.from_dict(lines, orient="index")


def uses_clock(sql: str) -> bool:
    """Whether a text asks for the present: CURRENT_DATE and its kin, 'now', or a date function without a time value."""
    tokens = [t.group() for t in TOKEN.finditer(sql) if t.lastgroup not in ("comment", "space")]
    for place, text in enumerate(tokens):
        word = text.lower()
        if word in _CLOCK_WORDS or word in ("'now'", '"now"'):
            return True
        if word in _DATE_FUNCTIONS and tokens[place + 1 : place + 2] == ["("]:
            arguments = 0 if tokens[place + 2 : place + 3] == [")"] else 1 + _commas(tokens, place + 2)
            if arguments == _DATE_FUNCTIONS[word]:
                return True
    return False


def _commas(tokens: Sequence[str], start: int) -> int:
    """Commas up to the bracket that closes, not those within other brackets."""
    depth = commas = 0
    for text in tokens[start:]:
        if text == ")" and not depth:
            return commas
        depth += {"(": 1, ")": -1}.get(text, 0)
        commas += text == "," and not depth
    return commas


def _line(example: Example, parts: dict) -> dict:
    is_killed = "killed" in parts
    outcome = parts["outcome"] if not is_killed else "schema_invalid" if parts["killed"] == "schema" else "timeout"
    query = outcome == "runs" and not parts["writes"]
    rows = parts.get("rows", 0)
    return {
        "outcome": outcome,
        "detail": "stopped for its running time" if is_killed else parts["detail"],
        "rows": rows,
        "columns": parts.get("columns", 0),
        "schema_invalid": outcome == "schema_invalid",
        "no_schema_rows": outcome != "schema_invalid" and not parts.get("schema_rows", False),
        "fails": outcome in ("reference_error", "timeout"),
        "nondeterministic": outcome == "reference_nondeterministic",
        "clock": uses_clock(example.sql),
        "writes": bool(parts.get("writes", False)),
        "empty": query and rows == 0,
        "one_row": query and rows == 1,
        "all_null": query and bool(parts.get("all_null", False)),
        "ties": bool(parts.get("ties", False)),
        "cut": bool(parts.get("cut", False)),
        "unordered": bool(parts.get("unordered", False)),
    }
