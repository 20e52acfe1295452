"""What a training run may be told, refused before anything is loaded; and what its evaluations may cost."""

import math
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from common.settings import ROOT, UserError
from common.training.recipe import (
    CUDA_OPTIMIZERS,
    INIT_TEXT,
    METHODS,
    OPTIMIZERS,
    SCHEDULES,
    Recipe,
    affordable_evaluations,
)

BATCH = "a batch holds at least 1 row; raise effective_batch_size or per_device_train_batch_size"
LEARNING = "a training needs a learning rate above 0, at least 1 epoch and at least 1 evaluation"
RANK = "a rank and a number of virtual tokens are at least 1, a dropout is from 0 to below 1"
ANSWERS = ("score", "match")  # what needs answers to select by
COUNTS = (
    "patience, score_rows, save_every and micro_batch_tokens are not negative, max_length and lora_alpha are at least 1"
)
SHARES = "a warm-up ratio and both betas are from 0 to below 1, a weight decay is not negative"


def test_what_can_be_chosen_is_what_the_study_searches():
    assert METHODS == ("full", "lora", "qlora", "prompt-random", "prompt-text")
    assert SCHEDULES == ("cosine", "linear", "cosine_with_restarts", "constant_with_warmup")
    assert {"adam", "adamw", "nadam", "adamax"} == set(OPTIMIZERS) - set(CUDA_OPTIMIZERS)
    assert "SQL" in INIT_TEXT


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"method": "dora"}, f"unknown method 'dora'; choose one of {', '.join(METHODS)}"),
        ({"optimizer": "sgd"}, f"unknown optimizer 'sgd'; choose one of {', '.join(OPTIMIZERS)}"),
        ({"schedule": "step"}, f"unknown schedule 'step'; choose one of {', '.join(SCHEDULES)}"),
        ({"select_by": "rouge"}, "unknown select_by 'rouge'; choose one of loss, score, match"),
        ({"effective_batch_size": 0}, BATCH),
        ({"per_device_train_batch_size": 0}, BATCH),
        ({"effective_batch_size": -4, "per_device_train_batch_size": -2}, BATCH),
        (
            {"effective_batch_size": 6, "per_device_train_batch_size": 4},
            "an effective batch of 6 cannot be made of device batches of 4; give a multiple",
        ),
        (
            {"effective_batch_size": 2, "per_device_train_batch_size": 4},
            "an effective batch of 2 cannot be made of device batches of 4; give a multiple",
        ),
        ({"learning_rate": 0.0}, LEARNING),
        ({"learning_rate": -1e-4}, LEARNING),
        ({"learning_rate": float("inf")}, LEARNING),
        ({"learning_rate": float("nan")}, LEARNING),
        ({"epochs": 0}, LEARNING),
        ({"evaluations": 0}, LEARNING),
        ({"lora_rank": 0}, RANK),
        ({"virtual_tokens": 0}, RANK),
        ({"lora_dropout": -0.1}, RANK),
        ({"lora_dropout": 1.0}, RANK),
        ({"warmup_ratio": -0.1}, SHARES),
        ({"warmup_ratio": 1.0}, SHARES),
        ({"betas": (1.0, 0.9)}, SHARES),
        ({"betas": (0.9, 1.0)}, SHARES),
        ({"betas": (-0.1, 0.9)}, SHARES),
        ({"betas": (0.9, -0.1)}, SHARES),
        ({"weight_decay": -0.01}, SHARES),
        *(({name: -1}, COUNTS) for name in ("patience", "score_rows", "save_every", "micro_batch_tokens")),
        *(({name: 0}, COUNTS) for name in ("max_length", "lora_alpha")),
        ({"max_grad_norm": 0.0}, "max_grad_norm is above 0; give a large one for no clipping"),
        ({"max_grad_norm": math.nan}, "max_grad_norm is above 0; give a large one for no clipping"),
        *(({"select_by": by}, f"select_by='{by}' needs validation rows to answer; set score_rows") for by in ANSWERS),
    ],
    ids=str,
)
def test_what_cannot_be_trained_is_refused_in_one_line(values, line):
    for refuse in (lambda: Recipe(**values), lambda: Recipe().with_values(values)):
        with pytest.raises(UserError) as raised:
            refuse()
        assert str(raised.value) == line


