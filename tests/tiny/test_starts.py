"""Where a later method starts: the adapter of a record, trained anew where it is not here, and what goes on from it."""

import shutil
from dataclasses import asdict, replace

import pytest
import torch

from common.data import load_examples
from common.models import weights_digest
from common.preferences import files
from common.preferences.candidates import MUTATION, REFERENCE
from common.preferences.pairs import Pair
from common.provenance import digest
from common.releases import FOLDER
from common.results.ledger import folder as records_folder
from common.run import start_run
from common.settings import UserError, outputs
from common.starts import (
    adapter_of,
    adapter_sizes,
    base_model,
    control_recipe,
    cycled,
    decoding_of,
    held_out_questions,
    pairs_file,
    policy_of,
    recipe_of,
    rows_of,
    rows_of_equal_seconds,
)
from common.training.recipe import Recipe
from common.training.sft import train_sft
from tests.models import with_models

RECIPE = Recipe(
    learning_rate=2e-2,
    effective_batch_size=16,
    per_device_train_batch_size=4,
    lora_rank=4,
    lora_alpha=8,
    max_length=768,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXT_TO_SQL_OUTPUTS", with_models(tmp_path_factory.mktemp("outputs")))
        patch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path_factory.mktemp("results")))
        yield start_run("probe", notebook="dpo/dpo.ipynb", profile="smoke")


@pytest.fixture(scope="module")
def trained(run):
    """A finished training in the place where sft/lora.ipynb leaves it."""
    folder = outputs() / "runs" / "smoke" / "sft-lora-0123456789" / "training"
    rows = rows_of(run.profile)
    return train_sft(base_model(run.profile, RECIPE), *rows, RECIPE, folder=folder, **decoding_of(run.profile))


@pytest.fixture
def record(trained, monkeypatch):
    """The record of that training, which every run finds comparable."""
    record = {
        "method": "sft-lora",
        "notebook": "sft/lora.ipynb",
        "parameters": {"recipe": asdict(RECIPE)},
        "model": {"weights_digest": weights_digest(trained.weights), "id": "a model", "revision": "1"},
        "cost": {"train_rows_per_second": 0.5},
        "environment": {"device": "a CPU"},
    }
    monkeypatch.setattr("common.run.Run.needed", lambda self, method: (record, []))
    return record


def test_the_adapter_is_the_one_whose_weights_the_record_names(run, record, trained, capsys):
    assert adapter_of(run, "sft-lora") == trained.weights.relative_to(outputs()).as_posix()
    assert "anew" not in capsys.readouterr().out


def test_an_adapter_that_is_not_here_is_trained_anew_by_the_records_recipe(run, record, trained, capsys):
    hidden = outputs() / "elsewhere"
    shutil.move(trained.weights.parent, hidden)
    try:
        path = adapter_of(run, "sft-lora")
        assert f"sft-lora-anew-{digest(asdict(RECIPE), record['model']['weights_digest'])[:10]}" in path
        assert weights_digest(outputs() / path) == record["model"]["weights_digest"]
        assert "are trained anew" in capsys.readouterr().out
        assert adapter_of(run, "sft-lora") == path  # the second time it is loaded
    finally:
        shutil.move(hidden, trained.weights.parent)


def test_a_released_adapter_is_copied_rather_than_trained_again(run, record, trained, capsys):
    weights, wanted = trained.weights, record["model"]["weights_digest"]
    release = shutil.copytree(weights, records_folder(run.profile.name) / FOLDER / "sft-lora")
    hidden = outputs() / "elsewhere"
    shutil.move(weights.parent, hidden)
    for other in (outputs() / "runs" / "smoke").glob("sft-lora-anew-*"):  # of the test before
        shutil.rmtree(other)
    try:
        path = adapter_of(run, "sft-lora")
        assert path == f"runs/smoke/sft-lora-release/{wanted}/weights" and adapter_of(run, "sft-lora") == path
        assert weights_digest(outputs() / path) == wanted and "anew" not in capsys.readouterr().out
        shutil.rmtree(outputs() / "runs" / "smoke" / "sft-lora-release")
        (release / "adapter_model.safetensors").write_bytes(b"of other weights")
        assert "sft-lora-anew-" in adapter_of(run, "sft-lora")
    finally:
        shutil.move(hidden, weights.parent)
        shutil.rmtree(release)


