"""A process that searches: a worker, or one killed at every place. Run as a script, it imports nothing of tests/."""

import json
import math
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import optuna

from common.profiles import Stage
from common.sweeps import Outcome, Sweep, folders, search, searching, sweep
from common.sweeps import attempts as attempts_module
from common.sweeps.storage import Storage
from common.training.recipe import Recipe

SPACE = {"learning_rate": (1e-5, 1e-4, 1e-3), "optimizer": ("adam", "adamw"), "betas": ((0.9, 0.999), (0.95, 0.999))}
PLAN = Sweep(
    *("sft-lora", Recipe(), SPACE, (Stage(10, 5, 6), Stage(20, 5, 3), Stage(30, 5, 1)), "model", "float32", "embedded"),
    seed=1,
    first={"learning_rate": 1e-3},
)


def objective(log: Path, *, workers: int = 1, at: str = "", meets: int | None = None):
    """Trains nothing, but leaves a checkpoint before and after, and notes each trial in `log`, and in `log`.ends who
    has written into its folder until its end. Its first trial waits until that many workers have one. In its first
    trial whose id ends with `at` the process meets its fate between the two checkpoints: a signal."""

    def train(sweep: Sweep, candidate) -> Outcome:
        candidate.folder.mkdir(parents=True, exist_ok=True)
        note = {"pid": os.getpid(), "id": candidate.id, "recipe": repr(candidate.recipe)}
        note |= {"folder": str(candidate.folder), "checkpoints": names(candidate.folder)}
        with log.open("a") as file:
            file.write(json.dumps(note) + "\n")
        (candidate.folder / f"1-{os.getpid()}").touch()
        while len({note["pid"] for note in notes(log)}) < workers:
            time.sleep(0.01)
        if meets and candidate.id.endswith(at) and not (met := log.with_suffix(".met")).exists():
            met.touch()
            os.kill(os.getpid(), meets)
        (candidate.folder / f"2-{os.getpid()}").touch()
        with log.with_suffix(".ends").open("a") as file:
            file.write(json.dumps(note | {"checkpoints": names(candidate.folder)}) + "\n")
        recipe, rows = candidate.recipe, candidate.rows
        loss = abs(math.log10(recipe.learning_rate) + 4) + 0.25 * (recipe.optimizer == "adam") + recipe.betas[0]
        return Outcome(loss + 1 / candidate.stage, rows.train_rows, rows.valid_rows, 7 * rows.train_rows, 0.5, "base")

    return train


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def work(log: str, options: str) -> None:
    """One of so many `workers`, which begins when all are there: prints the table that it ends with."""
    facts = json.loads(options)
    # On a busy machine a worker is silent for long; that the others may take its trial for that has a test of its own.
    attempts_module.SILENCE = facts.pop("silence")
    (Path(log).parent / f"ready-{os.getpid()}").touch()
    while len(list(Path(log).parent.glob("ready-*"))) < facts["workers"]:
        time.sleep(0.01)
    result = search(PLAN, objective=objective(Path(log), **facts))
    print(result.trials.to_json(orient="split", double_precision=15))


# Where a worker may be killed: the function, and whether before or after it has done its work.
DEATHS = [
    *((attempts_module.Attempts, "claim", "before"), (attempts_module.Attempts, "claim", "after")),
    (searching, "_check", "before"),
    *((folders, "_take_over", "after"), (searching, "_log_trial", "after")),
    (attempts_module.Attempts, "complete", "before"),
    (Storage, "call set_trial_user_attr", "after"),
    *((attempts_module.Attempts, "complete", "after"), (shutil, "rmtree", "after")),
]
TRIALS = (3, 7)  # one in the middle of stage 1, one of stage 2


def die_in(owner, name: str, when: str, trial: int) -> None:
    """From now on this process is killed around the call that belongs to the trial with this number."""
    name, _, method = name.partition(" ")
    real, calls = getattr(owner, name), [0]

    def fatal(*args, **kwargs):
        if method and method not in args:
            return real(*args, **kwargs)
        calls[0] += 1
        if calls[0] > trial and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if calls[0] > trial:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, fatal)


def forked(action) -> int:
    """The signal that ended a child that did this, 0 for none."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def die_everywhere(folder: str) -> None:
    """For each death and trial: a search that is killed there, and one that goes on. Prints their tables and logs."""
    root, results = Path(folder), []
    for number, (owner, name, when) in enumerate(DEATHS):
        for trial in TRIALS:
            place = root / f"{number}-{trial}"
            place.mkdir()
            os.environ["TEXT_TO_SQL_OUTPUTS"] = str(place)
            os.environ["SWEEP_STORAGE"] = f"journal:{place / 'sweeps.journal'}"
            log = place / "log"

            def killed(owner=owner, name=name, when=when, trial=trial, log=log):
                die_in(owner, name, when, trial)
                search(PLAN, objective=objective(log))

            def goes_on(place=place, log=log):
                table = search(PLAN, objective=objective(log)).trials
                (place / "table").write_text(table.to_json(orient="split", double_precision=15))

            end = forked(killed)
            forked(goes_on)
            remains = [path.name for path in (place / "sweeps").rglob("*-s?-*")] if (place / "sweeps").exists() else []
            results.append(
                {
                    "at": f"{when} {name}, trial {trial}",
                    "signal": end,
                    "table": json.loads((place / "table").read_text()),
                }
                | {"log": notes(log), "remains": remains}
            )
    print(json.dumps(results))


def notes(log: Path) -> list[dict]:
    """The trials so far; the last one may still be half a line."""
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]


def basis(trainer: str, root: Path) -> str:
    """In place of the digest of the code, which each of many processes would compute anew, a second long."""
    return "the same"


if __name__ == "__main__":
    sweep._basis = basis
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    {"work": work, "die": die_everywhere}[sys.argv[1]](*sys.argv[2:])
