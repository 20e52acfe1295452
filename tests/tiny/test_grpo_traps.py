"""Traps of training by rewards: the model it starts from, SIGKILL in every phase, and two processes.

This file is also the program that is killed, and that Accelerate launches.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common import distributed, provenance
from common.data import load_examples
from common.generation import complete
from common.models import load_model
from common.profiles import TINY_MODEL
from common.prompts import prompt_ids
from common.settings import UserError, outputs
from common.training.adapters import adapt, save_weights
from common.training.group_recipe import GroupRecipe
from common.training.group_trainer import GroupTrainer
from common.training.grpo import train_grpo
from common.training.rollouts import Rollouts
from common.training.trainer import Clock

ROOT = Path(__file__).resolve().parents[2]
RECIPE = GroupRecipe(
    learning_rate=1e-2,
    effective_batch_size=4,
    per_device_train_batch_size=1,
    lora_rank=4,
    lora_alpha=8,
    generations=4,
    reward=(("vowels", 1.0),),
    warmup_ratio=0.0,
    least_divergence=0.0,
    divergence_rows=2,
    divergence_samples=2,
    epochs=2,
    evaluations=2,
    score_rows=1,
    save_every=1,
    start="start",
    sampling_calls=2,
)
PHASES = ("sample", "reward", "update", "step")
KILLS = (("sample", 1), ("reward", 2), ("update", 2), ("step", 3))  # the phase, and after how many whole steps


def vowels(examples, completions) -> list[float]:
    return [-sum(letter in "ae" for letter in text) / 10 for text in completions]


def run(folder: Path):
    parts = [load_examples("embedded", split, limit=n) for split, n in (("post", 8), ("validation", 2))]
    functions = {"vowels": vowels}
    return train_grpo(load_model(TINY_MODEL), *parts, RECIPE, folder=folder, functions=functions, max_new_tokens=6)


def with_start(folder: Path) -> Path:
    """A folder for outputs of one's own, with the models that are there already, and an adapter that is another model
    than the base."""
    models = outputs() / "models"
    models.mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    (folder / "models").symlink_to(models)
    torch.manual_seed(1)
    model = adapt(load_model(TINY_MODEL), RECIPE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    save_weights(model, folder / "start")
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    folder = with_start(tmp_path / "outputs")
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(folder))
    return folder


def test_the_policy_begins_as_the_fine_tuned_model(place, monkeypatch):
    first, begin = {}, Clock.on_train_begin
    prompts = [prompt_ids(e, load_model(TINY_MODEL).tokenizer) for e in load_examples("embedded", "test", limit=6)]

    def answers(loaded) -> list[tuple[int, ...]]:
        return [completion.token_ids for completion in complete(loaded, prompts, max_new_tokens=12)]

    def look(self, args, state, control, model=None, **kwargs):
        first["answers"] = answers(replace(self.trainer._rollouts.loaded, model=model.eval()))
        with torch.no_grad():
            losses = [self.trainer._loss(model, inputs) for inputs in self.trainer.get_eval_dataloader()]
        first["divergence"] = sum(loss.total.item() for loss in losses)
        first["samples"] = sum(loss.units.item() for loss in losses)
        model.train()
        begin(self, args, state, control, model=model, **kwargs)

    monkeypatch.setattr(Clock, "on_train_begin", look)
    trained = run(place / "run")
    base = load_model(TINY_MODEL)
    tuned = replace(base, model=adapt(load_model(TINY_MODEL), RECIPE, place / "start").eval())
    assert first["answers"] == answers(tuned) != answers(base)
    assert first["samples"] == 4 and first["divergence"] == pytest.approx(0.0, abs=1e-9)
    assert trained.curve["eval_loss"].dropna().iloc[-1] > 1e-4


def test_in_bfloat16_what_is_trained_is_float32(place, monkeypatch, saved):
    kinds, drops = set(), []

    def look(self, args, state, control, model=None, optimizer=None, **kwargs):
        kinds.update((p.dtype, p.grad.dtype) for group in optimizer.param_groups for p in group["params"])
        drops.extend(m.p for m in model.modules() if isinstance(m, torch.nn.Dropout) and m.training)

    monkeypatch.setattr(Clock, "on_pre_optimizer_step", look, raising=False)
    parts = [load_examples("embedded", split, limit=n) for split, n in (("post", 8), ("validation", 2))]
    loaded = load_model(TINY_MODEL, precision="bfloat16")
    recipe = RECIPE.with_values({"lora_dropout": 0.3, "start": ""})
    options = {"folder": place / "run", "functions": {"vowels": vowels}, "max_new_tokens": 6}
    trained = train_grpo(loaded, *parts, recipe, **options)
    assert kinds == {(torch.float32, torch.float32)} and not any(drops)
    assert {tensor.dtype for tensor in saved(trained.weights).values()} == {torch.float32}


def test_an_adapter_of_other_sizes_is_refused_in_one_line(place):
    parts = [load_examples("embedded", split, limit=n) for split, n in (("post", 8), ("validation", 2))]
    recipe = RECIPE.with_values({"lora_rank": 8})
    options = {"folder": place / "run", "functions": {"vowels": vowels}, "max_new_tokens": 6}
    with pytest.raises(UserError, match="start holds an adapter with r 4, the recipe asks for 8"):
        train_grpo(load_model(TINY_MODEL), *parts, recipe, **options)
    assert not (place / "run" / "training.json").exists()


# Killed


@pytest.fixture(scope="module")
def stories(tmp_path_factory) -> dict[str, dict]:
    """What became of each training, killed or not; the program runs all of them once."""
    place = tmp_path_factory.mktemp("killed")
    done = subprocess.run([sys.executable, __file__, str(place)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((place / "stories.json").read_text())


def test_killed_in_every_phase_it_ends_as_if_it_had_not(stories):
    whole, killed = stories["whole"], stories["killed"]
    assert killed["ends"] == [-signal.SIGKILL] * len(KILLS) + [0], killed["error"]
    assert whole["ends"] == [0] and killed["begun"] == [0, 1, 2, 2, 2]
    assert killed["result"] == whole["result"] and killed["weights"] == whole["weights"]


# Two processes


@pytest.fixture(scope="module")
def jobs(tmp_path_factory) -> dict[str, dict]:
    """The same training in one process and, launched, in two."""
    results = {}
    for name, words in (("one", []), ("two", ["-m", "accelerate.commands.launch", "--config_file"])):
        place = tmp_path_factory.mktemp(name, numbered=False)
        command = [sys.executable, *words, *(["examples/ddp.yaml", "--main_process_port", "0"] if words else [])]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, __file__, str(place), "job"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        ranks = {path.stem: json.loads(path.read_text()) for path in place.glob("rank*.json")}
        results[name] = {"ranks": ranks, "folder": place / "outputs"}
    return results


def test_two_processes_draw_the_same_groups_and_learn_the_same(jobs, saved):
    one, two = (jobs[name]["ranks"] for name in ("one", "two"))
    assert list(one) == ["rank0"] and sorted(two) == ["rank0", "rank1"]

    def drawn(ranks: dict) -> dict[int, list]:
        steps: dict[int, list] = {}
        for step, number, completions in (line for rank in ranks.values() for line in rank["groups"]):
            steps.setdefault(step, []).append([number, completions])
        return {step: sorted(groups) for step, groups in steps.items()}

    assert drawn(one)[0] == drawn(two)[0], "the first step's, before sums in another order"
    assert [len(groups) for groups in drawn(two).values()] == [4] * 4
    for name in ("reward", "eval_loss", "groups_used", "eval_match"):
        first, second = ([line[name] for line in ranks["rank0"]["curve"] if name in line][:1] for ranks in (one, two))
        assert first == pytest.approx(second, abs=1e-6), name
    for tensor, other in zip(*(one_step(jobs[name]["folder"], saved).values() for name in jobs), strict=True):
        assert (tensor - other).norm() <= 1e-3 * tensor.norm()


def one_step(folder: Path, saved) -> dict[str, torch.Tensor]:
    """The weights after the first step."""
    return saved(folder / "first")


# The program


def _job(place: Path) -> None:
    """A training as one process of a job; each writes the groups that it drew."""
    distributed.join()
    distributed.from_main(lambda: str(with_start(place / "outputs")))
    os.environ["TEXT_TO_SQL_OUTPUTS"] = str(place / "outputs")
    groups, draw, end = [], GroupTrainer._groups, Clock.on_step_end

    def watched(self, slots):
        drawn = draw(self, slots)
        step = self.state.global_step
        groups.extend(
            [step, sum(group.row["input_ids"]), [list(map(int, ids)) for ids in group.completions]] for group in drawn
        )
        return drawn

    def on_step_end(self, args, state, control, **kwargs):
        end(self, args, state, control, **kwargs)
        if state.global_step == 1 and distributed.is_main():
            save_weights(self.trainer.whole(), place / "outputs" / "first")

    GroupTrainer._groups, Clock.on_step_end = watched, on_step_end
    trained = run(place / "outputs" / "run")
    curve = [{k: v for k, v in line.items() if v == v} for line in trained.curve.to_dict("records")]
    (place / f"rank{distributed.rank()}.json").write_text(json.dumps({"groups": groups, "curve": curve}))


def _sitting(folder: Path, kill: tuple[str, int], log: Path) -> None:
    """One process's part of a training, killed in a phase; the last one writes the result."""
    begin = Clock.on_train_begin

    def on_train_begin(self, args, state, control, **kwargs):
        with log.open("a") as file:
            file.write(f"{state.global_step}\n")
        begin(self, args, state, control, **kwargs)

    def killing(phase: str, owner: type, name: str, step_of) -> None:
        real = getattr(owner, name)

        def watched(self, *args, **kwargs):
            result = real(self, *args, **kwargs)
            if kill == (phase, step_of(self, *args)):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, watched)

    running: dict[str, GroupTrainer] = {}
    real_sample = Rollouts.sample

    def sample(self, prompts, trainer):
        running["trainer"] = trainer
        return real_sample(self, prompts, trainer)

    Clock.on_train_begin, Rollouts.sample = on_train_begin, sample
    killing("sample", Rollouts, "sample", lambda self, prompts, trainer: trainer.state.global_step)
    killing("reward", Rollouts, "reward", lambda self, *_: running["trainer"].state.global_step)
    killing("update", GroupTrainer, "training_step", lambda self, *_: self.state.global_step)
    killing("step", Clock, "on_step_end", lambda self, args, state, *_: state.global_step)
    trained = run(folder)
    names = [name for name in trained.curve if not name.endswith("_seconds")]
    result = {"step": trained.step, "curve": trained.curve[names].to_csv(index=False)}
    (folder / "result").write_text(json.dumps(result))


