"""Every notebook, found by glob, executed by papermill at the smoke profile in dependency order; its records are in
outputs/, and what is committed stays as it is."""

import hashlib
import json
import shutil
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from common import results
from common.data import load_examples
from common.profiles import PROFILES
from common.provenance import SCORING, code
from common.results import audits
from common.results.rescore import rescore
from common.settings import ROOT, UserError, outputs
from common.study.execute import execute, run
from common.study.notebooks import find

NOTEBOOKS = find()
BY_NAME = {notebook.name: notebook for notebook in NOTEBOOKS}
BASELINE, LORA = BY_NAME["baseline/baseline.ipynb"], BY_NAME["examples/train_lora.ipynb"]


@pytest.fixture(scope="module", autouse=True)
def own_folders(tmp_path_factory):
    """One ledger for the module: what one notebook makes, a later one needs."""
    place = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT_TO_SQL_OUTPUTS", str(place / "outputs"))
        patch.setenv("TEXT_TO_SQL_RESULTS", str(place / "results"))
        yield place


def records() -> Path:
    """Where runs with the notebooks' own parameters write."""
    return outputs() / "results" / "smoke"


def test_notebooks_are_found():
    wanted = {"baseline/baseline.ipynb", "baseline/data_audit.ipynb", "examples/train_lora.ipynb", "sft/lora.ipynb"}
    assert wanted <= {notebook.name for notebook in NOTEBOOKS}


def test_a_run_without_its_upstream_says_what_to_run(monkeypatch, tmp_path):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path))
    notebook = next(notebook for notebook in NOTEBOOKS if notebook.needs)
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))
    with pytest.raises(UserError, match=f"no record '{notebook.needs[0]}' for profile smoke; `make run PROFILE=smoke"):
        execute(notebook, "smoke")


def check_audit(paths, notebook):
    """An audit of the data is no run: it has a record of its own, and none in the ledger."""
    assert [path.relative_to(records()).as_posix() for path in paths] == ["audit/embedded.json"]
    record = audits.load(paths[0])
    assert set(audits.TABLES) <= record["tables"].keys() and record["data"]["n"] == 128
    assert record["tables"]["references"]["reference fails"]["n"] == 0
    assert record["tables"]["rewrites"]["all"]["robust"] == 1.0
    assert record["tables"]["mutants"]["all"]["robust"] < record["tables"]["mutants"]["all"]["strict"]
    assert notebook.name not in {run["notebook"] for run in results.read_records(records())}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_executes_at_smoke(notebook):
    start = time.monotonic()
    executed = nbformat.read(execute(notebook, "smoke"), as_version=4)
    assert time.monotonic() - start < 60
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert notebook.methods
    paths = sorted((records() / audits.FOLDER).glob("*.json"))
    if audit := [path for path in paths if audits.load(path)["notebook"] == notebook.name]:
        check_audit(audit, notebook)
        return
    for method in notebook.methods:
        record = results.read_record(records(), method)
        assert (record["status"], record["notebook"], record["data"]["n"]) == ("complete", notebook.name, 16)
        assert len(results.read_predictions(records(), method)) == 16
        assert record["metrics"]["scorable"]["value"] == 1.0
        if record["stages"]:
            assert record["code"]["training_digest"] == code(*record["code"]["training_modules"], without=SCORING)
            planned = PROFILES["smoke"].stages[-len(record["stages"]) :]
            assert [(stage["train_rows"], stage["trials"]) for stage in record["stages"]] == [
                (plan.train_rows, plan.trials) for plan in planned
            ]


def test_a_second_execution_goes_on_from_what_is_there():
    """Everything is kept, so nothing but the commit and the clock may differ."""
    notebook = NOTEBOOKS[0]
    before = {method: results.read_record(records(), method) for method in notebook.methods}
    execute(notebook, "smoke")
    after = {method: results.read_record(records(), method) for method in notebook.methods}
    assert json.dumps(after, sort_keys=True) == json.dumps(before, sort_keys=True)


# What a user's run leaves alone


@pytest.fixture
def hashes(tmp_path, monkeypatch):
    """Digests of the README and of a copy of results/, which stands in its place with a baseline at smoke in it."""
    place = tmp_path / "results"
    shutil.copytree(ROOT / "results", place, ignore=shutil.ignore_patterns("smoke"))
    (place / "smoke").mkdir()
    for path in records().glob("baseline.*"):
        shutil.copy(path, place / "smoke")
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(place))
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path / "outputs"))

    def look() -> dict[str, str]:
        paths = [ROOT / "README.md", *(path for path in place.rglob("*") if path.is_file())]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    return look


def methods(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json"))


def test_runs_with_other_rows_or_another_seed_are_compared_in_a_folder_of_their_own(
    hashes, tmp_path, monkeypatch, capsys
):
    before = hashes()
    run([BASELINE, LORA], "smoke", {"TEST_ROWS": "8", "NF4": "False"})
    (folder,) = (outputs() / "results").iterdir()
    assert folder.name.startswith("smoke@") and methods(folder) == ["baseline", "example-lora"]
    assert results.compare(folder)["difference"].notna().to_dict() == {"baseline": False, "example-lora": True}
    assert {"comparison.md", "comparison.png"} <= {path.name for path in folder.iterdir()}
    assert f"{folder.name} · executed" in capsys.readouterr().out.splitlines()[-1]
    # Data of one's own, named from the folder of the user, who is in neither the root nor the notebook's folder.
    (tmp_path / "my rows").mkdir()
    monkeypatch.chdir(tmp_path / "my rows")
    rows = [
        {"sql_prompt": row.question, "sql_context": row.schema, "sql": row.sql, "split": "test"}
        for row in load_examples("embedded", "test", limit=8)
    ]
    Path("mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    run([BASELINE], "smoke", {"SEED": "7", "NF4": "False", "DATA": "mine.jsonl", "TEST_ROWS": "8"})
    (path,) = {*(outputs() / "results").glob("*/baseline.json")} - {folder / "baseline.json"}
    monkeypatch.chdir(tmp_path)
    assert rescore(path, "my rows/mine.jsonl") == "smoke/baseline: 0 of 8 verdicts changed"
    assert len(list((outputs() / "results").iterdir())) == 2
    assert hashes() == before


def test_a_run_by_hand_and_one_without_parameters_compare_with_the_committed_baseline(hashes, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # by hand nothing keeps threads from spinning on a busy machine
    before = hashes()
    notebook = nbformat.read(LORA.path, as_version=4)
    notebook.cells[1].source = notebook.cells[1].source.replace('"auto"', '"smoke"')
    NotebookClient(notebook, kernel_name="python3", timeout=240).execute(cwd=str(LORA.path.parent))
    assert methods(records()) == ["example-lora"]
    run([LORA], "smoke", {})
    out = capsys.readouterr().out
    assert "The baseline is the committed one" in out and methods(records()) == ["example-lora"]
    assert list(results.compare(records())["committed"]) == [True, False]
    with pytest.raises(UserError, match="is of another data.ids_hash than this run, so they cannot be compared; `make"):
        execute(LORA, "smoke", {"TEST_ROWS": "8"})
    assert hashes() == before


def test_an_unknown_parameter_is_refused():
    with pytest.raises(UserError, match="no parameter LERNING_RATE; choose from PROFILE"):
        execute(NOTEBOOKS[0], "smoke", {"LERNING_RATE": "1"})


def test_an_unknown_profile_ends_in_one_line():
    with pytest.raises(UserError, match="unknown profile 'gpu'; choose one of"):
        execute(NOTEBOOKS[0], "gpu")
