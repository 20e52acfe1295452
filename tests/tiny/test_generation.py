"""Answers do not depend on the company: any number of places, rows that leave and join, greedy and sampled."""

from collections import Counter

import pytest
import torch
from transformers import GenerationConfig

from common import decoding, generation
from common.data import load_examples
from common.decoding import SLACK, Columns, shared_start
from common.generation import Sampling, complete
from common.layout import laid_out
from common.prompts import prompt_ids
from common.settings import UserError

MOST = 40


@pytest.fixture
def talkative(tiny):
    """A model that looks hard at what it read, and whose answers differ in length: every 15th token ends one."""
    loaded = tiny()
    with torch.no_grad():
        for layer in loaded.model.model.layers:
            layer.self_attn.q_norm.weight.mul_(6)
            layer.self_attn.o_proj.weight.mul_(15)
    every = range(0, loaded.model.config.vocab_size, 15)
    loaded.model.generation_config.eos_token_id = [loaded.tokenizer.eos_token_id, *every]
    return loaded


@pytest.fixture(scope="module")
def prompts(tiny):
    tokenizer = tiny().tokenizer
    found = [prompt_ids(example, tokenizer) for example in load_examples("embedded", "test", limit=24)]
    return [*found, found[3], found[3]]


@pytest.mark.parametrize("sampling", [None, Sampling(seed=17)], ids=["greedy", "sampled"])
def test_rows_are_answered_as_alone_with_any_number_of_places(talkative, prompts, sampling, monkeypatch):
    monkeypatch.setattr(decoding, "SLACK", 1)  # else nothing is moved to the left in so few steps
    alone = complete(talkative, prompts, max_new_tokens=MOST, places=1, sampling=sampling)
    lengths = [answer.new_tokens for answer in alone]
    assert min(lengths) == 1 and max(lengths) == MOST and len(set(lengths)) > 8
    for places in (2, 5, 16, len(prompts), 100):
        assert complete(talkative, prompts, max_new_tokens=MOST, places=places, sampling=sampling) == alone
    # One prompt at a time has no start in common with others, so nothing is read ahead of it.
    if sampling is None:
        assert [complete(talkative, [prompt], max_new_tokens=MOST)[0] for prompt in prompts] == alone
        assert alone[3] == alone[-1] == alone[-2]
    else:
        assert len({alone[3], alone[-1], alone[-2]}) == 3


def test_greedy_answers_are_the_librarys(talkative, prompts):
    """transformers' own generate, one row at a time."""
    model, tokenizer = talkative.model, talkative.tokenizer
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=MOST,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=model.generation_config.eos_token_id,
    )
    for prompt, answer in zip(prompts, complete(talkative, prompts, max_new_tokens=MOST, places=8), strict=True):
        made = model.generate(input_ids=torch.tensor([prompt]), generation_config=config)[0, len(prompt) :].tolist()
        kept = made[:-1] if made[-1] in config.eos_token_id else made
        assert (answer.text, answer.new_tokens) == (tokenizer.decode(kept, skip_special_tokens=True), len(made))


def watched(monkeypatch) -> tuple[list[int], list[int]]:
    """Rows of each step, and positions of each reading."""
    steps, readings = [], []
    step, read = decoding.Batch.step, decoding.Batch.read
    monkeypatch.setattr(decoding.Batch, "step", lambda batch: steps.append(len(batch.rows)) or step(batch))
    monkeypatch.setattr(
        decoding.Batch,
        "read",
        lambda batch, rows: readings.append(len(rows) * max(map(len, rows))) or read(batch, rows),
    )
    return steps, readings


def test_a_finished_rows_place_is_taken(talkative, prompts, monkeypatch):
    steps, _ = watched(monkeypatch)
    answers = complete(talkative, prompts, max_new_tokens=MOST, places=4)
    # A row's first token comes with its prompt, each other one takes a step of its place.
    assert sum(steps) == sum(answer.new_tokens - 1 for answer in answers)
    assert max(steps) == 4
    by_batches = sum(
        4 * (max(answer.new_tokens for answer in answers[i : i + 4]) - 1) for i in range(0, len(answers), 4)
    )
    assert sum(steps) < 0.8 * by_batches
    assert Counter(steps)[4] > Counter(steps)[1]


def test_reading_has_a_budget_and_reads_equal_prompts_once(talkative, prompts, monkeypatch):
    _, readings = watched(monkeypatch)
    monkeypatch.setitem(decoding.PREFILL, "cpu", 400)
    complete(talkative, prompts, max_new_tokens=3, places=32)
    assert len(readings) > 3
    longest = max(map(len, prompts))
    assert max(readings) <= max(400, longest)
    readings.clear()
    monkeypatch.setitem(decoding.PREFILL, "cpu", 10_000)
    complete(talkative, [prompts[0]] * 8, max_new_tokens=3, places=8, sampling=Sampling())
    assert readings == [len(prompts[0])]


def test_what_all_prompts_begin_with_is_read_once(talkative, prompts, monkeypatch):
    _, readings = watched(monkeypatch)
    count = shared_start(prompts)
    assert count > 20
    complete(talkative, prompts[:1] + prompts[4:5], max_new_tokens=2, places=2)
    own = shared_start([prompts[0], prompts[4]])
    assert readings == [2 * (max(len(prompts[0]), len(prompts[4])) - own)]


def test_the_shared_start_by_hand():
    assert shared_start([[1, 2, 3], [1, 2, 4, 5], [1, 2, 3]]) == 2
    assert shared_start([[1, 2], [1, 2, 3]]) == 1  # the shorter keeps a token of its own
    assert shared_start([[7], [7, 1]]) == 0
    assert shared_start([[1, 2, 3], [1, 2, 3]]) == 0 == shared_start([[1, 2, 3]])


