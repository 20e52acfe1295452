"""The bench of layouts: TRL's layout by hand, the same numbers from both layouts, and a record of a small step."""

import json
import subprocess
import sys

import pytest
import torch

from bench import layouts, layouts_run, tables, trl_layout
from bench.layouts_run import WAYS, Learner, parts, step, tokens
from common.profiles import TINY_MODEL
from common.settings import UserError
from common.training.rows import IGNORED

PAD = 9


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def learners():
    return {name: Learner(TINY_MODEL, way) for name, way in WAYS.items() if not way.native}


def row(prompt: list[int], completion: list[int]) -> dict:
    return {"input_ids": prompt + completion, "labels": [IGNORED] * len(prompt) + completion, "weight": 1.0}


def test_a_groups_rows_have_one_width_and_the_prompts_end_where_completions_begin():
    items = [[row([1, 2], [3])] for _ in range(8)] + [[row([4], [5, 6, 7])]]
    (first, inputs), (second, rest) = trl_layout.micro_batches("group", items, PAD)
    assert first == list(range(8)) and second == [8]
    assert inputs["input_ids"][0].tolist() == [1, 2, 3, PAD, PAD]
    assert inputs["attention_mask"][0].tolist() == [1, 1, 1, 0, 0]
    assert inputs["labels"][0].tolist() == [IGNORED, IGNORED, 3, IGNORED, IGNORED]
    assert rest["input_ids"].tolist() == [[PAD, 4, 5, 6, 7]]
    assert rest["attention_mask"].tolist() == [[0, 1, 1, 1, 1]]
    assert rest["labels"].tolist() == [[IGNORED, IGNORED, 5, 6, 7]]


def test_pairs_have_the_chosen_rows_first_and_single_rows_a_random_order():
    items = [[row([i], [10 + i]), row([i], [20 + i, 30])] for i in range(5)]
    batches = trl_layout.micro_batches("pairs", items, PAD)
    assert [group for group, _ in batches] == [[0, 2, 4, 6, 1, 3, 5, 7], [8, 9]]
    assert batches[0][1]["input_ids"][:, 1].tolist() == [10, 11, 12, 13, 20, 21, 22, 23]
    assert batches[0][1]["input_ids"][0].tolist() == [0, 10, PAD]
    groups = [group for group, _ in trl_layout.micro_batches("rows", [[row([i], [i])] for i in range(6)], PAD)]
    assert [len(group) for group in groups] == [2, 2, 2] and sum(groups, []) != list(range(6))
    assert sorted(sum(groups, [])) == list(range(6))


@pytest.mark.parametrize("kind", layouts_run.KINDS)
def test_both_layouts_give_the_same_log_probabilities_and_gradients(kind, learners):
    items = step(kind, learners["trl"].loaded, prompts=3)
    chances = {name: learner.update(kind, items) for name, learner in learners.items()}
    rows = [some for item in items for some in item]
    assert [len(one) for one in chances["trl"]] == [sum(label != IGNORED for label in some["labels"]) for some in rows]
    gradients = learners["trl"].gradients()
    assert max(gradient.abs().max() for gradient in gradients.values()) > 1e-3
    for name in ("tree", "ours"):
        assert layouts.difference(chances["trl"], chances[name])[0] < 1e-5
        assert layouts.gradient_difference(gradients, learners[name].gradients()) < 1e-4


def test_an_update_is_the_gradient_of_the_weighted_sum_row_by_row(learners):
    learner = learners["ours"]
    items = step("group", learner.loaded, prompts=1)
    weights = [item[0]["weight"] for item in items]
    assert len(items) == 8 and weights[0] == 1 and sum(weights) == pytest.approx(0)
    assert len({tuple(item[0]["input_ids"]) for item in items}) == 8
    learner.update("group", items)
    gradients = {name: gradient.clone() for name, gradient in learner.gradients().items()}
    learner.model.zero_grad()
    total = 0.0
    labelled = sum(label != IGNORED for item in items for label in item[0]["labels"])
    for (one,) in items:
        ids, labels = torch.tensor([one["input_ids"]]), torch.tensor(one["labels"])[1:]
        logits = learner.model(input_ids=ids).logits[0, :-1].log_softmax(dim=-1)
        places = (labels != IGNORED).nonzero().flatten()
        total = total - one["weight"] * logits[places, labels[places]].sum() / labelled
    total.backward()
    assert layouts.gradient_difference(gradients, learner.gradients()) < 1e-4


