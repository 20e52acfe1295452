"""Committed records: whole, made by this code and these notebooks, and equal to what their predictions say.

Bench records are checked for their shape only: one from an older scorer is stale, which is said in a warning, but a
changed comment in the scorer is no reason to measure again.
"""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pandas
import pytest

from common import results
from common.data import ids_hash
from common.profiles import PROFILES
from common.results import benches, comparison, ledger
from common.results.readme import SCRATCH
from common.statistics import metrics, outcomes, slices

ROOT = Path(__file__).resolve().parents[2]
RECORDS = sorted(path for name in PROFILES if name != SCRATCH for path in ROOT.glob(f"results/{name}/*.json"))
SHOWN = sorted({path.parent.name for path in RECORDS})
BENCHES = sorted(ROOT.glob(f"results/{benches.FOLDER}/*.json"))
STATUS = ("complete", "partial", "failed")


@pytest.fixture(autouse=True)
def committed(monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(ROOT / "results"))


def test_some_records_are_there():
    assert RECORDS, "`make notebooks` writes them"


def flat(value: object, path: str = "") -> dict[str, object]:
    """A nested dict as one, so that a difference names its place."""
    if not isinstance(value, dict):
        return {path: value}
    return {name: item for key, inner in value.items() for name, item in flat(inner, f"{path}/{key}").items()}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_record(path):
    record = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert not ledger.missing_keys(record)
    assert (record["profile"], record["method"]) == (path.parent.name, path.stem)
    assert record["status"] in STATUS
    notebook = ROOT / record["notebook"]
    assert notebook.is_file()
    assert record["code"]["notebook_digest"] == results.notebook_digest(notebook), (
        f"{notebook.name} was changed; run it"
    )
    assert record["code"]["scorer_digest"] == results.scorer_digest(), "python -m common.results rescore"
    for name in ("curve", "trials"):
        assert not record.get(name) or (path.parent / record[name]).is_file()

    rows = results.read_predictions(record["profile"], record["method"])
    assert len(rows) == record["data"]["n"]
    assert ids_hash([SimpleNamespace(id=row["id"]) for row in rows]) == record["data"]["ids_hash"]
    for name, made in (("metrics", metrics), ("slices", slices), ("outcomes", outcomes)):
        wanted = {
            key: value if value is None else pytest.approx(value, rel=1e-5) for key, value in flat(made(rows)).items()
        }
        assert flat(record[name]) == wanted, name


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_stages_had_the_rows_and_trials_of_their_profile(path):
    """The published second stage was trained on the first one's rows."""
    record = json.loads(path.read_text())
    if not record.get("trials"):
        return
    planned = PROFILES[record["profile"]].stages
    assert [stage["stage"] for stage in record["stages"]] == list(range(1, len(planned) + 1))
    trials = pandas.read_csv(path.parent / record["trials"])
    for found, plan in zip(record["stages"], planned, strict=True):
        dropped = found.get("dropped_rows", 0)
        assert (found["train_rows"] + dropped, found["trials"]) == (plan.train_rows, plan.trials)
        assert found["valid_rows"] == plan.valid_rows
    for stage, plan in zip((1, 2), planned, strict=False):
        lines = trials[trials["stage"] == stage]
        assert (lines["train_rows"] == plan.train_rows).all() and len(lines) == plan.trials
        assert record["stages"][stage - 1]["best"]["loss"] == pytest.approx(lines["loss"].min(), rel=1e-5)
        assert lines["promoted"].sum() == (planned[stage].trials)


@pytest.mark.parametrize("profile", SHOWN)
def test_saved_comparison_is_the_records(profile):
    assert (ROOT / "results" / profile / "comparison.md").read_text() == comparison.markdown(profile) + "\n"
    assert (ROOT / "results" / profile / "comparison.png").is_file()


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.stem)
def test_bench_record(path):
    record = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert not benches.missing_keys(record)
    assert record["name"] == path.stem
    assert {"commit", "dirty", "scorer_digest"} <= record["code"].keys()
    assert record["measurements"]
    for line in record["measurements"]:
        assert line["met"] is benches.met(line["value"], line["target"]), line["name"]
        if line["value"] is not None:
            assert line["low"] <= line["value"] <= line["high"] and line["repetitions"] >= 1, line["name"]
    if record["code"]["scorer_digest"] != results.scorer_digest():
        warnings.warn(f"{path.stem}: measured with an older scorer; `make bench` measures again", stacklevel=1)


def test_a_profiles_folder_holds_nothing_but_runs():
    """What is no run's record lies in folders of other names, or deeper: those that read records go by the folder."""
    assert ledger.record_paths() and all(path.parent.name in PROFILES for path in ledger.record_paths())
    assert not ledger.record_paths(benches.FOLDER)
