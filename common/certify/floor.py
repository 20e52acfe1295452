"""The floor of a data set: what a constant answer scores, the same text whatever is asked.

A verdict that a constant answer passes often says little where a model passes it. Not covered: answers that look at
the question.
"""

import re
from collections.abc import Sequence

import pandas

from common.data import Example
from common.scoring import Scorer
from common.statistics import mean_interval

_TABLE = re.compile(
    r"""\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?("[^"]+"|`[^`]+`|\[[^\]]+\]|[\w$]+)""", re.IGNORECASE
)
# {table}: the first table of the schema.
ANSWERS = (
    "",
    "SELECT 1",
    "SELECT 0",
    "SELECT NULL",
    "SELECT 1 WHERE 0",
    "SELECT COUNT(*) FROM {table}",
    "SELECT * FROM {table}",
    "DELETE FROM {table}",
)
VERDICTS = ("published_match", "published_score", "match", "robust_match", "score")


def first_table(schema: str) -> str:
    """The name of the first table that a schema makes, as it is written there; '' without one."""
    match = _TABLE.search(schema)
    return match[1] if match else ""


def floor(examples: Sequence[Example], scorer: Scorer) -> pandas.DataFrame:
    """One line an answer of ANSWERS, the highest score first: each verdict's mean with its interval, and their n.

    Strict, robust and hybrid means are over references that can be scored, published ones over all; `robust_match` is
    empty for a scorer without generated databases. Columns: `<verdict>`, `<verdict>_low`, `<verdict>_high`, n,
    scorable.
    """
    texts = [(answer, example) for answer in ANSWERS for example in examples]
    completions = [(example, answer.format(table=first_table(example.schema))) for answer, example in texts]
    verdicts = scorer.score_batch(completions)
    lines = {}
    for number, answer in enumerate(ANSWERS):
        answers = verdicts[number * len(examples) : (number + 1) * len(examples)]
        scorable = [verdict for verdict in answers if verdict.match is not None]
        line = {"n": len(answers), "scorable": len(scorable)}
        for name in VERDICTS:
            group = answers if name.startswith("published") else scorable
            values = [getattr(verdict, name) for verdict in group]
            interval = mean_interval([value for value in values if value is not None])
            line |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        lines[answer.format(table="<first table>") or "(nothing)"] = line
    table = pandas.DataFrame.from_dict(lines, orient="index")
    return table.sort_values(["published_score", "match"], ascending=False, kind="stable")
