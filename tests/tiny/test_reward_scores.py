"""What reward models of each precision learn and save: scores in memory, loaded anew, and in a process of their own.

This file is also the program of that process.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.data import load_examples
from common.models import load_model
from common.preferences.pairs import Pair
from common.profiles import TINY_MODEL
from common.settings import UserError
from common.training import reward
from common.training.reward import RewardRecipe, load_reward_model, scores, train_reward

SIZES = {"effective_batch_size": 4, "per_device_train_batch_size": 2, "lora_rank": 4, "lora_alpha": 8}
RECIPE = RewardRecipe(learning_rate=1e-2, epochs=8, evaluations=4, optimizer="nadam", seed=1, **SIZES)
SAVED = {"float32": ("lora", "float32"), "bfloat16": ("lora", "bfloat16"), "nf4": ("qlora", "float32")}


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


def answers_of(pairs) -> list:
    """Right and wrong answers in turn."""
    return [(pair.example, sql) for pair in pairs for sql in (pair.chosen, pair.rejected)]


@pytest.fixture(scope="module")
def pairs(rows) -> tuple[list[Pair], list[Pair]]:
    return pairs_of(rows[0][:12]), pairs_of(rows[1][:4])


@pytest.fixture(scope="module")
def runs(pairs, tmp_path_factory):
    """A training in each precision that memorises its pairs, made when first asked for."""
    results = {}

    def run(name: str):
        if name not in results:
            method, precision = SAVED[name]
            recipe = RECIPE.with_values({"method": method})
            loaded = load_model(TINY_MODEL, precision=precision, quantisation=recipe.quantisation)
            results[name] = train_reward(
                loaded, pairs[0], twins(pairs[0][:6]), recipe, folder=tmp_path_factory.mktemp(name)
            )
        return results[name]

    return run


@pytest.mark.parametrize("name", SAVED)
def test_training_learns_its_pairs_and_says_so(name, pairs, runs, saved):
    run = runs(name)
    looks = run.curve.dropna(subset="eval_loss")
    assert list(looks["step"]) == [6, 12, 18, 24] and (run.train_rows, run.rows, run.valid_rows) == (12, 96, 6)
    assert {column for column in looks if "eval_" in column} == {"eval_loss", "eval_margin", "eval_accuracy"}
    assert looks["eval_accuracy"].iloc[-1] == 1 and looks["eval_margin"].iloc[-1] > 1
    assert run.curve["loss"].dropna().iloc[0] == pytest.approx(0.6931, abs=2e-3) and looks["eval_loss"].min() < 0.4
    values = scores(run.loaded, answers_of(pairs[0]))
    assert all(right > wrong for right, wrong in zip(values[::2], values[1::2], strict=True))
    files = saved(run.weights)
    assert len(files) == 29 and {tensor.dtype for tensor in files.values()} == {torch.float32}
    assert files["base_model.model.lm_head.weight"].shape == (1, 64)
    assert all(tensor.any() for name, tensor in files.items() if "lora_B" in name)
    assert not any(torch.equal(tensor, tensor.bfloat16().float()) for tensor in files.values())


# Saved and loaded


@pytest.fixture(scope="module")
def elsewhere(runs, tmp_path_factory) -> dict[str, list[float]]:
    """Scores by the saved models, each loaded in a process that has trained nothing."""
    path = tmp_path_factory.mktemp("elsewhere") / "folders.json"
    path.write_text(json.dumps({name: str(runs(name).weights) for name in SAVED}))
    done = subprocess.run([sys.executable, __file__, str(path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", SAVED)
def test_scores_are_equal_in_a_process_that_loads_the_model(name, pairs, runs, elsewhere):
    method, precision = SAVED[name]
    values = scores(runs(name).loaded, answers_of(pairs[0]))
    assert len(set(values)) > 20
    loaded = load_model(
        TINY_MODEL, precision=precision, quantisation=RECIPE.with_values({"method": method}).quantisation
    )
    beside = scores(load_reward_model(loaded, runs(name).weights), answers_of(pairs[0]))
    assert elsewhere[name] == pytest.approx(beside, abs=1e-6)
    assert runs(name).merged == (name == "float32")
    assert values == pytest.approx(beside, abs=1e-5 if name == "float32" else 1e-6)


def refusal(act) -> str:
    with pytest.raises(UserError) as raised:
        act()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_is_no_reward_model_is_refused_in_one_line(tiny, trained, runs, tmp_path):
    line = "holds no reward model; give the folder that train_reward names as its weights"
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "adapter_config.json").write_text("[]")
    for folder in (tmp_path, tmp_path / "nothing", tmp_path / "list", trained("lora").weights):
        assert refusal(lambda f=folder: load_reward_model(tiny(), f)) == f"{folder} {line}"


def test_a_reward_model_of_another_base_is_refused_in_one_line(tiny, runs):
    loaded = tiny()
    loaded.model.config.hidden_size = 32
    narrow = replace(loaded, model=type(loaded.model)(loaded.model.config))
    line = refusal(lambda: load_reward_model(narrow, runs("float32").weights))
    assert "holds a reward model of another model" in line and "load the one it was trained on" in line


# Scores


def test_scores_come_in_the_order_of_the_answers_and_do_not_depend_on_the_others(pairs, runs, monkeypatch):
    model, real, groups = runs("float32").loaded, reward.by_row, []

    def grouped(model, items, *args, **options):
        groups.append([len(item) for item in items])
        return real(model, items, *args, **options)

    monkeypatch.setattr(reward, "by_row", grouped)
    long = "SELECT " + "1 + " * 1500 + "1"
    chosen, rejected = (
        [(p.example, sql) for p, sql in zip(pairs[1], sqls, strict=True)]
        for sqls in zip(*((p.chosen, p.rejected) for p in pairs[1]), strict=True)
    )
    answers = [*chosen, (pairs[1][0].example, long), *rejected, chosen[1]]
    together = scores(model, answers)
    assert groups == [[2, 3, 2, 2]] and len(together) == 10
    assert together[4] != together[4] and sum(value != value for value in together) == 1
    alone = [scores(model, [answer])[0] for answer in answers]
    assert together[:4] + together[5:] == pytest.approx(alone[:4] + alone[5:], abs=1e-4) and alone[4] != alone[4]
    assert together[1] == together[9] and len(set(together)) == 9
    assert scores(model, answers[::-1])[::-1][:4] == pytest.approx(together[:4], abs=1e-4)
    other = (replace(pairs[1][0].example, question="How many are there?"), pairs[1][0].chosen)  # under the same id
    assert scores(model, [chosen[0], other])[1] == pytest.approx(scores(model, [other])[0], abs=1e-4)
    assert scores(model, []) == [] and scores(model, [answers[4]])[0] != scores(model, [answers[4]])[0]


# The program that loads what was saved


if __name__ == "__main__":
    torch.set_num_threads(1)
    path = Path(sys.argv[1])
    answers = answers_of(pairs_of(load_examples("embedded", "train", limit=12)))
    results = {}
    for name, folder in json.loads(path.read_text()).items():
        method, precision = SAVED[name]
        recipe = RECIPE.with_values({"method": method})
        loaded = load_model(TINY_MODEL, precision=precision, quantisation=recipe.quantisation)
        results[name] = scores(load_reward_model(loaded, Path(folder)), answers)
    path.write_text(json.dumps(results))
