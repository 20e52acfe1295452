"""The reward model: its loss against hand and TRL, what it reads, what is trained and where from, what it refuses.

What it learns, saves and scores is in `test_reward_scores`, its kills are in `test_preference_traps`.
"""

import shutil
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

from common.models import LoadedModel, load_model
from common.preferences.pairs import Pair
from common.profiles import TINY_MODEL
from common.settings import UserError, outputs
from common.training import attention, reward
from common.training.preference_losses import reward_loss, row_scores
from common.training.reward import RewardHead, RewardRecipe, scores, train_reward
from common.training.rows import collated, dummy
from common.training.trainer import Clock

SIZES = {"effective_batch_size": 4, "per_device_train_batch_size": 2, "lora_rank": 4, "lora_alpha": 8}
RECIPE = RewardRecipe(learning_rate=1e-2, epochs=8, evaluations=4, optimizer="nadam", **SIZES)
ONE = RECIPE.with_values({"epochs": 1, "evaluations": 1})


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


@pytest.fixture(scope="module")
def scoring(tiny) -> LoadedModel:
    """The tiny model with a head of one logit, large enough for scores that differ, and all of it trained."""
    loaded = tiny()
    reward._put_head(loaded)
    loaded.model.requires_grad_(True)
    with torch.no_grad():
        loaded.model.lm_head.weight.mul_(200)
    return loaded


@pytest.fixture(scope="module")
def parts(pairs, scoring):
    """Three pairs as items, whose answers differ in length."""
    items = reward._items(pairs[0][:3], scoring, RECIPE)
    assert len({len(row["input_ids"]) for item in items for row in item}) == 6
    return items


def score_of(model, row) -> torch.Tensor:
    """The logit behind the row's end token, from a plain forward pass over the row alone and no token behind it."""
    ids = row["input_ids"][:-1]
    assert ids[-1] == model.config.eos_token_id and row["input_ids"][-1] == model.config.pad_token_id
    return model(input_ids=torch.tensor([ids])).logits[0, -1, 0]


def gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name.replace("lm_head", "score"): p.grad.clone() for name, p in model.named_parameters()}


def check_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys() and "score.weight" in one and len(one) == 25
    for name, gradient in one.items():
        assert gradient.norm() > 0 and (gradient - other[name]).norm() < 1e-4 * gradient.norm(), name


def trl_loss(model, tokenizer, parts, centering: float, folder: Path) -> torch.Tensor:
    """TRL's own loss of the pairs in one batch."""
    lines = [
        {f"{side}_ids": row["input_ids"][:-1] for side, row in zip(("chosen", "rejected"), item, strict=True)}
        for item in parts
    ]

    class Ready(RewardTrainer):
        def _prepare_dataset(self, dataset, *_):
            return dataset

    options = {"bf16": False, "use_cpu": True, "activation_checkpointing": False, "max_length": None}
    config = RewardConfig(str(folder), center_rewards_coefficient=centering, report_to="none", **options)
    trainer = Ready(model, args=config, train_dataset=Dataset.from_list(lines), processing_class=tokenizer)
    return trainer.compute_loss(model, trainer.data_collator(lines))


