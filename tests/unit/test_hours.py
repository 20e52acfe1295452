"""Hours by hand: a toy decoder's operations, a notebook's rows, and the share that a measured GPU has."""

import json
from dataclasses import replace

import pytest

from common.profiles import PROFILES, Stage
from common.training import hours as module
from common.training.architecture import KNOWN, Decoder, adapter_weights
from common.training.defaults import default_recipe
from common.training.hours import (
    CARDS,
    Hours,
    Plan,
    forward_operations,
    hours,
    notebook_hours,
    plans,
    rates,
    table,
    training_operations,
)
from common.training.recipe import METHODS, Recipe

# 2 layers of width 8, 16 in the feed-forward, 4 query and 2 key-value heads of 4, 32 tokens.
TOY = Decoder(2, 8, 16, 4, 2, 4, 32, True, True)
LINEAR = 2 * (2 * 8 * 16 + 2 * 8 * 8 + 3 * 8 * 16)
HEAD = 32 * 8
ADAPTERS = 2 * 3 * (2 * (8 + 16) + 2 * (8 + 8) + 3 * (8 + 16))  # rank 3 in 2 layers
LORA = Recipe(method="lora", lora_rank=3)


def test_operations_by_hand():
    full = Recipe(method="full")
    assert training_operations(TOY, full, 7) == 7 * (6 * LINEAR * 195 + 6 * HEAD * 45)
    assert forward_operations(TOY, full, 7) == 7 * (2 * LINEAR * 195 + 2 * HEAD * 45)
    assert adapter_weights(TOY, LORA) == ADAPTERS
    assert training_operations(TOY, LORA, 1) == (4 * LINEAR + 6 * ADAPTERS) * 195 + 4 * HEAD * 45
    assert forward_operations(TOY, LORA, 1) == 2 * (LINEAR + ADAPTERS) * 195 + 2 * HEAD * 45
    again = LORA.with_values({"gradient_checkpointing": True})
    assert training_operations(TOY, again, 1) - training_operations(TOY, LORA, 1) == 2 * LINEAR * 195
    prompt = Recipe(method="prompt-text", virtual_tokens=5)
    assert training_operations(TOY, prompt, 1) == 4 * LINEAR * 200 + 4 * HEAD * 45


def test_a_notebook_is_its_stages_evaluations_and_answers():
    stages = (Stage(100, 10, 5), Stage(200, 20, 2), Stage(3000, 30, 1))
    profile = replace(PROFILES["h100"], stages=stages, test_rows=50, score_rows=0)
    each, forward = training_operations(TOY, LORA, 1), forward_operations(TOY, LORA, 1)
    recipe = LORA.with_values({"epochs": 3})
    cost = hours(TOY, recipe, profile, {"training": each / 3600, "answers": forward / 3600})  # a row takes an hour
    looks = 90  # a tenth of 3 × 3,000 rows, at a third of a row for each of 30
    assert not profile.evaluations
    evaluation = forward / each
    assert cost.search == pytest.approx(5 * 100 + 2 * 200 + (5 * 10 + 2 * 20) * evaluation)
    assert cost.training == pytest.approx(3 * 3000)
    assert cost.evaluations == pytest.approx(looks * 30 * evaluation)
    assert cost.answers == pytest.approx(50)
    assert Hours(1, 2, 3, 4).total == 10
    answering = replace(profile, score_rows=8)
    fewer = int(900 / (10 + 512 * 10))  # evaluations that answer, on a GPU
    answers = hours(TOY, recipe, answering, {"training": each / 3600, "answers": forward / 3600})
    assert answers.evaluations == pytest.approx(max(1, fewer) * (30 * evaluation + 8))


def record(folder, name, **lines):
    (folder / "bench").mkdir(exist_ok=True)
    measurements = [{"name": key.replace("_", "-"), "value": value} for key, value in lines.items()]
    (folder / "bench" / f"{name}.json").write_text(json.dumps({"measurements": measurements}))


def test_the_share_is_a_measured_one_where_such_a_card_was_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path))
    card = CARDS["h100"]
    assumed = {"training": 0.2 * 989e12, "answers": 0.02 * 989e12}
    assert rates("lora", card) == (assumed, "")
    record(tmp_path, "gpu-tesla-t4", lora_utilisation=50, products=30)
    record(tmp_path, "gpu-cpu", lora_utilisation=50, products=0.1)
    record(tmp_path, "gpu-nvidia-h200", lora_utilisation=30, prompt_utilisation=None, products=700)
    assert rates("lora", card) == ({"training": 0.3 * 700e12, "answers": 0.02 * 989e12}, "gpu-nvidia-h200")
    assert rates("prompt-text", card) == (assumed, "")
    assert rates("lora", CARDS["t4"])[0]["training"] == 0.5 * 30e12
    lines = table(TOY, [LORA, Recipe(method="full")], PROFILES["h100"]).splitlines()
    assert lines[-2].endswith("share from gpu-nvidia-h200.json") and lines[-2].split()[1] == "21%"
    assert lines[-1].endswith("share assumed") and lines[-1].split()[1] == "20%"


def test_every_method_has_a_share_and_every_card_a_profile():
    assert {method.partition("-")[0] for method in METHODS} == module.SHARES.keys() - {"answers"}
    assert CARDS.keys() < PROFILES.keys()


def notebook(root, name, *sources):
    path = root / name
    path.parent.mkdir(exist_ok=True)
    cells = [{"cell_type": "code", "source": source.splitlines(keepends=True)} for source in sources]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "run.evaluate(x)"}, *cells]}))


def test_a_notebooks_hours_follow_from_its_own_code(tmp_path):
    notebook(tmp_path, "a/search.ipynb", 'sweep_of(NAME, "qlora", p, seed=1)', "run.evaluate(x)\nrun.evaluate(y)")
    notebook(tmp_path, "a/single.ipynb", 'default_recipe(\n    "full", p, seed=1\n)', "run.evaluate(x)")
    notebook(tmp_path, "b/base.ipynb", "load_model(run.profile.larger_model_id)", "run.evaluate(x)")
    notebook(tmp_path, "b/audit.ipynb", "print(1)")
    found = plans(tmp_path)
    assert found == [
        Plan("a/search.ipynb", "qlora", True, 2, False),
        Plan("a/single.ipynb", "full", False, 1, False),
        Plan("b/base.ipynb", "", False, 1, True),
    ]
    profile = PROFILES["h100"]
    recipes = {method: default_recipe(method, profile) for method in METHODS}
    search, single, base = (notebook_hours(plan, profile, recipes) for plan in found)
    sizes = KNOWN["Qwen/Qwen3-0.6B"]
    whole = hours(sizes, recipes["qlora"], profile, rates("qlora", CARDS["h100"])[0])
    assert (search.search, search.training, search.answers) == (whole.search, whole.training, 2 * whole.answers)
    assert single.search == 0 < single.training < whole.training * 2
    assert (base.search, base.training, base.evaluations) == (0, 0, 0)
    assert 8 < base.answers / single.answers < 16  # 8 billion weights, not .6


def test_the_studys_own_notebooks_are_seen():
    found = {plan.notebook: plan for plan in plans()}
    assert found["sft/lora.ipynb"] == Plan("sft/lora.ipynb", "lora", True, 1, False)
    assert found["sft/qlora.ipynb"].answers == 2
    assert (found["examples/train_fullft.ipynb"].method, found["examples/train_fullft.ipynb"].searched) == (
        "full",
        False,
    )
    assert not any("audit" in name for name in found)
