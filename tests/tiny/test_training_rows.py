"""Rows side by side and end to end: the same loss and the same gradients as one row at a time."""

import pytest
import torch

from common.training.adapters import adapt
from common.training.losses import completion_loss
from common.training.recipe import Recipe
from common.training.rows import IGNORED, packed, padded

ONE = {"input_ids": [5, 6, 7, 8], "labels": [IGNORED, IGNORED, 7, 8]}
TWO = {"input_ids": [9, 10], "labels": [IGNORED, 10]}


@pytest.fixture(scope="module")
def batch(tokens, rows):
    """Four rows of unlike length, the longest neither first nor last."""
    found = sorted(tokens(rows[0]), key=lambda row: len(row["input_ids"]))
    chosen = [found[10], found[-1], found[0], found[20]]
    assert len({len(row["input_ids"]) for row in chosen}) == 4
    return chosen


@pytest.fixture
def model(attentive):
    return attentive().model.train()


def loss_and_gradients(model, batches):
    """Of the mean over the taught tokens of all batches together."""
    model.zero_grad()
    total = count = 0
    for inputs in batches:
        part = completion_loss(model, inputs)
        total, count = total + part.total, count + part.units
    (total / count).backward()
    return (total / count).item(), count.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def test_padded_by_hand():
    made = padded([TWO, ONE], pad=0)
    assert {name: tensor.tolist() for name, tensor in made.items()} == {
        "input_ids": [[9, 10, 0, 0], [5, 6, 7, 8]],
        "attention_mask": [[1, 1, 0, 0], [1, 1, 1, 1]],
        "labels": [[-100, 10, -100, -100], [-100, -100, 7, 8]],
    }
    assert {tensor.dtype for tensor in made.values()} == {torch.int64}


def test_packed_by_hand():
    made = packed([TWO, ONE])
    assert {name: tensor.tolist() for name, tensor in made.items()} == {
        "input_ids": [[9, 10, 5, 6, 7, 8]],
        "position_ids": [[0, 1, 0, 1, 2, 3]],
        "labels": [[-100, 10, -100, -100, 7, 8]],
    }
    assert {tensor.dtype for tensor in made.values()} == {torch.int64}


def test_one_row_is_padded_and_packed_as_it_is():
    for made in (padded([ONE], pad=0), packed([ONE])):
        assert (made["input_ids"].tolist(), made["labels"].tolist()) == ([ONE["input_ids"]], [ONE["labels"]])


def test_completion_loss_by_hand():
    """A model that always gives token t the logit t/10, at positions that it is asked for only."""

    class Output:
        def __init__(self, logits):
            self.logits = logits

    asked = []

    def model(input_ids, logits_to_keep, use_cache):
        asked.append((logits_to_keep.int().tolist(), use_cache))
        return Output((torch.arange(20) / 10).expand(logits_to_keep.sum(), 20))

    loss = completion_loss(model, padded([TWO, ONE], pad=0))
    norm = sum(2.718281828 ** (t / 10) for t in range(20))
    chances = [2.718281828 ** (t / 10) / norm for t in (10, 7, 8)]
    assert loss.units.item() == 3 and loss.sums == {}
    assert loss.total.item() == pytest.approx(-sum(torch.tensor(chances).log().tolist()), abs=1e-5)
    completion_loss(model, padded([TWO, ONE], pad=0), virtual_tokens=5)
    # Token 1 of the first row, tokens 2 and 3 of the second, each from the position before it.
    none = [0] * 5
    assert asked == [
        ([[1, 0, 0, 0], [0, 1, 1, 0]], False),
        ([none + [1, 0, 0, 0], none + [0, 1, 1, 0]], False),
    ]


