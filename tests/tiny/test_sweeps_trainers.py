"""Which training a candidate gets: the one that its recipe names; what comes of it where memory or a score decides."""

import gc
import math
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from common.models import load_model
from common.profiles import TINY_MODEL, Stage
from common.settings import UserError
from common.sweeps import Sweep, objective, search
from common.training.probe import NoFit
from common.training.recipe import Recipe
from common.training.trainer import Unmoved
from tests.unit.sweep_recipes import pairwise

STAGES = (Stage(8, 4, 3), Stage(12, 5, 2), Stage(16, 6, 1))


@pytest.fixture
def second(cold, monkeypatch):
    """A second recipe and its trainer, and a sweep over its own field."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("SWEEP_STORAGE", f"journal:{cold / 'sweeps.journal'}")
    with pairwise(cold / "code") as module:
        recipe = module.Pairwise(per_device_train_batch_size=2, effective_batch_size=4)
        plan = Sweep(
            *("dpo", recipe, {"beta": (0.1, 0.3, 0.5)}, STAGES, TINY_MODEL, "float32", "embedded"),
            seed=7,
            max_new_tokens=24,
            batch_size=8,
            databases=2,
        )
        yield SimpleNamespace(module=module, calls=module.CALLS, plan=plan)


def test_a_recipes_own_module_loads_its_rows_and_trains_it(second):
    result = search(second.plan)
    assert result.recipe == second.plan.recipe.with_values({"beta": 0.3}) and len(second.calls) == 5
    assert type(second.calls[0].recipe) is second.module.Pairwise
    assert second.calls[0].train == [f"embedded train {row}" for row in range(8)]
    assert second.calls[-1].valid == [f"embedded validation {row}" for row in range(5)]
    assert {(c.max_new_tokens, c.batch_size, c.databases) for c in second.calls} == {(24, 8, 2)}
    assert all((c.recipe.evaluations, c.recipe.score_rows, c.recipe.select_by) == (1, 0, "loss") for c in second.calls)
    assert sorted(result.trials.loss[:3]) == pytest.approx([0.0, 0.2, 0.2])
    assert result.notes[0] == "candidates of stage 1 lost up to 2 optimiser steps to float16's overflow"


def test_a_training_is_told_when_its_trial_was_taken_over(second):
    search(second.plan)
    assert [call.should_stop() for call in second.calls] == [False] * 5
    candidate = SimpleNamespace(
        recipe=second.plan.recipe, rows=STAGES[0], folder=None, base_digest="", id="dpo-s1-00", should_stop=lambda: True
    )
    objective.train(second.plan, candidate)
    assert second.calls[-1].should_stop()


def test_a_search_by_score_keeps_the_answers_of_its_recipe(second):
    plan = replace(second.plan, recipe=second.plan.recipe.with_values({"score_rows": 3}), rank_by="score")
    result = search(plan)
    assert all((c.recipe.score_rows, c.recipe.select_by) == (3, "score") for c in second.calls)
    assert result.recipe.beta == 0.5 and sorted(result.trials.score[:3]) == [0.1, 0.3, 0.5]


def ask_for_too_much():
    torch.empty(10**15)  # a petabyte: the CPU's allocator refuses


def raise_cuda():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def raise_python():
    raise MemoryError


def raise_probe():
    raise NoFit("the largest micro-batch does not fit in the GPU's memory")


@pytest.fixture
def no_collector():
    """What lies in a cycle of references is freed by those who ask for it, and by nobody else."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("fail", [ask_for_too_much, raise_cuda, raise_python, raise_probe])
def test_a_training_that_needs_too_much_memory_ends_its_trial_and_not_the_search(second, monkeypatch, fail):
    real, models = second.module.train, []

    def train(loaded, *args, **options):
        assert not [model for model in models if model() is not None], "the memory of earlier trials is given back"
        models.append(weakref.ref(loaded.model))
        trainer = {"model": loaded.model}
        trainer["callbacks"] = [trainer]
        if args[2].beta == 0.3:
            fail()
        return real(loaded, *args, **options)

    monkeypatch.setattr(second.module, "train", train)
    result = search(second.plan)
    one = result.trials[:3].set_index("beta")
    assert one.loss[0.3] == math.inf and one.note[0.3] == "does not fit" and not one.promoted[0.3]
    assert sorted(one.loss[[0.1, 0.5]]) == pytest.approx([0.2, 0.2]) and list(one.note[[0.1, 0.5]]) == ["", ""]
    expected = "1 of 3 candidates of stage 1 needed more memory than the machine had; their tokens are not counted"
    assert result.notes[0] == expected
    assert len(models) == 5


def test_a_training_in_which_nothing_moves_is_no_divergence(second, monkeypatch):
    def train(*_, **__):
        raise Unmoved("no trained weight has moved in 2 steps")

    monkeypatch.setattr(second.module, "train", train)
    with pytest.raises(UserError, match="^every candidate of stage 1 moved no weight; raise the learning rates"):
        search(second.plan)


def test_any_other_error_of_a_training_is_raised(second, monkeypatch):
    def train(*_, **__):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(second.module, "train", train)
    with pytest.raises(RuntimeError, match="shapes differ"):
        search(second.plan)


def test_a_model_that_does_not_fit_at_all_ends_the_search_in_one_line(second, monkeypatch):
    monkeypatch.setattr(objective, "load_model", lambda *_, **__: raise_cuda())
    with pytest.raises(UserError, match="tiny-random-qwen3 does not fit in the memory there is, whatever") as error:
        search(second.plan)
    assert "\n" not in str(error.value)


def test_a_search_is_pinned_to_the_models_revision(second, monkeypatch):
    result = search(second.plan)
    plan = objective.prepared(second.plan)
    assert plan.model_revision == load_model(TINY_MODEL).revision != "" and result.id == plan.id != second.plan.id
    again = Sweep.from_json(plan.to_json())
    assert again == plan and search(again).trials.equals(result.trials)
    monkeypatch.setattr(objective, "locate", lambda model: (model, "another"))
    with pytest.raises(UserError, match="was begun with tiny-random-qwen3 at .* here it is at another") as error:
        search(again)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(objective, "locate", lambda model: (model, ""))  # only loading it would tell
    assert objective.prepared(again) == again


def test_answers_rank_candidates_of_a_real_training(cold, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("SWEEP_STORAGE", f"journal:{cold / 'sweeps.journal'}")
    recipe = Recipe(effective_batch_size=4, lora_rank=4, lora_alpha=8, score_rows=3, patience=2)
    plan = Sweep(
        *("sft-lora", recipe, {"learning_rate": (1e-3, 1e-2)}, (Stage(8, 4, 2), Stage(8, 4, 1))),
        *(TINY_MODEL, "float32", "embedded"),
        seed=7,
        rank_by="score",
        max_new_tokens=8,
    )
    result = search(plan)
    assert result.trials.score.between(0, 1).all() and result.trials.loss.between(0, 20).all()
    assert result.trials.score[result.trials.promoted].tolist() == [result.trials.score.max()]
    assert result.stages[0]["best"]["score"] == result.trials.score.max() and result.recipe.score_rows == 3
