"""What references and answers return and change: on the given database, and on the generated one that refuses them."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from common.data import Example
from common.execution import Batch, execute
from common.results.explorer.selection import Question
from common.sandbox import Job, Pool
from common.settings import UserError

_RUNS = ("match", "mismatch")  # outcomes of what came to its end; the others have the scorer's reason and no rows
_REFUSAL = re.compile(r"on generated database (\d+): ")
_JUDGE = "common.scoring.judge"
Result = dict[str, Any]  # see `common.execution.execute`


def on_given(questions: Sequence[Question], *, workers: int) -> dict[str, tuple[Result, dict[str, Result]]]:
    """By schema its tables, and the results of references and answers by their SQL."""
    statements: dict[str, dict[str, None]] = {}
    for question in questions:
        texts = statements.setdefault(question.example.schema, {})
        texts |= {question.example.sql: None} | {answer["sql"]: None for answer in question.answers if ran(answer)}
    results = execute([Batch(schema, list(texts)) for schema, texts in statements.items()], workers=workers)
    return {
        schema: (given, dict(zip(texts, parts, strict=True)))
        for (schema, texts), (given, parts) in zip(statements.items(), results, strict=True)
    }


def on_generated(
    questions: Iterable[Question], scoring: dict[str, Any], *, workers: int
) -> dict[tuple[str, int], tuple[Result, dict[str, Result]]]:
    """The same by question's id and number of a generated database, of those that refuse an answer. scoring: the
    records' section."""
    refusals: dict[tuple[Example, int], list[str]] = {}
    for question in questions:
        for answer in question.answers:
            if number := refusal(answer):
                refusals.setdefault((question.example, number), []).append(answer["sql"])
    examples = list(dict.fromkeys(example for example, _ in refusals))
    suites = dict(zip(examples, _suites(examples, scoring, workers=workers), strict=True))
    batches = {
        (example.id, number): Batch(example.schema, [example.sql, *texts], suites[example][number - 1])
        for (example, number), texts in refusals.items()
    }
    results = execute(list(batches.values()), workers=workers)
    return {
        key: (given, dict(zip(batch.statements, parts, strict=True)))
        for (key, batch), (given, parts) in zip(batches.items(), results, strict=True)
    }


def ran(answer: dict) -> bool:
    """Whether an answer came to its end on the given database."""
    return answer["outcome"] in _RUNS


def refusal(answer: dict) -> int:
    """The number, from 1, of the generated database that refuses an answer; 0 where none does."""
    if not answer["match"] or answer["robust_match"] is not False:
        return 0
    number = _REFUSAL.match(answer["detail"])
    return int(number[1]) if number else 0


def _suites(examples: Sequence[Example], scoring: dict[str, Any], *, workers: int) -> list[list[str]]:
    """The generated databases of each example's reference, as the scorer makes them: a function of these alone."""
    suite = {"number": scoring["databases"], "generator": scoring["generator"], "seed": scoring["seed"]}
    jobs = [Job({"schema": example.schema, "reference": example.sql, "make": suite}, [[]]) for example in examples]
    with Pool(_JUDGE, workers=workers) as pool:
        parts = [part for (part,) in pool.run(jobs)]
    if not all("suite" in part for part in parts):
        raise UserError("generated databases could not be made in their time; write the page on a machine that is idle")
    return [part["suite"] for part in parts]
