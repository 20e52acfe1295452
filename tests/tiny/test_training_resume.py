"""Trainings killed by SIGKILL and started again end as one that never stopped: weights bit by bit, curve, step, loss.

This file is also the program that is killed: it imports once, then forks one process for each sitting.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

LORA = {
    "epochs": 2,
    "effective_batch_size": 8,
    "per_device_train_batch_size": 4,
    "optimizer": "nadam",
    "learning_rate": 5e-2,
    "schedule": "constant_with_warmup",
    "lora_rank": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.2,
    "evaluations": 3,  # after steps 3, 6 and 8
    "patience": 1,
    "save_every": 2,
    "seed": 2,  # ends early by its patience
}
TREES = {
    "lora_dropout": 0.0,
    "micro_batch_tokens": 400,
    "seed": 42,
}  # the others: rows side by side, with draws to go on from
FULL = LORA | TREES | {"method": "full", "learning_rate": 2e-2, "optimizer": "adamw", "patience": 2}
SCORED = LORA | TREES | {"select_by": "score", "score_rows": 2, "patience": 0}
QLORA, PROMPT = SCORED | {"method": "qlora"}, SCORED | {"method": "prompt-random", "virtual_tokens": 5}
LONG = FULL | {"effective_batch_size": 1, "per_device_train_batch_size": 1, "epochs": 17, "learning_rate": 1e-3}


@dataclass(frozen=True)
class Story:
    """A training in several sittings, each ended at its moment by SIGKILL, the last one not.

    Moments: "step N", after the step; "save N", before its checkpoint; "half N", in the middle of it, when weights and
    optimiser are written; "state N", its last file half written; "saved N", after it; "best N", when the best weights
    so far are gone and the new ones not yet in their place; "before F" and "half F" for a file of the training's own.
    begun: the step at which each sitting begins, the last one's too.
    """

    recipe: dict
    kills: tuple[str, ...]
    begun: tuple[int, ...]
    rows: int = 32


STORIES = {
    "full": Story(FULL, ("step 1", "saved 3", "half 4", "best 6", "state 6", "step 7"), (0, 0, 3, 3, 4, 4, 6)),
    "lora": Story(LORA, ("save 3", "half 3", "step 5"), (0, 2, 2, 4)),
    "last sitting": Story(LORA, ("before trained.json",), (0, 4)),
    "result": Story(LORA, ("half trained.json",), (0, 4)),
    "seconds": Story(LORA, ("half seconds.json",), (0, 2)),
    "identity": Story(LORA, ("half training.json",), (0,)),
    "qlora": Story(QLORA, ("half 3", "step 7"), (0, 2, 6)),
    "prompt": Story(PROMPT, ("saved 3", "half 6", "step 7"), (0, 3, 4, 6)),
    "long": Story(LONG | {"save_every": 0}, ("step 69",), (0, 68), rows=12),
}
WHOLE = {"whole full": FULL, "whole lora": LORA, "whole qlora": QLORA, "whole prompt": PROMPT}
WHOLE["whole long"] = LONG | {"save_every": 0}


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Callable[[str], dict]:
    """What became of each story; the driver runs all of them once."""
    place = tmp_path_factory.mktemp("killed")
    done = subprocess.run([sys.executable, __file__, str(place)], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-2000:]
    return lambda name: json.loads((place / f"{name}.json").read_text())


def check(told, name: str, whole: str):
    story, found, expected = STORIES[name], told(name), told(whole)
    assert found["ends"] == [-signal.SIGKILL] * len(story.kills) + [0], found["error"]
    assert tuple(found["begun"]) == story.begun
    assert found["weights"] == expected["weights"]
    assert found["result"] == expected["result"]
    assert found["seconds"][0] > found["earlier"][0] and found["seconds"][1] >= found["earlier"][1]


@pytest.mark.parametrize("name", ["full", "lora", "qlora", "prompt"])
def test_killed_at_any_moment_and_gone_on_equals_not_stopped(told, name):
    check(told, name, f"whole {name}")


def test_the_trainings_that_are_killed_choose_and_stop_early(told):
    """So that going on has to remember the best step, its weights and the patience."""
    best_and_last = {name: (told(name)["result"]["step"], told(name)["result"]["last"]) for name in WHOLE}
    assert best_and_last["whole full"] == (6, 8) and best_and_last["whole lora"] == (3, 6)


@pytest.mark.parametrize("name", ["last sitting", "result", "seconds", "identity"])
def test_killed_while_a_small_file_is_written(told, name):
    check(told, name, "whole lora")


def test_the_curve_of_a_long_training_is_the_same_too(told):
    check(told, "long", "whole long")


# The program that is killed


def _moments(moment: str, folder: Path, begun: Path) -> None:
    """Patch what is needed to die at the moment, and note where the sitting begins."""
    import shutil

    import transformers

    from common.training import adapters
    from common.training.trainer import Clock

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def patched(owner, name: str, before: str = "", after: str = "") -> None:
        real = getattr(owner, name)

        def method(self, *args, **kwargs):
            state = getattr(self, "state", None) or args[1]
            if moment == f"{before} {state.global_step}":
                die()
            result = real(self, *args, **kwargs)
            if moment == f"{after} {state.global_step}":
                die()
            return result

        setattr(owner, name, method)

    patched(Clock, "on_step_end", after="step")
    patched(Clock, "on_save", after="saved")
    patched(transformers.Trainer, "_save_checkpoint", before="save")
    patched(transformers.Trainer, "_save_rng_state", before="half")

    begin, to_json = Clock.on_train_begin, transformers.TrainerState.save_to_json
    rmtree, write = shutil.rmtree, Path.write_text

    def on_train_begin(self, args, state, control, **kwargs):
        with begun.open("a") as file:
            file.write(f"{state.global_step}\n")
        begin(self, args, state, control, **kwargs)

    def save_to_json(self, path):
        to_json(self, path)
        if moment == f"state {self.global_step}":
            os.truncate(path, Path(path).stat().st_size // 2)
            die()

    class Removing:
        @staticmethod
        def rmtree(path, *args, **kwargs):
            rmtree(path, *args, **kwargs)
            if moment == "best 6" and (folder / "checkpoint-4").exists():  # the second time that best is saved
                die()

    def write_text(self, text, *args, **kwargs):
        kind, _, name = moment.partition(" ")
        mine = name.endswith(".json") and name.removesuffix(".json") in self.name and self.parent == folder
        if mine and kind == "before":
            die()
        size = write(self, text[: len(text) // 2] if mine else text, *args, **kwargs)
        if mine:
            die()
        return size

    Clock.on_train_begin, transformers.TrainerState.save_to_json = on_train_begin, save_to_json
    adapters.shutil, Path.write_text = Removing, write_text


def _sitting(folder: Path, recipe: dict, count: int, moment: str, begun: Path) -> None:
    """One process's part of a training; the last one leaves what it found."""
    import torch

    from common.data import load_examples
    from common.models import load_model
    from common.profiles import TINY_MODEL
    from common.training.recipe import Recipe
    from common.training.sft import train_sft

    torch.set_num_threads(1)
    _moments(moment, folder, begun)
    rows = load_examples("embedded", "train", limit=count), load_examples("embedded", "validation", limit=4)
    told = Recipe(**recipe)
    loaded = load_model(TINY_MODEL, quantisation=told.quantisation)
    run = train_sft(loaded, *rows, told, folder=folder, max_new_tokens=8)
    result = {"step": run.step, "eval_loss": run.eval_loss, "curve": run.curve.to_csv(index=False)}
    result["last"] = int(run.curve["step"].max())
    (folder / "result").write_text(json.dumps([result, run.seconds, run.evaluation_seconds]))


