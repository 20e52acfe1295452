"""The generation bench: the published loop is what it says, gaps and differences by hand, a record comes out."""

import json
import sys

import pytest
import torch
from transformers import GenerationConfig

from bench import generation, published_generation, tables
from common.data import load_examples
from common.generation import Completion, complete, onednn
from common.models import load_model
from common.profiles import TINY_MODEL
from common.prompts import prompt_ids
from common.settings import UserError


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The tiny model's products are too small to share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
    ways = generation.recipes(loaded, prompts[:5], max_new_tokens=6, batch_size=3, library=True)
    runs = generation.in_turns(ways, 1)
    assert runs["library"][0][1] == runs["ours"][0][1] == complete(loaded, prompts[:5], max_new_tokens=6)
    lines = {line["name"]: line["value"] for line in generation.rates(runs, limit=6, prefix="", device="cpu")}
    assert lines["library"] == pytest.approx(lines["rows"] / lines["rows-library"], rel=1e-3)
    assert "rows-plain" not in lines


def test_a_record_comes_out(monkeypatch, tmp_path, capsys):
    out = tmp_path / "generation.json"
    arguments = ["--model", TINY_MODEL, "--rows", "34", "--alone", "3", "--max-new-tokens", "4", "--repetitions", "2"]
    arguments += ["--long-rows", "2"]
    products, multiply = [], onednn._multiply
    monkeypatch.setattr(onednn, "_multiply", lambda *args: products.append(1) or multiply(*args))
    counts = {}
    timed = generation.timed

    def watch(way):
        products.clear()
        outcome = timed(way)
        counts.setdefault(len(outcome[1]), []).append(len(products))
        return outcome

    monkeypatch.setattr(generation, "timed", watch)
    monkeypatch.setattr(generation, "PUBLISHED_LIMIT", 9)
    monkeypatch.setattr(sys, "argv", ["bench.generation", *arguments, "--out", str(out)])
    generation.main()
    record = json.loads(out.read_text())
    assert not tables.missing_keys(record)
    lines = {line["name"]: line for line in record["measurements"]}
    assert lines["rows"]["repetitions"] == 2 and lines["speedup"]["target"] == {"at_least": 2.5}
    for name, other in (("speedup", "rows-published"), ("layout", "rows-plain")):
        ratio = lines["rows"]["value"] / lines[other]["value"]
        assert lines[name]["value"] == pytest.approx(ratio, rel=1e-4)
    # Published, ours, without the layout; then backwards. Ours alone multiplies in another layout.
    assert [count > 0 for count in counts[34]] == [False, True, False, False, True, False]
    assert "long-rows-plain" not in lines and "rows-library" not in lines
    assert lines["long-rows"]["repetitions"] == 1 and "at most 9 new tokens" in lines["long-rows"]["what"]
    tokens = lines["long-tokens"]["value"] / lines["long-rows"]["value"]
    assert tokens == pytest.approx(9, rel=1e-4)  # of each of two answers, none of which ends
    assert (lines["differ-published"]["value"], lines["differ-alone"]["value"], lines["gap"]["value"]) == (0, 0, None)
    assert record["data"]["rows"] == 34 and record["data"]["new_tokens"] == 34 * 4
    assert "2/2 published" in capsys.readouterr().out


def test_sizes_that_compare_nothing_are_refused(monkeypatch):
    for arguments in (["--alone", "0"], ["--rows", "4", "--alone", "5"], ["--long-rows", "97"], ["--repetitions", "0"]):
        monkeypatch.setattr(sys, "argv", ["bench.generation", "--model", TINY_MODEL, *arguments])
        with pytest.raises(
            UserError, match="give at least 1 repetition, --alone from 1 to --rows and --long-rows from"
        ):
            generation.main()
