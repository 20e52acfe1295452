"""What the study says of its committed runs, checked on the predictions as committed.

A run of one's own may end a little differently on another machine; the claims are about the committed ones.
"""

import csv
import json
import subprocess
from statistics import mean

import pytest

from common.settings import ROOT
from common.statistics import paired_difference, paired_rows

TRAINED = ("example-lora", "example-qlora", "example-fullft", "sft-lora", "example-dpo", "sft-dpo")
TRAINED += ("grpo-sft", "grpo-sft-anchored", "grpo-sft-continued", "grpo-sft-more")
SPLITS = {"test": 640, "test_unseen": 320, "test_forms": 320}


def git(*command: str) -> bytes:
    process = subprocess.run(["git", *command], cwd=ROOT, capture_output=True)
    if process.returncode and not (ROOT / ".git").exists():
        pytest.skip("no git here, so nothing says what was committed")
    assert process.returncode == 0, process.stderr.decode()
    return process.stdout


def rows(method, split="test"):
    lines = git("show", f"HEAD:results/cpu/{method}.predictions.jsonl").splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == split]


def paired(one, other, split):
    """The difference of robust match, other − one, on the rows that both have."""
    pairs = paired_rows(rows(one, split), rows(other, split))
    assert len(pairs[0]) == SPLITS[split]
    return paired_difference(*([row["robust_match"] for row in part] for part in pairs))


def robust(method, split="test", complexity=""):
    return mean(row["robust_match"] for row in rows(method, split) if complexity in ("", row["complexity"]))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("method", TRAINED)
def test_a_trained_model_is_better_than_the_baseline(method, split):
    difference = paired("baseline", method, split)
    assert difference.low > 0
    assert difference.value >= 0.1


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ["sft-prompt-random", "sft-prompt-text"])
def test_prompt_tuning_gains_less_than_any_other_fine_tuning(name, split):
    assert paired("baseline", name, split).low > 0
    assert robust(name, split) < min(robust(other, split) for other in TRAINED)
    assert not any("```" in row["completion"] for row in rows(name, split))


@pytest.mark.parametrize("split", SPLITS)
def test_the_two_starts_of_prompt_tuning_cannot_be_told_apart(split):
    difference = paired("sft-prompt-random", "sft-prompt-text", split)
    assert difference.low <= 0 <= difference.high


def test_prompt_tuning_from_words_gains_where_there_is_one_table():
    name = "sft-prompt-text"
    assert robust(name, complexity="basic SQL") > robust("baseline", complexity="basic SQL") + 0.1
    assert robust(name, complexity="single join") < robust("baseline", complexity="single join") - 0.1


@pytest.mark.parametrize("split", SPLITS)
def test_a_larger_model_untrained_is_above_the_small_one_and_level_with_it_after_training(split):
    larger = "baseline-8b-nf4"
    assert paired("baseline", larger, split).low > 0.1
    difference = paired(larger, "sft-lora", split)
    assert difference.low <= 0 <= difference.high
    assert (difference.value > 0) == (split != "test_forms")


def test_a_larger_model_and_a_trained_one_are_good_at_different_questions():
    fine_tuned, larger = [name for name in TRAINED if name != "example-dpo"], "baseline-8b-nf4"
    others = (*TRAINED, "baseline", "baseline-3shot", "baseline-nf4", "grpo-lr1e5")
    joins, windows = (robust(larger, complexity=name) for name in ("multiple_joins", "window functions"))
    assert joins > max(robust(name, complexity="multiple_joins") for name in others)
    assert windows < min(robust(name, complexity="window functions") for name in fine_tuned)
    assert sum("```" in row["completion"] for row in rows(larger)) > 600


@pytest.mark.parametrize("split", SPLITS)
def test_search_and_three_passes_cannot_be_told_from_one_pass_at_the_defaults(split):
    difference = paired("example-lora", "sft-lora", split)
    assert difference.low <= 0 <= difference.high


