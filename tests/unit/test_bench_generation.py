"""The generation bench: the published loop is what it says, gaps and differences by hand, a record comes out."""

import json
import sys

import pytest
import torch
from transformers import GenerationConfig

from bench import generation, generation_groups, published_generation, tables
from common.data import load_examples
from common.generation import Completion, Sampling, batching, complete, onednn
from common.models import load_model
from common.profiles import TINY_MODEL
from common.prompts import prompt_ids
from common.settings import UserError
from tests.processor import needs_bfloat16

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def loaded():
    """The tiny model, made to look hard at what it read: else it says the same to every prompt."""
    loaded = load_model(TINY_MODEL)
    with torch.no_grad():
        for layer in loaded.model.model.layers:
            layer.self_attn.q_norm.weight.mul_(6)
            layer.self_attn.o_proj.weight.mul_(15)
    return loaded


@pytest.fixture(scope="module")
def prompts(loaded):
    return [prompt_ids(example, loaded.tokenizer) for example in load_examples("embedded", "test", limit=40)]


def greedy(loaded, prompt, count):
    tokens = []
    with torch.inference_mode():
        while len(tokens) < count:
            tokens.append(loaded.model(torch.tensor([prompt + tokens])).logits[0, -1].argmax().item())
    return tokens


def test_the_published_loop_takes_batches_in_the_datas_order_to_their_longest(loaded, prompts, monkeypatch):
    calls, generate = [], loaded.model.generate

    def watch(input_ids, attention_mask, generation_config: GenerationConfig):
        calls.append(tuple(input_ids.shape))
        return generate(input_ids=input_ids, attention_mask=attention_mask, generation_config=generation_config)

    monkeypatch.setattr(loaded.model, "generate", watch)
    answers = published_generation.complete(loaded, prompts, max_new_tokens=6)
    assert calls == [(32, max(map(len, prompts[:32]))), (8, max(map(len, prompts[32:])))]
    assert answers == complete(loaded, prompts, max_new_tokens=6)


def test_the_published_loop_cuts_an_answer_at_its_end_token(loaded, prompts, monkeypatch):
    # A token that one row comes to, of all that others do not begin with.
    rows = [greedy(loaded, prompt, 6) for prompt in prompts[:8]]
    end = next(token for token in sum(rows, []) if token not in {tokens[0] for tokens in rows})
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", [end])
    answers = published_generation.complete(loaded, prompts[:8], max_new_tokens=6)
    assert answers == complete(loaded, prompts[:8], max_new_tokens=6)
    assert [answer.new_tokens for answer in answers] == [row.index(end) + 1 if end in row else 6 for row in rows]
    assert any(end in row for row in rows)


def test_differing_rows_and_their_gap_by_hand(loaded, prompts):
    ids = prompts[0]
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([ids])).logits[0, -1]
    best, second = logits.topk(2).indices.tolist()
    same, other = Completion("a", 2, (best, 7)), Completion("b", 2, (second, 9))
    assert generation.differing([same, same, other], [same, other, other]) == [1]
    expected = (logits[best] - logits[second]).item()
    assert generation.gap(loaded, ids, same, other) == pytest.approx(expected, abs=1e-4)


def test_the_librarys_batching_takes_its_turn_and_answers_alike(loaded, prompts):
    ways = generation.recipes(loaded, loaded, prompts[:5], max_new_tokens=6, batch_size=3)
    runs = generation.in_turns({name: ways[name] for name in ("ours", "library")}, 1)
    assert runs["library"][0][1] == runs["ours"][0][1] == complete(loaded, prompts[:5], max_new_tokens=6)
    lines = {line["name"]: line["value"] for line in generation.rates(runs, limit=6, prefix="", goal=None)}
    assert lines["library"] == pytest.approx(5 / runs["ours"][0][0] / lines["rows-library"], rel=1e-3)
    assert set(lines) == {"library", "rows-library"} and "float32" not in ways


ARGUMENTS = ["--model", TINY_MODEL, "--rows", "34", "--alone", "3", "--max-new-tokens", "4", "--repetitions", "2"]
ARGUMENTS += ["--long-rows", "2", "--paged-rows", "2", "--group", "3"]


def run(monkeypatch, tmp_path, arguments) -> tuple[dict, dict]:
    """The record of a bench, and its lines by name."""
    out = tmp_path / "generation.json"
    monkeypatch.setattr(generation, "PUBLISHED_LIMIT", 9)
    monkeypatch.setattr(sys, "argv", ["bench.generation", *arguments, "--out", str(out)])
    generation.main()
    record = json.loads(out.read_text())
    assert not tables.missing_keys(record)
    return record, {line["name"]: line for line in record["measurements"]}