def _story(place: Path, kills) -> dict:
    """A training in several sittings, with outputs of its own."""
    place.mkdir()
    folder, log, ends = with_start(place / "outputs") / "run", place / "log", []
    os.environ["TEXT_TO_SQL_OUTPUTS"] = str(place / "outputs")
    for kill in (*kills, ("", 0)):
        if not (child := os.fork()):
            try:
                _sitting(folder, kill, log)
            except BaseException:
                (place / "error").write_text(traceback.format_exc())
                os._exit(1)
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    story = {"ends": ends, "begun": [int(line) for line in log.read_text().split()]}
    story["error"] = (place / "error").read_text() if (place / "error").exists() else ""
    if not ends[-1]:
        story["result"] = json.loads((folder / "result").read_text())
        story["weights"] = (folder / "weights" / "adapter_model.safetensors").read_bytes().hex()
    return story


if __name__ == "__main__":
    root = Path(sys.argv[1])
    torch.set_num_threads(1)  # no thread but this one may be there when it forks
    if sys.argv[2:]:
        distributed.run_job(lambda: _job(root))
    provenance.basis(GroupRecipe.module, without=provenance.SCORING)
    provenance.code(*provenance.SCORING)
    load_model(TINY_MODEL)
    gc.freeze()
    results = {name: _story(root / name, kills) for name, kills in (("whole", ()), ("killed", KILLS))}
    (root / "stories.json").write_text(json.dumps(results))
