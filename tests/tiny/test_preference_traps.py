"""Traps of preference training: the model it starts from, precision, what it hands back, and SIGKILL after a step.

This file is also the program that is killed, for preference training and for the reward model: it imports once, then
forks one process for each sitting.
"""

import gc
import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common import provenance
from common.data import load_examples
from common.generation import complete
from common.models import base_digest, load_model
from common.preferences.pairs import Pair
from common.profiles import TINY_MODEL
from common.prompts import prompt_ids
from common.settings import outputs
from common.training import dpo
from common.training.adapters import adapt, save_weights
from common.training.dpo import PreferenceRecipe, items, train_pairs
from common.training.reward import RewardRecipe, train_reward
from common.training.rows import IGNORED
from common.training.trainer import Clock

SIZES = {"effective_batch_size": 4, "per_device_train_batch_size": 2, "lora_rank": 4, "lora_alpha": 8}
RECIPE = PreferenceRecipe(learning_rate=1e-2, epochs=1, evaluations=1, optimizer="nadam", **SIZES)
KILLS = (1, 4, 5)  # steps after which a sitting is killed, before its checkpoint is written
BEGUN = [0, 0, 3, 4]  # the steps at which the sittings begin
STOPPED = {"epochs": 2, "evaluations": 2, "save_every": 2, "start": "start"}  # 6 steps; checkpoints after 2, 3 and 4


def pairs_of(examples) -> list[Pair]:
    """Right answers, and those of the next row as wrong ones."""
    following = [*examples[1:], examples[0]]
    return [
        Pair(one, one.sql, other.sql, "reference", "sampled", "tiny", "filter")
        for one, other in zip(examples, following, strict=True)
    ]


@pytest.fixture(scope="module")
def pairs(rows) -> tuple[list[Pair], list[Pair]]:
    return pairs_of(rows[0][:12]), pairs_of(rows[1][:4])


def with_models(folder: Path) -> Path:
    """A folder for outputs of one's own, with the models that are there already."""
    models = outputs() / "models"
    models.mkdir(parents=True, exist_ok=True)
    folder.mkdir()
    (folder / "models").symlink_to(models)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    folder = with_models(tmp_path / "outputs")
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(folder))
    return folder


# The start


def row_sum(model, row) -> float:
    """The log-probability of a row's labelled tokens, from full logits of that row alone."""
    with torch.no_grad():
        chances = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].double().log_softmax(dim=-1)
    return sum(chances[at - 1, token].item() for at, token in enumerate(row["labels"]) if token != IGNORED)


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_policy_and_reference_begin_as_the_fine_tuned_model(
    method, pairs, rows, tiny, trained, saved, place, monkeypatch
):
    start, first, begin = trained(method), {}, Clock.on_train_begin
    folder = place / "starts" / method
    shutil.copytree(start.weights, folder)
    recipe = RECIPE.with_values({"method": method, "start": f"starts/{method}"})
    loaded = tiny(recipe)
    prompts = [prompt_ids(example, loaded.tokenizer) for example in rows[1]]

    def answers(model) -> list[list[int]]:
        completions = complete(replace(loaded, model=model), prompts, max_new_tokens=12)
        return [completion.token_ids for completion in completions]

    def look(self, args, state, control, model=None, **kwargs):
        first["weights"] = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        with torch.no_grad():
            first["losses"] = [self.trainer._loss(model, inputs) for inputs in self.trainer.get_eval_dataloader()]
        first["answers"] = answers(model.eval())
        model.train()
        begin(self, args, state, control, model=model, **kwargs)

    monkeypatch.setattr(Clock, "on_train_begin", look)
    run = train_pairs(loaded, *pairs, recipe, folder=place / "run")
    assert first["answers"] == answers(start.loaded.model) != answers(tiny(recipe).model)
    weights = {name.replace(".weight", ".default.weight"): tensor for name, tensor in saved(folder).items()}
    assert first["weights"].keys() == weights.keys()
    assert all(torch.equal(first["weights"][name], tensor) for name, tensor in weights.items())
    assert not any(torch.equal(tensor, tensor.bfloat16().float()) for tensor in first["weights"].values())

    (path,) = (place / "references").iterdir()
    references = json.loads(path.read_text())["references"]
    assert [len(values) for values in references] == [2] * 16
    tuned, base = adapt(tiny(recipe), recipe, folder).eval(), tiny(recipe).model
    for item, values in zip(items(pairs[0][:3], tiny(), max_length=1024), references, strict=False):
        for row, value in zip(item, values, strict=True):
            assert value == pytest.approx(row_sum(tuned, row), rel=1e-5) and abs(value - row_sum(base, row)) > 1

    count = sum(loss.units.item() for loss in first["losses"])
    sums = {name: sum(loss.sums[name].item() for loss in first["losses"]) for name in first["losses"][0].sums}
    assert count == 4 and sum(loss.total.item() for loss in first["losses"]) / 4 == pytest.approx(math.log(2), abs=1e-5)
    assert [sums[name] for name in ("margin", "chosen_change", "rejected_change")] == pytest.approx([0] * 3, abs=1e-4)
    assert run.curve["loss"].dropna().iloc[0] == pytest.approx(math.log(2), abs=1e-5)
    ends = saved(run.weights)
    ups = [name for name in ends if "lora_B" in name]
    assert len(ups) == 14 and all(ends[name].any() for name in ups)
    assert not any(torch.equal(ends[name], saved(folder)[name]) for name in ups)


