"""A folder of small records as `common.results explorer` finds them: real rows, real verdicts, made-up answers.

Also pages of any number of rows, made without running anything, for what a browser does with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import results
from common.data import Example, load_examples
from common.execution import Batch, execute
from common.extraction import extract_sql
from common.results.sections import prompt_hash, scorer_digest, scoring
from common.scoring import Scorer
from tests.unit.records import record

DATABASES = 4
HOSTILE = 'SELECT \'<script>window.hacked = true</script><img src=x onerror="window.hacked = true">\' AS "<b>x</b>"'
ENDING = "</script><script>window.hacked = true</script> {{script}} $& <!-- SELEC"
LIMITS = {"test": 6, "test_unseen": 2}


def examples() -> list[Example]:
    """Some rows of two splits."""
    return [example for split, n in LIMITS.items() for example in load_examples("embedded", split, limit=n)]


def constants(example: Example) -> str:
    """The reference's rows written out: right on the given database, and on no other."""
    [(_, [result])] = execute([Batch(example.schema, [example.sql])], workers=1)
    [table] = result["tables"]

    def literal(cell: None | str | list[str]) -> str:
        return "NULL" if cell is None else cell[0] if isinstance(cell, list) else f"'{cell}'"

    rows = (", ".join(map(literal, row)) for row in table["rows"])
    return " UNION ALL ".join(f"SELECT {row}" for row in rows)


def write(place: Path, answers: dict[str, Callable[[int, Example], str]], *, databases: int = DATABASES) -> None:
    """A record of each method, whose answers a function of a row's number and its example gives."""
    rows = examples()
    splits = [split for split, n in LIMITS.items() for _ in range(n)]
    for method, answer in answers.items():
        completions = [answer(number, example) for number, example in enumerate(rows)]
        with Scorer(workers=1, databases=databases) as scorer:
            verdicts = scorer.score_batch(list(zip(rows, completions, strict=True)))
        lines = [
            {
                **{"id": example.id, "split": split, "complexity": example.complexity, "task_type": example.task_type},
                **{"completion": completion, "sql": extract_sql(completion), "new_tokens": 1, **asdict(verdict)},
            }
            for example, split, completion, verdict in zip(rows, splits, completions, verdicts, strict=True)
        ]
        changes = {"scoring": asdict(scoring(databases)), "code": {"scorer_digest": scorer_digest()}}
        values = record(method, lines, **changes)
        for split, section in (("test", values["data"]), *values["splits"].items()):
            section["prompt_hash"] = prompt_hash([e for e, name in zip(rows, splits, strict=True) if name == split])
        results.write_record(place, values, lines)


def made_up(questions: int, methods: Sequence[str]) -> dict[str, Any]:
    """A page's contents with so many questions; every third answer is wrong, and another one for each method."""
    table = {"columns": ["n"], "rows": [[["1"]]], "total": 1, "width": 1}
    return {
        "profile": "cpu",
        "databases": 0,
        "limits": {"rows": 50, "columns": 30, "characters": 200},
        "outcomes": {"match": "the same result", "mismatch": "another result"},
        "methods": [{"name": name, "model": "m/small", "kind": "baselines", "right": "–"} for name in methods],
        "schemas": [{"sql": "CREATE TABLE t (n INT)", "database": {"tables": [{"name": "t", **table}]}}],
        "questions": [
            {
                **{
                    "id": f"test-{i:05}",
                    "split": "test",
                    "complexity": ("basic SQL", "CTEs")[i % 2],
                    "task": "reading",
                },
                **{"domain": "sums", "question": f"What is {i} plus one?", "schema": 0, "sql": f"SELECT {i} + 1"},
                **{"result": 0, "results": [{"tables": [table]}], "given": list(range(len(methods)))},
                "answers": [
                    {
                        "completion": f"SELECT {i} -- {name}",
                        "outcome": "mismatch" if (i + place) % 3 == 0 else "match",
                        "verdicts": "nn-" if (i + place) % 3 == 0 else "yy-",
                        "scores": [1, 1, 1],
                        "result": 0,
                    }
                    for place, name in enumerate(methods)
                ],
            }
            for i in range(questions)
        ],
    }
