"""Committed records: whole, made by this code and these notebooks, and equal to what their predictions say.

A record that names the code which trained and answered is red when that code has changed. The first records do not name
it: they only warn, until the study is executed anew. Bench records are checked for their shape only: one from an older
scorer is stale, which is said in a warning.
"""

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pandas
import pytest

from bench import tables as benches
from common import results
from common.data import ids_hash
from common.profiles import PROFILES
from common.provenance import notebook_digest
from common.results import explorer, ledger
from common.results.readme import SCRATCH
from common.results.record import missing_keys
from common.results.sections import scorer_digest, staleness
from common.results.tables import markdown
from common.statistics import figures, of_split, splits_of
from common.training.preference_defaults import SIZES
from tests.unit.records import record as record_of
from tests.unit.records import trained

ROOT = Path(__file__).resolve().parents[2]
RECORDS = sorted(path for name in PROFILES if name != SCRATCH for path in ROOT.glob(f"results/{name}/*.json"))
PUBLISHED = sorted({path.parent.name for path in RECORDS})
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
    assert not missing_keys(record)
    assert (record["profile"], record["method"]) == (path.parent.name, path.stem)
    assert record["status"] in STATUS
    notebook = ROOT / record["notebook"]
    assert notebook.is_file()
    assert record["code"]["notebook_digest"] == notebook_digest(notebook), f"{notebook.name} was changed; run it"
    assert record["code"]["scorer_digest"] == scorer_digest(), "python -m common.results rescore"
    for name in ("curve", "trials"):
        assert not record.get(name) or (path.parent / record[name]).is_file()

    answers = results.read_predictions(path.parent, record["method"])
    sections = {record["data"]["split"]: record | record["data"], **record.get("splits", {})}
    assert set(splits_of(answers)) == {split for split, section in sections.items() if section["n"]}
    for split, section in sections.items():
        rows = of_split(answers, split)
        assert len(rows) == section["n"]
        assert ids_hash([SimpleNamespace(id=row["id"]) for row in rows]) == section["ids_hash"]
        for name, values in figures(rows).items():
            if name not in section and split == "test":
                continue  # older than this figure
            expected = {k: v if v is None else pytest.approx(v, rel=1e-5) for k, v in flat(values).items()}
            assert flat(section[name]) == expected, (split, name)


def check_code(record: dict) -> None:
    """Red for a record that says what code made it and that code is not today's; a warning for one that does not."""
    reason, name = staleness(record), record["method"]
    again = f"run {record['notebook']} again"
    if reason == "unknown":
        warnings.warn(f"{name} does not say which code trained and answered; {again}", stacklevel=1)
    else:
        assert not reason, f"{name}: the code of its {reason} has changed since; {again}"


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_code_that_trained_and_answered_is_todays(path):
    check_code(json.loads(path.read_text()))


@pytest.mark.parametrize("changes", [{"answers_digest": "older"}, trained("common.training.sft", digest="older")])
def test_a_record_of_older_code_that_says_so_is_red(changes):
    with pytest.raises(AssertionError, match=r"x: the code of its (answers|training) has changed since; run x/x.ipynb"):
        check_code(record_of("x", [], code=changes))


@pytest.mark.parametrize("changes", [{"code": {"answers_digest": ""}}, {"model": {"trainable_parameters": 7}}])
def test_a_record_that_does_not_say_its_code_warns(changes):
    with pytest.warns(UserWarning, match="x does not say which code"):
        check_code(record_of("x", [], **changes))


def test_a_record_of_todays_code_is_green(recwarn):
    check_code(record_of("x", [], code=trained("common.training.sft"), model={"trainable_parameters": 7}))
    assert not recwarn.list


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_stages_had_the_rows_and_trials_of_their_profile(path):
    """The published second stage was trained on the first one's rows."""
    record = json.loads(path.read_text())
    if not record.get("trials"):
        return
    preferences = "common.training.dpo" in record["code"]["training_modules"]
    planned = (SIZES if preferences else PROFILES)[record["profile"]].stages
    assert [stage["stage"] for stage in record["stages"]] == list(range(1, len(planned) + 1))
    trials = pandas.read_csv(path.parent / record["trials"])
    for stage, plan in zip(record["stages"], planned, strict=True):
        dropped = stage.get("dropped_rows", 0)
        # Beside the planned ones, at most six beyond an edge of the grid or variants of the best.
        assert stage["train_rows"] + dropped == plan.train_rows and 0 <= stage["trials"] - plan.trials <= 6
        # Pairs are parted by schema: there may be a few fewer to validate on.
        least = 0.9 * plan.valid_rows if preferences else plan.valid_rows
        assert least <= stage["valid_rows"] <= plan.valid_rows
    for stage, plan in zip((1, 2), planned, strict=False):
        lines = trials[trials["stage"] == stage]
        rows = plan.train_rows
        if plan.steps:
            rows = (plan.steps * lines["effective_batch_size"]).clip(upper=plan.train_rows)
        assert (lines["train_rows"] == rows).all() and len(lines) == record["stages"][stage - 1]["trials"]
        best = record["stages"][stage - 1]["best"]
        if preferences:  # whose losses differ in kind
            assert best["score"] == pytest.approx(lines["score"].max(), rel=1e-5)
        else:
            assert best["loss"] == pytest.approx(lines["loss"].min(), rel=1e-5)
        assert lines["promoted"].sum() == (planned[stage].trials)


@pytest.mark.parametrize("profile", PUBLISHED)
def test_saved_comparison_is_the_records(profile):
    place = ROOT / "results" / profile
    text = (place / "comparison.md").read_text()
    assert text == markdown(place) + "\n", "python -m common.results readme"
    assert (ROOT / "results" / profile / "comparison.png").is_file()


@pytest.mark.parametrize("profile", [name for name in PUBLISHED if (ROOT / "results" / name / explorer.NAME).exists()])
def test_saved_explorer_is_the_records(profile):
    assert explorer.is_current(ROOT / "results" / profile), f"python -m common.results explorer --profile {profile}"


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
    if record["code"]["scorer_digest"] != scorer_digest():
        warnings.warn(f"{path.stem}: measured with an older scorer; `make bench` measures again", stacklevel=1)


def test_a_profiles_folder_holds_nothing_but_runs():
    """What is no run's record lies in folders of other names, or deeper: those that read records go by the folder."""
    assert ledger.record_paths() and all(path.parent.name in PROFILES for path in ledger.record_paths())
    assert benches.FOLDER not in PROFILES
