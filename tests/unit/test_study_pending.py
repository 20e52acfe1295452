"""Which notebooks the study still has to execute, and that one that fails does not stop the others."""

import subprocess

import nbformat
import pytest

from common.provenance import notebook_digest
from common.settings import ROOT, UserError
from common.study.notebooks import read
from common.study.pending import SUMMARY, pending, run_pending
from tests.unit import records
from tests.unit.records import trained, write

place = records.place  # every test has a ledger of its own
LORA, AUDIT = (read(ROOT / name) for name in ("examples/train_lora.ipynb", "baseline/data_audit.ipynb"))
OVERALL = read(ROOT / SUMMARY)


def code(**changes: str) -> dict:
    return trained("common.training.sft") | {"notebook_digest": notebook_digest(LORA.path)} | changes


def reasons(*notebooks) -> list[str]:
    return [reason for _, reason in pending(notebooks, "cpu")]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, []),
        ({"training_digest": "0" * 16}, ["example-lora: other code (training)"]),
        ({"answers_digest": "0" * 16}, ["example-lora: other code (answers)"]),
        ({"notebook_digest": "0" * 16}, ["example-lora: another notebook"]),
    ],
)
def test_a_record_of_todays_code_is_not_made_again(place, changes, reason):
    write("example-lora", "yn", code=code(**changes), model={"trainable_parameters": 8})
    assert reasons(LORA) == reason


def test_without_a_record_and_without_outputs(place, tmp_path):
    assert reasons(LORA) == ["example-lora: no record"]
    bare = tmp_path / "bare.ipynb"
    bare.write_text(LORA.path.read_text())
    content = nbformat.read(bare, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    nbformat.write(content, bare)
    assert reasons(read(bare)) == ["not executed"]


def test_an_audit_is_known_by_its_notebook(place):
    assert [reason.partition(":")[2] for reason in reasons(AUDIT)] == [" no record"]
    (place / "cpu" / "audit").mkdir(parents=True)
    (place / "cpu" / "audit" / "embedded.json").write_text('{"notebook": "baseline/data_audit.ipynb", "code": {}}')
    assert reasons(AUDIT) == []


def test_what_shows_all_records_comes_last(place):
    assert [notebook.name for notebook, _ in pending([OVERALL, LORA], "cpu")] == [LORA.name, SUMMARY]


def test_what_shows_all_records_is_due_where_it_does_not(place, monkeypatch):
    write("example-lora", "yn", code=code(), model={"trainable_parameters": 8})
    assert [notebook.name for notebook, _ in pending([LORA, OVERALL], "cpu")] == [SUMMARY]
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(ROOT / "results"))
    assert pending([OVERALL], "cpu") == []  # as committed


@pytest.mark.parametrize("text", ["{", "[]", '{"method": "example-lora"}', '{"data": null}'])
def test_a_damaged_record_is_due_and_stops_nobody(place, text):
    (place / "cpu").mkdir(parents=True)
    (place / "cpu" / "example-lora.json").write_text(text)
    (reason, summary) = reasons(LORA, OVERALL)
    assert "example-lora.json is no record" in reason and summary == "shows all records"
    assert [notebook.name for notebook, _ in pending([OVERALL], "cpu")] == [SUMMARY]


@pytest.mark.parametrize(
    "text", ["{", "null", '{"notebook": "baseline/data_audit.ipynb"}', '{"notebook": "x", "code": 1}']
)
def test_a_damaged_record_of_tables_is_due(place, text):
    (place / "cpu" / "audit").mkdir(parents=True)
    for name in ("data-audit", "embedded"):
        (place / "cpu" / "audit" / f"{name}.json").write_text(text)
    (reason,) = reasons(AUDIT)
    assert "data-audit.json" in reason
    (place / "cpu" / "audit" / "data-audit.json").unlink()
    assert reasons(AUDIT) == ["data-audit: no record"]


def test_a_notebook_that_is_gone_is_due_and_stops_nobody(place, tmp_path):
    (tmp_path / "gone.ipynb").write_text(LORA.path.read_text())
    gone = read(tmp_path / "gone.ipynb")
    gone.path.unlink()
    (reason, other) = reasons(gone, LORA)
    assert "there is no notebook" in reason and other == "example-lora: no record"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("a cell raised"), "a cell raised"),
        (KeyError("n"), "KeyError: 'n'"),
        (subprocess.CalledProcessError(1, "x"), "CalledProcessError: Command 'x' returned non-zero exit status 1."),
        (OSError(5, "Input/output error"), "OSError: [Errno 5] Input/output error"),
        (AssertionError(), "AssertionError: "),
        (ValueError("gsk-very-secret"), "ValueError: <key>"),
    ],
)
def test_a_failure_of_any_kind_is_told_and_the_others_go_on(place, capsys, monkeypatch, error, line):
    monkeypatch.setenv("GROQ_API_KEY", "gsk-very-secret")
    calls = []

    def execute(notebook, profile):
        calls.append(notebook.name)
        if notebook is LORA:
            raise error

    assert run_pending([LORA, AUDIT], "cpu", execute) == [LORA.name]
    assert calls == [LORA.name, AUDIT.name]
    assert f"{LORA.name} failed, the others go on: {line}\n" in capsys.readouterr().out


def test_an_interrupt_stops_all(place):
    def execute(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pending([LORA, AUDIT], "cpu", execute)


def test_one_that_fails_is_named_and_the_others_go_on(place, capsys):
    calls = []

    def execute(notebook, profile):
        calls.append((notebook.name, profile))
        if notebook is LORA:
            raise UserError("no space is left")

    assert run_pending([LORA, AUDIT], "cpu", execute) == [LORA.name]
    assert calls == [(LORA.name, "cpu"), (AUDIT.name, "cpu")]
    out = capsys.readouterr().out
    assert out.startswith("2 of 2 notebooks to run at cpu") and "failed, the others go on: no space is left" in out