def test_the_loss_is_the_one_over_full_logits(batch, model, loss_by_hand):
    loss, count, _ = loss_and_gradients(model, [padded(batch, 0)])
    assert count == sum(token != IGNORED for row in batch for token in row["labels"])
    assert loss == pytest.approx(loss_by_hand(model, batch), abs=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_padded_and_single_rows_have_one_loss_and_one_gradient(batch, model, attention):
    model.set_attn_implementation(attention)
    alone = loss_and_gradients(model, [padded([row], 0) for row in batch])
    for batches in ([padded(batch, 0)], [packed(batch)], [packed(batch[:3]), packed(batch[3:])], [packed(batch[::-1])]):
        loss, count, gradients = loss_and_gradients(model, batches)
        assert loss == pytest.approx(alone[0], abs=1e-4)
        assert count == alone[1]
        for name, gradient in alone[2].items():
            assert (gradients[name] - gradient).norm() < 2e-5 * gradient.norm(), name


def test_padding_is_not_seen(batch, model):
    """Whatever the token it is made of."""
    losses = [completion_loss(model, padded(batch, pad)).total.item() for pad in (0, 17, 600)]
    assert losses[1:] == pytest.approx(losses[:1] * 2, abs=1e-3)


@pytest.mark.parametrize("method", ["full", "lora", "prompt-random"])
def test_the_loss_without_a_mask_is_the_one_with_it(method, batch, attentive):
    """In float64, where nothing but the mask could make a difference."""
    recipe = Recipe(method=method, lora_rank=4, lora_alpha=8, virtual_tokens=5)
    ahead = 5 * (method == "prompt-random")
    model = adapt(attentive(), recipe).double().eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:  # as it is made, an adapter changes nothing
                value.normal_(std=0.1)
        inputs = padded(batch, 0)
        fields = {name: value for name, value in inputs.items() if name != "labels"}
        logits = model(**fields).logits[:, ahead:-1]
        wanted = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), inputs["labels"][:, 1:].flatten(), reduction="sum", ignore_index=IGNORED
        )
        loss = completion_loss(model, inputs, virtual_tokens=ahead)
    assert loss.units > 50 and (loss.total - wanted).abs() < 1e-6 * wanted


def leak(model, inputs, batch):
    """By how much the loss and the gradients of a packed batch differ from those of its rows."""
    alone = loss_and_gradients(model, [padded([row], 0) for row in batch])
    loss, _, gradients = loss_and_gradients(model, [inputs])
    change = [(gradients[name] - one).norm() / one.norm() for name, one in alone[2].items()]
    return abs(loss - alone[0]), max(change).item()


def test_rows_see_each_other_where_positions_do_not_begin_anew(batch, model):
    """The one thing that parts packed rows. So that the tests above could fail."""
    inputs = packed(batch)
    assert max(leak(model, inputs, batch)) < 1e-4
    running = inputs | {"position_ids": torch.arange(inputs["input_ids"].shape[1])[None]}
    without = {name: value for name, value in inputs.items() if name != "position_ids"}
    for broken in (running, without):
        loss, gradients = leak(model, broken, batch)
        assert loss > 1e-2 and gradients > 1e-1


def test_one_rows_tokens_change_no_other_rows_loss(batch, model):
    """Each row's own loss in a pack, with another row's tokens turned around."""
    inputs = packed(batch[:2])
    border = len(batch[0]["input_ids"])

    def second(inputs):
        labels = inputs["labels"].clone()
        labels[:, :border] = IGNORED
        return completion_loss(model, inputs | {"labels": labels}).total.item()

    turned = inputs["input_ids"].clone()
    turned[:, :border] = turned[:, :border].flip(1)
    assert second(inputs | {"input_ids": turned}) == pytest.approx(second(inputs), abs=1e-3)
    alone = completion_loss(model, padded(batch[1:2], 0)).total.item()
    assert second(inputs) == pytest.approx(alone, abs=1e-3)
    running = torch.arange(inputs["input_ids"].shape[1])[None]
    assert abs(second(inputs | {"input_ids": turned, "position_ids": running}) - alone) > 0.1
