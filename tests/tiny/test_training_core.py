"""What the training core promises beside its losses: kept weights, memory, forwards, stops, and whose folder it is."""

import gc
import itertools
import weakref
from types import SimpleNamespace

import pytest
import torch

from common.models import load_model
from common.profiles import TINY_MODEL
from common.training import session, trainer
from common.training.checkpoints import best_folder, remove_worse
from common.training.losses import Loss, completion_loss
from common.training.objective import Objective
from common.training.optimizers import optimizer_class
from common.training.recipe import Recipe, affordable_evaluations
from common.training.sft import CompletionTrainer, train_sft
from common.training.trainer import Abandoned, Clock, Stops, Unmoved

FOUR = {"evaluations": 4}  # after steps 2, 4, 6 and 8


# The best weights


@pytest.mark.parametrize("second", [1.9, 2.2], ids=["again the best", "no more the best"])
def test_the_best_weights_are_those_of_the_logs_step_though_an_evaluation_is_not_repeated(
    second, rows, tiny, short, saved, tmp_path, monkeypatch
):
    """Stopped between "the best so far is saved" and its checkpoint; the second sitting evaluates otherwise, as CUDA
    may: steps 2 and 4 have the losses 2.0 and 1.0 in the first sitting, step 4 another one in the second."""
    step, weights = {"now": 0}, {}
    real, end = Objective, Clock.on_step_end
    losses = {2: 2.0, 4: 1.0, 6: 3.0, 8: 4.0}

    def on_step_end(self, args, state, control, model=None, **kwargs):
        step["now"] = state.global_step
        weights[step["now"]] = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        end(self, args, state, control, **kwargs)

    def changed(*args, **kwargs):
        objective = real(*args, **kwargs)

        def loss(model, inputs, virtual_tokens):
            if torch.is_grad_enabled():
                return objective.loss(model, inputs, virtual_tokens)
            return Loss(torch.tensor(losses[step["now"]], dtype=torch.float64), torch.tensor(1))

        return SimpleNamespace(**{**vars(objective), "loss": loss})

    monkeypatch.setattr(Clock, "on_step_end", on_step_end)
    monkeypatch.setattr("common.training.sft.Objective", changed)
    recipe = short.with_values({**FOUR, "lora_targets": ["v_proj"]})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            CompletionTrainer,
            "_save_checkpoint",
            lambda self, *args, real=CompletionTrainer._save_checkpoint: (
                (_ for _ in ()).throw(KeyboardInterrupt) if self.state.global_step == 4 else real(self, *args)
            ),
        )
        train_sft(tiny(), *rows, recipe, folder=tmp_path)
    assert best_folder(tmp_path, 2).exists() and best_folder(tmp_path, 4).exists()
    losses[4] = second
    run = train_sft(tiny(), *rows, recipe, folder=tmp_path)
    best = 4 if second < 2.0 else 2
    assert (run.step, run.eval_loss) == (best, pytest.approx(losses[best], abs=1e-9))
    tensors = {n.replace(".weight", ".default.weight"): t for n, t in saved(run.weights).items()}
    assert all(torch.equal(tensor, weights[best][name]) for name, tensor in tensors.items())
    assert not list(tmp_path.glob("best-*"))


def test_worse_weights_go_once_a_checkpoint_knows_of_better_ones(rows, tiny, short, tmp_path, monkeypatch):
    folders, real = {}, Stops.on_save

    def on_save(self, args, state, control, **kwargs):
        before = sorted(path.name for path in tmp_path.glob("best-*"))
        real(self, args, state, control, **kwargs)
        folders[state.global_step] = (before, sorted(path.name for path in tmp_path.glob("best-*")))

    monkeypatch.setattr(Stops, "on_save", on_save)
    losses = iter([3.0, 2.0, 2.5, 1.0])
    monkeypatch.setattr(
        "common.training.sft.completion_loss",
        lambda model, inputs, virtual_tokens, real=completion_loss: (
            real(model, inputs, virtual_tokens)
            if torch.is_grad_enabled()
            else Loss(torch.tensor(next(losses)), torch.tensor(1))
        ),
    )
    one_batch = short.with_values({**FOUR, "lora_targets": ["v_proj"]})
    train_sft(tiny(), rows[0], rows[1][:1], one_batch, folder=tmp_path)
    assert folders == {2: (["best-2"], ["best-2"]), 4: (["best-2", "best-4"], ["best-4"]), 6: (["best-4"], ["best-4"])}


