"""Every notebook, found by glob, executed by papermill at the smoke profile in dependency order."""

import json
import time

import nbformat
import pytest

from common import results, study
from common.profiles import PROFILES
from common.results import audits
from common.settings import UserError

NOTEBOOKS = study.find()


@pytest.fixture(scope="module", autouse=True)
def own_folders(tmp_path_factory):
    """One ledger for the module: what one notebook makes, a later one needs."""
    place = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT_TO_SQL_OUTPUTS", str(place / "outputs"))
        patch.setenv("TEXT_TO_SQL_RESULTS", str(place / "results"))
        yield place


def test_notebooks_are_found():
    wanted = {"baseline/baseline.ipynb", "baseline/data_audit.ipynb", "examples/train_lora.ipynb", "sft/lora.ipynb"}
    assert wanted <= {notebook.name for notebook in NOTEBOOKS}


def test_a_run_without_its_upstream_says_what_to_run(monkeypatch, tmp_path):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path))
    notebook = next(notebook for notebook in NOTEBOOKS if notebook.needs)
    with pytest.raises(UserError, match=f"no record '{notebook.needs[0]}'"):
        study.execute(notebook, "smoke")


def check_audit(paths, notebook):
    """An audit of the data is no run: it has a record of its own, and none in the ledger."""
    assert [path.relative_to(results.folder("smoke")).as_posix() for path in paths] == ["audit/embedded.json"]
    record = audits.load(paths[0])
    assert set(audits.TABLES) <= record["tables"].keys() and record["data"]["n"] == 128
    assert record["tables"]["references"]["reference fails"]["n"] == 0
    assert record["tables"]["rewrites"]["all"]["robust"] == 1.0
    assert record["tables"]["mutants"]["all"]["robust"] < record["tables"]["mutants"]["all"]["strict"]
    assert notebook.name not in {found["notebook"] for found in results.read_records("smoke")}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_executes_at_smoke(notebook):
    start = time.monotonic()
    executed = nbformat.read(study.execute(notebook, "smoke"), as_version=4)
    assert time.monotonic() - start < 60
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert notebook.makes
    if audit := [path for path in audits.audit_paths() if audits.load(path)["notebook"] == notebook.name]:
        check_audit(audit, notebook)
        return
    for method in notebook.makes:
        record = results.read_record("smoke", method)
        assert (record["status"], record["notebook"], record["data"]["n"]) == ("complete", notebook.name, 16)
        assert len(results.read_predictions("smoke", method)) == 16
        assert record["metrics"]["scorable"]["value"] == 1.0
        if record["stages"]:
            planned = PROFILES["smoke"].stages[-len(record["stages"]) :]
            assert [(stage["train_rows"], stage["trials"]) for stage in record["stages"]] == [
                (plan.train_rows, plan.trials) for plan in planned
            ]


def test_a_second_execution_goes_on_from_what_is_there():
    """Everything is kept, so nothing but the commit and the clock may differ."""
    notebook = NOTEBOOKS[0]
    before = {method: results.read_record("smoke", method) for method in notebook.makes}
    study.execute(notebook, "smoke")
    after = {method: results.read_record("smoke", method) for method in notebook.makes}
    assert json.dumps(after, sort_keys=True) == json.dumps(before, sort_keys=True)


def test_an_unknown_parameter_is_refused():
    with pytest.raises(UserError, match="no parameter LERNING_RATE; choose from PROFILE"):
        study.execute(NOTEBOOKS[0], "smoke", {"LERNING_RATE": "1"})


def test_an_unknown_profile_ends_in_one_line():
    with pytest.raises(UserError, match="unknown profile 'gpu'; choose one of"):
        study.execute(NOTEBOOKS[0], "gpu")
