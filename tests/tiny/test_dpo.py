"""Preference training: its losses against hand and TRL, its rows, what it learns, what it refuses, when it ends early.

Starts from an adapter, precision and kills are in `test_preference_traps`, the search in `test_preference_search`.
"""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import TrainerControl
from trl import DPOConfig, DPOTrainer

from common.models import LoadedModel
from common.preferences.pairs import Pair
from common.prompts import render
from common.settings import UserError
from common.training import attention, dpo, session
from common.training.adapters import adapt
from common.training.dpo import PreferenceRecipe, PreferenceTrainer, items, train_pairs
from common.training.likelihoods import by_row, log_probabilities
from common.training.preference_losses import pairs as labelled_pairs
from common.training.preference_losses import preference_loss
from common.training.rows import IGNORED, collated, dummy
from common.training.trainer import SessionMixin

SIZES = {"effective_batch_size": 4, "per_device_train_batch_size": 2, "lora_rank": 4, "lora_alpha": 8}
RECIPE = PreferenceRecipe(learning_rate=1e-2, epochs=4, evaluations=3, optimizer="nadam", **SIZES)
BETA = 0.3
CASES = {"sigmoid": ("sigmoid", 0.0), "ipo": ("ipo", 0.0), "sigmoid and sft": ("sigmoid", 0.7)}


def pairs_of(examples) -> list[Pair]:
    """Right answers, and those of the next row as wrong ones."""
    following = [*examples[1:], examples[0]]
    return [
        Pair(one, one.sql, other.sql, "reference", "sampled", "tiny", "filter")
        for one, other in zip(examples, following, strict=True)
    ]


def twins(pairs) -> list[Pair]:
    """The same pairs as far as a model can tell, of rows that are none of theirs."""
    return [
        replace(pair, example=replace(pair.example, id=f"twin-{pair.example.id}", question=f"{pair.example.question} "))
        for pair in pairs
    ]


@pytest.fixture(scope="module")
def pairs(rows) -> tuple[list[Pair], list[Pair]]:
    return pairs_of(rows[0][:12]), pairs_of(rows[1][:4])


@pytest.fixture(scope="module")
def policy(tiny, short, trained) -> LoadedModel:
    """The tiny model with a fine-tuned adapter beside it: gradients reach both of LoRA's matrices."""
    loaded = tiny()
    return replace(loaded, model=adapt(loaded, short, trained("lora").weights).eval())


@pytest.fixture(scope="module")
def referred(pairs, tiny):
    """Three pairs as items, each row with its log-probability under the base model."""
    loaded = tiny()
    parts = items(pairs[0][:3], loaded, max_length=1024)
    references = by_row(
        loaded.model, parts, RECIPE, base=loaded.model, pad=0, dtype=torch.float32, numbers=log_probabilities
    )
    for item, values in zip(parts, references, strict=True):
        for row, value in zip(item, values, strict=True):
            row["reference"] = value
    return parts


def row_sum(model, row) -> torch.Tensor:
    """The log-probability of a row's labelled tokens, from full logits of that row alone."""
    chances = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].log_softmax(dim=-1)
    return sum(chances[at - 1, token] for at, token in enumerate(row["labels"]) if token != IGNORED)


def answer_tokens(row) -> int:
    return sum(label != IGNORED for label in row["labels"])


def mean_chosen_tokens(parts) -> float:
    return sum(answer_tokens(item[0]) for item in parts) / len(parts)


def loss_by_hand(model, item, loss: str, sft_weight: float, chosen_tokens: float) -> torch.Tensor:
    sums = [row_sum(model, row) for row in item]
    ratios = [value - row["reference"] for value, row in zip(sums, item, strict=True)]
    if loss == "sigmoid":
        value = torch.log(1 + torch.exp(-BETA * (ratios[0] - ratios[1])))
    else:
        means = [ratio / answer_tokens(row) for ratio, row in zip(ratios, item, strict=True)]
        value = (means[0] - means[1] - 1 / (2 * BETA)) ** 2
    return value - sft_weight * sums[0] / chosen_tokens


def gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def check_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys() and len(one) == 28
    for name, gradient in one.items():
        assert gradient.norm() > 0 and (gradient - other[name]).norm() < 1e-4 * gradient.norm(), name


def trl_loss(model, tokenizer, parts, loss: str, sft_weight: float, folder: Path) -> torch.Tensor:
    """TRL's own loss of the pairs in one batch, with our references in its columns."""
    lines = []
    for item in parts:
        prompt = item[0]["labels"].count(IGNORED)
        line = {"prompt_ids": item[0]["input_ids"][:prompt]}
        for side, row in zip(("chosen", "rejected"), item, strict=True):
            line |= {f"{side}_ids": row["input_ids"][prompt:], f"ref_{side}_logps": row["reference"]}
        lines.append(line)

    class Ready(DPOTrainer):
        def _prepare_dataset(self, dataset, *_):
            return dataset

        def _precompute_ref_logps(self, dataset, *_):
            return dataset

    weights = {"loss_type": [loss, "sft"], "loss_weights": [1.0, sft_weight]} if sft_weight else {"loss_type": [loss]}
    options = {"bf16": False, "use_cpu": True, "activation_checkpointing": False, "max_length": None}
    config = DPOConfig(str(folder), beta=BETA, precompute_ref_log_probs=True, report_to="none", **options, **weights)
    trainer = Ready(model, args=config, train_dataset=Dataset.from_list(lines), processing_class=tokenizer)
    return trainer.compute_loss(model, trainer.data_collator(lines))


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients_are_those_by_hand_and_trls(case, policy, referred, tiny, short, trained, tmp_path):
    loss, sft_weight = CASES[case]
    tokens = mean_chosen_tokens(referred)
    expected = sum(loss_by_hand(policy.model, item, loss, sft_weight, tokens) for item in referred)
    by_hand = gradients(policy.model, expected)
    for as_tree in (False, True):
        with attention.reading(policy.model, attention.TREE):
            inputs = collated(referred, pad=0, as_tree=as_tree)
            value = preference_loss(
                policy.model, inputs, 0, loss=loss, beta=BETA, sft_weight=sft_weight, chosen_tokens=tokens
            )
            assert value.total.item() == pytest.approx(expected.item(), rel=1e-5)
            assert value.units == labelled_pairs(inputs) == 3
            check_close(by_hand, gradients(policy.model, value.total))
    loaded = tiny()
    model = adapt(loaded, short, trained("lora").weights)
    other = trl_loss(model, loaded.tokenizer, referred, loss, sft_weight, tmp_path)
    assert 3 * other.item() == pytest.approx(expected.item(), rel=1e-5)
    check_close(by_hand, gradients(model, 3 * other))


def test_sums_are_those_by_hand_and_a_dummy_pair_adds_nothing(policy, referred):
    expected = dict.fromkeys(("margin", "accuracy"), 0.0)
    for item in referred:
        sums = [row_sum(policy.model, row).item() for row in item]
        changes = [value - row["reference"] for value, row in zip(sums, item, strict=True)]
        expected["margin"] += BETA * (changes[0] - changes[1])
        expected["accuracy"] += changes[0] > changes[1]
        for side, row, value, change in zip(("chosen", "rejected"), item, sums, changes, strict=True):
            for name, number in ((f"{side}_token", value), (f"{side}_change", change)):
                expected[name] = expected.get(name, 0.0) + number / answer_tokens(row)
    nothing = dummy(referred)
    assert all("reference" in row for row in nothing)
    names = {"loss": "sigmoid", "beta": BETA, "sft_weight": 0.7, "chosen_tokens": 20.0}
    for as_tree in (False, True):
        with attention.reading(policy.model, attention.TREE):
            plain, padded, empty = (
                preference_loss(policy.model, collated(part, pad=0, as_tree=as_tree), 0, **names)
                for part in (referred, [*referred, nothing], [nothing])
            )
        assert {name: value.item() for name, value in padded.sums.items()} == pytest.approx(expected, abs=1e-4)
        assert {name: value.item() for name, value in plain.sums.items()} == pytest.approx(expected, abs=1e-4)
        assert padded.total.item() == pytest.approx(plain.total.item(), rel=1e-6) and padded.units == 3
        assert empty.units == 0 and empty.total == 0 and not any(empty.sums.values())
        assert not any(gradient.any() for gradient in gradients(policy.model, empty.total).values())