def test_the_policy_is_the_trained_model(run, trained):
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        policy = policy_of(run.profile, trained.weights.relative_to(outputs()).as_posix()).model(input_ids=ids).logits
        base = policy_of(run.profile, "").model(input_ids=ids).logits
        assert torch.allclose(policy, trained.loaded.model(input_ids=ids).logits, atol=1e-4)
    assert not torch.allclose(policy, base, atol=1e-2)


def test_a_record_without_a_recipe_ends_in_one_line(record):
    with pytest.raises(UserError, match=r"^the record 'sft-lora' holds no recipe; execute sft/lora\.ipynb again$"):
        recipe_of(record | {"parameters": {}})
    assert recipe_of(record) == RECIPE
    assert adapter_sizes(RECIPE) == {"lora_rank": 4, "lora_alpha": 8, "lora_targets": "all-linear"}


def test_equal_seconds_are_rows_by_the_rate_of_sft(record):
    other = {"method": "sft-dpo", "environment": record["environment"]}
    assert rows_of_equal_seconds(other | {"cost": {"train_seconds": 90.0}}, record) == 45
    assert rows_of_equal_seconds(other | {"cost": {"train_seconds": 0.1}}, record) == 1
    fast = record | {"method": "example-lora", "cost": {"train_rows_per_second": 0.7}}
    assert rows_of_equal_seconds(other | {"cost": {"train_seconds": 90.0}}, record, fast) == 63
    far = other | {"environment": {"device": "another"}, "cost": {"train_seconds": 90.0}}
    with pytest.raises(UserError, match="^'sft-lora' was trained on a CPU, 'sft-dpo' on another: their seconds cannot"):
        rows_of_equal_seconds(far, record)


def test_rows_come_again_where_they_end():
    assert cycled([1, 2, 3], 7) == [1, 2, 3, 1, 2, 3, 1]


def test_held_out_questions_are_behind_the_pairs_questions_and_of_other_schemas(run, monkeypatch):
    """A question without a pair was always right or never: it is no fair one."""
    post = load_examples("embedded", "post", limit=40)
    post[9] = replace(post[9], schema=post[2].schema)
    monkeypatch.setattr("common.starts.load_examples", lambda source, split, limit=None: post[:limit])
    pairs = [Pair(e, e.sql, "SELECT 1;", REFERENCE, MUTATION, "", "columns") for e in post[:5]]
    path = files.write(outputs() / "pairs.parquet", pairs, "card", questions=[row.id for row in post[:8]])
    questions = held_out_questions(run.profile, path, 7)
    assert [row.id for row in questions] == [row.id for row in [post[8], *post[10:16]]]
    files.write(path, pairs, "card", questions=[row.id for row in post])
    with pytest.raises(UserError, match="^all rows of `post`, or all their schemas, are among the pairs' questions"):
        held_out_questions(run.profile, path, 7)


def test_pairs_of_another_model_data_or_seed_have_a_file_of_their_own(run):
    one = pairs_file(run, "base")
    others = [
        replace(run, seed=7),
        replace(run, revision="x"),
        replace(run, profile=replace(run.profile, data="gretel")),
    ]
    assert len({one, *(pairs_file(other, "base") for other in others), pairs_file(run, "sft-lora")}) == 5
    assert one.parent.name.startswith("smoke-") and pairs_file(replace(run, parameters={}), "base") == one


def test_a_control_trains_as_sft_did_at_the_rate_of_what_it_is_held_against():
    sft = {"method": "sft-lora", "notebook": "", "parameters": {"recipe": {"learning_rate": 1e-3, "epochs": 3}}}
    other = {"parameters": {"recipe": {"learning_rate": 5e-5, "epochs": 1, "pair_loss": "ipo"}}}
    recipe = control_recipe(sft, other, seed=7, evaluations=2)
    assert (recipe.learning_rate, recipe.epochs, recipe.seed, recipe.evaluations) == (5e-5, 1, 7, 2)
    assert recipe.method == recipe_of(sft).method
