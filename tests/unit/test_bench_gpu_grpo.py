"""A GRPO step in the GPU bench: answers of a random model that end by chance, and whole steps behind the first."""

import time
from dataclasses import replace

import pytest

from bench import gpu_grpo
from bench.gpu_model import NARROW, SMALL, Setting
from common.generation import Sampling, complete
from common.training.rollouts import Rollouts

pytestmark = pytest.mark.usefixtures("one_thread")


def test_answers_end_by_chance_with_the_published_mean_length():
    """Also where the vocabulary is larger than the tokenizer's, as on a GPU."""
    setting = Setting(replace(SMALL, architecture=NARROW | {"vocab_size": 4096}), 1.0)
    loaded = setting.load()
    gpu_grpo.end_by_chance(loaded)
    drawn = complete(loaded, [[20, 21]] * 400, max_new_tokens=512, batch_size=100, sampling=Sampling(seed=1))
    lengths = [one.new_tokens for one in drawn]
    assert sum(lengths) / 400 == pytest.approx(45, abs=9)  # four standard errors of a geometric mean
    assert len(set(lengths)) > 100 and max(lengths) < 512
    assert len({one.token_ids[:2] for one in drawn}) > 390


def test_steps_behind_the_first_are_timed_with_all_that_is_in_them(monkeypatch):
    calls, sample = [], Rollouts.sample

    def slow(self, prompts, trainer):
        calls.append(len(prompts))
        if len(calls) == 1:
            time.sleep(5)
        return sample(self, prompts, trainer)

    monkeypatch.setattr(Rollouts, "sample", slow)
    monkeypatch.setattr(gpu_grpo, "LONGEST_ANSWER", 6)
    part = gpu_grpo.measure(Setting(SMALL, 1.0))
    values = part["values"]
    assert calls == [SMALL.effective * 8] * (1 + SMALL.passes)
    assert [len(values[name]) for name in values] == [SMALL.passes, SMALL.passes, SMALL.passes, 1]
    assert min(values["grpo-completions"]) > SMALL.effective * 8 / 5, "the first step is in a rate"
    for sampling, reward in zip(values["grpo-sampling"], values["grpo-reward"], strict=True):
        assert sampling > 0 and reward > 0 and sampling + reward < 100
    assert values["grpo-memory"][0] > 0 and "embedded ones of " in part["notes"][0]