def test_in_bfloat16_what_is_trained_is_float32_and_nothing_drops(pairs, saved, place, monkeypatch):
    kinds, drops, recomputes = set(), [], []

    def look(self, args, state, control, model=None, optimizer=None, **kwargs):
        weights = [p for group in optimizer.param_groups for p in group["params"]]
        assert {id(p) for p in weights} == {id(p) for p in model.parameters() if p.requires_grad}
        kinds.update((state.global_step, p.dtype, p.grad.dtype) for p in weights)
        drops.extend(m.p for m in model.modules() if isinstance(m, torch.nn.Dropout) and m.training)
        recomputes.extend(bool(getattr(m, "gradient_checkpointing", False)) for m in model.modules())
        recomputes.append(args.activation_checkpointing)

    monkeypatch.setattr(Clock, "on_pre_optimizer_step", look, raising=False)
    loaded = load_model(TINY_MODEL, precision="bfloat16")
    run = train_pairs(loaded, *pairs, RECIPE.with_values({"lora_dropout": 0.3}), folder=place / "run")
    assert kinds == {(step, torch.float32, torch.float32) for step in range(3)}  # before each of three steps
    assert not any(drops) and not any(recomputes) and not run.recomputed
    assert {tensor.dtype for tensor in saved(run.weights).values()} == {torch.float32}
    assert not any(torch.equal(tensor, tensor.bfloat16().float()) for tensor in saved(run.weights).values())
    frozen = {p.dtype for name, p in run.loaded.model.named_parameters() if "lora_" not in name}
    assert frozen == {torch.bfloat16} and not run.merged
    assert run.curve["loss"].dropna().iloc[0] == pytest.approx(math.log(2), abs=1e-2)  # a pair's 100 tokens are rounded


@pytest.mark.parametrize(("method", "precision"), [("lora", "bfloat16"), ("qlora", "float32")])
def test_a_later_sitting_loads_the_very_model_that_was_handed_back(method, precision, pairs, place):
    """Answers are kept under the digest of the model that gave them."""
    recipe, digests = RECIPE.with_values({"method": method}), set()
    for _ in range(2):
        loaded = load_model(TINY_MODEL, precision=precision, quantisation=recipe.quantisation)
        model = train_pairs(loaded, *pairs, recipe, folder=place / "run").loaded.model
        digests.add(base_digest(model))
        assert list(model.peft_config) == ["default"], "the copy that TRL makes as a reference is of no use"
    assert len(digests) == 1


# Killed


