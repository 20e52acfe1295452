"""Every notebook, found by glob, executed by papermill at the smoke profile in dependency order; its records are in
outputs/, and what is committed stays as it is."""

import csv
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from common import results
from common.data import load_examples
from common.data.splits import TESTS
from common.preferences.files import check, questions_of, read
from common.profiles import PROFILES
from common.provenance import SCORING, code
from common.results import audits
from common.results.measures import KINDS, PAIRS
from common.results.rescore import rescore
from common.run import start_run
from common.settings import ROOT, UserError, outputs
from common.study.execute import copy_path, execute, run
from common.study.notebooks import find
from common.synthetic import SPLITS
from common.training.preference_defaults import SIZES
from tests import offline_runs
from tests.cost import spent, unit
from tests.models import with_models

NOTEBOOKS = find()
BY_NAME = {notebook.name: notebook for notebook in NOTEBOOKS}
BASELINE, LORA = BY_NAME["baseline/baseline.ipynb"], BY_NAME["examples/train_lora.ipynb"]
SEARCH = BY_NAME["sft/lora.ipynb"]
COMPARISON = BY_NAME["results/comparison.ipynb"]
CONTROLS = ("sft-continued", "sft-more", "grpo-sft-continued", "grpo-sft-more")
# For the kernels: a fifth of what the imports take is looking for garbage, and every training ends in that, a third of
# a second in all that they have made.
STARTUP = """
import gc, sys
def freeze(result):
    if "torch" in sys.modules or "pandas" in sys.modules:
        gc.freeze()
        gc.enable()
        get_ipython().events.unregister("post_run_cell", freeze)
gc.disable()
get_ipython().events.register("post_run_cell", freeze)
"""


@pytest.fixture(scope="module", autouse=True)
def own_folders(tmp_path_factory):
    """One ledger for the module: what one notebook makes, a later one needs."""
    place = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT_TO_SQL_OUTPUTS", with_models(place / "outputs"))
        patch.setenv("TEXT_TO_SQL_RESULTS", str(place / "results"))
        patch.setenv("WANDB_MODE", "disabled")  # its client takes as long to import as torch; one notebook has it
        patch.setenv("IPYTHONDIR", str(place / "ipython"))
        (place / "ipython" / "profile_default" / "startup").mkdir(parents=True)
        (place / "ipython" / "profile_default" / "startup" / "freeze.py").write_text(STARTUP)
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


def check_tables(notebook, kinds):
    """What is no run of a method, such as pairs, has tables, and no record in the ledger."""
    (path,) = [path for kind in kinds for path in (records() / kind).glob(f"{notebook.methods[0]}.json")]
    record = json.loads(path.read_text())
    assert (record["notebook"], record["profile"], record["status"]) == (notebook.name, "smoke", "complete")
    assert all(lines for name, lines in record["tables"].items() if name != "errors")  # which need a right answer
    assert len(record["tables"]) >= 1
    assert not record["model"]["id"] or record["code"]["training_digest"]
    if kinds == [PAIRS]:
        held_out = [row for split in ("validation", *TESTS) for row in load_examples("embedded", split, limit=640)]
        paths = sorted((outputs() / "preferences").glob("smoke-*/*.parquet"))
        assert {path.stem for path in paths} == {"base", "sft-lora"} and all(map(read, paths))
        for path in paths:
            check(read(path), held_out)  # raises for a row of them
            assert {row.id for row in load_examples("embedded", "post", limit=24)} >= questions_of(path)
    assert notebook.name not in {run["notebook"] for run in results.read_records(records())}


def check_tracking(notebook):
    """Every trial of the search and the run itself, as Weights & Biases has them offline."""
    (method,) = notebook.methods
    record, logged = results.read_record(records(), method), offline_runs.read(outputs())
    (last,), trials = ([entry for entry in logged if (entry.name == method) is is_run] for is_run in (True, False))
    assert json.loads(last.files[f"{method}.json"]) == record
    assert last.config["parameters"] == record["parameters"] and last.history and last.group == record["search"]["id"]
    assert len(last.tables["predictions"]["data"]) == len(results.read_predictions(records(), method))
    assert len(trials) == len(last.tables["trials"]["data"]) > 1
    for trial in trials:
        assert trial.group == last.group and trial.history and trial.config["stage"] and trial.summary["seconds"] > 0


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_executes_at_smoke(notebook, monkeypatch):
    if notebook is SEARCH:  # its trials are logged, offline
        monkeypatch.delenv("WANDB_MODE")
    before = spent()
    executed = nbformat.read(execute(notebook, "smoke"), as_version=4)
    assert (spent() - before) / unit() < 800  # a minute of CPU where this was written; most take ten seconds
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert notebook.methods
    if notebook is SEARCH:
        check_tracking(notebook)
    paths = sorted((records() / audits.FOLDER).glob("*.json"))
    if audit := [path for path in paths if audits.load(path)["notebook"] == notebook.name]:
        check_audit(audit, notebook)
        return
    if notebook is COMPARISON:  # it shows what is there, and writes nothing
        shown = [output for cell in cells for output in cell.outputs if "data" in output]
        assert sum("image/png" in output.data for output in shown) == 3
        assert sum("baseline" in output.data.get("text/html", "") for output in shown) >= 2
        return
    if kinds := [kind for kind in KINDS if (records() / kind / f"{notebook.methods[0]}.json").exists()]:
        check_tables(notebook, kinds)
        return
    for method in notebook.methods:
        record = results.read_record(records(), method)
        assert (record["status"], record["notebook"], record["data"]["n"]) == ("complete", notebook.name, 16)
        sizes = {"test": 16} | {split: 8 for split in SPLITS if split in TESTS[1:]}
        assert Counter(row["split"] for row in results.read_predictions(records(), method)) == sizes
        assert list(record["splits"]) == sorted(sizes.keys() - {"test"})
        assert record["metrics"]["scorable"]["value"] == 1.0
        if record["stages"]:
            assert record["code"]["training_digest"] == code(*record["code"]["training_modules"], without=SCORING)
            *searched, last = record["stages"]
            modules = record["code"]["training_modules"]
            plans = SIZES["smoke"].stages if "common.training.dpo" in modules else PROFILES["smoke"].stages
            assert last["trials"] == 1 and last["train_rows"] > 0
            # Elsewhere rows are what there are, or what time gives.
            if modules == ["common.training.sft"] and not method.startswith(CONTROLS):
                assert last["train_rows"] == plans[-1].train_rows
            for stage, plan in zip(searched, plans, strict=False):  # and at most six beyond an edge, or variants
                assert stage["train_rows"] == plan.train_rows and 0 <= stage["trials"] - plan.trials <= 6
            assert len(searched) == (2 if record["search"] else 0)


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
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", with_models(tmp_path / "outputs"))

    def look() -> dict[str, str]:
        paths = [ROOT / "README.md", *(path for path in place.rglob("*") if path.is_file())]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    return look


