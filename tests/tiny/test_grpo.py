"""Training by rewards: its updates against TRL's own, its groups, what it measures, what it refuses, when it ends.

The start from an adapter, kills and processes are in `test_grpo_traps`.
"""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from transformers import TrainerControl
from trl import GRPOConfig, GRPOTrainer

from common.data import Example, load_examples
from common.generation import Completion
from common.prompts import prompt_ids
from common.settings import UserError
from common.training import rollouts
from common.training.adapters import adapt
from common.training.group_recipe import GroupRecipe
from common.training.group_trainer import GroupTrainer, Still, has_fallen, reward_rise
from common.training.grpo import train_grpo
from common.training.trainer import SessionMixin

SIZES = {"effective_batch_size": 4, "per_device_train_batch_size": 1, "lora_rank": 4, "lora_alpha": 8}
RECIPE = GroupRecipe(
    learning_rate=1e-2,
    generations=4,
    reward=(("vowels", 1.0),),
    warmup_ratio=0.0,
    least_divergence=0.0,
    divergence_rows=3,
    divergence_samples=2,
    **SIZES,
)


def vowels(examples: list[Example], completions: list[str]) -> list[float]:
    """A reward that a random model can get: few letters a and e."""
    return [-sum(letter in "ae" for letter in text) / 10 for text in completions]


FUNCTIONS = {"vowels": vowels}


@pytest.fixture(scope="module")
def parts() -> tuple[list[Example], list[Example]]:
    return load_examples("embedded", "post", limit=8), load_examples("embedded", "validation", limit=4)


def train(tiny, parts, folder: Path, **values):
    recipe = RECIPE.with_values(values)
    return train_grpo(tiny(recipe), *parts, recipe, folder=folder, functions=FUNCTIONS, max_new_tokens=8)


# Updates


def canned(prompts: list[list[int]], generations: int) -> list[tuple[int, ...]]:
    """Completions of several lengths that depend on the prompt and the place in its group alone; of every third prompt
    all have the same vowels: none."""
    completions = []
    for number, prompt in enumerate(prompts):
        place, key = number % generations, sum(prompt)
        length = 2 + (key + place) % 4
        tokens = [300 + (key * 7 + place * 11 + at) % 400 for at in range(length)]
        completions.append((5,) * length if key % 3 == 0 else tuple(tokens))
    return completions


@pytest.fixture
def can(monkeypatch):
    """Have the trainer draw `canned` completions."""

    def complete(loaded, prompts, *, log_probabilities=False, **_):
        decode = loaded.tokenizer.decode
        tokens = canned(prompts, RECIPE.generations)
        return [Completion(decode(ids, skip_special_tokens=True), len(ids), ids, (0.0,) * len(ids)) for ids in tokens]

    monkeypatch.setattr(rollouts, "complete", complete)


def trl_weights(tiny, examples, loss_type: str, scale: str, steps: int, folder: Path) -> dict[str, torch.Tensor]:
    """LoRA's matrices after TRL's own training on all examples a step, with its own forward pass and loss."""
    loaded = tiny()
    torch.manual_seed(RECIPE.seed)
    import transformers

    transformers.set_seed(RECIPE.seed)
    model = adapt(loaded, RECIPE)
    prompts = {loaded.tokenizer.decode(ids): ids for ids in (prompt_ids(e, loaded.tokenizer) for e in examples)}

    def roll(texts, trainer):
        repeated = [prompts[text] for text in texts]
        completions = canned(repeated, RECIPE.generations)
        return {"prompt_ids": repeated, "completion_ids": [list(ids) for ids in completions], "logprobs": None}

    def reward(completions, **_):
        return vowels([], completions)

    count = len(examples) * RECIPE.generations
    config = GRPOConfig(
        str(folder), per_device_train_batch_size=count, num_generations=RECIPE.generations, max_steps=steps,
        learning_rate=RECIPE.learning_rate, lr_scheduler_type="cosine", max_completion_length=8, beta=0.0,
        loss_type=loss_type, scale_rewards=scale, bf16=False, use_cpu=True, gradient_checkpointing=False,
        report_to="none", save_strategy="no", disable_tqdm=True, seed=RECIPE.seed, max_grad_norm=1.0,
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": text} for text in prompts])
    trainer = GRPOTrainer(model, reward, config, data, processing_class=loaded.tokenizer, rollout_func=roll)
    trainer.train()
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("loss_type", "scale"), [("dapo", "batch"), ("dapo", "group"), ("grpo", "none"), ("dr_grpo", "group")]
)
def test_updates_are_trls(loss_type, scale, parts, tiny, can, saved, tmp_path):
    """Two steps over the same completions: rewards, advantages, losses, gradients, clipping and schedule."""
    examples = parts[0][:4]
    kinds = {sum(prompt_ids(e, tiny().tokenizer)) % 3 == 0 for e in parts[0]}
    assert kinds == {True, False}, "some group has no spread"
    expected = trl_weights(tiny, parts[0], loss_type, scale, 2, tmp_path / "trl")
    values = {"effective_batch_size": 8, "loss_type": loss_type, "scale_rewards": scale, "epochs": 2}
    run = train(tiny, parts, tmp_path / "ours", **values)
    weights = {name.replace(".weight", ".default.weight"): tensor for name, tensor in saved(run.weights).items()}
    assert weights.keys() == expected.keys() and len(examples) == 4
    moved = 0
    for name, tensor in weights.items():
        scale_of = (tensor - adapted(tiny)[name]).norm()
        moved += scale_of > 0
        assert (tensor - expected[name]).norm() <= 1e-3 * scale_of, name
    assert moved >= 14