@pytest.mark.parametrize("split", SPLITS)
def test_a_search_of_few_steps_harmed_qlora(split):
    assert paired("example-qlora", "sft-qlora", split).high < 0
    assert paired("baseline", "sft-qlora", split).low > 0
    merged = paired("sft-qlora", "sft-qlora-merged", split)
    assert merged.p > 0.05 and merged.value > 0
    changes = ("data manipulation", "data definition")
    answers = [row["sql"] for row in rows("sft-qlora", split) if row["task_type"] in changes]
    assert len(answers) > 10 and all(answer.lower().startswith("select") for answer in answers)
    assert sum(row["robust_match"] for row in rows("baseline", split) if row["task_type"] in changes) >= 5


def test_both_searches_of_adapters_chose_the_same_rate_and_batch_size():
    def settings(method):
        recipe = json.loads(git("show", f"HEAD:results/cpu/{method}.json"))["parameters"]["recipe"]
        return recipe["learning_rate"], recipe["effective_batch_size"]

    assert settings("sft-lora") == settings("sft-qlora") == tuple(2 * value for value in settings("example-qlora"))
    lines = csv.DictReader(git("show", "HEAD:results/cpu/sft-lora.curve.csv").decode().splitlines())
    matches = [float(line["eval_match"]) for line in lines if line["eval_match"]]  # two a pass
    assert matches[1] < matches[-1] - 0.2


@pytest.mark.parametrize("split", SPLITS)
def test_preferences_after_fine_tuning_bring_nothing_that_can_be_told(split):
    difference = paired("sft-lora", "sft-dpo", split)
    assert difference.low <= 0 <= difference.high and difference.p > 0.05


def test_rewards_after_fine_tuning_bring_something_with_an_anchor():
    for split in SPLITS:
        alone = paired("sft-lora", "grpo-sft", split)
        assert alone.low <= 0 <= alone.high and alone.value > 0
        assert paired("sft-lora", "grpo-sft-anchored", split).value > alone.value
    assert paired("sft-lora", "grpo-sft-anchored", "test_unseen").low > 0
    assert paired("grpo-sft", "grpo-sft-anchored", "test_unseen").low > 0


def test_labels_bring_more_than_rewards_after_fine_tuning():
    others = (*TRAINED, "baseline", "baseline-8b-nf4", "grpo-lr1e5", "sft-qlora", "sft-prompt-text")
    assert sorted(others, key=robust)[-2:] == ["grpo-sft-continued", "grpo-sft-more"]
    for split in ("test", "test_forms"):
        assert paired("sft-lora", "grpo-sft-more", split).low > 0
        assert paired("sft-lora", "grpo-sft-continued", split).low > 0
        assert paired("grpo-sft", "grpo-sft-more", split).low > 0
    for split in SPLITS:
        assert robust("grpo-sft-more", split) > robust("grpo-sft", split)
        continued = paired("grpo-sft", "grpo-sft-continued", split)
        assert continued.low <= 0 <= continued.high
    assert paired("grpo-sft-anchored", "grpo-sft-more", "test").low > 0
    for split in ("test_unseen", "test_forms"):
        anchored = paired("grpo-sft-anchored", "grpo-sft-more", split)
        assert anchored.low <= 0 <= anchored.high


@pytest.mark.parametrize("split", SPLITS)
def test_rewards_from_the_base_bring_something_and_references_more(split):
    assert paired("baseline", "grpo-lr1e5", split).low > 0
    assert paired("grpo-lr1e5", "example-lora", split).low > 0.1


def test_rewards_from_the_base_unlearn_joins():
    assert robust("grpo-lr1e5", complexity="basic SQL") > robust("baseline", complexity="basic SQL") + 0.05
    for complexity in ("single join", "multiple_joins"):
        assert robust("grpo-lr1e5", complexity=complexity) < robust("baseline", complexity=complexity) - 0.03
    lines = csv.DictReader(git("show", "HEAD:results/cpu/grpo-lr1e5.curve.csv").decode().splitlines())
    joins = [(float(line["eval_join"]), float(line["eval_loss"])) for line in lines if line["eval_join"]]
    assert joins[0][0] > 0.1 and max(join for join, _ in joins[1:]) < 0.02
    assert joins[1][1] > 1  # nats a sequence
    for split in SPLITS:
        before, after = (
            sum("join" in row["sql"].lower().split() for row in rows(method, split))
            for method in ("baseline", "grpo-lr1e5")
        )
        assert after < before / 3  # most of them