def methods(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json"))


@pytest.fixture
def mine(tmp_path) -> Path:
    """A file of 120 rows of one's own: 86 to train on, 12 to validate on, 12 to test on, fewer than smoke asks for."""
    path = tmp_path / "mine.csv"
    rows = load_examples("embedded", "train", limit=120)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("sql_prompt", "sql_context", "sql"))
        writer.writerows((row.question, row.schema, row.sql) for row in rows)
    return path


def test_runs_with_data_of_ones_own_or_another_seed_are_compared_in_a_folder_of_their_own(
    hashes, mine, monkeypatch, capsys
):
    before = hashes()
    # Named from the folder of the user, who is in neither the root nor the notebooks' folders.
    (mine.parent / "my folder").mkdir()
    monkeypatch.chdir(mine.parent / "my folder")
    run([BASELINE, LORA], "smoke", {"DATA": f"../{mine.name}", "TEST_ROWS": "20", "NF4": "False"})
    (folder,) = (outputs() / "results").iterdir()
    assert folder.name.startswith("smoke@") and methods(folder) == ["baseline", "baseline-3shot", "example-lora"]
    assert results.compare(folder)["difference"].notna().to_dict() == {
        "baseline": False,
        "baseline-3shot": True,
        "example-lora": True,
    }
    assert {"comparison.md", "comparison.png"} <= {path.name for path in folder.iterdir()}
    assert f"{folder.name} · executed" in capsys.readouterr().out.splitlines()[-1]
    record = results.read_record(folder, "example-lora")
    assert (record["data"]["source"], record["data"]["n"]) == ("mine", 12)
    assert len(results.read_predictions(folder, "example-lora")) == 12
    assert [(stage["train_rows"], stage["valid_rows"]) for stage in record["stages"]] == [(32, 12)]
    texts = [output.text for cell in copy(LORA).cells for output in cell.get("outputs", []) if "text" in output]
    lines = [line for line in "".join(texts).splitlines() if "were asked for" in line]
    assert lines == [
        f"{mine} has 12 rows in split 'test', 20 were asked for; 12 are taken",
        f"{mine} has 12 rows in split 'validation', 16 were asked for; 12 are taken",
    ]
    monkeypatch.chdir(mine.parent)
    assert rescore(folder / "baseline.json", mine.name) == "smoke/baseline: 0 of 12 verdicts changed"
    run([BASELINE], "smoke", {"SEED": "7", "NF4": "False"})
    assert len(list((outputs() / "results").iterdir())) == 2
    assert hashes() == before


def copy(notebook) -> nbformat.NotebookNode:
    return nbformat.read(copy_path(notebook, "smoke"), as_version=4)


def test_a_run_by_hand_and_one_without_parameters_compare_with_the_committed_baseline(hashes, capsys):
    before = hashes()
    notebook = nbformat.read(LORA.path, as_version=4)
    notebook.cells[1].source = notebook.cells[1].source.replace('"auto"', '"smoke"')
    client = NotebookClient(notebook, kernel_name="python3", timeout=1200, startup_timeout=600)
    client.execute(cwd=str(LORA.path.parent))
    assert methods(records()) == ["example-lora"]
    run([LORA], "smoke", {})
    out = capsys.readouterr().out
    assert "The baseline is the committed one" in out and methods(records()) == ["example-lora"]
    assert list(results.compare(records())["committed"]) == [True, False]
    with pytest.raises(UserError, match="is of another data.ids_hash than this run, so they cannot be compared; `make"):
        start_run("example-lora", notebook=LORA.name, profile="smoke", test_rows=8, needs=("baseline",))
    assert hashes() == before


def test_an_unknown_parameter_is_refused():
    with pytest.raises(UserError, match="no parameter LERNING_RATE; choose from PROFILE"):
        execute(NOTEBOOKS[0], "smoke", {"LERNING_RATE": "1"})


def test_an_unknown_profile_ends_in_one_line():
    with pytest.raises(UserError, match="unknown profile 'gpu'; choose one of"):
        execute(NOTEBOOKS[0], "gpu")