@pytest.mark.parametrize("centering", [0.0, 0.01])
def test_loss_and_gradients_are_those_by_hand_and_trls(centering, scoring, parts, tmp_path):
    model = scoring.model
    expected, margin, accuracy = 0.0, 0.0, 0
    for item in parts:
        right, wrong = (score_of(model, row) for row in item)
        expected = expected + torch.log(1 + torch.exp(wrong - right)) + centering * (right + wrong) ** 2
        margin, accuracy = margin + (right - wrong).item(), accuracy + (right > wrong).item()
    by_hand = gradients(model, expected)
    for as_tree in (False, True):
        with attention.reading(model, attention.TREE):
            value, padded, empty = (
                reward_loss(model, collated(part, pad=0, as_tree=as_tree), 0, centering=centering)
                for part in (parts, [*parts, dummy(parts)], [dummy(parts)])
            )
            assert value.total.item() == pytest.approx(expected.item(), rel=1e-5) and value.units == 3
            assert value.sums["margin"].item() == pytest.approx(margin, abs=1e-5) and value.sums["accuracy"] == accuracy
            check_close(by_hand, gradients(model, value.total))
            assert padded.total.item() == pytest.approx(expected.item(), rel=1e-5) and padded.units == 3
            assert empty.units == 0 and empty.total == 0 and not any(empty.sums.values())
    other = AutoModelForSequenceClassification.from_config(model.config)
    other.model.load_state_dict(model.model.state_dict())
    other.score.load_state_dict(model.lm_head.state_dict())
    loss = trl_loss(other, scoring.tokenizer, parts, centering, tmp_path)
    assert 3 * loss.item() == pytest.approx(expected.item(), rel=1e-5)
    check_close(by_hand, gradients(other, 3 * loss))


@torch.no_grad()
def test_a_score_is_the_logit_of_the_end_token(scoring, parts):
    model = scoring.model
    expected = [score_of(model, row).item() for item in parts for row in item]
    assert len(set(expected)) == 6
    strange = [[row | {"input_ids": [*row["input_ids"][:-1], 77]} for row in item] for item in parts]
    for as_tree in (False, True):
        with attention.reading(model, attention.TREE):
            for items in (parts, strange):  # the last token is read by nobody
                values = row_scores(model, collated(items, pad=0, as_tree=as_tree))
                assert values.tolist() == pytest.approx(expected, abs=1e-5)
            mixed = [[parts[0][0], dummy(parts[1:])[0], parts[0][1]]]  # a row without a label between two with one
            values = row_scores(model, collated(mixed, pad=0, as_tree=as_tree))
            assert values.tolist() == pytest.approx([expected[0], 0.0, expected[1]], abs=1e-5)


# Training


def test_the_head_and_the_adapter_are_trained_and_the_head_computes_in_float32(pairs, tmp_path, monkeypatch):
    kinds, heads, real = {}, set(), RewardHead.forward

    def look(self, args, state, control, model=None, **kwargs):
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        kinds.update(
            {name: (p.dtype, gradients[name].dtype) for name, p in model.named_parameters() if name in gradients}
        )

    def forward(self, hidden):
        output = real(self, hidden)
        heads.add((torch.is_autocast_enabled("cpu"), hidden.dtype, self.weight.dtype, output.dtype))
        with torch.autocast("cpu", enabled=False):
            assert torch.equal(output, hidden.float() @ self.weight.T)
        return output

    monkeypatch.setattr(Clock, "on_pre_optimizer_step", look, raising=False)
    monkeypatch.setattr(RewardHead, "forward", forward)
    loaded = load_model(TINY_MODEL, precision="bfloat16")
    before = {name: tensor.clone() for name, tensor in loaded.model.model.state_dict().items()}
    run = train_reward(loaded, *pairs, ONE, folder=tmp_path)
    assert len(kinds) == 29 and set(kinds.values()) == {(torch.float32, torch.float32)}
    head = "base_model.model.lm_head.modules_to_save.default.weight"
    assert [name for name in kinds if "lora_" not in name] == [head]
    assert {kind[2:] for kind in heads} == {(torch.float32, torch.float32)}
    assert (True, torch.bfloat16) in {kind[:2] for kind in heads}
    now = run.loaded.model.get_base_model().model.state_dict()
    assert all(torch.equal(now[name.replace("proj.", "proj.base_layer.")], before[name]) for name in before)


# Where it starts


@pytest.fixture
def started(trained):
    """The folder, below outputs/, of the fine-tuned adapter of a method."""

    def folder(method: str) -> str:
        place = outputs() / "starts" / f"reward-{method}"
        shutil.copytree(trained(method).weights, place, dirs_exist_ok=True)
        return place.relative_to(outputs()).as_posix()

    return folder


