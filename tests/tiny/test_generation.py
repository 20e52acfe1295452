"""Answers do not depend on the company, greedy or sampled; draws depend on seed, stream and row. The batch itself is
tested in test_batching.py."""

import pytest
import torch
from transformers import GenerationConfig

from common.generation import Sampling, answers, batching, complete
from common.generation.sampling import passing, sampler
from common.settings import UserError

MOST = 40


@pytest.mark.parametrize("sampling", [None, Sampling(seed=17)], ids=["greedy", "sampled"])
def test_rows_are_answered_as_alone_at_any_batch_size(talkative, prompts, sampling, monkeypatch):
    monkeypatch.setattr(batching, "SLACK", 1)  # else nothing is moved to the left in so few steps
    alone = complete(talkative, prompts, max_new_tokens=MOST, batch_size=1, sampling=sampling)
    lengths = [answer.new_tokens for answer in alone]
    assert min(lengths) == 1 and max(lengths) == MOST and len(set(lengths)) > 8
    for batch_size in (2, 5, 16, len(prompts), 100):
        assert complete(talkative, prompts, max_new_tokens=MOST, batch_size=batch_size, sampling=sampling) == alone
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
    for prompt, answer in zip(prompts, complete(talkative, prompts, max_new_tokens=MOST, batch_size=8), strict=True):
        ids = model.generate(input_ids=torch.tensor([prompt]), generation_config=config)[0, len(prompt) :].tolist()
        content = ids[:-1] if ids[-1] in config.eos_token_id else ids
        assert (answer.text, answer.new_tokens) == (tokenizer.decode(content, skip_special_tokens=True), len(ids))
        assert answer.token_ids == tuple(ids)  # the end token included


