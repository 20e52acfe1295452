"""Before a training by rewards: what the policy's samples are worth, whether it is the model of a record, a judge."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from common.data import load_examples
from common.preferences import sampled
from common.preferences.candidates import SAMPLED, Candidate
from common.profiles import PROFILES
from common.settings import UserError
from common.starts import equal_answers, reward_model_of
from common.training import model_reward as module
from common.training import preflight as checks
from common.training.group_defaults import ANCHORS, MODEL_REWARDS, RATES, REWARDS, SIZES, group_recipe
from common.training.group_recipe import GroupRecipe
from common.training.model_reward import model_reward
from common.training.preflight import preflight

RECIPE = GroupRecipe(generations=4, effective_batch_size=4, per_device_train_batch_size=1)


@pytest.fixture(scope="module")
def questions():
    return load_examples("embedded", "post", limit=4)


@pytest.fixture
def drawn(monkeypatch):
    """Have the policy answer so that of the questions 0 to 3 none, one, two and all four of four samples are right."""

    def sample(policy, examples, *, answers, **_):
        rights = [0, 1, 2, 4]
        return [
            Candidate(example.id, example.sql if at < right else "SELECT nothing FROM nowhere", SAMPLED)
            for example, right in zip(examples, rights, strict=True)
            for at in range(answers)
        ]

    monkeypatch.setattr(checks, "sampled", sample)


def test_figures_are_those_of_the_samples_and_mixed_prompts_are_left(questions, drawn, tiny, tmp_path):
    flight = preflight(tiny(), questions, RECIPE, folder=tmp_path, max_new_tokens=8, batch_size=8)
    shares = flight.table["share"]
    assert flight.prompts == questions[1:3]
    assert shares["pass@1: one sample is right"] == pytest.approx(7 / 16, abs=1e-3)
    assert shares["pass@4: any of 4 is right"] == 0.75
    assert shares["prompts with right and wrong samples"] == 0.5
    assert (shares["always right"], shares["never right"]) == (0.25, 0.25)
    assert shares["groups whose rewards have a spread"] == 0.5


def test_where_nothing_differs_there_is_nothing_to_learn(questions, tiny, tmp_path, monkeypatch):
    options = {"folder": tmp_path, "max_new_tokens": 4, "batch_size": 8}
    with pytest.raises(UserError, match="all 4 samples of each of 4 prompts have one reward"):
        preflight(tiny(), questions, RECIPE, **options)


def test_rewards_may_tell_apart_what_is_never_right(questions, tiny, tmp_path, capsys):
    recipe = RECIPE.with_values({"reward": (("length", 1.0),)})
    functions = {"length": lambda examples, completions: [len(text) for text in completions]}
    options = {"folder": tmp_path, "max_new_tokens": 12, "batch_size": 8, "functions": functions}
    flight = preflight(tiny(), questions, recipe, **options)
    assert flight.prompts == questions and "those whose rewards differ otherwise" in capsys.readouterr().out
    assert sampled.CHUNK > 0 and (tmp_path / "samples.jsonl").exists()


# The start


def test_equal_answers_are_counted(tiny, monkeypatch):
    policy, examples = tiny(), load_examples("embedded", "test", limit=5)
    profile = replace(PROFILES["smoke"], max_new_tokens=6)
    from common.generation import complete
    from common.prompts import prompt_ids

    prompts = [prompt_ids(example, policy.tokenizer) for example in examples]
    texts = [answer.text for answer in complete(policy, prompts, max_new_tokens=6, batch_size=16)]
    texts[2] += "another"
    rows = [{"id": example.id, "completion": text} for example, text in zip(examples, texts, strict=True)]
    run = SimpleNamespace(tests={"test": examples}, profile=profile, needed=lambda method: ({}, rows))
    assert equal_answers(run, policy, "sft-lora", 5) == 4
    assert equal_answers(run, policy, "sft-lora", 2) == 2


def test_a_reward_model_that_is_not_here_is_named_with_what_to_run(monkeypatch, tmp_path):
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))
    measures = {"model": {"weights_digest": "0" * 16}}
    run = SimpleNamespace(profile=PROFILES["smoke"], measures=lambda method: measures)
    with pytest.raises(UserError, match=r"the weights of 'reward-model' are not here.*`make run PROFILE=smoke NOTEB"):
        reward_model_of(run, "reward-model")


# A judge


def test_a_score_is_between_0_and_1_and_reads_the_statement(questions, monkeypatch):
    calls = []

    def scores(judge, answers, *, max_length):
        calls.append(answers)
        return [0.0, 800.0, -800.0, math.nan]

    monkeypatch.setattr(module, "scores", scores)
    texts = ["```sql\nSELECT  1;\n```", "SELECT 2", "SELECT 3", "SELECT 4"]
    values = model_reward(None, max_length=100)(questions, texts)
    assert values == pytest.approx([0.5, 1.0, 0.0, 0.0], abs=1e-12)
    assert [sql for _, sql in calls[0]] == ["SELECT 1", "SELECT 2", "SELECT 3", "SELECT 4"]
    assert model_reward(None, max_length=100)(questions, ["", *texts[1:]])[0] == 0.0


# Settings


@pytest.mark.parametrize("name", list(PROFILES))
def test_every_profile_has_settings(name):
    profile = PROFILES[name]
    recipe = group_recipe(profile)
    assert recipe.learning_rate == RATES[name] and recipe.reward == REWARDS[name] and recipe.generations == 8
    assert recipe.effective_batch_size == SIZES[name].batch and ANCHORS[name] > 0
    other = group_recipe(profile, learning_rate=1e-6, generations=4, reward=MODEL_REWARDS[name], max_steps=0, seed=7)
    assert (other.learning_rate, other.generations, other.seed) == (1e-6, 4, 7)
    assert other.max_steps == recipe.max_steps
    if name in ("t4", "h100"):
        assert (recipe.lora_rank, recipe.lora_alpha, recipe.reward) == (64, 256, (("hybrid", 1.0),))
    if name == "cpu":
        assert (recipe.lora_rank, recipe.lora_alpha, recipe.reward) == (64, 256, (("robust", 1.0),))