@pytest.mark.parametrize(
    "values",
    [
        *({"method": method} for method in METHODS),
        *({"optimizer": optimizer} for optimizer in OPTIMIZERS),
        *({"schedule": schedule} for schedule in SCHEDULES),
        {"effective_batch_size": 1, "per_device_train_batch_size": 1, "lora_rank": 1, "virtual_tokens": 1},
        {"effective_batch_size": 4, "per_device_train_batch_size": 4},
        {"warmup_ratio": 0.0, "betas": (0.0, 0.0), "weight_decay": 0.0, "lora_dropout": 0.0},
        {"warmup_ratio": 0.99, "betas": (0.99, 0.9999), "lora_dropout": 0.99},
        {"select_by": "score", "score_rows": 1},
        *({"shared_prefixes": on, "micro_batch_tokens": 64} for on in (False, True)),
    ],
    ids=str,
)
def test_what_can_be_trained_is_taken_as_it_is(values):
    recipe = Recipe(**values)
    assert {name: getattr(recipe, name) for name in values} == values


def test_a_recipe_with_other_values_is_another_recipe():
    recipe = Recipe()
    other = recipe.with_values({"learning_rate": 3e-4, "betas": [0.8, 0.99], "lora_targets": ["q_proj", "v_proj"]})
    assert (other.learning_rate, other.betas, other.lora_targets) == (3e-4, (0.8, 0.99), ("q_proj", "v_proj"))
    assert other == Recipe(learning_rate=3e-4, betas=(0.8, 0.99), lora_targets=("q_proj", "v_proj"))
    assert hash(other) != hash(recipe)  # a list in it could not be hashed
    assert recipe == Recipe() == recipe.with_values({})
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 2


def test_an_unknown_name_is_named_beside_those_there_are():
    with pytest.raises(UserError, match="^a recipe has no 'rank'; choose from method, optimizer, .*, lora_rank, ") as e:
        Recipe().with_values({"epochs": 2, "rank": 8})
    assert "\n" not in str(e.value)


def test_only_qlora_asks_for_quantised_weights():
    assert {method: Recipe(method=method).quantisation for method in METHODS} == {
        "full": "",
        "lora": "",
        "qlora": "nf4",
        "prompt-random": "",
        "prompt-text": "",
    }


@pytest.mark.parametrize(
    ("train_rows", "epochs", "valid_rows", "score_rows", "max_new_tokens", "expected"),
    [
        # A tenth of the rows trained, over a third of each validation row and of each step of decoding.
        (8000, 1, 120, 20, 120, 10),  # 800 / (40 + 40)
        (8000, 1, 120, 5, 120, 10),  # rows are answered together
        (8000, 2, 120, 20, 120, 20),
        (7999, 1, 120, 20, 120, 9),  # 799.9 / 80: ten would cost 800
        (8000, 1, 120, 20, 60, 13),  # 800 / 60
        (1000, 1, 30, 0, 300, 10),  # 100 / 10: nothing is answered
        (100, 1, 300, 50, 150, 1),  # 10 / 150: the one at the end is always there
        (599, 1, 90, 30, 90, 1),  # 59.9 / 60
    ],
)
def test_affordable_evaluations(train_rows, epochs, valid_rows, score_rows, max_new_tokens, expected):
    recipe = Recipe(epochs=epochs, score_rows=score_rows)
    assert affordable_evaluations(recipe, train_rows, valid_rows, max_new_tokens=max_new_tokens) == expected


def test_a_recipe_can_be_written_without_torch():
    code = (
        "import sys, common.training.recipe; print(*sorted({'torch', 'transformers', 'trl', 'peft'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
