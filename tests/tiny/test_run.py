"""A run's start and its record: what it refuses before any training, its folder, its lock, and what it writes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas
import pytest

from common import provenance, results
from common.evaluation import Report
from common.run import Run, cost_table, start_run
from common.settings import ROOT, UserError, outputs
from common.synthetic import SPLITS
from tests.models import with_models
from tests.unit import records
from tests.unit.records import predictions, record

place = records.place
NOTEBOOK = "examples/train_lora.ipynb"
OTHERS = [split for split in SPLITS if split in ("test_unseen", "test_forms")]


@pytest.fixture(autouse=True)
def own_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", with_models(tmp_path / "outputs"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.delenv("TEXT_TO_SQL_PUBLISHING", raising=False)


def start(name: str = "example-lora", **options) -> Run:
    return start_run(name, notebook=NOTEBOOK, profile="smoke", **options)


def baseline(folder: Path, right: str = "ny", **changes) -> None:
    """A baseline that a run with the notebook's own parameters can be compared with, but for the changes."""
    terms, rows = start("probe").terms, predictions(right)
    sections = {key: value for key, value in terms.items() if key != "profile"}
    sections |= {key: sections[key] | value for key, value in changes.items()}
    results.write_record(folder, record("baseline", rows, profile="smoke", **sections), rows)


# What it needs


def test_a_record_that_is_needed_and_absent_ends_in_the_command_that_writes_it():
    writes = "`make run PROFILE=smoke NOTEBOOKS=baseline/baseline.ipynb`"
    with pytest.raises(UserError, match=f"no record 'baseline' for profile smoke; {writes} writes it"):
        start(needs=("baseline",))
    with pytest.raises(UserError, match=r'NOTEBOOKS=baseline/baseline.ipynb ARGS="-p TEST_ROWS=8"` writes'):
        start(needs=("baseline",), test_rows=8, seed=7)


def test_a_record_that_may_be_absent_is_taken_where_it_is_comparable(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path))
    assert start().optional("baseline") == {}
    baseline(tmp_path / "smoke")
    assert list(start().optional("baseline", "sft-full")) == ["baseline"]
    assert start(test_rows=8).optional("baseline") == {}  # of other rows