# Rows


def test_rows_are_the_prompt_of_evaluation_the_answer_and_the_end_token(pairs, tiny):
    loaded = tiny()
    end = loaded.tokenizer.eos_token_id
    parts = items(pairs[0], loaded, max_length=1024)
    assert len(parts) == 12
    for pair, item in zip(pairs[0], parts, strict=True):
        for sql, row in zip((pair.chosen, pair.rejected), item, strict=True):
            text = loaded.tokenizer.decode(row["input_ids"][:-1])
            assert text == render(pair.example, loaded.tokenizer) + sql
            assert row["input_ids"][-1] == row["labels"][-1] == end
            prompt = row["labels"].count(IGNORED)
            assert loaded.tokenizer.decode(row["input_ids"][:prompt]) == render(pair.example, loaded.tokenizer)
            assert row["labels"] == [IGNORED] * prompt + row["input_ids"][prompt:]


def test_a_pair_with_a_row_that_is_too_long_is_left_out_whole(pairs, tiny):
    loaded, long = tiny(), "SELECT " + "1 + " * 400 + "1"
    parts = [replace(pairs[0][0], chosen=long), pairs[0][1], replace(pairs[0][2], rejected=long)]
    assert items(parts, loaded, max_length=600) == items([parts[1]], loaded, max_length=600)
    width = max(len(row["input_ids"]) for row in items(parts[1:2], loaded, max_length=600)[0])
    assert len(items(parts[1:2], loaded, max_length=width)) == 1 and not items(parts[1:2], loaded, max_length=width - 1)
    assert [len(row["input_ids"]) > 600 for row in items(parts[:1], loaded, max_length=4096)[0]] == [True, False]


# Training


def refusal(act) -> str:
    with pytest.raises(UserError) as raised:
        act()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_training_learns_its_pairs_and_says_so(pairs, tiny, saved, tmp_path):
    loaded, long = tiny(), "SELECT " + "1 + " * 400 + "1"
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    plain = [replace(pair, rejected=f"NOT {pair.chosen}") for pair in pairs[0]]  # one error, which can be learned
    recipe = RECIPE.with_values({"max_length": 600, "sft_weight": 0.5})
    run = train_pairs(loaded, [*plain, replace(plain[0], rejected=long)], twins(plain[:6]), recipe, folder=tmp_path)
    assert (run.train_rows, run.dropped_rows, run.valid_rows, run.rows) == (12, 1, 6, 48)
    curve = run.curve.dropna(subset="eval_margin")
    assert list(curve["step"]) == [0, 4, 8, 12]
    assert list(curve[["eval_margin", "eval_chosen_change", "eval_rejected_change"]].iloc[0]) == [0.0] * 3
    sides = {f"{side}_{name}" for side in ("chosen", "rejected") for name in ("token", "change")}
    assert {name.removeprefix("eval_") for name in curve if "eval_" in name} == {"loss", "margin", "accuracy"} | sides
    looks = curve.iloc[1:]
    assert looks["eval_loss"].is_monotonic_decreasing and looks["eval_accuracy"].iloc[-1] == 1
    assert looks["eval_margin"].iloc[-1] > 0.5 and looks["eval_margin"].is_monotonic_increasing
    # A log-probability a token is the reference's and the change since then.
    starts = [looks[f"eval_{side}_token"] - looks[f"eval_{side}_change"] for side in ("chosen", "rejected")]
    assert all(start.max() - start.min() < 1e-4 for start in starts)
    weights = saved(run.weights)
    assert len(weights) == 28 and all("lora_" in name for name in weights)
    assert all(tensor.any() for name, tensor in weights.items() if "lora_B" in name)
    merged = run.loaded.model.state_dict()
    assert all(torch.equal(merged[name], before[name]) == ("proj" not in name) for name in before)


