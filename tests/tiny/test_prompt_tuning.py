"""Virtual tokens: where they start, what they are worth by hand, and that a batch answers with them as one row does."""

import copy
from dataclasses import replace

import pytest
import torch

from common.generation import complete
from common.prompts import prompt_ids
from common.training import attention
from common.training.adapters import adapt
from common.training.losses import completion_loss
from common.training.recipe import INIT_TEXT, Recipe
from common.training.rows import collated
from common.training.sft import train_sft

METHODS = ("prompt-random", "prompt-text")


def start(loaded, method="prompt-text", seed=0, **values):
    """The vectors before the first step, and the embedding matrix."""
    torch.manual_seed(seed)
    model = adapt(loaded, Recipe(method=method, **values))
    vectors = model.prompt_encoder["default"].embedding.weight.detach()
    return vectors, model.get_base_model().get_input_embeddings().weight.detach()


@pytest.fixture
def prompted(attentive):
    """(model with virtual tokens, its 20 vectors, the same model without them); it ends no answer early."""
    base = attentive()
    base.model.generation_config.eos_token_id = 0
    tokenizer = copy.deepcopy(base.tokenizer)
    tokenizer.eos_token = tokenizer.pad_token
    base = replace(base, tokenizer=tokenizer)
    torch.manual_seed(0)
    model = adapt(replace(base, model=copy.deepcopy(base.model)), Recipe(method="prompt-random", virtual_tokens=20))
    return replace(base, model=model.eval()), model.prompt_encoder["default"].embedding.weight.detach().clone(), base


@pytest.fixture
def prompts(rows, tiny):
    """Nine prompts of unlike length, so that all but one are padded, the shortest by much more than it holds."""
    tokenizer = tiny().tokenizer
    sources = [prompt_ids(example, tokenizer) for example in (*rows[1], *rows[0])]
    return [ids[-length:] for ids, length in zip(sources, (20, 6, 160, 9, 45, 14, 31, 100, 60), strict=False)]


# The start


@pytest.mark.parametrize("count", [3, 20, 60], ids=["cut", "twenty", "repeated"])
def test_text_starts_at_the_texts_tokens_cut_or_repeated(tiny, count):
    loaded = tiny()
    ids = loaded.tokenizer(INIT_TEXT, add_special_tokens=False)["input_ids"]
    assert 20 < len(ids) < 60
    vectors, embeddings = start(loaded, virtual_tokens=count)
    assert torch.equal(vectors, embeddings[(ids * 3)[:count]])


def test_another_text_is_another_start(tiny):
    ids = tiny().tokenizer("SELECT name FROM", add_special_tokens=False)["input_ids"]
    vectors, embeddings = start(tiny(), virtual_tokens=len(ids), init_text="SELECT name FROM")
    assert torch.equal(vectors, embeddings[ids])


def test_random_starts_at_tokens_of_the_vocabulary(tiny):
    vectors, embeddings = start(tiny(), "prompt-random", virtual_tokens=40)
    matches = (vectors[:, None, :] == embeddings[None]).all(dim=2)
    assert matches.sum(dim=1).ge(1).all()
    assert len(set(matches.int().argmax(dim=1).tolist())) > 30  # of 1024 tokens, 40 draws meet about once
    with pytest.raises(AssertionError):
        assert (torch.randn_like(vectors)[:, None, :] == embeddings[None]).all(dim=2).any()