def test_other_weights_than_the_best_are_removed(tmp_path):
    for step in (2, 4, 10):
        best_folder(tmp_path, step).mkdir()
    remove_worse(tmp_path, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["best-4"]


# Memory and forwards


def test_optimiser_states_are_given_back_without_waiting_for_pythons_collector(rows, tiny, one, tmp_path, monkeypatch):
    optimizers = []

    def watched(recipe):
        kind, options = optimizer_class(recipe)

        class Watched(kind):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                optimizers.append(weakref.ref(self))

        return Watched, options

    monkeypatch.setattr(session, "optimizer_class", watched)
    gc.disable()
    try:
        train_sft(tiny(), *rows, one.with_values({"method": "full"}), folder=tmp_path)
        assert len(optimizers) == 1 and optimizers[0]() is None
    finally:
        gc.enable()


def test_full_fine_tuning_holds_one_model(rows, tiny, one, tmp_path):
    loaded = tiny()
    run = train_sft(loaded, *rows, one.with_values({"method": "full"}), folder=tmp_path)
    assert run.loaded.model is loaded.model


@pytest.mark.parametrize("method", ["full", "qlora", "prompt-random"])
def test_no_trainers_forward_stays_on_the_model(method, rows, tiny, one, tmp_path, monkeypatch):
    """Under bfloat16 accelerate puts autocast around it for good: later answers would be another model's."""
    recipe = one.with_values({"method": method})
    patched = []
    real = CompletionTrainer.evaluate

    def evaluate(self, *args, **kwargs):
        patched.extend(m for m in self.model.modules() if "_original_forward" in vars(m))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(CompletionTrainer, "evaluate", evaluate)
    loaded = load_model(TINY_MODEL, precision="bfloat16", quantisation=recipe.quantisation)
    norm = loaded.model.model.norm
    norm.forward = norm.forward  # an attribute of its own before the training
    sat = train_sft(loaded, *rows, recipe, folder=tmp_path).loaded.model
    assert patched, "accelerate patches nothing any more"
    assert [m for m in sat.modules() if {"forward", "_original_forward"} & vars(m).keys()] == [norm]
    again = load_model(TINY_MODEL, precision="bfloat16", quantisation=recipe.quantisation)
    later = train_sft(again, *rows, recipe, folder=tmp_path).loaded.model
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(sat(input_ids=ids).logits, later(input_ids=ids).logits)


def test_a_step_whose_units_are_not_known_is_no_step(tiny):
    with pytest.raises(RuntimeError, match="mean over its units"):
        CompletionTrainer.compute_loss(SimpleNamespace(), tiny().model, {}, num_items_in_batch=None)


# Checkpoints by the clock


def test_a_checkpoint_comes_by_the_clock_however_fast_the_steps_are(monkeypatch):
    now = itertools.count()
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: next(now)))  # a second a look
    stops, saves = Stops(Recipe(save_seconds=10.0), 100, None), []
    for step in range(1, 101):
        control = SimpleNamespace()
        state = SimpleNamespace(global_step=step, log_history=[])
        stops.on_step_end(None, state, control)
        if control.should_save:
            saves.append(step)
            stops.on_save(None, state, control)
    assert saves and all(later - one in (9, 10) for one, later in itertools.pairwise(saves)) and 100 not in saves


def test_time_alone_makes_no_checkpoint_of_a_short_training(rows, tiny, short, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(CompletionTrainer, "_save_checkpoint", lambda self, *_: saved.append(self.state.global_step))
    train_sft(tiny(), *rows, short.with_values({"evaluations": 1}), folder=tmp_path)
    assert saved == []


def test_a_training_that_is_told_to_stop_does_so_at_once_and_goes_on_later(rows, tiny, short, tmp_path):
    recipe, steps = short.with_values({"save_every": 1}), iter(range(100))
    with pytest.raises(Abandoned, match=f"^the training in {tmp_path} was told to stop after step 3$"):
        train_sft(tiny(), *rows, recipe, folder=tmp_path, should_stop=lambda: next(steps) == 2)
    assert (tmp_path / "checkpoint-2").exists() and not (tmp_path / "trained.json").exists()
    run = train_sft(tiny(), *rows, recipe, folder=tmp_path, should_stop=lambda: False)
    assert run.step == 8


# float16, and weights that do not move


def test_skipped_steps_are_counted_by_the_scale_that_falls(tmp_path):
    scales = iter([1024.0, 512.0, 512.0, 256.0, 128.0, 1024.0, 1024.0, 1024.0])  # the first at the beginning
    clock = Clock(tmp_path, 6)
    scaler = SimpleNamespace(get_scale=lambda: next(scales))
    clock.trainer = SimpleNamespace(accelerator=SimpleNamespace(scaler=scaler), evaluation_seconds=0.0)
    state = SimpleNamespace(global_step=0, log_history=[])
    clock.on_train_begin(None, state, None)
    for _ in range(6):
        clock.on_step_end(None, state, None)
    assert clock.skipped_steps == 3
    clock.on_save(None, state, None)
    again = Clock(tmp_path, 5)
    again.trainer = clock.trainer
    again.on_train_begin(None, SimpleNamespace(global_step=3, log_history=[]), None)
    assert again.skipped_steps == 3


def test_the_first_scale_of_float16_is_small(rows, tiny, one, tmp_path, monkeypatch):
    """On a CPU accelerate has no scaler; one is put where it would be."""
    scaler, seen = torch.amp.GradScaler("cpu"), []
    real = trainer.SessionMixin.__init__

    def init(self, **arguments):
        from accelerate import Accelerator

        monkeypatch.setattr(Accelerator, "scaler", property(lambda _: scaler, lambda *_: None), raising=False)
        real(self, **arguments)
        seen.append(scaler.state_dict()["scale"])
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.SessionMixin, "__init__", init)
    with pytest.raises(KeyboardInterrupt):
        train_sft(tiny(), *rows, one, folder=tmp_path)
    assert seen == [1024.0]


def test_a_training_in_which_nothing_moved_is_no_training(rows, tiny, one, tmp_path):
    still = one.with_values({"learning_rate": 1e-30, "method": "prompt-text"})
    with pytest.raises(Unmoved, match="^no trained weight has moved in 2 steps .*; raise the learning rate of 1e-30"):
        train_sft(tiny(), *rows, still, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    assert train_sft(tiny(), *rows, one, folder=tmp_path).rows == 32


# The plan's evaluations


def test_evaluations_cost_a_tenth_by_the_arithmetic_of_the_hardware():
    recipe = Recipe(score_rows=128, epochs=1)
    assert affordable_evaluations(recipe, 97_500, 2_500, max_new_tokens=512, gpu=False) == 9
    # A decoding step of a GPU takes as long as ten rows' training: 512 of them as 5,120 rows.
    assert affordable_evaluations(recipe, 97_500, 2_500, max_new_tokens=512, gpu=True) == 1
    assert affordable_evaluations(Recipe(), 97_500, 2_500, gpu=True) == affordable_evaluations(
        Recipe(), 97_500, 2_500, gpu=False
    )
