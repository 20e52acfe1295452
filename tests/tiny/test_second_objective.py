"""A second objective on the training core, over two of TRL's trainers: what it brings, and that the core carries it."""

import math
from pathlib import Path

import pytest
import torch
from trl import SFTConfig

from common.models import load_model
from common.profiles import TINY_MODEL
from common.settings import UserError
from common.training import attention
from common.training.adapters import adapt
from common.training.losses import row_log_probabilities
from common.training.rows import IGNORED, collated
from common.training.sft import CompletionTrainer, train_sft
from common.training.trainer import Clock
from tests.tiny import second_objective
from tests.tiny.second_objective import PairRecipe, train_pairs

SIZES = {"effective_batch_size": 4, "per_device_train_batch_size": 2, "lora_rank": 4, "lora_alpha": 8}
RECIPE = PairRecipe(learning_rate=5e-3, epochs=2, evaluations=2, optimizer="nadam", **SIZES)


@pytest.fixture(scope="module")
def preferences(rows):
    """Right answers, and those of the next row as wrong ones."""
    both = [[(one, other.sql) for one, other in zip(part, part[1:] + part[:1], strict=True)] for part in rows]
    return both[0][:12], both[1][:4]


def test_an_objective_is_short():
    lines = Path(second_objective.__file__).read_text().splitlines()
    assert len(lines) < 120


def test_pairs_are_learned_and_reported(preferences, tiny, saved, tmp_path):
    run = train_pairs(tiny(), *preferences, RECIPE, folder=tmp_path)
    curve = run.curve.dropna(subset="eval_loss")
    assert run.curve["loss"][0] == pytest.approx(math.log(2), abs=1e-5)  # before the first step both margins are equal
    assert {"step", "loss", "eval_loss", "learning_rate", "eval_margin", "eval_accuracy"} == set(curve.columns)
    assert curve["eval_margin"].iloc[-1] > 0.05 and set(curve["eval_accuracy"] * 4) <= {0, 1, 2, 3, 4}
    assert curve["eval_loss"].iloc[-1] < math.log(2) - 1e-3
    assert (run.train_rows, run.rows, run.valid_rows) == (12, 24, 4)
    assert len(saved(run.weights)) == 28, "the adapter alone, not the reference that TRL keeps beside it"


def test_any_trl_trainer_carries_it(preferences, tiny, tmp_path):
    """The session's own loss and steps decide, not the trainer's."""
    one = train_pairs(tiny(), *preferences, RECIPE, folder=tmp_path / "one")
    other = train_pairs(
        tiny(), *preferences, RECIPE, folder=tmp_path / "two", trainer=CompletionTrainer, config=SFTConfig
    )
    assert one.curve.equals(other.curve)


def test_the_loss_is_the_one_worked_out_by_hand(preferences, tiny):
    model, beta = tiny().model, 0.3
    items = second_objective._items(preferences[0][:3], tiny(), RECIPE)
    references = [[-3.0, -2.5], [-1.0, -4.0], [0.5, 0.25]]
    for item, values in zip(items, references, strict=True):
        for row, value in zip(item, values, strict=True):
            row["reference"] = value
    total = 0.0
    for item, (right, wrong) in zip(items, references, strict=True):
        sums = []
        for row in item:
            chances = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].log_softmax(dim=-1)
            sums.append(sum(chances[at - 1, t].item() for at, t in enumerate(row["labels"]) if t != IGNORED))
        total += math.log1p(math.exp(-beta * ((sums[0] - right) - (sums[1] - wrong))))
    for as_tree in (False, True):
        inputs = collated(items, pad=0, as_tree=as_tree)
        with attention.reading(model, attention.TREE):
            loss = second_objective.pair_loss(model, inputs, 0, beta=beta)
        assert loss.total.item() == pytest.approx(total, rel=1e-5)
        assert loss.units == second_objective.pairs(inputs) == 3


def test_the_two_rows_of_a_pair_share_their_prompt(preferences, tiny):
    (item,) = second_objective._items(preferences[0][:1], tiny(), RECIPE)
    prompt = item[0]["labels"].count(IGNORED)
    unique = collated([item], pad=0, as_tree=True)["input_ids"].numel()
    answers = [len(row["input_ids"]) - prompt for row in item]
    assert prompt > 50 and unique < prompt + sum(answers)  # the last of each is not read; both may begin alike