_ADAPTED: dict[str, torch.Tensor] = {}


def adapted(tiny) -> dict[str, torch.Tensor]:
    """LoRA's matrices before the first step."""
    if not _ADAPTED:
        import transformers

        transformers.set_seed(RECIPE.seed)
        model = adapt(tiny(), RECIPE)
        _ADAPTED.update({n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad})
    return _ADAPTED


# Training


def chance(model, prompt: list[int], completion: list[int]) -> float:
    """The log-probability of a completion."""
    rows = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1].log_softmax(dim=-1)
    return rows.gather(1, torch.tensor(completion)[:, None]).sum().item()


def test_better_completions_become_likelier_than_worse_ones(parts, tiny, can, tmp_path):
    run = train(tiny, parts, tmp_path, effective_batch_size=8, learning_rate=1e-3)
    assert list(run.curve["reward"].dropna().index) == [1]
    base, gain = tiny(), 0.0
    for prompt in (prompt_ids(example, base.tokenizer) for example in parts[0]):
        drawn = [list(ids) for ids in canned([prompt] * 4, 4)]
        values = vowels([], [base.tokenizer.decode(ids, skip_special_tokens=True) for ids in drawn])
        with torch.no_grad():
            changes = [chance(run.loaded.model, prompt, ids) - chance(base.model, prompt, ids) for ids in drawn]
        gain += sum((value - sum(values) / 4) * change for value, change in zip(values, changes, strict=True))
    assert gain > 0.01


def test_the_curve_says_what_happened(parts, tiny, tmp_path):
    run = train(tiny, parts, tmp_path, epochs=6, evaluations=2, score_rows=2)
    steps = run.curve.dropna(subset="reward")
    assert list(steps["step"]) == list(range(1, 13)) and run.rows == 48
    looks = run.curve.dropna(subset="eval_loss")
    assert list(looks["step"]) == [0, 5, 6, 12] and looks["eval_loss"].iloc[0] == 0
    assert (looks["eval_loss"].iloc[1:] > 1e-4).all()
    assert (steps["completions"] == 16).all() and steps["groups_used"].between(0, 1).all()
    assert steps["entropy"].between(0, math.log(1000) + 1).all() and (steps["length"] <= 8).all()
    assert (steps[["sampling_seconds", "reward_seconds", "update_seconds"]] > 0).all(axis=None)
    assert {"part_vowels", "spread_vowels", "both_empty", "strict_minus_robust"} <= set(steps)
    assert {"eval_join", "eval_over", "eval_group_by", "eval_having", "eval_match"} <= set(looks)