def test_pairs_of_validation_rows_are_left_out_and_counted(pairs, tiny, tmp_path, capsys):
    train = [*pairs[0], replace(pairs[1][0], chosen="SELECT 1;")]
    run = train_pairs(tiny(), train, pairs[1], RECIPE, folder=tmp_path)
    assert (run.train_rows, run.leaked_rows, run.dropped_rows) == (12, 1, 1)
    assert "1 of 13 training pairs are of validation rows and are left out" in capsys.readouterr().out


def test_what_cannot_be_trained_is_refused_in_one_line(pairs, tiny, tmp_path):
    for method in ("full", "prompt-random", "prompt-text"):
        line = f"preference training is by lora or qlora, not by {method}"
        assert refusal(lambda method=method: PreferenceRecipe(method=method)) == line
    line = "unknown pair_loss 'hinge'; choose one of sigmoid, ipo"
    assert refusal(lambda: PreferenceRecipe(pair_loss="hinge")) == line
    numbers = [("beta", 0.0), ("beta", math.inf), ("beta", math.nan), ("sft_weight", -0.1), ("sft_weight", math.nan)]
    for values in ({name: number} for name, number in numbers):
        assert refusal(lambda v=values: RECIPE.with_values(v)) == "beta is above 0, and sft_weight is not negative"
    short = RECIPE.with_values({"max_length": 20})
    line = "no pair fits in max_length 20 tokens; raise it"
    assert refusal(lambda: train_pairs(tiny(), *pairs, short, folder=tmp_path)) == line
    for parts in ((pairs[0], []), ([], pairs[1])):
        assert "one of the two is empty" in refusal(lambda p=parts: train_pairs(tiny(), *p, RECIPE, folder=tmp_path))


# Right answers that become less likely


@pytest.mark.parametrize(
    ("change", "match", "start", "prints", "ends"),
    [
        (0.01, 0.2, 0.5, False, False),  # likelier: a lower match alone ends nothing
        (-0.01, None, None, True, False),
        (-0.01, 0.5, 0.5, True, False),  # an equal match is no fall
        (-0.01, 0.6, 0.5, True, False),
        (-0.01, 0.45, 0.5, True, False),  # of 200 answers: within two standard errors
        (-0.01, 0.4, 0.5, True, True),
        (-0.0005, 0.4, 0.5, False, False),  # rounding
    ],
)
def test_it_warns_where_right_answers_fall_and_ends_where_match_falls_too(
    change, match, start, prints, ends, monkeypatch, capsys
):
    metrics = {"eval_chosen_change": change} | ({} if match is None else {"eval_match": match})
    monkeypatch.setattr(SessionMixin, "evaluate", lambda self: metrics)
    trainer = object.__new__(PreferenceTrainer)
    trainer._start_match, trainer._answers, trainer.state = start, 200, SimpleNamespace(global_step=3)
    trainer.control = TrainerControl(should_save=True)
    assert trainer.evaluate() is metrics
    assert trainer.control.should_training_stop == ends and trainer.control.should_save != ends
    text = capsys.readouterr().out
    assert text.count("\n") == prints
    if prints:
        assert text.startswith(f"step 3: right answers are less likely than before the first step ({change:+.3f} nats")
        assert ("held-out match has fallen from 0.500 to 0.400: the training ends" in text) == ends


@pytest.mark.parametrize(("match", "last"), [(0.25, 4), (0.9, 12)])
def test_a_training_ends_at_that_evaluation(match, last, pairs, tiny, tmp_path, monkeypatch):
    real = SessionMixin.evaluate
    monkeypatch.setattr(SessionMixin, "evaluate", lambda self, **_: real(self) | {"eval_chosen_change": -0.1})
    monkeypatch.setattr(dpo, "answer_means", lambda *_, **__: {"score": 0.9, "match": 0.9})
    monkeypatch.setattr(session, "answer_means", lambda *_, **__: {"score": match, "match": match})
    recipe = RECIPE.with_values({"score_rows": 1})
    run = train_pairs(tiny(), *pairs, recipe, folder=tmp_path)
    assert run.curve["step"].max() == last and run.curve["eval_match"].dropna().iloc[0] == 0.9
    again = train_pairs(tiny(), *pairs, recipe, folder=tmp_path)
    assert again.curve.equals(run.curve) and again.step == run.step
