"""The module for `evaluate`: the Scorer's numbers, loading by a path without a hub, refusals in one line."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from common.data import load_examples
from common.metric.metric import TextToSql
from common.scoring import Scorer
from common.settings import UserError

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2)"
RIGHT = {"predictions": ["SELECT a FROM t"], "references": ["SELECT a FROM t"], "schemas": [SCHEMA]}


@pytest.fixture
def metric(tmp_path) -> TextToSql:
    return TextToSql(cache_dir=str(tmp_path))


@pytest.fixture(scope="module")
def columns() -> dict[str, list[str]]:
    """Fifty rows: right, right in a fence, another row's reference, cut off, empty; two of them cannot be scored."""
    examples = load_examples("embedded", "test", limit=50)
    references = [example.sql for example in examples]
    predictions = [
        (sql, f"Here:\n```sql\n{sql}\n```", references[i - 7], sql[: len(sql) // 2], "")[i % 5]
        for i, sql in enumerate(references)
    ]
    schemas = [example.schema for example in examples]
    references[3], schemas[15] = "SELECT nothing FROM nowhere", "CREATE TABLE ("
    return {"predictions": predictions, "references": references, "schemas": schemas}


@pytest.fixture(scope="module")
def verdicts(columns):
    rows = [
        {"schema": s, "reference": r, "prediction": p}
        for p, r, s in zip(*(columns[name] for name in ("predictions", "references", "schemas")), strict=True)
    ]
    with Scorer(workers=1) as scorer:
        return scorer.score_batch(rows)


def mean(values):
    values = list(values)
    return pytest.approx(sum(values) / len(values), abs=1e-12)


def expected(verdicts) -> dict:
    scorable = [v for v in verdicts if v.match is not None]
    return {
        "match": mean(v.match for v in scorable),
        "right": mean(v.match for v in scorable),
        "score": mean(v.score for v in scorable),
        "published_score": mean(v.published_score for v in verdicts),
        "published_match": mean(v.published_match for v in verdicts),
        "robust_match": None,
        "rouge_l": mean(v.rouge_l for v in verdicts),
        "scorable": 48 / 50,
        "n": 50,
    }


def test_the_numbers_are_the_scorers(metric, columns, verdicts):
    assert {True, False, None} == {v.match for v in verdicts}
    assert {v.published_match for v in verdicts if v.match} == {True, False}
    result = metric.compute(**columns, rows=True)
    assert [row["outcome"] for row in result["rows"]] == [v.outcome for v in verdicts]
    assert [row["score"] for row in result.pop("rows")] == [v.score for v in verdicts]
    assert result == expected(verdicts)
    assert 0.2 < result["match"] < 0.8  # or the mix says nothing


def test_rows_added_one_by_one_and_in_batches_count_the_same(metric, columns, verdicts):
    first = {name: column[0] for name, column in columns.items()}
    metric.add(prediction=first["predictions"], reference=first["references"], schema=first["schemas"])
    metric.add_batch(**{name: column[1:20] for name, column in columns.items()})
    metric.add_batch(**{name: column[20:] for name, column in columns.items()})
    assert metric.compute(workers=1) == expected(verdicts)


def test_robust_matches_are_counted_where_asked_for(metric):
    schema = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (5)"
    predictions = ["SELECT a FROM t WHERE a > 2", "SELECT a FROM t WHERE a >= 5", "SELECT a FROM t"]
    columns = {"predictions": predictions, "references": predictions[:1] * 3, "schemas": [schema] * 3}
    strict, robust = metric.compute(**columns), metric.compute(**columns, robust_databases=4)
    assert (strict["match"], strict["robust_match"]) == (pytest.approx(2 / 3), None)
    assert (robust["match"], robust["robust_match"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert robust["score"] < strict["score"]  # the lucky one no longer counts as right


def test_a_row_may_have_a_database_of_its_own(metric, tmp_path):
    path = tmp_path / "d.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE u (b); INSERT INTO u VALUES (3)")
    connection.close()
    columns = {
        "predictions": ["SELECT 3", "SELECT 1 UNION SELECT 2"],
        "references": ["SELECT b FROM u", *RIGHT["references"]],
    }
    result = metric.compute(**columns, schemas=["", SCHEMA], databases=[path, None])
    assert (result["match"], result["scorable"]) == (1.0, 1.0)
    metric.add_batch(**columns, schemas=["", SCHEMA])
    assert metric.compute(databases=[str(path), None]) == result


def test_without_a_scorable_row_there_is_no_mean(metric):
    result = metric.compute(**RIGHT | {"references": ["SELECT x FROM nowhere"]})
    assert (result["match"], result["score"], result["scorable"], result["n"]) == (None, None, 0.0, 1)


@pytest.mark.parametrize(
    "wrong, why",
    [
        ({"schemas": None}, "schemas is missing"),
        ({"predictions": "SELECT 1"}, "predictions is a str; give a list"),
        ({"predictions": 7}, "predictions is a int; give a list"),
        ({"predictions": ["SELECT 1", "SELECT 2"]}, "got 2 predictions, 1 references, 1 schemas"),
        ({"predictions": [None]}, r"predictions\[0\] is a NoneType"),
        ({"references": [3]}, r"references\[0\] is a int"),
        ({"predictions": ["\ud800"]}, r"predictions\[0\] holds half a character"),
        ({"predictions": [], "references": [], "schemas": []}, "no rows to score"),
        ({"databases": []}, "got 0 for 1 rows"),
        ({"databases": "x.sqlite"}, "databases is one path"),
        ({"databases": [7]}, "databases holds a int"),
        ({"databases": ["gone.sqlite"]}, "cannot read the database gone.sqlite"),
        ({"workers": 0}, "workers=0 leaves nobody"),
        ({"workers": 1.5}, "workers=1.5 is no whole number"),
        ({"robust_databases": -1}, "robust_databases=-1 is not possible"),
        ({"robust_databases": True}, "robust_databases=True is no whole number"),
    ],
)
def test_wrong_inputs_end_in_one_line_and_leave_the_module_usable(metric, wrong, why):
    with pytest.raises(UserError, match=why) as errors:
        metric.compute(**RIGHT | wrong)
    assert "\n" not in str(errors.value)
    result = metric.compute(**RIGHT)
    assert (result["match"], result["n"]) == (1.0, 1)


LOAD = """
import json, os, sys
import evaluate
root, elsewhere = sys.argv[1:]
columns = json.load(sys.stdin)
os.chdir(root)
results = [evaluate.load("common/metric").compute(**columns)]
os.chdir(elsewhere)
for path in ("common/metric", "common/metric/metric.py"):
    results.append(evaluate.load(os.path.join(root, path)).compute(**columns))
print(json.dumps(results))
"""


def test_evaluate_loads_it_by_path_without_a_hub(tmp_path, columns, verdicts):
    command = [sys.executable, "-c", LOAD, str(ROOT), str(tmp_path)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    process = subprocess.run(
        command, input=json.dumps(columns), env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == [expected(verdicts)] * 3
