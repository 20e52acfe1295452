"""Trials in Weights & Biases: each logged once, online only with a key, and never the end of a search."""

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from common import tracking
from common.sweeps import search, storage
from tests.unit import sweep_cases
from tests.unit.sweep_cases import outcome

lab = sweep_cases.lab


@pytest.fixture
def logged(lab, monkeypatch):
    """Weights & Biases as a list of what was logged."""
    runs = []

    class Run:
        def __init__(self, **options):
            runs.append(self)
            self.options, self.steps, self.summary, self.is_finished = options, [], {}, False

        def log(self, metrics, step):
            self.steps.append((step, metrics))

        def finish(self):
            self.is_finished = True

    fake = SimpleNamespace(init=lambda **options: Run(**options), Settings=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(tracking, "_FAILURES", [])
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(tracking, "key", {"WANDB_PROJECT": "mine"}.get)
    return SimpleNamespace(runs=runs, fake=fake)


def test_each_trial_is_logged_once_with_its_values_and_curve(lab, logged):
    curve = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}, {"step": 2, "eval_loss": 1.4, "eval_score": math.nan}]
    search(lab.sweep, objective=lambda s, c: outcome(c, curve=curve))
    ids = [run.options["id"] for run in logged.runs]
    assert ids == [f"{lab.sweep.id}-s{s}-0{i}" for s, n in ((1, 6), (2, 3)) for i in range(n)]
    run = logged.runs[0]
    assert run.steps == [(1, {"loss": 2.0}), (2, {"loss": 1.5, "eval_loss": 1.4})]
    assert (
        run.options["group"] == lab.sweep.id
        and run.options["project"] == "mine"
        and run.options["name"] == "sft-lora-s1-00"
    )
    assert run.options["config"]["learning_rate"] == 1e-3 and run.options["config"]["stage"] == 1
    assert run.options["config"]["train_rows"] == 10 and logged.runs[-1].options["config"]["train_rows"] == 20
    assert set(run.summary) == {"final_loss", "tokens", "seconds"} and all(run.is_finished for run in logged.runs)
    settings = run.options["settings"]
    assert settings.mode == "offline" and settings.api_key is None and settings.silent
    assert settings.disable_git and settings.x_disable_stats and settings.x_disable_meta and settings.console == "off"


def test_a_trial_that_was_stopped_while_it_was_logged_is_logged_again_under_the_same_id(lab, logged):
    real = logged.fake.init

    def interrupt():
        raise KeyboardInterrupt

    def stopped(**options):
        run = real(**options)
        run.finish = interrupt if len(logged.runs) == 3 else run.finish
        return run

    logged.fake.init = stopped
    with pytest.raises(KeyboardInterrupt):
        search(lab.sweep, objective=lab.objective)
    logged.fake.init = real
    search(lab.sweep, objective=lab.objective)
    ids = [run.options["id"] for run in logged.runs]
    assert len(ids) == 10 and ids[2] == ids[3] and len(set(ids)) == 9


@pytest.mark.parametrize(("mode", "expected"), [(None, "online"), ("online", "online"), ("offline", "offline")])
def test_a_key_makes_it_online_unless_the_environment_says_otherwise(lab, logged, monkeypatch, mode, expected):
    monkeypatch.setattr(tracking, "key", {"WANDB_API_KEY": "secret"}.get)
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    search(lab.sweep, objective=lab.objective)
    options = logged.runs[0].options
    assert options["settings"].mode == expected and (options["settings"].api_key == "secret") == (expected == "online")
    assert options["resume"] == ("allow" if expected == "online" else None)
    assert "secret" not in str({name: value for name, value in options.items() if name != "settings"})


def test_a_failure_of_tracking_is_one_line_and_never_the_end(lab, logged, capsys, monkeypatch):
    calls = []
    monkeypatch.setattr(
        logged.fake, "init", lambda **_: calls.append(1) or (_ for _ in ()).throw(OSError("key=secret"))
    )
    assert len(search(lab.sweep, objective=lab.objective).trials) == 9
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "Weights" in line]
    assert len(lines) == 1 and "could not log sft-lora-s1-00 (OSError)" in lines[0] and "secret" not in lines[0]
    assert len(calls) == 1, "each try may take a time-out"


def test_disabled_tracking_is_not_even_imported(lab, logged, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    search(lab.sweep, objective=lab.objective)
    assert logged.runs == []


def test_real_tracking_offline_is_silent_and_tells_nothing_of_the_machine(lab):
    code = (
        "from common.tracking import log_run\n"
        "for i in range(3):\n"
        "    log_run(f'sft-x-s1-0{i}', name='x', group='g', config={'betas': (0.9, 0.999)},\n"
        "            curve=[{'step': 1, 'loss': 2.0}], summary={'final_loss': 1.0})\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (process.stdout, process.stderr) == ("", "")
    runs = sorted((lab.folder / "wandb").glob("offline-run-*"))
    assert [run.name.split("-", 3)[3] for run in runs] == ["sft-x-s1-00", "sft-x-s1-01", "sft-x-s1-02"]
    written = b"".join(path.read_bytes() for run in runs for path in run.rglob("*.wandb"))
    assert b"final_loss" in written and b"betas" in written
    for private in (os.uname().nodename + ".", str(storage.Path.cwd()), sys.executable):
        assert private.encode() not in written
    assert not [
        path for run in runs for path in run.rglob("*") if path.name in ("wandb-metadata.json", "requirements.txt")
    ]
