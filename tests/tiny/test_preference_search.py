"""The search for a preference training's recipe on a file of pairs, end to end on the tiny model."""

from dataclasses import replace

import pytest

from common.data import load_examples
from common.display import trial_table
from common.preferences import files
from common.preferences.pairs import Pair
from common.profiles import PROFILES, Stage
from common.sweeps import preferences as searches
from common.sweeps import search
from common.training.dpo import PreferenceRecipe
from common.training.preference_defaults import Sizes, preference_recipe


def pairs_of(examples) -> list[Pair]:
    """Right answers, and those of the next row as wrong ones."""
    following = [*examples[1:], examples[0]]
    return [
        Pair(one, one.sql, other.sql, "reference", "sampled", "tiny", "filter")
        for one, other in zip(examples, following, strict=True)
    ]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of two stages on a file of pairs: two trials, the better one again, and its two variants."""
    place = tmp_path_factory.mktemp("search")
    every = pairs_of(load_examples("embedded", "train", limit=80))
    by_split = dict(zip(("train", "validation"), files.split_pairs(every), strict=True))
    path = files.write(place / "pairs.parquet", by_split["train"][:6] + by_split["validation"][:2], "a card")
    stages = (Stage(4, 2, 2), Stage(6, 2, 1), Stage(6, 2, 1))
    profile = replace(PROFILES["smoke"], max_new_tokens=4, databases=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        patch.setattr(searches, "SIZES", {"smoke": Sizes(8, 2, stages, 1)})
        patch.setattr(searches, "RATES", {"smoke": (5e-4,)})
        plan = searches.preference_sweep("dpo-lora", preference_recipe("lora", profile), profile, path, seed=7)
        yield search(plan, folder=place / "trials", storage=f"journal:{place / 'sweeps.journal'}")


def test_a_search_on_a_file_of_pairs_ends_with_a_recipe(searched):
    recipe, trials = searched.recipe, searched.trials
    assert type(recipe) is PreferenceRecipe and recipe.validation == "embedded"
    assert recipe.learning_rate in (5e-4, 1e-3) and recipe.pair_loss in ("sigmoid", "ipo")
    assert trials["stage"].tolist() == [1, 1, 2, 2, 2] and trials["train_rows"].tolist() == [4, 4, 6, 6, 6]
    assert trials["score"].between(0, 1).all() and not trials["note"].any()
    assert trials.iloc[0][["learning_rate", "sft_weight"]].tolist() == [1e-3, 1.0]  # what is trained without a search
    assert trials["beta"].tolist() == [0.1, 0.1, 0.1, 1.0, 0.3]


def test_a_trials_kind_of_loss_and_its_validation_loss_are_two_columns(searched):
    trials = searched.trials
    assert not trials.columns[trials.columns.duplicated()].tolist()
    assert trials.astype(str).eq("ipo").sum(axis=None) == 1
    assert len(trial_table(trials, 1)) == 2