@pytest.mark.parametrize("method", ["lora", "qlora"])
@pytest.mark.parametrize("is_tuned", [True, False])
def test_the_body_begins_as_the_fine_tuned_model_or_as_the_base(
    is_tuned, method, pairs, tiny, started, saved, tmp_path, monkeypatch
):
    first, begin = {}, Clock.on_train_begin

    def look(self, args, state, control, model=None, **kwargs):
        first.update({n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad})
        begin(self, args, state, control, model=model, **kwargs)

    monkeypatch.setattr(Clock, "on_train_begin", look)
    recipe = ONE.with_values({"method": method, "start": started(method) if is_tuned else ""})
    train_reward(tiny(recipe), *pairs, recipe, folder=tmp_path)
    head = first.pop("base_model.model.lm_head.modules_to_save.default.weight")
    assert 1e-4 < head.abs().mean() < 1e-2 and len(first) == 28
    if is_tuned:
        for name, tensor in saved(outputs() / recipe.start).items():
            assert torch.equal(first[name.replace(".weight", ".default.weight")], tensor), name
    else:
        assert all(tensor.any() == ("lora_A" in name) for name, tensor in first.items())


def test_equal_seeds_train_equal_weights_whatever_was_drawn_before(pairs, tiny, saved, tmp_path):
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)  # of the program around it
        weights.append(saved(train_reward(tiny(), *pairs, ONE, folder=tmp_path / str(seed)).weights))
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_rows_share_tokens_in_bfloat16_too(pairs, tmp_path, capsys):
    """The one logit is float32, so it says nothing of the rounding of the body."""
    loaded = load_model(TINY_MODEL, precision="bfloat16")
    run = train_reward(loaded, *pairs, ONE, folder=tmp_path)
    scores(run.loaded, [(pair.example, pair.chosen) for pair in pairs[1]])
    assert "padded" not in capsys.readouterr().out


def test_padded_rows_train_the_same_where_a_model_would_mix_them(
    pairs, tiny, started, saved, tmp_path, monkeypatch, capsys
):
    recipe = ONE.with_values({"start": started("lora")})
    shared = train_reward(tiny(), *pairs, recipe, folder=tmp_path / "shared")
    apart = recipe.with_values({"shared_prefixes": False})
    padded = train_reward(tiny(), *pairs, apart, folder=tmp_path / "padded")
    assert "padded" not in capsys.readouterr().out
    # What the body mixes may not show in the one logit that takes the place of the head.
    real = attention.choice

    def choice(model, length: int) -> str:
        return "" if model.get_output_embeddings().out_features > 1 else real(model, length)

    monkeypatch.setattr(attention, "choice", choice)
    mixing = train_reward(tiny(), *pairs, recipe, folder=tmp_path / "mixing")
    assert capsys.readouterr().out.count("rows are padded instead of sharing what they begin with") == 1
    assert mixing.curve.equals(padded.curve)
    for name in ("loss", "eval_loss", "eval_margin"):
        assert shared.curve[name].dropna().tolist() == pytest.approx(padded.curve[name].dropna().tolist(), abs=2e-4)
    one, other = saved(padded.weights), saved(mixing.weights)
    assert all(torch.equal(one[name], other[name]) for name in one)


def refusal(act) -> str:
    with pytest.raises(UserError) as raised:
        act()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_trained_is_refused_in_one_line(pairs, tiny, tmp_path):
    assert refusal(lambda: RewardRecipe(method="full")) == "a reward model is trained by lora or qlora, not by full"
    for values in ({"score_rows": 2}, {"centering": -0.1}, {"centering": float("nan")}):
        assert "its centering is not negative" in refusal(lambda v=values: RewardRecipe(**v))
    short = ONE.with_values({"max_length": 20})
    line = "no pair fits in max_length 20 tokens; raise it"
    assert refusal(lambda: train_reward(tiny(), *pairs, short, folder=tmp_path)) == line