@pytest.mark.parametrize(
    "changes, what",
    [
        ({"data": {"ids_hash": "other"}}, "data.ids_hash"),
        ({"data": {"prompt_hash": "other"}}, "data.prompt_hash"),
        ({"splits": {"test_unseen": {"n": 8, "ids_hash": "other", "prompt_hash": ""}}}, "splits.ids_hash"),
        ({"decoding": {"max_new_tokens": 512}}, "decoding"),
        ({"scoring": {"databases": 0}}, "scoring.databases"),
        ({"scoring": {"sqlite": "3.1.0"}}, "scoring.sqlite"),
        ({"code": {"scorer_digest": "older"}}, "code.scorer_digest"),
        ({"model": {"id": "m/large"}}, "model.id"),
        ({"model": {"revision": "older"}}, "model.revision"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_training(place, changes, what):
    baseline(place / "smoke")
    assert start(needs=("baseline",)).needed("baseline")[0]["method"] == "baseline"
    baseline(place / "smoke", **changes)
    with pytest.raises(UserError, match=f"is of another {what} than this run, so they cannot be compared; `make run"):
        start(needs=("baseline",))


def test_other_rows_are_not_compared_with_the_committed_ones(place):
    baseline(place / "smoke")
    with pytest.raises(UserError, match="is of another data.ids_hash than this run"):
        start(needs=("baseline",), test_rows=8)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_generator_takes_is_one_line(seed):
    with pytest.raises(UserError, match=f"^SEED is {seed}; give a number from 0 to 4294967295$"):
        start(seed=seed)


def test_a_file_that_has_changed_since_the_baseline_is_refused_before_any_training(tmp_path):
    path, rows = tmp_path / "mine.csv", predictions("ny")
    head = "sql_prompt,sql_context,sql,split\na,b,c,test\n"
    path.write_text(head + "x,y,z,test\n")
    run = start(data=str(path))
    sections = {key: value for key, value in run.terms.items() if key != "profile"}
    results.write_record(run.place, record("baseline", rows, profile="smoke", **sections), rows)
    assert start(data=str(path), needs=("baseline",)).needed("baseline")[1] == rows
    for line, says in {
        "x,y,other,test\n": "is of another data.revision than this run, so they cannot be compared; `make run PROF",
        "x,other,z,test\n": "is of another data.prompt_hash than this run, so they cannot be compared; `make run",
        "": "is of another data.ids_hash than this run, so they cannot be compared; `make run PROFILE=smoke ",
    }.items():
        path.write_text(head + line)
        with pytest.raises(UserError, match=says):
            start(data=str(path), needs=("baseline",))


def test_another_seed_has_the_same_rows_and_is_compared_with_the_records_of_the_usual_one(place):
    baseline(place / "smoke")
    run = start(needs=("baseline",), seed=43)
    assert run.tests == start().tests and run.place == start().place / "seeds" / "43"
    assert {split: len(rows) for split, rows in run.tests.items()} == {"test": 16, **dict.fromkeys(OTHERS, 8)}
    usual = outputs() / "results" / "smoke"
    baseline(usual, "nyy")
    assert len(run.needed("baseline")[1]) == 3
    few = start(test_rows=4)
    assert {split: len(rows) for split, rows in few.tests.items()} == {"test": 4, **dict.fromkeys(OTHERS, 2)}


def test_a_run_compares_with_its_own_folder_first_then_with_what_is_committed(place):
    baseline(place / "smoke", "ny")
    run = start(needs=("baseline",))
    assert run.place == outputs() / "results" / "smoke" and len(run.needed("baseline")[1]) == 2
    baseline(run.place, "nyy")
    assert len(run.needed("baseline")[1]) == 3
    baseline(run.place, "nyy", code={"scorer_digest": "older"})
    assert len(run.needed("baseline")[1]) == 2


def test_predictions_that_are_not_their_records_are_refused_at_the_start(place):
    baseline(place / "smoke")
    path = place / "smoke" / "baseline.predictions.jsonl"
    path.write_text(path.read_text().replace("SELECT 1;", "SELECT 2;"))
    with pytest.raises(UserError, match="damaged or of another run"):
        start(needs=("baseline",))


# Its folder


def test_data_that_were_edited_have_another_folder(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("sql_prompt,sql_context,sql\na,b,c\n")
    folder = start(data=str(path)).folder
    path.write_text("sql_prompt,sql_context,sql\na,b,d\n")
    assert start(data=str(path)).folder != folder


def test_data_and_model_under_several_paths_are_one_runs(tmp_path, monkeypatch):
    """A notebook that is run by hand names them from its own folder, a command from another one."""
    path, model = tmp_path / "rows" / "mine.csv", tmp_path / "rows" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    path.write_text("sql_prompt,sql_context,sql\na,b,c\n")
    whole = start(data=str(path), model_id=str(model))
    monkeypatch.chdir(path.parent)
    runs = [start(data=data, model_id="model") for data in ("mine.csv", "./mine.csv", "../rows/mine.csv")]
    assert {(run.folder, run.place, run.profile) for run in runs} == {(whole.folder, whole.place, whole.profile)}
    assert (whole.profile.data, whole.profile.model_id) == (str(path), str(model))
    copy = shutil.copy(path, tmp_path)
    moved = start(data=str(copy), model_id="model")
    assert moved.folder == whole.folder and moved.place != whole.place, "what was answered is kept, records are apart"


def test_another_revision_of_the_model_has_another_folder(monkeypatch):
    """A hub's main may move between two sittings."""
    folder = start().folder
    monkeypatch.setattr("common.models.locate", lambda model_id: (model_id, "another commit"))
    assert start().folder != folder and start().revision == "another commit"


def test_the_folder_is_of_the_facts_and_of_what_computes(monkeypatch):
    folder = start().folder
    assert start().folder == folder and folder.parent == outputs() / "runs" / "smoke"
    others = [start("other"), start(seed=7), start(test_rows=8), start(rate=0.1), start(data="spider:x")]
    modules = []
    whole = provenance.basis
    monkeypatch.setattr(provenance, "basis", lambda *names, **parts: modules.extend(names) or whole(*names, **parts))
    assert start().folder == folder
    closure = provenance.closure(*modules)
    assert {"common.training.sft", "common.generation", "common.evaluation", "common.scoring.scorer"} <= closure.keys()
    assert not {"common.display", "common.run", "common.results.ledger"} & closure.keys()
    monkeypatch.setattr(provenance, "basis", lambda *names, **parts: "other code, other packages or another device")
    assert len({folder, start().folder, *(run.folder for run in others)}) == 7


def test_another_version_of_a_package_or_another_device_has_another_folder(monkeypatch):
    folders = {start().folder}
    whole = provenance._version
    monkeypatch.setattr(provenance, "_version", lambda name: "9.9" if name == "torch" else whole(name))
    folders.add(start().folder)
    monkeypatch.setattr(provenance, "device_name", lambda threads=True: "another")
    folders.add(start().folder)
    assert len(folders) == 3


HOLDER = f"""
from common.run import start_run
start_run("example-lora", notebook={NOTEBOOK!r}, profile="smoke")
print("held", flush=True)
input()
"""


def test_a_second_kernel_on_the_same_folder_ends_in_one_line():
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines[1] == "held\n"
        with pytest.raises(UserError, match="^another process works in .*/runs/smoke/example-lora-.*; wait until it"):
            start()
        start("another")  # a folder of its own
    finally:
        process.communicate("\n", timeout=600)
    start()
    start()  # the same kernel as often as it likes


# Its record


def report(count: int, **fields) -> Report:
    """Answers of `count` test rows, and of two of them a split beside it, in 4 seconds."""
    rows = predictions("y" * count) + [row for split in OTHERS for row in predictions("yn", split)]
    module = {"code_module": "common.generation"}
    return SimpleNamespace(rows=rows, seconds=4.0, new_tokens=8, **module | fields)


def trained(folder: Path, **fields) -> SimpleNamespace:
    """A training of 600 steps, as `train_sft` returns it."""
    steps = range(1, 601)
    curve = pandas.DataFrame({"step": steps, "loss": 0.5, "eval_loss": [0.25 if i == 333 else None for i in steps]})
    costs = {
        "seconds": 120.0,
        "evaluation_seconds": 6.0,
        "rows": 60,
        "tokens": 6_000,
        "peak_memory_bytes": 2_500_000_000,
    }
    sizes = {
        "trainable_parameters": 7,
        "total_parameters": 9,
        "train_rows": 32,
        "valid_rows": 16,
        "dropped_rows": 0,
        "leaked_rows": 0,
    }
    best = {"eval_loss": 0.25, "eval_score": None, "eval_match": None, "step": 333, "recomputed": False}
    return SimpleNamespace(curve=curve, weights=folder, **costs, **sizes, **best, **fields)


def test_a_record_says_what_trained_and_what_answered(tiny, tmp_path, capsys):
    run, loaded = start(data="embedded", rate=0.1), tiny()
    answers = report(16, code_digest="answering")
    training = trained(tmp_path, code_digest="training", code_modules=("common.training.sft",), merged=True)
    path = run.save(answers, loaded, trained=training, adapter="lora")
    assert path == outputs() / "results" / "smoke" / "example-lora.json"
    assert capsys.readouterr().out.splitlines()[-1] == f"record: {path}"
    values = json.loads(path.read_text())
    code = values["code"]
    assert (code["training_digest"], code["training_modules"]) == ("training", ["common.training.sft"])
    assert code["answers_digest"] == "answering" and code["notebook_digest"]
    assert values["model"]["merged"] is True and values["model"]["adapter"] == "lora"
    assert values["parameters"] == {"profile": "smoke", "model_id": "", "data": "embedded", "test_rows": 0, "rate": 0.1}
    assert {"torch", "trl", "sqlite"} <= values["environment"]["packages"].keys()
    assert values["scoring"] == run.terms["scoring"] and values["data"] == run.terms["data"]
    assert (values["data"]["split"], values["metrics"]["match"]["n"]) == ("test", 16)
    assert sorted(values["splits"]) == sorted(OTHERS)
    for split, section in values["splits"].items():
        assert section.items() > run.terms["splits"][split].items() and section["n"] == 8
        assert section["metrics"]["match"]["value"] == 0.5 and section["outcomes"] == {"match": 1, "mismatch": 1}
    assert values["stages"][-1]["best"] == {"loss": 0.25, "score": None, "match": None, "step": 333}
    curve = pandas.read_csv(path.with_name(values["curve"]))
    assert len(curve) == 500 and {1, 333, 600} <= set(curve["step"])
    assert results.read_predictions(run.place, "example-lora") == answers.rows


def test_a_record_of_a_model_as_it_comes_has_no_training(tiny):
    run, loaded = start(), tiny()
    values = json.loads(run.save(report(16, code_digest="answering"), loaded).read_text())
    assert (values["code"]["training_digest"], values["code"]["training_modules"]) == ("", [])
    assert (values["model"]["merged"], values["model"]["weights_digest"], values["stages"]) == (False, "", [])
    assert values["cost"]["train_seconds"] == values["cost"]["search_seconds"] == 0 < values["cost"]["eval_seconds"]


def test_costs_are_in_minutes_and_gigabytes(tmp_path):
    table = cost_table(report(16), trained(tmp_path))["value"].to_dict()
    assert table == {
        "training, min": "2.0",
        "training, rows/s": "0.5",
        "training, tokens/s": "50.0",
        "validation, min": "0.1",
        "peak memory, GB": "2.5",
        "answering, min": "0.1",
        "answering, rows/s": f"{(16 + 2 * len(OTHERS)) / 4:.1f}",
        "answering, tokens/s": "2.0",
    }


@pytest.mark.parametrize("name", ["../x", "A b"])
def test_a_name_that_is_no_file_name(name):
    with pytest.raises(UserError, match="names a file"):
        start(name)