def test_the_random_start_follows_from_the_seed(tiny):
    one, again, other = (start(tiny(), "prompt-random", seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_the_recipes_seed_decides_the_start_and_the_training(rows, tiny, short, saved, trained, tmp_path):
    recipe = short.with_values({"method": "prompt-random"})
    torch.manual_seed(99)  # what was drawn before does not matter
    again = train_sft(tiny(), *rows, recipe, folder=tmp_path / "again")
    other = train_sft(tiny(), *rows, recipe.with_values({"seed": 1}), folder=tmp_path / "other")
    one, two, three = (saved(run.weights)["prompt_embeddings"] for run in (trained("prompt-random"), again, other))
    assert torch.equal(one, two) and not torch.allclose(one, three, atol=1e-2)


# The model


def with_prefix(model, vectors, ids, gap=0):
    """Logits of one row with the vectors put before its embeddings by hand, `gap` positions left out between them."""
    embedded = torch.cat([vectors, model.get_input_embeddings()(torch.tensor(ids))])
    positions = torch.arange(len(embedded)) + gap * (torch.arange(len(embedded)) >= len(vectors))
    causal = torch.ones(len(embedded), len(embedded), dtype=torch.bool).tril()
    with torch.no_grad():
        return model(
            inputs_embeds=embedded[None], position_ids=positions[None], attention_mask=causal[None, None]
        ).logits[0]


def test_logits_are_those_of_the_vectors_before_the_row(prompted, prompts):
    loaded, vectors, base = prompted
    for ids in prompts[:3]:
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([ids])).logits[0]
        assert (logits[-len(ids) :] - with_prefix(base.model, vectors, ids)[-len(ids) :]).abs().max() < 1e-4


@pytest.mark.parametrize("as_tree", [False, True])
def test_a_batchs_loss_is_the_one_with_the_vectors_before_each_row(as_tree, prompted, rows, tokens, loss_by_hand):
    loaded, vectors, base = prompted
    batch = tokens(rows[1][:4])
    assert len({len(row["input_ids"]) for row in batch}) > 2
    inputs = collated([batch], pad=0, as_tree=as_tree)
    with torch.no_grad(), attention.reading(loaded.model, attention.TREE):
        loss = completion_loss(loaded.model, inputs, virtual_tokens=20)
        with pytest.raises(IndexError):
            completion_loss(loaded.model, inputs, virtual_tokens=19)
    by_hand = loss_by_hand(base.model, batch, vectors)
    assert (loss.total / loss.units).item() == pytest.approx(by_hand, abs=1e-5)
    assert abs(loss_by_hand(base.model, batch) - by_hand) > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_virtual_tokens_are_learned(method, attentive, rows, short, tokens, tmp_path, loss_by_hand):
    base, values = attentive(), {"method": method, "learning_rate": 0.1, "virtual_tokens": 100, "epochs": 8}
    vectors, _ = start(attentive(), method, seed=short.seed, virtual_tokens=100)
    run = train_sft(attentive(), *rows, short.with_values(values), folder=tmp_path)
    now = run.loaded.model.prompt_encoder["default"].embedding.weight.detach()
    before, after = (loss_by_hand(base.model, tokens(rows[0]), ahead) for ahead in (vectors, now))
    assert after < before - {"prompt-random": 0.04, "prompt-text": 0.008}[method]
    assert (now - vectors).norm(dim=1).min() > 0.1
    weights = dict(base.model.named_parameters())
    for name, parameter in run.loaded.model.get_base_model().named_parameters():
        assert torch.equal(parameter, weights[name])


# Answers


def greedy(model, vectors, ids, count, gap=0):
    """Token by token, from full logits, no cache, no padding."""
    tokens = []
    for _ in range(count):
        tokens.append(with_prefix(model, vectors, ids + tokens, gap)[-1].argmax().item())
    return tokens


def by_hand(prompted, prompts):
    loaded, vectors, base = prompted
    answers = (greedy(base.model, vectors, prompt, 10) for prompt in prompts)
    return [(loaded.tokenizer.decode(tokens, skip_special_tokens=True), 10) for tokens in answers]


def test_one_row_is_answered_as_by_hand(prompted, prompts):
    answers = [complete(prompted[0], [prompt], max_new_tokens=10)[0] for prompt in prompts]
    assert [(answer.text, answer.new_tokens) for answer in answers] == by_hand(prompted, prompts)


def test_a_batch_answers_as_one_row_at_a_time(prompted, prompts):
    answers = complete(prompted[0], prompts, max_new_tokens=10)
    assert [(answer.text, answer.new_tokens) for answer in answers] == by_hand(prompted, prompts)


def test_padding_between_the_virtual_tokens_and_the_row_would_be_noticed(prompted, prompts):
    """Positions counted through the padding, as a broken `complete` would: the test above could fail."""
    _, vectors, base = prompted
    gaps = [max(map(len, prompts)) - len(prompt) for prompt in prompts]
    right = [greedy(base.model, vectors, prompt, 10) for prompt in prompts]
    wrong = [greedy(base.model, vectors, prompt, 10, gap) for prompt, gap in zip(prompts, gaps, strict=True)]
    assert sum(one != other for one, other in zip(right, wrong, strict=True)) > 6


def test_answers_follow_from_the_virtual_tokens(prompted, prompts):
    loaded, vectors, base = prompted
    answers = complete(loaded, prompts, max_new_tokens=10)
    without = complete(base, prompts, max_new_tokens=10)
    with torch.no_grad():
        loaded.model.prompt_encoder["default"].embedding.weight.copy_(vectors.flip(0))
    turned = complete(loaded, prompts, max_new_tokens=10)
    for other in (without, turned):
        assert sum(a != b for a, b in zip(answers, other, strict=True)) > 6