def test_log_probabilities_a_row_are_the_same_side_by_side_and_as_a_tree(rows, tokens, attentive):
    model, batch = attentive().model, tokens(rows[0][:5])
    with torch.no_grad(), attention.reading(model, attention.TREE):
        alone = [row_log_probabilities(model, collated([[row]], pad=0, as_tree=False)) for row in batch]
        for as_tree in (False, True):
            sums, counts = row_log_probabilities(model, collated([batch], pad=0, as_tree=as_tree))
            assert torch.allclose(sums, torch.cat([value for value, _ in alone]), rtol=0, atol=1e-4)
            assert counts.tolist() == [sum(label != IGNORED for label in row["labels"]) for row in batch]
    silent = {"input_ids": [5, 6, 7], "labels": [IGNORED] * 3}
    sums, counts = row_log_probabilities(model, collated([[batch[0], silent]], pad=0, as_tree=False))
    assert sums[1] == 0 and counts[1] == 0


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_it_starts_from_a_trained_adapter(method, preferences, rows, tiny, trained, saved, tmp_path, monkeypatch):
    """The reference is the fine-tuned model, and the first weights are its adapter to the last bit."""
    start, first = trained(method).weights, {}

    def keep(self, args, state, control, model=None, **kwargs):
        if not state.global_step:
            first.update({n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad})

    monkeypatch.setattr(Clock, "on_pre_optimizer_step", keep, raising=False)
    recipe = RECIPE.with_values({"method": method, "epochs": 1, "evaluations": 1})
    run = train_pairs(tiny(recipe), *preferences, recipe, folder=tmp_path, start=start)
    assert run.curve["loss"][0] == pytest.approx(math.log(2), abs=1e-2 if method == "qlora" else 1e-5)
    files = {name.replace(".weight", ".default.weight"): tensor for name, tensor in saved(start).items()}
    assert all(torch.equal(first[name], tensor) for name, tensor in files.items()) and len(first) == 28
    assert any(not torch.equal(tensor, saved(start)[name]) for name, tensor in saved(run.weights).items())


STOPS = RECIPE.with_values({"save_every": 2})


@pytest.fixture(scope="module")
def whole(preferences, tiny, tmp_path_factory):
    """A training that never stopped."""
    return train_pairs(tiny(), *preferences, STOPS, folder=tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("stop", range(1, 6))
def test_stopped_after_any_step_it_ends_as_if_it_had_not(stop, whole, preferences, tiny, saved, tmp_path, monkeypatch):
    real = Clock.on_step_end

    def end(self, args, state, control, **kwargs):
        real(self, args, state, control, **kwargs)
        if state.global_step == stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Clock, "on_step_end", end)
        train_pairs(tiny(), *preferences, STOPS, folder=tmp_path / "stopped")
    again = train_pairs(tiny(), *preferences, STOPS, folder=tmp_path / "stopped")
    one, other = saved(whole.weights), saved(again.weights)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert again.curve.equals(whole.curve) and again.step == whole.step


def test_fine_tuning_goes_on_from_what_it_has_saved(rows, tiny, short, trained, tokens, loss_by_hand, tmp_path):
    """Each method, with its first loss that of the model it starts from."""
    for method in ("full", "lora", "prompt-random"):
        recipe = short.with_values({"method": method, "epochs": 1, "evaluations": 1})
        run = train_sft(tiny(recipe), *rows, recipe, folder=tmp_path / method, start=trained(method).weights)
        fresh = train_sft(tiny(recipe), *rows, recipe, folder=tmp_path / f"{method} fresh")
        assert run.curve["loss"][0] < fresh.curve["loss"][0] - 1e-3
    taken = adapt(tiny(), short.with_values({"method": "full"}), trained("full").weights)
    assert loss_by_hand(taken, tokens(rows[1])) == pytest.approx(trained("full").eval_loss, abs=1e-5)
    half, dropout = load_model(TINY_MODEL, precision="bfloat16"), short.with_values({"lora_dropout": 0.5})
    model = adapt(half, dropout, trained("lora").weights)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.5}


def test_a_start_that_is_not_the_recipes_is_refused_in_one_line(tiny, short, trained, tmp_path):
    cases = [
        ("full", "lora", "holds all weights; a training by 'lora' cannot start from it"),
        ("lora", "full", "holds a LoRA adapter; a training by 'full' cannot start from it"),
        ("prompt-random", "lora", "holds virtual tokens; a training by 'lora' cannot start from it"),
    ]
    for saved, method, line in cases:
        with pytest.raises(UserError, match=line):
            adapt(tiny(), short.with_values({"method": method}), trained(saved).weights)
    with pytest.raises(UserError, match="holds no trained weights"):
        adapt(tiny(), short, tmp_path)
    with pytest.raises(UserError, match="an adapter with r 4, the recipe asks for 8; train with the adapter's own, or"):
        adapt(tiny(), short.with_values({"lora_rank": 8}), trained("lora").weights)
    with pytest.raises(UserError, match=r"target_modules \['down_proj', .*, the recipe asks for \['q_proj'\]; train"):
        adapt(tiny(), short.with_values({"lora_targets": ["q_proj"]}), trained("lora").weights)
