"""A run's recorded answers judged by every evaluator, one line a row; answers are executed in the sandbox.

Nothing is written here, and no model is needed.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.evaluators import EVALUATORS, RESTATED
from common.evaluators.texts import is_same_text, order_of
from common.rewards.operations import overlap
from common.sandbox.pool import Job, Pool
from common.settings import UserError
from common.statistics import is_right

if TYPE_CHECKING:
    import pandas

    from common.data import Example

_TASK = "common.evaluators.task"
# Roots of the code that `restated` stands on, and what of their imports has no say in it.
MODULES = ("common.evaluators.verdicts", _TASK)
IMMATERIAL = ("common.data", "common.statistics", "common.rewards.functions", "common.rewards.rewards")
RUNS = ("match", "mismatch")  # outcomes of an answer that came to its end
NAMES = ("published_match", "match", "robust_match", "outcome", "completion", "sql")


def verdicts(rows: Sequence[dict], examples: Sequence["Example"], *, workers: int = 2) -> "pandas.DataFrame":
    """One line a row, indexed by (split, id): each of EVALUATORS as True, False or None (a reference that cannot be
    scored), `relation` and `order`, letters of `results.RELATIONS` and `texts.ORDERS`, and `bare`: whether the
    completion is its SQL and no more.

    rows: of a predictions file; examples: theirs, in the same order; workers: processes. Raises UserError where an
    answer that came to its end when it was recorded does not now, SandboxError where our own machinery fails.
    """
    return judged(rows, restated(rows, examples, workers=workers))


def judged(rows: Sequence[dict], table: "pandas.DataFrame") -> "pandas.DataFrame":
    """The columns of `restated` with what the rows of the predictions say themselves, as `verdicts` has it."""
    recorded = {
        "robust": [is_right(row) for row in rows],
        "strict": [row["match"] for row in rows],
        "published": [None if row["match"] is None else row["published_match"] for row in rows],
    }
    table = table.assign(**{name: _objects(values) for name, values in recorded.items()})
    table["bare"] = [row["completion"].strip() == row["sql"].strip() for row in rows]
    return table[[*EVALUATORS, "relation", "order", "bare"]]


def restated(rows: Sequence[dict], examples: Sequence["Example"], *, workers: int = 2) -> "pandas.DataFrame":
    """What the predictions do not say already: RESTATED, `relation` and `order`, indexed and raising as `verdicts`."""
    import pandas

    if [row["id"] for row in rows] != [example.id for example in examples]:
        raise ValueError("the examples are not those of the rows, in their order")
    parts = _compare(rows, examples, workers)
    lines = [_line(row, example, part) for row, example, part in zip(rows, examples, parts, strict=True)]
    index = pandas.MultiIndex.from_tuples([(row["split"], row["id"]) for row in rows], names=["split", "id"])
    columns = [*RESTATED, "relation", "order"]
    return pandas.DataFrame({name: _objects([line[name] for line in lines]) for name in columns}, index=index)


def _objects(values: Sequence[object]) -> list[object]:
    """As a column that keeps True, False and None apart."""
    import numpy

    column = numpy.empty(len(values), dtype=object)
    column[:] = values
    return column


def _compare(rows: Sequence[dict], examples: Sequence["Example"], workers: int) -> list[dict]:
    """What the sandbox says of each row; {} for answers that need not run."""
    numbers = [number for number, row in enumerate(rows) if row["match"] is not None and row["outcome"] in RUNS]
    jobs = [
        Job(
            {"schema": "" if examples[i].database else examples[i].schema, "reference": examples[i].sql},
            [[rows[i]["sql"]]],
            examples[i].database,
        )
        for i in numbers
    ]
    parts: list[dict] = [{} for _ in rows]
    with Pool(_TASK, workers=workers) as pool:
        for number, (part,) in zip(numbers, pool.run(jobs), strict=True):
            parts[number] = part
    return parts


def _line(row: dict, example: "Example", part: dict) -> dict[str, object]:
    order = order_of(example.sql)
    if row["match"] is None:
        return dict.fromkeys(RESTATED) | {"relation": "?", "order": order}
    if not part:
        return dict.fromkeys(RESTATED, False) | {"relation": "!", "order": order}
    if "killed" in part or part["relation"] in "!?":
        why = part.get("detail") or "it was stopped for its running time"
        raise UserError(
            f"the answer to {row['id']} ran when it was recorded and does not now ({why}); rescore the records first"
        )
    rows_agree = {name: row["match"] if part["relation"] == "w" else part[name] for name in ("bag", "set")}
    return rows_agree | {
        "clauses": overlap(row["sql"], example.sql) == 1.0,
        "text": is_same_text(row["sql"], example.sql),
        "relation": part["relation"],
        "order": order,
    }