def test_the_prompts_of_a_training_by_rewards_were_used_up():
    lines = csv.DictReader(git("show", "HEAD:results/cpu/grpo-sft.curve.csv").decode().splitlines())
    lines = [{name: float(value) for name, value in line.items() if value} for line in lines]
    rewards = [line["robust"] for line in lines if "robust" in line]
    matches = [line["eval_match"] for line in lines if "eval_match" in line]
    assert mean(rewards[-5:]) > mean(rewards[5:10]) + 0.1  # the reward goes on rising
    assert matches[0] < matches[2]  # held-out match does not: it falls by two questions
    assert matches[3:] == pytest.approx([matches[2] - 2 / 96] * 2)


def test_what_preferences_move_cancels_out():
    def unknown_names(method):
        return sum(row["outcome"] == "schema_error" for row in rows(method))

    for complexity, number, n in (("multiple_joins", 10, 38), ("subqueries", -11, 42)):
        change = robust("sft-dpo", complexity=complexity) - robust("sft-lora", complexity=complexity)
        assert change * n == pytest.approx(number)
    assert unknown_names("sft-dpo") > unknown_names("sft-lora")


def test_a_fine_tuned_model_repeats_itself():
    record = json.loads(git("show", "HEAD:results/cpu/preferences/rm-data.json"))
    samples = 8 * record["facts"]["questions"]

    def repeated(policy):
        return record["tables"][f"drops {policy}"]["sampled: the same statement again"]["number"] / samples

    assert repeated("sft-lora") > 0.5 and 0.1 < repeated("base") < 0.17


@pytest.mark.parametrize("split", SPLITS)
def test_preferences_from_the_base_bring_less_than_references(split):
    assert paired("example-dpo", "example-lora", split).low > 0


def test_the_untrained_model_has_something_to_lose_and_lora_something_to_gain():
    assert 0.35 <= robust("baseline", "test") <= 0.55
    assert 0.45 <= robust("example-lora", "test") <= 0.80


@pytest.mark.parametrize("split", ["test_unseen", "test_forms"])
def test_a_look_up_is_no_way_to_answer(split):
    assert robust("retrieval", split) <= 0.15


@pytest.mark.parametrize("split", SPLITS)
def test_every_row_of_the_embedded_data_can_be_scored(split):
    assert all(row["match"] is not None for row in rows("baseline", split))


def test_the_evaluations_of_a_training_cost_less_than_it():
    """They answer and score enough validation rows to choose weights by."""
    names = git("ls-tree", "--name-only", "HEAD", "results/cpu/").decode().split()
    records = [json.loads(git("show", f"HEAD:{name}")) for name in names if name.endswith(".json")]
    shares = {
        record["method"]: record["cost"]["validation_seconds"] / record["cost"]["train_seconds"]
        for record in records
        if record.get("cost", {}).get("train_seconds")
    }
    assert set(TRAINED) <= shares.keys()
    assert max(shares.values()) < 1, shares


def test_the_reward_model_is_no_judge():
    tables = json.loads(git("show", "HEAD:results/cpu/reward/reward-model.json"))["tables"]
    judges, greedy = tables["judges"], tables["ceiling"]["greedy"]["share"]
    ours, policy, runs = (judges[name] for name in ("reward model", "policy's log-probability", "it runs"))
    assert ours["low"] < 0.5 < ours["high"] and min(policy["low"], runs["low"]) > 0.5
    assert max(policy["above, high"], runs["above, high"]) < 0  # the reward model's AUC less theirs
    assert ours["best answer is right"] < greedy - 0.1
    assert abs(policy["best answer is right"] - greedy) < 0.05
    errors = tables["errors"]
    assert min(errors[kind]["reward model"] for kind in ("syntax_error", "tables")) > 0.85
    assert max(errors[kind]["reward model"] for kind in ("order", "filter")) < 0.5