def test_draws_depend_on_seed_and_step_alone(parts, tiny, tmp_path, monkeypatch):
    drawn: list[list[tuple[int, ...]]] = []
    streams: list[int] = []
    real = rollouts.complete

    def watched(*args, **kwargs):
        completions = real(*args, **kwargs)
        streams.append(kwargs["sampling"].stream)
        drawn.append([completion.token_ids for completion in completions])
        return completions

    monkeypatch.setattr(rollouts, "complete", watched)
    train(tiny, parts, tmp_path / "one")
    train(tiny, parts, tmp_path / "other")
    assert drawn[: len(drawn) // 2] == drawn[len(drawn) // 2 :]
    assert streams == [0, 1, 0, 1], "a step's random numbers are no other step's"
    assert len({tuple(group[at : at + 4]) for group in drawn for at in range(0, 16, 4)}) > 4
    drawn.clear()
    train(tiny, parts, tmp_path / "third", seed=7)
    assert len(set(map(str, drawn))) == len(drawn)


# When it ends


def test_a_rate_that_moves_nothing_ends_with_the_figure(parts, tiny, tmp_path):
    values = {"learning_rate": 1e-8, "least_divergence": 1e-4, "epochs": 3}
    with pytest.raises(Still, match=r"^after 5 steps the policy lies \S+ nats a sequence from its start, less than"):
        train(tiny, parts, tmp_path / "still", **values)
    assert not list((tmp_path / "still").glob("training.json")), "nothing stands in another recipe's way"
    run = train(tiny, parts, tmp_path / "on", **values | {"least_divergence": 0.0})
    assert run.curve["eval_loss"].dropna().max() < 1e-4


@pytest.mark.parametrize(
    ("rewards", "match", "ends"),
    [([0.1, 0.1, 0.5], 0.3, True), ([0.5, 0.1, 0.1], 0.3, False), ([0.1, 0.5], 0.3, False), ([0.1, 0.1, 0.5], 0.45, 0)],
)
def test_it_ends_where_the_reward_rises_and_match_falls(rewards, match, ends, monkeypatch, capsys):
    monkeypatch.setattr(SessionMixin, "evaluate", lambda self: {"eval_loss": 1.0, "eval_match": match})
    trainer = object.__new__(GroupTrainer)
    trainer._start, trainer._answers = SimpleNamespace(means={"match": 0.5}), 200
    trainer._rollouts = SimpleNamespace(recipe=RECIPE)
    history = [{"reward": value} for value in rewards]
    trainer.state = SimpleNamespace(global_step=3, max_steps=9, log_history=history)
    trainer.control = TrainerControl(should_save=True)
    trainer.evaluate()
    assert trainer.control.should_training_stop == bool(ends) == ("has fallen" in capsys.readouterr().out)


def test_a_rise_is_between_thirds_and_a_fall_beyond_chance():
    assert reward_rise([{"reward": value} for value in (1, 2, 3, 9, 4, 5)]) == 3.0
    assert reward_rise([{"reward": 1}, {"loss": 0}, {"reward": 2}]) == 0.0
    assert has_fallen(0.42, 0.5, 200) and not has_fallen(0.44, 0.5, 200) and not has_fallen(0.0, 0.0, 5)


# What it refuses


def refusal(act) -> str:
    with pytest.raises(UserError) as raised:
        act()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_trained_is_refused_in_one_line(parts, tiny, tmp_path):
    for values, line in (
        ({"generations": 1}, "a group is at least 2 completions"),
        ({"effective_batch_size": 6, "per_device_train_batch_size": 4}, "an effective batch of 6 cannot be made"),
        ({"temperature": 0.0}, "a temperature is above 0"),
        ({"loss_type": "ppo"}, "unknown loss_type 'ppo'; choose one of dapo, grpo, dr_grpo"),
        ({"scale_rewards": "all"}, "unknown scale_rewards 'all'"),
        ({"method": "full"}, "training by rewards is by lora or qlora"),
        ({"sft_weight": -1.0}, "sft_weight, least_divergence and max_steps are not negative"),
        ({"reward": ()}, "a training by rewards needs a reward"),
        ({"divergence_samples": 0}, "at least 1"),
    ):
        assert line in refusal(lambda values=values: RECIPE.with_values(values))
    for some in ((parts[0], []), ([], parts[1])):
        assert "one of the two is empty" in refusal(lambda some=some: train(tiny, some, tmp_path))
    assert "no row fits in max_length 20" in refusal(lambda: train(tiny, parts, tmp_path, max_length=20))


@pytest.mark.parametrize(
    ("reward", "line"),
    [
        (lambda examples, completions: [math.nan for _ in completions], "vowels"),
        (lambda examples, completions: [1 / 0 for _ in completions], "vowels"),
        (lambda examples, completions: [0.5], "vowels"),
    ],
)
def test_a_reward_that_fails_ends_in_one_line_and_the_training_goes_on(reward, line, parts, tiny, tmp_path):
    calls = iter(range(100))

    def at_the_third_step(examples, completions):
        return reward(examples, completions) if next(calls) == 2 else vowels(examples, completions)

    options = {"folder": tmp_path / "run", "max_new_tokens": 8}
    recipe = RECIPE.with_values({"save_every": 1, "epochs": 2})
    broken = {"vowels": at_the_third_step}
    assert line in refusal(lambda: train_grpo(tiny(), *parts, recipe, functions=broken, **options))
    assert len(list((tmp_path / "run").glob("checkpoint-*"))) == 2
    begun = iter(range(100))
    again = {"vowels": lambda examples, completions: (next(begun), vowels(examples, completions))[1]}
    run = train_grpo(tiny(), *parts, recipe, functions=again, **options)
    assert len(run.curve["reward"].dropna()) == 4 and next(begun) == 2, "two steps were left"