def test_the_model_is_left_as_it_was(talkative, prompts, monkeypatch):
    model = talkative.model.train()
    complete(talkative, prompts[:2], max_new_tokens=2)
    assert model.training and not any("forward" in vars(module) for module in model.modules())
    monkeypatch.setattr(answers, "completion", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        complete(talkative, prompts[:2], max_new_tokens=2)
    assert model.training and not any("forward" in vars(module) for module in model.modules())


def test_each_row_is_handed_over_as_it_ends_and_there_is_a_bar_on_request_only(talkative, prompts, capsys):
    rows = {}
    completions = complete(talkative, prompts, max_new_tokens=MOST, batch_size=6, on_completion=rows.__setitem__)
    assert [rows[number] for number in range(len(prompts))] == completions
    assert list(rows) != sorted(rows)
    assert capsys.readouterr() == ("", "")
    complete(talkative, prompts[:2], max_new_tokens=2, progress="two rows")
    assert "two rows: 100%" in capsys.readouterr().err


def test_probabilities_by_hand():
    logits = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()
    assert Sampling().probabilities(logits)[0].tolist() == pytest.approx([0.5, 0.25, 0.15, 0.1])
    assert Sampling(top_p=0.7).probabilities(logits)[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert Sampling(top_p=0.4).probabilities(logits)[0].tolist() == [1, 0, 0, 0]
    squares = [0.25, 0.0625, 0.0225, 0.01]  # temperature ½ squares the probabilities
    expected = pytest.approx([square / sum(squares) for square in squares])
    assert Sampling(temperature=0.5).probabilities(logits)[0].tolist() == expected


def draws(rows, **values) -> list[int]:
    """Of three tokens with the probabilities .5, .3 and .2, one for each row."""
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(len(rows), -1)
    return sampler(Sampling(**values))(logits, list(rows))


def test_draws_have_the_probabilities_and_follow_from_seed_stream_and_row():
    tokens = draws(range(3000), seed=1)
    for token, probability in enumerate((0.5, 0.3, 0.2)):
        assert abs(tokens.count(token) / 3000 - probability) < 0.04  # more than four standard errors
    assert draws(range(2000, 3000), seed=1) == tokens[2000:]
    assert draws(range(3000), seed=2) != tokens != draws(range(3000), seed=1, stream=1)
    assert draws(range(3000), seed=1, stream=1) == draws(range(3000), seed=1, stream=1)


def test_no_two_of_seed_stream_and_row_share_their_random_numbers():
    """By chance two draws agree in .38 of the cases; shared numbers would make it all of them."""
    shifted = [
        (draws(range(2000)), draws(range(2000), stream=1)),  # two calls, which number their rows alike
        (draws(range(2000), seed=1), draws(range(1_000_003, 1_002_003), seed=0)),  # met when seeds were sums
        (draws(range(2000), seed=2, stream=3), draws(range(2000), seed=3, stream=2)),
        (draws(range(1, 2001), stream=0), draws(range(2000), stream=1)),
    ]
    for one, other in shifted:
        assert abs(sum(a == b for a, b in zip(one, other, strict=True)) / 2000 - 0.38) < 0.05


def test_another_seed_or_stream_draws_other_answers(talkative, prompts):
    values = ({"seed": 1}, {"seed": 2}, {"seed": 1, "stream": 1})
    calls = [complete(talkative, prompts[:6], max_new_tokens=12, sampling=Sampling(**value)) for value in values]
    for call in calls[1:]:
        assert sum(a != b for a, b in zip(calls[0], call, strict=True)) >= 4


@pytest.mark.parametrize(
    "given", [{"temperature": 0.0}, {"temperature": float("inf")}, {"top_p": 0.0}, {"top_p": 1.1}, {"temperature": -1}]
)
def test_sampling_out_of_range_is_refused(given):
    with pytest.raises(UserError, match="leave sampling out for greedy answers"):
        Sampling(**given)


def test_sizes_that_answer_nothing_are_refused(talkative, prompts):
    for given in ({"max_new_tokens": 0}, {"max_new_tokens": 1, "batch_size": 0}):
        with pytest.raises(UserError, match="a batch_size of at least 1"):
            complete(talkative, prompts[:1], **given)
    with pytest.raises(UserError, match="needs a prompt"):
        complete(talkative, [prompts[0], []], max_new_tokens=1)
    assert complete(talkative, [], max_new_tokens=1) == []


def by_hand(model, prompt, answer, temperature=1.0) -> list[float]:
    """Log-probabilities of an answer's tokens, in one plain pass over prompt and answer."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer.token_ids]])).logits[0, len(prompt) - 1 : -1]
    values = (logits / temperature).log_softmax(dim=-1)
    return values.gather(1, torch.tensor(answer.token_ids)[:, None])[:, 0].tolist()


@pytest.mark.parametrize("sampling", [None, Sampling(temperature=0.7, top_p=0.9, seed=5)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("way", ["batch", "singly"])
def test_log_probabilities_are_those_of_a_plain_pass(talkative, prompts, sampling, way, monkeypatch):
    """At the temperature, before top-p."""
    if way == "singly":
        monkeypatch.setattr(answers, "obstacle", lambda *_: "for once")
    sizes = {"max_new_tokens": 12, "batch_size": 4, "sampling": sampling}
    plain = complete(talkative, prompts[:9], **sizes)
    completions = complete(talkative, prompts[:9], log_probabilities=True, **sizes)
    assert [c.token_ids for c in completions] == [c.token_ids for c in plain]
    assert {len(c.token_ids) for c in completions} != {12} and not plain[0].log_probabilities
    for prompt, answer in zip(prompts, completions, strict=False):
        values = by_hand(talkative.model, prompt, answer, sampling.temperature if sampling else 1.0)
        assert answer.log_probabilities == pytest.approx(values, abs=1e-4) and len(values) == answer.new_tokens


def test_a_row_that_breaks_off_has_as_many_log_probabilities_as_tokens(talkative, prompts, monkeypatch, capsys):
    clean = complete(talkative, prompts[:6], max_new_tokens=12)
    poison = next(token for answer in clean for token in answer.token_ids[1:-1])
    talkative.model.model.embed_tokens.register_forward_hook(
        lambda _, inputs, output: output.masked_fill((inputs[0] == poison)[..., None], float("nan"))
    )
    answers = complete(talkative, prompts[:6], max_new_tokens=12, log_probabilities=True)
    assert "break off" in capsys.readouterr().out
    assert all(len(answer.log_probabilities) == answer.new_tokens for answer in answers)
    assert all(value <= 0 for answer in answers for value in answer.log_probabilities)


@pytest.mark.parametrize("columns", [5, 256, 700, 1024])
def test_the_token_at_which_the_sum_passes_a_number(columns):
    """Against running sums over all columns; the numbers' ends, and tokens that cannot be drawn."""
    generator = torch.Generator().manual_seed(1)
    weights = torch.rand(400, columns, generator=generator) * (torch.rand(400, columns, generator=generator) < 0.3)
    weights[:, columns // 2] = 0.5
    numbers = torch.rand(400, dtype=torch.double, generator=generator)
    numbers[:2] = torch.tensor([0.0, 1 - 2**-53])
    sums = weights.double().cumsum(dim=-1)
    expected = torch.searchsorted(sums, (numbers * sums[:, -1])[:, None], right=True)[:, 0]
    tokens = passing(weights, numbers)
    assert (tokens == expected).float().mean() > 0.98  # sums of blocks round differently
    assert (weights.gather(1, tokens[:, None]) > 0).all()


def test_the_nucleus_is_that_of_a_sorted_vocabulary():
    logits = 3 * torch.randn(50, 900, generator=torch.Generator().manual_seed(2))
    for top_p in (0.05, 0.5, 0.9, 0.999):
        probabilities = logits.softmax(dim=-1)
        ranked, tokens = probabilities.sort(dim=-1, descending=True)
        ranked[ranked.cumsum(dim=-1) - ranked >= top_p] = 0
        expected = torch.zeros_like(probabilities).scatter(-1, tokens, ranked)
        expected /= expected.sum(dim=-1, keepdim=True)
        assert torch.allclose(Sampling(top_p=top_p).probabilities(logits), expected, atol=1e-6)
        drawn = torch.tensor(sampler(Sampling(top_p=top_p))(logits, list(range(50))))
        assert (expected.gather(1, drawn[:, None]) > 0).all()
        assert top_p < 0.5 or len(set(drawn.tolist())) > 20
