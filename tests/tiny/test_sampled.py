"""Samples as candidates: their order, what is used again, and a stopped sampling that ends as one that was not."""

import pytest

from common.data import load_examples
from common.preferences import sampled as module
from common.preferences.candidates import SAMPLED
from common.preferences.sampled import sampled
from common.settings import UserError

OPTIONS = {"max_new_tokens": 10, "batch_size": 8}


@pytest.fixture
def questions():
    return load_examples("embedded", "post", limit=7)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 3, 3 and 1 questions."""
    monkeypatch.setattr(module, "CHUNK", 3)


def texts(loaded, questions, folder, **options):
    return [c.completion for c in sampled(loaded, questions, answers=2, folder=folder, **OPTIONS | options)]


def test_samples_come_question_by_question_and_depend_on_the_seed(talkative, questions, small_chunks, tmp_path):
    drawn = sampled(talkative, questions, answers=2, folder=tmp_path / "a", origin="base", **OPTIONS)
    assert [c.example for c in drawn] == [q.id for q in questions for _ in range(2)]
    assert {(c.source, c.origin) for c in drawn} == {(SAMPLED, "base")}
    one = [c.completion for c in drawn]
    assert one[::2] != one[1::2]  # two draws of a question
    assert texts(talkative, questions, tmp_path / "b") == one
    assert texts(talkative, questions, tmp_path / "c", seed=7) != one


def test_a_stopped_sampling_ends_with_the_samples_of_one_that_was_not(
    talkative, questions, small_chunks, tmp_path, monkeypatch
):
    whole = texts(talkative, questions, tmp_path / "whole")
    real, rows = module.complete, [0]

    def stopped(loaded, prompts, *, on_completion, **options):
        def add(number, completion):
            rows[0] += 1
            if rows[0] == 9:  # in the second chunk
                raise KeyboardInterrupt
            on_completion(number, completion)

        return real(loaded, prompts, on_completion=add, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "complete", stopped)
        texts(talkative, questions, tmp_path / "stopped")
    calls = []
    monkeypatch.setattr(
        module,
        "complete",
        lambda loaded, prompts, **options: calls.append(len(prompts)) or real(loaded, prompts, **options),
    )
    assert texts(talkative, questions, tmp_path / "stopped") == whole
    assert calls == [6, 2]  # the first chunk was there
    assert texts(talkative, questions, tmp_path / "stopped") == whole and calls == [6, 2]


def test_samples_of_another_temperature_or_model_are_none_of_these(talkative, tiny, questions, tmp_path):
    one = texts(talkative, questions[:2], tmp_path)
    assert texts(talkative, questions[:2], tmp_path, temperature=0.2) != one
    assert texts(tiny(), questions[:2], tmp_path) != one


def test_nothing_to_sample_ends_in_one_line(talkative, questions, tmp_path):
    for some, answers in (([], 1), (questions, 0)):
        with pytest.raises(UserError, match="^sampling needs at least 1 example and 1 answer each$"):
            sampled(talkative, some, answers=answers, folder=tmp_path, **OPTIONS)
