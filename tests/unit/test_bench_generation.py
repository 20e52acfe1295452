"""The generation bench: the published loop is what it says, gaps and differences by hand, a record comes out."""

import json
import sys

import pytest
import torch
from transformers import GenerationConfig

from bench import generation, published_generation, tables
from common.data import load_examples
from common.generation import Completion, complete
from common.models import load_model
from common.profiles import TINY_MODEL
from common.prompts import prompt_ids
from common.settings import UserError


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
    made = []
    with torch.inference_mode():
        while len(made) < count:
            made.append(loaded.model(torch.tensor([prompt + made])).logits[0, -1].argmax().item())
    return made


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
    tokens = [greedy(loaded, prompt, 6) for prompt in prompts[:8]]
    end = next(token for token in sum(tokens, []) if token not in {made[0] for made in tokens})
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", [end])
    answers = published_generation.complete(loaded, prompts[:8], max_new_tokens=6)
    assert answers == complete(loaded, prompts[:8], max_new_tokens=6)
    assert [answer.new_tokens for answer in answers] == [made.index(end) + 1 if end in made else 6 for made in tokens]
    assert any(end in made for made in tokens)


def test_differing_rows_and_their_gap_by_hand(loaded, prompts, monkeypatch):
    same, other = Completion("a", 1), Completion("b", 1)
    assert generation.differing([same, same, other], [same, other, other]) == [1]
    ids = prompts[0]
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([ids])).logits[0, -1]
    best, second = logits.topk(2).indices.tolist()
    answers = {id(a): tokens for a, tokens in ((same, [best, 7]), (other, [second, 9]))}
    monkeypatch.setattr(generation, "_tokens", lambda loaded, answer: answers[id(answer)])
    expected = (logits[best] - logits[second]).item()
    assert generation.gap(loaded, ids, same, other) == pytest.approx(expected, abs=1e-4)


def test_a_record_comes_out(monkeypatch, tmp_path, capsys):
    out = tmp_path / "generation.json"
    arguments = ["--model", TINY_MODEL, "--rows", "34", "--alone", "3", "--max-new-tokens", "4", "--repetitions", "2"]
    arguments += ["--long-rows", "2"]
    monkeypatch.setattr(generation, "PUBLISHED_LIMIT", 9)
    monkeypatch.setattr(sys, "argv", ["bench.generation", *arguments, "--out", str(out)])
    generation.main()
    made = json.loads(out.read_text())
    assert not tables.missing_keys(made)
    lines = {line["name"]: line for line in made["measurements"]}
    assert lines["rows"]["repetitions"] == 2 and lines["speedup"]["target"] == {"at_least": 2.5}
    ratio = lines["rows"]["value"] / lines["rows-published"]["value"]
    assert lines["speedup"]["value"] == pytest.approx(ratio, rel=1e-4)
    assert lines["long-rows"]["repetitions"] == 1 and "at most 9 new tokens" in lines["long-rows"]["what"]
    tokens = lines["long-tokens"]["value"] / lines["long-rows"]["value"]
    assert tokens == pytest.approx(9, rel=1e-4)  # of each of two answers, none of which ends
    assert (lines["differ-published"]["value"], lines["differ-alone"]["value"], lines["gap"]["value"]) == (0, 0, None)
    assert made["data"]["rows"] == 34 and made["data"]["new_tokens"] == 34 * 4
    assert "2/2 published" in capsys.readouterr().out


def test_sizes_that_compare_nothing_are_refused(monkeypatch):
    for arguments in (["--alone", "0"], ["--rows", "4", "--alone", "5"], ["--long-rows", "97"], ["--repetitions", "0"]):
        monkeypatch.setattr(sys, "argv", ["bench.generation", "--model", TINY_MODEL, *arguments])
        with pytest.raises(
            UserError, match="give at least 1 repetition, --alone from 1 to --rows and --long-rows from"
        ):
            generation.main()
