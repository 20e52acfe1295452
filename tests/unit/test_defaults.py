"""Settings without a search: the published ones where they are, passes and batches of every notebook from one table."""

import dataclasses

import pytest

from common.profiles import PROFILES
from common.settings import UserError
from common.training.defaults import PATIENCE, RECIPES, default_recipe, final_recipe
from common.training.recipe import METHODS, Recipe


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_has_a_recipe_for_every_method(name):
    assert tuple(RECIPES) == tuple(PROFILES) and tuple(RECIPES[name]) == METHODS
    assert [recipe.method for recipe in RECIPES[name].values()] == list(METHODS)
    # One number of passes and one batch for all methods, or a table of them would compare these.
    assert len({(recipe.epochs, recipe.effective_batch_size) for recipe in RECIPES[name].values()}) == 1
    for method in METHODS:
        recipe = default_recipe(method, PROFILES[name])
        assert recipe.max_length == PROFILES[name].max_length
        assert recipe.per_device_train_batch_size == PROFILES[name].per_device_train_batch_size


@pytest.mark.parametrize("name", ["t4", "h100"])
def test_the_published_settings_are_those_of_the_final_runs(name):
    full, lora = (default_recipe(method, PROFILES[name]) for method in ("full", "lora"))
    assert (full.optimizer, full.learning_rate, full.effective_batch_size) == ("nadam", 1e-4, 32)
    assert (full.betas, full.weight_decay, full.warmup_ratio, full.epochs) == ((0.95, 0.999), 0.0, 0.05, 1)
    assert (lora.lora_rank, lora.lora_alpha, lora.learning_rate, lora.epochs) == (64, 256, 1e-5, 1)
    assert default_recipe("prompt-text", PROFILES[name]).learning_rate > 1e-4  # published: 1e-8, which moves nothing


def test_a_value_of_zero_leaves_the_default():
    profile = PROFILES["t4"]
    usual = default_recipe("lora", profile)
    assert default_recipe("lora", profile, learning_rate=0.0, epochs=0, effective_batch_size=0, lora_rank=0) == usual
    other = default_recipe("lora", profile, learning_rate=3e-4, epochs=2, effective_batch_size=16, seed=0)
    assert (other.learning_rate, other.epochs, other.effective_batch_size, other.seed) == (3e-4, 2, 16, 0)
    assert other.lora_rank == usual.lora_rank


def test_another_rank_keeps_the_ratio_and_a_small_batch_its_rows():
    profile = PROFILES["t4"]  # 64 and 256
    assert default_recipe("lora", profile, lora_rank=8).lora_alpha == 32
    assert default_recipe("lora", profile, lora_rank=8, lora_alpha=8).lora_alpha == 8
    assert default_recipe("full", PROFILES["h100"], effective_batch_size=4).per_device_train_batch_size == 4
    with pytest.raises(UserError, match="a recipe has no 'rank'"):
        default_recipe("lora", profile, rank=8)


def test_the_last_stage_has_the_profiles_passes_and_keeps_weights_by_held_out_match():
    profile = PROFILES["cpu"]
    recipe = Recipe(method="lora", learning_rate=0.5)
    final = final_recipe(recipe, profile, 384, 128)
    assert (final.learning_rate, final.select_by, final.patience) == (0.5, "match", PATIENCE)
    assert final.epochs == RECIPES["cpu"]["lora"].epochs
    assert final.evaluations == final.epochs * profile.evaluations
    assert final.score_rows == min(profile.score_rows, 128)
    assert final_recipe(recipe, profile, 384, 12).score_rows == 12, "no more than there are"
    changed = final_recipe(recipe, profile, 384, 128, epochs=3, patience=1)
    assert (changed.epochs, changed.patience, changed.evaluations) == (3, 1, 3 * profile.evaluations)
    silent = final_recipe(recipe, dataclasses.replace(profile, score_rows=0), 384, 128)
    assert (silent.score_rows, silent.select_by) == (0, "loss")
    # Elsewhere evaluations cost at most a tenth: 9,750 rows, of which one takes 2,500 / 3 + 512 × 10.
    assert final_recipe(recipe, PROFILES["h100"], 97_500, 2_500, gpu=True).evaluations == 1
    assert final_recipe(recipe, PROFILES["h100"], 97_500, 2_500, epochs=4, gpu=True).evaluations == 6
