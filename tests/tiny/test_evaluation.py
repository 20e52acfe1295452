"""Evaluation on the tiny model: a stop at any place, another process, changed rows: the answers are the rows' own."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from common import distributed, evaluation, provenance
from common.data import load_examples
from common.evaluation import evaluate
from common.generation import Completion, complete
from common.models import load_model
from common.profiles import TINY_MODEL
from common.prompts import prompt_ids
from common.settings import UserError

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"max_new_tokens": 12, "batch_size": 3}
NAME = "completions.jsonl"


@pytest.fixture(scope="module")
def loaded(talking):
    return talking()


@pytest.fixture(scope="module")
def test_rows():
    return load_examples("embedded", "test", limit=10)


@pytest.fixture(scope="module")
def whole(loaded, test_rows, tmp_path_factory):
    """The report of an evaluation that nothing disturbed, and its file."""
    folder = tmp_path_factory.mktemp("whole")
    report = evaluate(loaded, {"test": test_rows}, folder=folder, **SIZES)
    assert len({row["completion"] for row in report.rows}) > 7, "else an answer of another row would not be noticed"
    return report, folder / NAME


@pytest.fixture
def answered(monkeypatch) -> list[int]:
    """How many rows each call is asked for, in the sitting at hand."""
    counts = []

    def watch(loaded, prompts, **sizes):
        counts.append(len(prompts))
        return complete(loaded, prompts, **sizes)

    monkeypatch.setattr(evaluation, "complete", watch)
    return counts


def stop_after(count: int, monkeypatch) -> None:
    """Have the next evaluation interrupted when so many rows have ended."""

    def interrupted(loaded, prompts, *, on_completion, **sizes):
        left = count

        def end(number, completion):
            nonlocal left
            on_completion(number, completion)
            left -= 1
            if not left:
                raise KeyboardInterrupt

        return complete(loaded, prompts, on_completion=end, **sizes)

    monkeypatch.setattr(evaluation, "complete", interrupted)


# Answers


def test_greedy_answers_are_the_arg_max_of_the_logits(tiny, test_rows):
    loaded = tiny()
    ids = prompt_ids(test_rows[0], loaded.tokenizer)
    expected = []
    for _ in range(5):
        with torch.inference_mode():
            expected.append(loaded.model(torch.tensor([ids + expected])).logits[0, -1].argmax().item())
    answer = complete(loaded, [ids], max_new_tokens=5)[0]
    assert answer == Completion(loaded.tokenizer.decode(expected, skip_special_tokens=True), 5, tuple(expected))


def test_an_answer_ends_at_the_end_token(talking, test_rows):
    """Make the token that the model likes second the end token."""
    loaded = talking()
    ids = prompt_ids(test_rows[0], loaded.tokenizer)
    with torch.inference_mode():
        first = loaded.model(torch.tensor([ids])).logits[0, -1].argmax().item()
        second = loaded.model(torch.tensor([[*ids, first]])).logits[0, -1].argmax().item()
    loaded.model.generation_config.eos_token_id = [second]
    assert first != second
    answer = complete(loaded, [ids], max_new_tokens=12)[0]
    assert answer == Completion(loaded.tokenizer.decode([first]), 2, (first, second))


def test_a_perfect_answer_scores_one(loaded, test_rows, tmp_path, monkeypatch):
    """The references as answers: the way from completion to verdict loses nothing."""
    answers = {tuple(prompt_ids(example, loaded.tokenizer)): example.sql for example in test_rows}

    def references(loaded, prompts, *, on_completion, **sizes):
        for number, prompt in enumerate(prompts):
            on_completion(number, Completion(answers[tuple(prompt)], 3))

    monkeypatch.setattr(evaluation, "complete", references)
    report = evaluate(loaded, {"test": test_rows}, folder=tmp_path, **SIZES)
    assert [row["score"] for row in report.rows] == [1.0] * 10


# The report


def test_rows_are_the_ledgers(whole, test_rows):
    report = whole[0]
    assert [row["id"] for row in report.rows] == [example.id for example in test_rows]
    assert {"completion", "sql", "match", "outcome", "complexity", "task_type", "new_tokens"} <= set(report.rows[0])
    assert all(0 < row["new_tokens"] <= 12 for row in report.rows)
    assert report.new_tokens == sum(row["new_tokens"] for row in report.rows)
    assert report.code_digest == provenance.code("common.generation", without=provenance.SCORING)


def test_every_split_is_answered_in_one_go(loaded, test_rows, whole, tmp_path, monkeypatch, answered):
    """One queue, one file, one bar: a stop in it is gone on from wherever it was."""
    unseen = load_examples("embedded", "test_unseen", limit=3)
    tests = {"test": test_rows[:4], "test_unseen": unseen}
    watch = evaluation.complete
    stop_after(5, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        evaluate(loaded, tests, folder=tmp_path, **SIZES)
    monkeypatch.setattr(evaluation, "complete", watch)
    report = evaluate(loaded, tests, folder=tmp_path, **SIZES)
    assert answered == [2]
    assert [(row["split"], row["id"]) for row in report.rows] == [
        (split, example.id) for split, examples in tests.items() for example in examples
    ]
    assert [row["completion"] for row in report.rows[:4]] == [row["completion"] for row in whole[0].rows[:4]]
    alike = report.rows[0] | {"id": "", "split": ""}
    assert alike.keys() == report.rows[4].keys() and len({row["schema"] for row in report.rows}) == 7


def test_a_prompt_of_ones_own_is_what_is_answered(loaded, test_rows, whole, tmp_path):
    """Each row is asked the next one's question, as a prompt that is not the study's may."""
    following = dict(zip([example.id for example in test_rows], [*test_rows[1:], test_rows[0]], strict=True))
    tests = {"test": test_rows}
    report = evaluate(
        loaded, tests, folder=tmp_path, prompt=lambda e, tokenizer: prompt_ids(following[e.id], tokenizer), **SIZES
    )
    texts = [row["completion"] for row in whole[0].rows]
    assert [row["completion"] for row in report.rows] == [*texts[1:], texts[0]]


def test_seconds_add_up_over_sittings(loaded, test_rows, tmp_path, monkeypatch):
    """Two rows end 2 and 3 s after the start, which with writing takes until 4; then a stop, and the third takes 5."""
    clock = iter([10.0, 12.0, 12.0, 13.0, 14.0, 100.0, 105.0, 105.0])
    monkeypatch.setattr(evaluation, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    stop_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        evaluate(loaded, {"test": test_rows[:3]}, folder=tmp_path, **SIZES)
    monkeypatch.setattr(evaluation, "complete", complete)
    assert evaluate(loaded, {"test": test_rows[:3]}, folder=tmp_path, **SIZES).seconds == 2 + 1 + 5


def test_references_that_cannot_be_scored_are_named_before_time_is_spent(loaded, test_rows, tmp_path, capsys):
    broken = replace(test_rows[0], id="broken", schema="this is no SQL")
    evaluate(loaded, {"test": [broken, *test_rows[1:4]]}, folder=tmp_path / "one", **SIZES)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert said[0].startswith("1 of 4 references cannot be scored, left out of means: broken (the schema does not load")
    with pytest.raises(UserError, match="no reference can be scored; the first is broken .*mend sql_context"):
        evaluate(loaded, {"test": [broken]}, folder=tmp_path / "all", **SIZES)
    assert not (tmp_path / "all").exists()


def test_there_are_as_many_workers_as_this_process_has_cpus(loaded, test_rows, tmp_path, monkeypatch):
    allowed = os.sched_getaffinity(0)
    counts, scorer = [], evaluation.Scorer
    monkeypatch.setattr(evaluation, "Scorer", lambda workers, **o: counts.append(workers) or scorer(workers=1, **o))
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert distributed.cpus() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert distributed.cpus() == len(allowed)
    evaluate(loaded, {"test": test_rows[:2]}, folder=tmp_path, **SIZES)
    assert counts == [len(allowed)] * 2


# Stops


@pytest.mark.parametrize("count", [1, 4, 9])
def test_stopped_and_gone_on_equals_not_stopped(loaded, test_rows, whole, tmp_path, monkeypatch, answered, count):
    watch = evaluation.complete
    stop_after(count, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        evaluate(loaded, {"test": test_rows}, folder=tmp_path, **SIZES)
    monkeypatch.setattr(evaluation, "complete", watch)
    report = evaluate(loaded, {"test": test_rows}, folder=tmp_path, **SIZES)
    assert (report.rows, answered) == (whole[0].rows, [10 - count])
    assert evaluate(loaded, {"test": test_rows}, folder=tmp_path, **SIZES) == report and answered[-1] == 0


def test_a_file_cut_or_doubled_ends_in_the_same_report(loaded, test_rows, whole, tmp_path, answered):
    """At every byte in tests/unit/test_completions.py; here from the file to the report."""
    data = whole[1].read_bytes()
    first, *lines = data.splitlines(keepends=True)
    cut = [data[:end] for end in (0, 40, len(first), len(first) + 30, len(data) // 2, len(data) - 1)]
    doubled = [b"".join([first, *lines[:4], *lines[:4], *lines[4:]]), data + data, data + lines[2][:-9]]
    for content, rows in zip(cut + doubled, (10, 10, 10, 10, None, 1, 4, 10, 0), strict=True):
        (tmp_path / NAME).write_bytes(content)
        assert evaluate(loaded, {"test": test_rows}, folder=tmp_path, **SIZES).rows == whole[0].rows
        assert answered[-1] == rows or rows is None and 2 < answered[-1] < 8
        entries = map(json.loads, (tmp_path / NAME).read_text().splitlines()[1:])
        assert sorted(entry["row"] for entry in entries) == [*range(10)]


def test_a_second_process_is_refused_and_a_killed_one_is_gone_on_from(loaded, test_rows, whole, tmp_path, answered):
    command = [sys.executable, __file__, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"four rows\n"
        with pytest.raises(UserError, match="^another process works in .* wait until it ends or stop it"):
            evaluate(loaded, {"test": test_rows}, folder=tmp_path, **SIZES)
        assert not answered
        process.send_signal(signal.SIGKILL)
        process.wait()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert evaluate(loaded, {"test": test_rows}, folder=tmp_path, **SIZES).rows == whole[0].rows
    assert answered == [6]


# Other rows, other answers


def test_only_rows_whose_prompts_changed_are_answered_again(loaded, test_rows, whole, tmp_path, answered):
    evaluate(loaded, {"test": test_rows}, folder=tmp_path, **SIZES)
    changed = list(test_rows)
    changed[3] = replace(test_rows[3], question=test_rows[3].question + " Please.")
    changed[6], changed[7] = test_rows[7], test_rows[6]
    report = evaluate(loaded, {"test": changed}, folder=tmp_path, **SIZES)
    assert answered == [10, 3]
    rows = evaluate(loaded, {"test": changed}, folder=tmp_path / "anew", **SIZES).rows
    assert report.rows == rows != whole[0].rows
    renamed = [replace(example, id=f"other-{example.id}") for example in changed]
    evaluate(loaded, {"test": renamed}, folder=tmp_path, **SIZES)
    evaluate(loaded, {"test": [*changed, *test_rows[3:4]]}, folder=tmp_path, **SIZES)
    assert answered[3:] == [0, 1]  # the same prompts; one row more
    assert evaluate(loaded, {"test": test_rows[:4]}, folder=tmp_path, **SIZES).rows == whole[0].rows[:4]
    assert answered[5:] == [1]


def test_answers_to_anything_else_are_not_used_again(talking, test_rows, tmp_path, answered, monkeypatch):
    def count(loaded, **sizes) -> int:
        evaluate(loaded, {"test": test_rows}, folder=tmp_path, **SIZES | sizes)
        return answered[-1]

    loaded = talking()
    assert [count(loaded), count(loaded), count(loaded, batch_size=1)] == [10, 0, 0]
    assert count(loaded, max_new_tokens=11) == 10
    loaded.model.generation_config.eos_token_id = [loaded.tokenizer.eos_token_id]
    assert count(loaded, max_new_tokens=11) == 10
    with torch.no_grad():
        loaded.model.model.norm.weight[0] += 0.5
    assert [count(loaded, max_new_tokens=11), count(replace(loaded), max_new_tokens=11)] == [10, 0]
    for name in ("code", "packages", "device_name"):
        monkeypatch.setattr(provenance, name, lambda *_, **__: "other")
        assert [count(loaded, max_new_tokens=11), count(loaded, max_new_tokens=11)] == [10, 0]


def main(folder: str) -> None:
    """Answer four rows in this process, say so, and wait to be killed."""
    make_talkative = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["make_talkative"]
    torch.set_num_threads(1)
    loaded = make_talkative(load_model(TINY_MODEL))
    left = 4

    def waiting(loaded, prompts, *, on_completion, **sizes):
        def end(number, completion):
            nonlocal left
            on_completion(number, completion)
            left -= 1
            if not left:
                print("four rows", flush=True)
                time.sleep(600)

        return complete(loaded, prompts, on_completion=end, **sizes)

    evaluation.complete = waiting
    evaluate(loaded, {"test": load_examples("embedded", "test", limit=10)}, folder=Path(folder), **SIZES)


if __name__ == "__main__":
    main(sys.argv[1])