def test_tokens_are_counted(learners):
    items = step("group", learners["trl"].loaded, prompts=2)
    counts = tokens("group", items, PAD)
    lengths = [len(item[0]["input_ids"]) for item in items]
    prompts = [item[0]["labels"].count(IGNORED) for item in items]
    assert counts["tokens"] == sum(lengths) and counts["labelled"] == sum(lengths) - sum(prompts)
    completions = [length - prompt for length, prompt in zip(lengths, prompts, strict=True)]
    assert counts["positions"] == len(items) * (max(prompts) + max(completions))
    assert sum(lengths) / 8 < counts["unique"] < counts["tokens"] / 2
    assert counts["micro_batches"] == len(parts(items))


def test_other_log_probabilities_end_the_bench_before_anything_is_timed(learners, monkeypatch):
    items = step("rows", learners["trl"].loaded, prompts=1)
    layouts.check("rows", items, learners)
    ours = learners["ours"]
    monkeypatch.setattr(ours, "update", lambda *a: [one + 0.01 for one in Learner.update(ours, *a)])
    with pytest.raises(RuntimeError, match="SFT, rows: 'ours' gives log-probabilities that differ by 0.01"):
        layouts.check("rows", items, learners)


def test_a_record_comes_out(monkeypatch, tmp_path):
    in_a_process, calls, peaks = subprocess.run, [], {"trl": 30e6, "ours": 10e6, "native": 5e6}

    def run(command, **options):
        if "bench.layouts_run" not in command:
            return in_a_process(command, **options)
        calls.append(command[3:5])
        if len(calls) == 1:  # one of them spares the imports
            done = in_a_process(command, **options)
            assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["peak"] > 50e6, done.stderr
        return subprocess.CompletedProcess(command, 0, json.dumps({"peak": peaks[command[4]]}), "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path))
    monkeypatch.setenv("TEXT_TO_SQL_PRECISION", "bfloat16")
    arguments = ["--model", TINY_MODEL, "--prompts", "1", "--repetitions", "2", "--tree"]
    monkeypatch.setattr(sys, "argv", ["bench.layouts", *arguments])
    layouts.main()
    record = tables.load("layouts")
    lines = {line["name"]: line for line in record["measurements"]}
    assert calls == [[kind, way] for kind in layouts_run.KINDS for way in ("trl", "ours", "native")]
    for kind in layouts_run.KINDS:
        for suffix in ("", "-tree", "-native"):
            seconds = lines[f"{kind}-seconds-trl"]["value"] / lines[f"{kind}-seconds{suffix}"]["value"]
            assert lines[f"{kind}-speedup{suffix}"]["value"] == pytest.approx(seconds, rel=1e-3)
        assert lines[f"{kind}-seconds"]["repetitions"] == 2
        assert lines[f"{kind}-difference"]["met"] and 0 < lines[f"{kind}-difference-native"]["value"] < 0.05
        assert (lines[f"{kind}-memory-trl"]["value"], lines[f"{kind}-memory"]["value"]) == (30, 10)
        counts = record["data"]["steps"][kind]
        assert lines[f"{kind}-unique"]["value"] == counts["unique"] < counts["tokens"]
    targets = {name: line["target"] for name, line in lines.items() if line["target"] and "speedup" in name}
    assert targets == {"group-speedup": {"at_least": 5}, "pairs-speedup": {"at_least": 1.7}}
    assert all(f"| {line['what']} |" in tables.markdown("layouts") for line in record["measurements"])
    together = [line for line in tables.ratios().splitlines() if line.startswith("| layouts: ")]
    assert [line.split(" | ")[0] for line in together] == [
        f"| layouts: {name}, ours, against TRL's layout" for name in layouts.NAMES.values()
    ]


def test_sizes_that_measure_nothing_are_refused(monkeypatch):
    for arguments in (["--prompts", "0"], ["--repetitions", "0"]):
        monkeypatch.setattr(sys, "argv", ["bench.layouts", "--model", TINY_MODEL, *arguments])
        with pytest.raises(UserError, match="give at least 1 prompt and 1 repetition"):
            layouts.main()
