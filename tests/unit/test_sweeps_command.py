"""The command of the search: list, show and worker, each mistake in one line, and no torch for any of it."""

import subprocess
import sys
from dataclasses import replace

import pytest

from common.sweeps import __main__, search, sweep
from tests.unit import sweep_cases
from tests.unit.sweep_cases import stopping

lab = sweep_cases.lab


def run(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["sweeps", *words])
    with pytest.raises(SystemExit) as exit:
        __main__.run_cli(__main__.main)
    return exit.value.code or 0, *capsys.readouterr()


def test_list_and_show_tell_how_far_a_sweep_is(lab, monkeypatch, capsys):
    code, _, error = run(monkeypatch, capsys, "list")
    file = lab.folder / "sweeps.journal"
    line = f"error: there is no sweep storage {file} yet; run a notebook that searches, or set SWEEP_STORAGE\n"
    assert code == 2 and error == line
    assert not list(lab.folder.iterdir()), "looking makes nothing"
    with pytest.raises(KeyboardInterrupt):
        search(lab.sweep, objective=stopping(lab, 4))
    capsys.readouterr()
    assert run(monkeypatch, capsys, "list")[:2] == (0, f"{lab.sweep.id}  stage 1: 4/6  stage 2: 0/3\n")
    code, text, _ = run(monkeypatch, capsys, "show", "sft")
    assert code == 0 and len(text.splitlines()) == 5 and "sft-lora-s1-03" in text and "s1-04" not in text


def test_a_name_that_fits_no_sweep_or_several_is_one_line(lab, monkeypatch, capsys):
    for seed in (1, 2):
        search(replace(lab.sweep, seed=seed), objective=lab.objective)
    capsys.readouterr()
    code, _, error = run(monkeypatch, capsys, "show", "sft-full")
    assert code == 2 and "no sweep in" in error and "'sft-full'" in error and error.count("\n") == 1
    code, _, error = run(monkeypatch, capsys, "show", "sft-lora")
    assert code == 2 and "several sweeps in" in error and lab.sweep.id in error
    assert run(monkeypatch, capsys, "show", lab.sweep.id)[0] == 0


def test_a_worker_with_other_code_is_refused(lab, monkeypatch, capsys):
    with pytest.raises(KeyboardInterrupt):
        search(lab.sweep, objective=stopping(lab, 1))
    monkeypatch.setattr(sweep, "_basis", lambda *_: "edited since")
    capsys.readouterr()
    code, _, error = run(monkeypatch, capsys, "worker", "sft")
    assert code == 2 and "was begun with other code, data or packages" in error


def test_a_worker_finishes_a_sweep_that_a_notebook_began(lab, monkeypatch, capsys):
    with pytest.raises(KeyboardInterrupt):
        search(lab.sweep, objective=stopping(lab, 1))
    monkeypatch.setattr(__main__, "search", lambda plan: search(plan, objective=lab.objective))
    capsys.readouterr()
    code, text, _ = run(monkeypatch, capsys, "worker", "sft")
    assert code == 0 and text.startswith("stage 1: 6 trials, best {'learning_rate'") and "stage 2: 3 trials" in text


def test_the_package_needs_no_torch():
    code = (
        "import sys, common.sweeps, common.sweeps.__main__\n"
        "print(*{'torch', 'transformers', 'trl', 'wandb'} & set(sys.modules))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.split() == []