@pytest.fixture(scope="module")
def stories(tmp_path_factory) -> dict[str, dict]:
    """What became of each training, killed or not; the driver runs all of them once."""
    place = tmp_path_factory.mktemp("killed")
    done = subprocess.run([sys.executable, __file__, str(place)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((place / "stories.json").read_text())


@pytest.mark.parametrize("kind", ["dpo", "reward"])
def test_killed_after_several_steps_it_ends_as_if_it_had_not(kind, stories):
    whole, killed = stories[f"{kind} whole"], stories[f"{kind} killed"]
    assert killed["ends"] == [-signal.SIGKILL] * len(KILLS) + [0], killed["error"]
    assert whole["ends"] == [0] and killed["begun"] == BEGUN
    assert killed["result"] == whole["result"] and killed["weights"] == whole["weights"]


def test_references_are_computed_in_the_first_sitting_alone(stories):
    assert stories["dpo whole"]["references"] == stories["dpo killed"]["references"] == 1
    assert stories["reward killed"]["references"] == 0


# The program that is killed


def _sitting(kind: str, folder: Path, kill: int, log: Path) -> None:
    """One process's part of a training, killed after a step; the last one, of 0, writes the result."""
    begin, end, by_row = Clock.on_train_begin, Clock.on_step_end, dpo.by_row

    def note(line: object) -> None:
        with log.open("a") as file:
            file.write(f"{line}\n")

    def on_train_begin(self, args, state, control, **kwargs):
        note(state.global_step)
        begin(self, args, state, control, **kwargs)

    def on_step_end(self, args, state, control, **kwargs):
        end(self, args, state, control, **kwargs)
        if state.global_step == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(*args, **kwargs):
        note("references")
        return by_row(*args, **kwargs)

    Clock.on_train_begin, Clock.on_step_end, dpo.by_row = on_train_begin, on_step_end, counted
    parts = [pairs_of(load_examples("embedded", split, limit=n)) for split, n in (("train", 12), ("validation", 4))]
    loaded = load_model(TINY_MODEL)
    if kind == "dpo":
        recipe = RECIPE.with_values(STOPPED | {"score_rows": 1})
        run = train_pairs(loaded, *parts, recipe, folder=folder, max_new_tokens=4)
    else:
        recipe = RewardRecipe(learning_rate=1e-2, optimizer="nadam", **SIZES).with_values(STOPPED)
        run = train_reward(loaded, *parts, recipe, folder=folder)
    result = {"step": run.step, "eval_loss": run.eval_loss, "curve": run.curve.to_csv(index=False)}
    (folder / "result").write_text(json.dumps(result))


def _start(folder: Path) -> None:
    """An adapter that is another model than the base."""
    torch.manual_seed(1)
    model = adapt(load_model(TINY_MODEL), RECIPE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    save_weights(model, folder)


def _story(place: Path, kind: str, kills: tuple[int, ...]) -> dict:
    """A training in several sittings, with outputs of its own."""
    place.mkdir()
    folder, log, ends = with_models(place / "outputs") / "run", place / "log", []
    os.environ["TEXT_TO_SQL_OUTPUTS"] = str(place / "outputs")
    _start(place / "outputs" / "start")
    for kill in (*kills, 0):
        if not (child := os.fork()):
            try:
                _sitting(kind, folder, kill, log)
            except BaseException:
                (place / "error").write_text(traceback.format_exc())
                os._exit(1)
            os._exit(0)
        ends.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    lines = log.read_text().split()
    story = {"ends": ends, "references": lines.count("references")}
    story["begun"] = [int(line) for line in lines if line != "references"]
    story["error"] = (place / "error").read_text() if (place / "error").exists() else ""
    if not ends[-1]:
        story["result"] = json.loads((folder / "result").read_text())
        story["weights"] = (folder / "weights" / "adapter_model.safetensors").read_bytes().hex()
    return story


if __name__ == "__main__":
    root = Path(sys.argv[1])
    torch.set_num_threads(1)  # no thread but this one may be there when it forks
    # Nor need each sitting digest the code, make the model, or look for garbage in all of this.
    for module in (PreferenceRecipe.module, RewardRecipe.module):
        provenance.basis(module, without=provenance.SCORING)
    provenance.code(*provenance.SCORING)
    load_model(TINY_MODEL)
    gc.freeze()
    results = {}
    for kind, (name, kills) in itertools.product(("dpo", "reward"), (("whole", ()), ("killed", KILLS))):
        results[f"{kind} {name}"] = _story(root / f"{kind} {name}", kind, kills)
    (root / "stories.json").write_text(json.dumps(results))
