"""The command of the search: list, show and worker, each mistake in one line, and no torch for any of it."""

import subprocess
import sys
from dataclasses import replace

import pytest

from common.sweeps import __main__, search, sweep
from tests.unit import sweeping
from tests.unit.sweeping import stopping

made = sweeping.made


def run(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["sweeps", *words])
    with pytest.raises(SystemExit) as ended:
        __main__.run_cli(__main__.main)
    return ended.value.code or 0, *capsys.readouterr()


def test_list_and_show_tell_how_far_a_sweep_is(made, monkeypatch, capsys):
    code, _, error = run(monkeypatch, capsys, "list")
    assert (
        code == 2
        and error == "error: there is no sweep storage yet; run a notebook that searches, or set SWEEP_STORAGE\n"
    )
    assert not list(made.folder.iterdir()), "looking makes nothing"
    with pytest.raises(KeyboardInterrupt):
        search(made.sweep, objective=stopping(made, 4))
    capsys.readouterr()
    assert run(monkeypatch, capsys, "list")[:2] == (0, f"{made.sweep.id}  stage 1: 4/6  stage 2: 0/3\n")
    code, shown, _ = run(monkeypatch, capsys, "show", "sft")
    assert code == 0 and len(shown.splitlines()) == 5 and "sft-lora-s1-03" in shown and "s1-04" not in shown


def test_a_name_that_fits_no_sweep_or_several_is_one_line(made, monkeypatch, capsys):
    for seed in (1, 2):
        search(replace(made.sweep, seed=seed), objective=made.objective)
    capsys.readouterr()
    code, _, error = run(monkeypatch, capsys, "show", "sft-full")
    assert code == 2 and "no sweep in" in error and "'sft-full'" in error and error.count("\n") == 1
    code, _, error = run(monkeypatch, capsys, "show", "sft-lora")
    assert code == 2 and "several sweeps in" in error and made.sweep.id in error
    assert run(monkeypatch, capsys, "show", made.sweep.id)[0] == 0


def test_a_worker_with_other_code_is_refused(made, monkeypatch, capsys):
    with pytest.raises(KeyboardInterrupt):
        search(made.sweep, objective=stopping(made, 1))
    monkeypatch.setattr(sweep, "_code_digest", lambda: "edited since")
    capsys.readouterr()
    code, _, error = run(monkeypatch, capsys, "worker", "sft")
    assert code == 2 and "was begun with other code, data or packages" in error


def test_a_worker_finishes_a_sweep_that_a_notebook_began(made, monkeypatch, capsys):
    with pytest.raises(KeyboardInterrupt):
        search(made.sweep, objective=stopping(made, 1))
    monkeypatch.setattr(__main__, "search", lambda plan: search(plan, objective=made.objective))
    capsys.readouterr()
    code, said, _ = run(monkeypatch, capsys, "worker", "sft")
    assert code == 0 and said.startswith("stage 1: 6 trials, best {'learning_rate'") and "stage 2: 3 trials" in said


def test_the_package_needs_no_torch():
    code = (
        "import sys, common.sweeps, common.sweeps.__main__\n"
        "print(*{'torch', 'transformers', 'trl', 'wandb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
