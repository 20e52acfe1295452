"""Prompts with shots on the tiny model, and answers that no model gave: both are judged like all others."""

import json
import os
from functools import partial

import pytest

from common import provenance
from common.data import load_examples
from common.evaluation import evaluate, judge
from common.generation import complete
from common.prompts import prompt_ids
from common.results import sections
from common.retrieval import Retrieval, answers
from common.run import start_run

SIZES = {"max_new_tokens": 12, "batch_size": 3}


@pytest.fixture(scope="module")
def loaded(talking):
    return talking()


@pytest.fixture(scope="module")
def test_rows():
    return load_examples("embedded", "test", limit=6)


def test_shots_are_read_once_and_change_no_answer_but_by_what_they_say(loaded, test_rows):
    shots = load_examples("embedded", "train", limit=3)
    prompts = [prompt_ids(example, loaded.tokenizer, shots) for example in test_rows]
    alone = [complete(loaded, [prompt], max_new_tokens=1)[0].token_ids for prompt in prompts]
    start = len(os.path.commonprefix(prompts))
    assert start > min(map(len, prompts)) / 2
    lengths = []
    handle = loaded.model.register_forward_pre_hook(
        lambda _, __, inputs: lengths.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    try:
        together = complete(loaded, prompts, max_new_tokens=1, batch_size=1)
    finally:
        handle.remove()
    assert [completion.token_ids for completion in together] == alone
    assert sum(lengths) == start + sum(len(prompt) - start for prompt in prompts)


def test_an_evaluation_takes_another_prompt_and_keeps_its_answers_apart(loaded, test_rows, tmp_path):
    prompt = partial(prompt_ids, shots=load_examples("embedded", "train", limit=1))
    reports = [evaluate(loaded, {"test": test_rows}, folder=tmp_path, prompt=prompt, **SIZES) for _ in range(2)]
    assert reports[0].rows == reports[1].rows and reports[1].seconds == reports[0].seconds, "kept, not answered again"
    plain = evaluate(loaded, {"test": test_rows}, folder=tmp_path, **SIZES)
    assert plain.rows == evaluate(loaded, {"test": test_rows}, folder=tmp_path / "other", **SIZES).rows
    assert plain.rows != reports[0].rows


def test_answers_that_no_model_gave_are_judged_alike(test_rows):
    tests = {"test": test_rows[:2], "test_unseen": load_examples("embedded", "test_unseen", limit=1)}
    texts = [test_rows[0].sql, "SELECT 1 WHERE 0", tests["test_unseen"][0].sql]
    report = judge(tests, texts, module="common.retrieval", seconds=3.0, databases=2)
    assert [(row["split"], row["robust_match"]) for row in report.rows] == [
        ("test", True),
        ("test", False),
        ("test_unseen", True),
    ]
    assert (report.seconds, report.new_tokens) == (3.0, 0)
    assert report.code_module == "common.retrieval"
    assert report.code_digest == provenance.code("common.retrieval", without=provenance.SCORING)


def test_a_record_of_a_look_up_names_no_model_and_whose_code_answered(cold):
    run = start_run("retrieval", notebook="baseline/retrieval.ipynb", profile="smoke")
    train = load_examples("embedded", "train", limit=32)
    texts = answers(train, [example for rows in run.tests.values() for example in rows])
    report = judge(run.tests, texts, module="common.retrieval", seconds=1.0, databases=run.profile.databases)
    values = json.loads(run.save(report, None, recipe=Retrieval(train_rows=32)).read_text())
    assert (values["model"]["id"], values["model"]["total_parameters"], run.revision) == ("", 0, "")
    assert (values["code"]["answers_module"], values["code"]["answers_digest"]) == (
        "common.retrieval",
        provenance.code("common.retrieval", without=provenance.SCORING),
    )
    assert values["parameters"]["recipe"] == {"train_rows": 32, "candidates": 8}
    assert sections.staleness(values) == ""
    assert sections.staleness(values | {"code": values["code"] | {"answers_module": ""}}) == "answers"
