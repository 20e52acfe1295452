"""Generation and evaluation on the tiny model: batches change nothing, and a stop changes nothing."""

from dataclasses import replace

import pytest
import torch

from common import evaluation
from common.data import load_examples
from common.evaluation import evaluate
from common.generation import batch_plan, complete
from common.models import load_model
from common.profiles import TINY_MODEL
from common.prompts import prompt_ids
from common.settings import UserError

SIZES = {"max_new_tokens": 12, "batch_size": 1}  # parts of four rows


@pytest.fixture(scope="module")
def loaded():
    return load_model(TINY_MODEL)


@pytest.fixture(scope="module")
def test_rows():
    return load_examples("embedded", "test", limit=10)


def test_batch_plan_covers_each_row_once_longest_first():
    plan = batch_plan([5, 9, 9, 1, 7], 2)
    assert plan == [[1, 2], [4, 0], [3]]


def test_greedy_answers_are_the_arg_max_of_the_logits(loaded, test_rows):
    ids = prompt_ids(test_rows[0], loaded.tokenizer)
    expected = []
    for _ in range(5):
        with torch.inference_mode():
            expected.append(loaded.model(torch.tensor([ids + expected])).logits[0, -1].argmax().item())
    answer = complete(loaded, [ids], max_new_tokens=5)[0]
    assert (answer.text, answer.new_tokens) == (loaded.tokenizer.decode(expected, skip_special_tokens=True), 5)


def test_an_answer_ends_at_the_end_token(loaded, test_rows, monkeypatch):
    """Make every token the end token but the first one that the model likes best."""
    ids = prompt_ids(test_rows[0], loaded.tokenizer)
    with torch.inference_mode():
        first = loaded.model(torch.tensor([ids])).logits[0, -1].argmax().item()
        second = loaded.model(torch.tensor([[*ids, first]])).logits[0, -1].argmax().item()
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", [second])
    answer = complete(loaded, [ids], max_new_tokens=12)[0]
    if second == first:
        assert (answer.text, answer.new_tokens) == ("", 1)
    else:
        assert (answer.text, answer.new_tokens) == (loaded.tokenizer.decode([first]), 2)


def test_stopped_and_gone_on_equals_not_stopped(loaded, test_rows, tmp_path, monkeypatch):
    whole = evaluate(loaded, test_rows, folder=tmp_path / "whole", **SIZES)
    calls = []

    def stop_at_the_third(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return complete(*args, **kwargs)

    monkeypatch.setattr(evaluation, "complete", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        evaluate(loaded, test_rows, folder=tmp_path / "stopped", **SIZES)
    kept = tmp_path / "stopped" / "completions.jsonl"
    kept.write_text(kept.read_text() + '{"seconds": 1.0, "answ')  # as a kill in the middle of a write leaves it
    again = evaluate(loaded, test_rows, folder=tmp_path / "stopped", **SIZES)
    assert len(calls) == 4  # ten rows in parts of four are three: two kept, one stopped, one made
    assert again.rows == whole.rows
    assert len(kept.read_text().splitlines()) == 1 + 3  # what was asked, and three parts
    done = evaluate(loaded, test_rows, folder=tmp_path / "stopped", **SIZES)
    assert (len(calls), done) == (4, again)


def test_answers_to_anything_else_are_not_used_again(loaded, test_rows, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(evaluation, "complete", lambda *args, **kwargs: calls.append(args) or complete(*args, **kwargs))

    def answered(loaded, rows, **sizes) -> int:
        """How many parts were asked for."""
        before = len(calls)
        report = evaluate(loaded, rows, folder=tmp_path, **SIZES | sizes)
        assert [row["id"] for row in report.rows] == [example.id for example in rows]
        return len(calls) - before

    assert [answered(loaded, test_rows), answered(loaded, test_rows)] == [3, 0]
    renamed = [replace(example, id=f"other-{example.id}") for example in test_rows]
    assert answered(loaded, renamed) == 0  # the prompts are the same
    assert answered(loaded, test_rows[1:]) == 3
    assert answered(loaded, test_rows[1:], max_new_tokens=11) == 3
    assert answered(loaded, test_rows[1:], max_new_tokens=11, batch_size=2) == 2
    other = load_model(TINY_MODEL)
    with torch.no_grad():
        other.model.model.norm.weight[0] += 0.5
    assert answered(other, test_rows[1:], max_new_tokens=11, batch_size=2) == 2
    assert answered(replace(other), test_rows[1:], max_new_tokens=11, batch_size=2) == 0
    (tmp_path / "completions.jsonl").write_text('{"seconds": 1.0, "answers": []}\n')  # as older code wrote it
    assert answered(other, test_rows[1:], max_new_tokens=11, batch_size=2) == 2


def test_rows_are_the_ledgers(loaded, test_rows, tmp_path):
    report = evaluate(loaded, test_rows, folder=tmp_path, **SIZES)
    assert [row["id"] for row in report.rows] == [example.id for example in test_rows]
    assert {"completion", "sql", "match", "outcome", "complexity", "task_type", "new_tokens"} <= set(report.rows[0])
    assert all(0 < row["new_tokens"] <= 12 for row in report.rows)
    assert report.new_tokens == sum(row["new_tokens"] for row in report.rows)


def test_a_perfect_answer_scores_one(loaded, test_rows, tmp_path, monkeypatch):
    """The references as answers: the way from completion to verdict loses nothing."""
    answers = {tuple(prompt_ids(e, loaded.tokenizer)): e.sql for e in test_rows}
    monkeypatch.setattr(
        evaluation,
        "complete",
        lambda loaded, prompts, **_: [evaluation_answer(answers[tuple(prompt)]) for prompt in prompts],
    )
    report = evaluate(loaded, test_rows, folder=tmp_path, **SIZES)
    assert [row["score"] for row in report.rows] == [1.0] * 10


def test_references_that_cannot_be_scored_are_named_before_time_is_spent(loaded, test_rows, tmp_path, capsys):
    broken = replace(test_rows[0], id="broken", schema="this is no SQL")
    evaluate(loaded, [broken, *test_rows[1:4]], folder=tmp_path / "one", **SIZES)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert said[0].startswith("1 of 4 references cannot be scored, left out of means: broken (the schema does not load")
    with pytest.raises(UserError, match="no reference can be scored; the first is broken .*mend sql_context"):
        evaluate(loaded, [broken], folder=tmp_path / "all", **SIZES)
    assert not (tmp_path / "all").exists()


def evaluation_answer(text):
    from common.generation import Completion

    return Completion(text, 3)