@needs_bfloat16
def test_a_record_comes_out(monkeypatch, tmp_path, capsys):
    """As on a CPU with native bfloat16."""
    monkeypatch.setattr(generation, "native_bfloat16", lambda: True)
    products, multiply = [], onednn._multiply
    monkeypatch.setattr(onednn, "_multiply", lambda *args: products.append(args[2].dtype) or multiply(*args))
    counts: dict[int, list[set]] = {}
    timed = generation.timed

    def watch(way):
        products.clear()
        outcome = timed(way)
        counts.setdefault(len(outcome[1]), []).append(set(products))
        return outcome

    monkeypatch.setattr(generation, "timed", watch)
    record, lines = run(monkeypatch, tmp_path, ARGUMENTS)
    assert lines["rows"]["repetitions"] == 2 and lines["speedup"]["target"] == {"at_least": 4}
    assert lines["long-speedup"]["target"] == {"at_least": 8} and lines["speedup-float32"]["target"] is None
    for name, over, under in (
        ("speedup", "rows", "rows-published"),
        ("speedup-float32", "rows-float32", "rows-published"),
        ("layout", "rows", "rows-plain"),
    ):
        assert lines[name]["value"] == pytest.approx(lines[over]["value"] / lines[under]["value"], rel=1e-4)
    # Published, ours in both arithmetics, and backwards; then the layout is left out. Ours alone has another layout.
    float32, half = {torch.float32}, {torch.bfloat16}
    assert counts[34] == [set(), float32, half, half, float32, set(), set()]
    assert "long-rows-plain" not in lines and "2 rows" in lines["rows-library"]["what"]
    assert lines["long-rows"]["repetitions"] == 1 and "at most 9 new tokens" in lines["long-rows"]["what"]
    tokens = lines["long-tokens"]["value"] / lines["long-rows"]["value"]
    assert tokens == pytest.approx(9, rel=1e-4)  # of each of two answers, none of which ends
    assert lines["differ-published"]["value"] == 0 and 0 <= lines["differ-float32"]["value"] <= 34
    assert record["data"]["rows"] == 34 and record["data"]["new_tokens"] == 34 * 4
    assert "published loop float32, ours bfloat16; this CPU has native bfloat16" in record["data"]["arithmetic"]
    assert "2/2 published" in capsys.readouterr().out


def test_a_cpu_of_float32_alone_has_a_figure_and_no_target(monkeypatch, tmp_path):
    monkeypatch.setattr(generation, "native_bfloat16", lambda: False)
    few = ["--generate-batch", "--group", "0", "--rows", "5", "--repetitions", "1"]
    record, lines = run(monkeypatch, tmp_path, [*ARGUMENTS, *few])
    assert lines["speedup"]["target"] is None and "rows-float32" not in lines and "differ-float32" not in lines
    assert (lines["differ-published"]["value"], lines["differ-alone"]["value"], lines["gap"]["value"]) == (0, 0, None)
    assert lines["rows-library"]["repetitions"] == 1 and "5 rows" in lines["rows-library"]["what"]
    assert record["data"]["arithmetic"] == "published loop float32, ours float32; this CPU has no native bfloat16"
    assert "group-seconds" not in lines


def test_a_groups_prompts_are_counted(loaded, prompts):
    """Three prompts, four samples each, read once or four times."""
    lines = {x["name"]: x["value"] for x in generation_groups.measure(loaded, prompts[:3], 4, 3, 12)}
    lengths, shared = [len(prompt) for prompt in prompts[:3]], batching.shared_start(prompts[:3])
    assert shared + sum(lengths) - 3 * shared <= lines["group-positions"] <= shared + 3 * (max(lengths) - shared)
    assert 4 * sum(lengths) <= lines["group-positions-rows"] <= 12 * max(lengths)
    assert lines["group-speedup"] == pytest.approx(lines["group-seconds-rows"] / lines["group-seconds"], rel=1e-4)


def test_rows_of_their_own_are_answered_alike(loaded, prompts):
    options = {"max_new_tokens": 6, "batch_size": 5, "sampling": Sampling(seed=2)}
    rows = [prompts[0], prompts[1], prompts[0], prompts[1]]
    together = complete(loaded, rows, **options)
    with generation_groups.rows_of_their_own():
        assert complete(loaded, rows, **options) == together


def test_sizes_that_compare_nothing_are_refused(monkeypatch):
    for arguments in (
        ["--alone", "0"],
        ["--rows", "4", "--alone", "5"],
        ["--long-rows", "-1"],
        ["--repetitions", "0"],
        ["--group", "-1"],
    ):
        monkeypatch.setattr(sys, "argv", ["bench.generation", "--model", TINY_MODEL, *arguments])
        with pytest.raises(UserError, match="give at least 1 repetition, --alone from 1 to --rows, and --long-rows"):
            generation.main()
