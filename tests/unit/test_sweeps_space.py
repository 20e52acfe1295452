"""What may be searched: the grids of each method, and the sweeps that could not run, which are refused."""

import math
from dataclasses import replace

import pytest

from common.profiles import PROFILES, Stage
from common.settings import UserError
from common.sweeps import Sweep
from common.sweeps.space import SPACES, beyond, first, size, space, variants
from common.sweeps.sweep import sweep_of
from common.training.defaults import default_recipe
from common.training.recipe import METHODS, Recipe
from tests.unit import sweep_cases
from tests.unit.sweep_cases import STAGES, line_of

lab = sweep_cases.lab


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_method_can_be_searched_at_every_profile(method, profile):
    grid, start = space(method, profile), first(method, profile)
    plan = sweep_of(f"sft-{method}", method, profile, seed=7)
    assert (plan.space, plan.first, plan.stages, plan.seed) == (grid, start, profile.stages, 7)
    assert (plan.model_id, plan.precision, plan.data) == (profile.model_id, profile.precision, profile.data)
    assert (plan.recipe.method, plan.recipe.epochs, plan.recipe.seed) == (method, 1, 7)
    usual = default_recipe(method, profile)
    assert start == {name: getattr(usual, name) for name in grid}, "a search is compared with no search"
    for batch in grid["effective_batch_size"]:
        assert batch % profile.per_device_train_batch_size == 0
        steps = profile.stages[0].steps or 3
        assert math.ceil(profile.stages[0].train_rows / batch) >= steps or len(grid["effective_batch_size"]) == 1


def test_the_grids_hold_the_published_values_and_reach_further():
    assert set(SPACES) == set(METHODS)
    t4 = PROFILES["t4"]
    assert space("full", t4)["effective_batch_size"] == (16, 32, 64, 128, 256, 512)
    assert {1e-6, 5e-6, 1e-5, 5e-5, 1e-4, 1e-3} <= set(space("full", t4)["learning_rate"])
    for method in ("lora", "qlora"):  # published: pinned to 1e-5
        assert (min(SPACES[method]["learning_rate"]), max(SPACES[method]["learning_rate"])) == (1e-5, 3e-3)
    for method in ("prompt-random", "prompt-text"):  # published: 1e-8
        assert (min(SPACES[method]["learning_rate"]), max(SPACES[method]["learning_rate"])) == (1e-4, 3e-2)
    with pytest.raises(UserError, match="no search space for 'dpo'"):
        space("dpo", t4)


@pytest.mark.parametrize("method", METHODS)
def test_few_rows_are_searched_for_what_matters_and_beyond_an_edge(method):
    cpu, t4 = PROFILES["cpu"], PROFILES["t4"]
    grid, (stage, second, _) = space(method, cpu), cpu.stages
    assert list(grid) == ["learning_rate", "effective_batch_size"]
    # Every pair of a rate and a batch, and 12 to 16 candidates with what follows.
    assert stage.trials == size(grid) and second.trials == len(grid["effective_batch_size"])
    plan = sweep_of(f"sft-{method}", method, cpu, seed=1)
    # With the batch beyond an edge, where one of two always lies, and at most two rates beyond theirs.
    assert 12 <= stage.trials + len(plan.variants) + 1 <= stage.trials + len(plan.variants) + 1 + plan.widening <= 16
    assert min(stage.valid_rows, second.valid_rows) >= 96
    outside = beyond(method, cpu)["learning_rate"]
    low, high = min(grid["learning_rate"]), max(grid["learning_rate"])
    assert sum(value < low for value in outside) == sum(value > high for value in outside) == 2
    assert len(variants(method, cpu)) == 2
    assert (beyond(method, t4), variants(method, t4)) == ({}, ())
    assert space(method, t4).keys() == SPACES[method].keys()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space": {"rank": (4, 8)}}, "names 'rank'.*choose from optimizer"),
        ({"space": {"method": ("full", "lora")}}, "names 'method'"),
        ({"space": {"learning_rate": ()}}, "'learning_rate' is a tuple of one or more"),
        ({"space": {"learning_rate": (1e-4, 1e-4)}}, "each named once"),
        ({"space": {"learning_rate": 1e-4}}, "'learning_rate' is a tuple"),
        ({"space": {"learning_rate": ("fast",)}}, "holds 'fast'; give values such as 0.0001"),
        ({"space": {"lora_rank": (4, 8.5)}}, "holds 8.5; give values such as 64"),
        ({"space": {"betas": (0.9, 0.95)}}, r"holds 0.9; give values such as \(0.9, 0.999\)"),
        ({"space": {"learning_rate": (1e-4, -1e-4)}}, "learning rate above 0"),
        ({"space": {"optimizer": ("adam", "sgd")}}, "unknown optimizer 'sgd'"),
        ({"space": {"effective_batch_size": (8, 9)}}, "an effective batch of 9 cannot be made of device batches of 2"),
        # Only one of the four combinations is wrong.
        (
            {"space": {"effective_batch_size": (4, 6), "lora_rank": (4, 8), "per_device_train_batch_size": (2, 4)}},
            "an effective batch of 6 cannot be made of device batches of 4",
        ),
        ({"first": {"learning_rate": 2e-4}}, "learning_rate=0.0002 is not in the search space"),
        ({"first": {"lora_rank": 4}}, "lora_rank=4 is not in the search space"),
        ({"stages": STAGES[:1]}, "two stages or more"),
        ({"stages": (Stage(10, 5, 2), Stage(20, 5, 3), Stage(30, 5, 1))}, "stage 2 cannot promote 3 of 2"),
        ({"stages": (Stage(10, 0, 2), Stage(20, 5, 1))}, "at least 1 training row"),
        ({"name": "a/b"}, "name 'a/b'"),
    ],
)
def test_a_sweep_that_could_not_run_is_refused_before_anything_is_trained(lab, changes, says):
    with pytest.raises(UserError, match=says) as error:
        replace(lab.sweep, **changes)
    line_of(error)


def test_a_wrong_batch_is_seen_wherever_it_stands_in_the_grid():
    # The published ranges with one device batch too large for the smallest: no order of the values may hide it.
    for batches in ((8, 16, 32), (32, 16, 8), (16, 8, 32)):
        for devices in ((2, 16), (16, 2)):
            grid = SPACES["lora"] | {"effective_batch_size": batches, "per_device_train_batch_size": devices}
            with pytest.raises(UserError, match="an effective batch of 8 cannot be made of device batches of 16"):
                Sweep("sft-lora", Recipe(), grid, STAGES, "model", "float32", "embedded", 1)
