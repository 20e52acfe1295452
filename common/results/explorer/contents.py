"""What a page holds, as one JSON value: runs, schemas, questions, answers, results. Equal ones of a question once."""

import json
from collections.abc import Sequence
from typing import Any

from common.execution.cells import MOST_CHARACTERS, MOST_COLUMNS, MOST_ROWS
from common.results.entries import Entry
from common.results.explorer.databases import Result, on_generated, on_given, ran, refusal
from common.results.explorer.selection import Question
from common.results.formats import OUTCOMES, interval

_VERDICTS = ("published_match", "match", "robust_match")
_LETTERS = {True: "y", False: "n", None: "-"}
_SCORES = ("score", "published_score", "rouge_l")
Runs = dict[str, Result]  # by SQL


def contents(entries: Sequence[Entry], questions: Sequence[Question], *, workers: int) -> dict[str, Any]:
    """`methods`, `schemas` and `questions`, with the words for `outcomes` and the `limits` of what is shown.

    A question has `results` (`common.execution`), to which its own `result` and those of its `answers` point; `given`
    is the place of each method's answer among these. An answer's `verdicts` are three letters, published, strict and
    robust: y, n or - for none. Left out is what is empty, and an answer's `sql` where the completion is nothing else.
    """
    first = entries[0].record
    given = on_given(questions, workers=workers)
    generated = on_generated(questions, first["scoring"], workers=workers)
    places = {schema: place for place, schema in enumerate(given)}
    return {
        "profile": first["profile"],
        "databases": first["scoring"]["databases"],
        "limits": {"rows": MOST_ROWS, "columns": MOST_COLUMNS, "characters": MOST_CHARACTERS},
        "outcomes": OUTCOMES,
        "methods": [
            {
                "name": entry.method,
                "model": entry.record["model"]["id"],
                "kind": entry.kind,
                "right": interval(entry.record["metrics"]["right"]),
            }
            for entry in entries
        ],
        "schemas": [{"sql": schema, "database": database} for schema, (database, _) in given.items()],
        "questions": [
            _question(question, places[question.example.schema], given[question.example.schema][1], generated)
            for question in questions
        ],
    }


class _Results:
    """The different results of a question, in the order in which they are asked for."""

    def __init__(self) -> None:
        self.values: list[Result] = []
        self._places: dict[str, int] = {}

    def place(self, result: Result) -> int:
        key = json.dumps(result, sort_keys=True)
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(result)
        return self._places[key]


def _question(question: Question, schema: int, runs: Runs, generated: dict[tuple[str, int], tuple]) -> dict[str, Any]:
    example, results = question.example, _Results()
    line = {
        "id": example.id,
        "split": question.split,
        "complexity": example.complexity,
        "task": example.task_type,
        "domain": example.domain,
        "question": example.question,
        "schema": schema,
        "sql": example.sql,
        "result": results.place(runs[example.sql]),
    }
    line["answers"] = [_answer(answer, runs, results) for answer in question.answers]
    others = {}
    for place, answer in enumerate(question.answers):
        number = refusal(answer)
        if (example.id, number) in generated:
            database, other_runs = generated[example.id, number]
            others[number] = {"database": database, "result": results.place(other_runs[example.sql])}
            line["answers"][place]["refusal"] = {"number": number, "result": results.place(other_runs[answer["sql"]])}
    if others:
        line["generated"] = others
    return line | {"given": list(question.given), "results": results.values}


def _answer(answer: dict, runs: Runs, results: _Results) -> dict[str, Any]:
    line = {
        "completion": answer["completion"],
        "outcome": answer["outcome"],
        "verdicts": "".join(_LETTERS[answer[name]] for name in _VERDICTS),
        "scores": [round(answer[name], 3) for name in _SCORES],
    }
    if answer["sql"] != answer["completion"]:
        line["sql"] = answer["sql"]
    if answer["detail"]:
        line["detail"] = answer["detail"]
    if answer["both_empty"]:
        line["empty"] = True
    if ran(answer):
        line["result"] = results.place(runs[answer["sql"]])
    return line