def test_columns_by_hand():
    columns = Columns(width=10, device=torch.device("cpu"), starts=[2, 4], end=5)
    assert columns.mask()[:, 0, 0].tolist() == [[True] * 4, [False, False, True, True]]  # columns 2 to 5
    assert columns.positions().tolist() == [[3], [1]]


def test_room_is_left_on_the_left_for_the_longest_that_waits():
    batch = object.__new__(decoding.Batch)
    batch.columns, batch.rows, batch._layers = Columns(10, torch.device("cpu"), starts=[6, 8], end=10), ["a", "b"], []
    batch.tidy(longest=7)
    assert (batch.columns.starts, batch.columns.end) == ([3, 5], 7)
    batch.columns.end = 10
    batch.tidy(longest=2)
    assert (batch.columns.starts, batch.columns.end) == ([0, 2], 7)


def test_the_batch_is_as_wide_as_a_row_may_need(talkative, prompts, monkeypatch):
    widths = []
    made = decoding.Batch.__init__
    monkeypatch.setattr(
        decoding.Batch, "__init__", lambda *args, **kwargs: widths.append(kwargs["width"]) or made(*args, **kwargs)
    )
    complete(talkative, prompts[:4], max_new_tokens=7)
    assert widths == [max(map(len, prompts[:4])) + 7 + SLACK]


def test_the_model_is_left_as_it_was(talkative, prompts, monkeypatch):
    model = talkative.model.train()
    complete(talkative, prompts[:2], max_new_tokens=2)
    assert model.training and not any("forward" in vars(module) for module in model.modules())
    monkeypatch.setattr(generation, "completion", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        complete(talkative, prompts[:2], max_new_tokens=2)
    assert model.training and not any("forward" in vars(module) for module in model.modules())


def test_each_row_is_told_as_it_ends_and_a_bar_only_where_it_is_asked_for(talkative, prompts, capsys):
    told = {}
    answers = complete(talkative, prompts, max_new_tokens=MOST, places=6, ended=told.__setitem__)
    assert [told[number] for number in range(len(prompts))] == answers
    assert list(told) != sorted(told)
    assert capsys.readouterr().err == ""
    complete(talkative, prompts[:2], max_new_tokens=2, progress="two rows")
    assert "two rows: 100%" in capsys.readouterr().err


def test_chances_by_hand():
    logits = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()
    assert Sampling().chances(logits)[0].tolist() == pytest.approx([0.5, 0.25, 0.15, 0.1])
    assert Sampling(top_p=0.7).chances(logits)[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert Sampling(top_p=0.4).chances(logits)[0].tolist() == [1, 0, 0, 0]
    squares = [0.25, 0.0625, 0.0225, 0.01]  # temperature ½ squares the chances
    assert Sampling(temperature=0.5).chances(logits)[0].tolist() == pytest.approx([s / sum(squares) for s in squares])


def test_what_is_drawn_has_the_chances_and_follows_from_seed_and_number():
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(3000, -1)
    drawn = generation._sampler(Sampling(seed=1))(logits, list(range(3000)))
    for token, chance in enumerate((0.5, 0.3, 0.2)):
        assert abs(drawn.count(token) / 3000 - chance) < 0.04  # more than four standard errors
    again = generation._sampler(Sampling(seed=1))(logits[:1000], list(range(2000, 3000)))
    assert again == drawn[2000:]
    assert generation._sampler(Sampling(seed=2))(logits, list(range(3000))) != drawn


def test_another_seed_draws_other_answers(talkative, prompts):
    one, two = (complete(talkative, prompts[:6], max_new_tokens=12, sampling=Sampling(seed=seed)) for seed in (1, 2))
    assert sum(a != b for a, b in zip(one, two, strict=True)) >= 4


@pytest.mark.parametrize(
    "given", [{"temperature": 0.0}, {"temperature": float("inf")}, {"top_p": 0.0}, {"top_p": 1.1}, {"temperature": -1}]
)
def test_sampling_out_of_range_is_refused(given):
    with pytest.raises(UserError, match="leave sampling out for greedy answers"):
        Sampling(**given)


def test_sizes_that_answer_nothing_are_refused(talkative, prompts):
    for given in ({"max_new_tokens": 0}, {"max_new_tokens": 1, "places": 0}):
        with pytest.raises(UserError, match="at least 1 place"):
            complete(talkative, prompts[:1], **given)
    with pytest.raises(UserError, match="needs a prompt"):
        complete(talkative, [prompts[0], []], max_new_tokens=1)
    assert complete(talkative, [], max_new_tokens=1) == []


@pytest.mark.parametrize("quantisation", ["", "nf4"])
def test_products_in_another_layout_are_the_same(tiny, prompts, quantisation, monkeypatch):
    model = tiny(quantisation).model
    ids = torch.tensor([prompts[0]])
    products = []
    multiply = torch.ops.mkldnn._linear_pointwise
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *args: products.append(1) or multiply(*args))
    with torch.inference_mode():
        plain = model(ids).logits
        assert not products
        with laid_out(model):
            other = model(ids).logits
        assert torch.equal(model(ids).logits, plain)
    assert len(products) == 2 * 7 + 1  # seven linear layers a decoder layer, and the head
    assert (plain - other).abs().max() < 1e-4 < plain.abs().max()


def test_layers_that_cannot_be_laid_out_are_left(tiny):
    half = torch.nn.Linear(4, 4).half()
    with laid_out(half):
        assert "forward" not in vars(half)
    biased, inputs = torch.nn.Linear(4, 3), torch.randn(2, 5, 4)
    with torch.inference_mode(), laid_out(biased):
        assert torch.allclose(biased(inputs), inputs @ biased.weight.T + biased.bias, atol=1e-6)
