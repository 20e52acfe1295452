"""A run's record in Weights & Biases, written offline by the real client and read back."""

import json
import os

import pandas
import pytest

from common import results, tracking
from tests import offline_runs
from tests.unit import records

place = records.place


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the client writes; the real one, without a key."""
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path / "outputs"))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tracking, "_FAILURES", [])
    (tmp_path / "outputs").mkdir()
    return tmp_path / "outputs"


def test_a_run_is_logged_whole_and_read_back(folder, place):
    rows = records.predictions("yny?")
    path = results.write_record(place / "cpu", records.record("sft-lora", rows), rows)
    record = json.loads(path.read_text())
    curve = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}, {"step": 2, "eval_loss": 1.25, "eval_score": None}]
    long = pandas.DataFrame({"text": ["x" * 70_000], "number": [1.5]})  # over two of the log's blocks
    tables = {"predictions": pandas.DataFrame(rows), "trials": long}
    tracking.log_record(path, digest="0123abcd", group="sft-lora-search", curve=curve, tables=tables)
    (run,) = offline_runs.read(folder)
    assert (run.id, run.name, run.group) == ("sft-lora-cpu-0123abcd", "sft-lora", "sft-lora-search")
    for section in ("parameters", "data", "model", "code", "scoring", "decoding"):
        assert run.config[section] == record[section]
    assert run.history[1] == {"loss": 2.0} and run.history[2].items() >= {"loss": 1.5, "eval_loss": 1.25}.items()
    assert "eval_score" not in run.history[2]
    metrics = {name: metric["value"] for name, metric in record["metrics"].items()}
    values = {name: value for name, value in metrics.items() if value is not None}
    assert values and run.summary.items() >= values.items()
    assert run.tables["predictions"]["columns"] == list(rows[0])
    assert run.tables["predictions"]["data"] == [list(row.values()) for row in rows]
    assert run.tables["trials"]["data"] == [["x" * 70_000, 1.5]]
    assert json.loads(run.files["sft-lora.json"]) == record
    assert not [path for path in folder.rglob("*") if path.is_symlink() and "sft-lora.json" in path.name]
    assert not [*(place.parent / "home").rglob("*staging*")] and [*folder.rglob("artifacts/staging/*")]
    assert "WANDB_DATA_DIR" not in os.environ  # a run that the user has open keeps its own


def test_the_labels_of_a_tables_lines_are_logged(folder, place):
    rows = records.predictions("yn")
    path = results.write_record(place / "cpu", records.record("reward-model", rows), rows)
    judges = pandas.DataFrame({"auc": [0.5, 0.75]}, index=pandas.Index(["reward model", "it runs"], name="judge"))
    nested = pandas.DataFrame({"n": [3]}, index=pandas.MultiIndex.from_tuples([("sft", 1)], names=["run", "stage"]))
    tables = {"judges": judges, "nested": nested, "plain": pandas.DataFrame({"n": [1]})}
    tracking.log_record(path, digest="2", group="", curve=(), tables=tables)
    (run,) = offline_runs.read(folder)
    assert run.tables["judges"] == run.tables["judges"] | {
        "columns": ["judge", "auc"],
        "data": [["reward model", 0.5], ["it runs", 0.75]],
    }
    assert run.tables["nested"]["data"] == [["sft", 1, 3]] and run.tables["plain"]["columns"] == ["n"]


def test_a_record_without_facts_has_no_summary(folder, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"method": "own", "profile": "cpu", "facts": {}}))
    tracking.log_record(path, digest="3", group="", curve=(), tables={})
    (run,) = offline_runs.read(folder)
    assert run.id == "own-cpu-3" and not run.summary


def test_what_is_no_run_of_a_method_is_logged_with_its_facts(folder, tmp_path):
    record = {"method": "rm-data", "profile": "cpu", "facts": {"pairs": 12, "files": "abc"}, "base": {"id": "m"}}
    path = tmp_path / "rm-data.json"
    path.write_text(json.dumps(record))
    tracking.log_record(path, digest="1", group="", curve=(), tables={"errors": pandas.DataFrame({"n": [3]})})
    (run,) = offline_runs.read(folder)
    assert (run.group, run.summary["pairs"], run.config["base"]) == ("rm-data", 12, {"id": "m"})
    assert "files" not in run.summary and run.tables["errors"]["data"] == [[3]]