def _story(place: Path, name: str, recipe: dict, kills: tuple[str, ...], rows: int) -> None:
    folder, begun, ends, earlier = place / name, place / f"{name}.begun", [], [0, 0]
    folder.mkdir()
    begun.touch()
    for moment in (*kills, ""):
        clock = folder / "seconds.json"
        if not moment and clock.exists() and (text := clock.read_text()).endswith("]"):
            earlier = json.loads(text)
        if not (child := os.fork()):
            try:
                _sitting(folder, recipe, rows, moment, begun)
            except BaseException:
                (folder / "error").write_text(traceback.format_exc())
                os._exit(1)
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    found = {"ends": ends, "begun": [int(step) for step in begun.read_text().split()], "earlier": earlier}
    found["error"] = (folder / "error").read_text() if (folder / "error").exists() else ""
    if not ends[-1]:
        result, *seconds = json.loads((folder / "result").read_text())
        (weights,) = (folder / "weights").glob("*.safetensors")
        found |= {"result": result, "seconds": seconds, "weights": weights.read_bytes().hex()}
    (place / f"{name}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    import torch

    import common.training.sft  # noqa: F401  (once, for all that are forked from here)
    from common import provenance
    from common.models import load_model
    from common.profiles import TINY_MODEL

    torch.set_num_threads(1)  # no thread but this one may be there when it forks
    # Nor need each of them digest the code, make the model, or look for garbage in all of this.
    provenance.basis("common.training.sft", without=provenance.SCORING)
    load_model(TINY_MODEL)
    gc.freeze()
    for name, recipe in WHOLE.items():
        _story(Path(sys.argv[1]), name, recipe, (), 12 if "long" in name else 32)
    for name, story in STORIES.items():
        _story(Path(sys.argv[1]), name, story.recipe, story.kills, story.rows)
