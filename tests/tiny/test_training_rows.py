"""Rows side by side and as a tree: the same loss and the same gradients as one row at a time."""

import pytest
import torch

from common.training import attention
from common.training.adapters import adapt
from common.training.losses import completion_loss, token_log_probabilities
from common.training.recipe import Recipe
from common.training.rows import IGNORED, collated, dummy, prefixes

ONE = {"input_ids": [5, 6, 7, 8], "labels": [IGNORED, IGNORED, 7, 8]}
TWO = {"input_ids": [9, 10], "labels": [IGNORED, 10]}
OTHER = {"input_ids": [5, 6, 11], "labels": [IGNORED, IGNORED, 11]}  # begins as ONE does


def padded(rows, pad=0):
    return collated([rows], pad=pad, as_tree=False)


def treed(rows):
    return collated([rows], pad=0, as_tree=True)


@pytest.fixture(scope="module")
def batch(tokens, rows):
    """Four rows of unlike length, the longest neither first nor last."""
    found = sorted(tokens(rows[0]), key=lambda row: len(row["input_ids"]))
    chosen = [found[10], found[-1], found[0], found[20]]
    assert len({len(row["input_ids"]) for row in chosen}) == 4
    return chosen


@pytest.fixture
def model(attentive):
    """Reads trees, by the CPU's own attention."""
    model = attentive().model.train()
    with attention.reading(model, attention.TREE):
        yield model


def loss_and_gradients(model, batches):
    """Of the mean over the taught tokens of all batches together."""
    model.zero_grad()
    total = count = 0
    for inputs in batches:
        part = completion_loss(model, inputs)
        total, count = total + part.total, count + part.units
    (total / count).backward()
    return (total / count).item(), count.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def lists(inputs):
    return {name: tensor.tolist() for name, tensor in inputs.items()}


def test_padded_by_hand():
    made = padded([TWO, ONE])
    assert lists(made) == {
        "input_ids": [[9, 10, 0, 0], [5, 6, 7, 8]],
        "predictors": [0, 5, 6],
        "targets": [10, 7, 8],
        "counts": [1, 2],
    }
    assert {tensor.dtype for tensor in made.values()} == {torch.int64}


def test_a_tree_by_hand():
    """A row's last token predicts none: it is not read."""
    made = treed([TWO, OTHER, ONE, OTHER])
    assert lists(made) == {
        "input_ids": [[5, 6, 7, 9]],
        "positions": [[0, 1, 2, 0]],
        "ends": [[3, 3, 3, 4]],
        "predictors": [3, 1, 1, 2, 1],  # 7 and 11 are both predicted at 6
        "targets": [10, 11, 7, 8, 11],
        "counts": [1, 1, 2, 1],
    }
    assert {tensor.dtype for tensor in made.values()} == {torch.int64}


def test_one_row_is_padded_as_it_is_and_as_a_tree_all_but_its_last_token():
    assert lists(padded([ONE])) == {
        "input_ids": [ONE["input_ids"]],
        "predictors": [1, 2],
        "targets": [7, 8],
        "counts": [2],
    }
    made = lists(treed([ONE]))
    assert (made["input_ids"], made["positions"], made["ends"]) == ([[5, 6, 7]], [[0, 1, 2]], [[3, 3, 3]])
    assert (made["predictors"], made["targets"], made["counts"]) == ([1, 2], [7, 8], [2])


def test_items_are_taken_in_order_and_numbers_of_a_row_go_along():
    items = [[ONE | {"reference": 0.5}, OTHER | {"reference": 1.5}], [TWO | {"reference": -2.0}]]
    for as_tree in (False, True):
        made = collated(items, pad=0, as_tree=as_tree)
        assert made["reference"].tolist() == [0.5, 1.5, -2.0] and made["reference"].dtype == torch.float32
        assert (made["counts"].tolist(), made["targets"].tolist()) == ([2, 1, 1], [7, 8, 11, 10])


def test_a_dummy_is_the_shortest_item_with_nothing_labelled():
    assert dummy([[ONE], [TWO], [OTHER]]) == [{"input_ids": [9, 10], "labels": [IGNORED, IGNORED]}]
    for as_tree in (False, True):
        made = collated([dummy([[ONE], [TWO, OTHER]])], pad=0, as_tree=as_tree)
        assert (made["predictors"].tolist(), made["targets"].tolist(), made["counts"].tolist()) == ([], [], [0])


def test_items_cost_what_their_trees_read():
    for items in ([[ONE]], [[OTHER]], [[TWO]], [[ONE, OTHER]], [[ONE], [OTHER], [TWO]]):
        counted = prefixes(items)
        ranked = counted.ranked(range(len(items)))
        read = collated([items[i] for i in ranked], pad=0, as_tree=True)["input_ids"].numel()
        assert counted.cost(ranked)(0, len(items)) == read


def test_completion_loss_by_hand():
    """A model that always gives token t the logit t/10, at positions that it is asked for only."""

    class Output:
        def __init__(self, logits):
            self.logits = logits

    asked = []

    def model(input_ids, logits_to_keep, use_cache, **tree):
        asked.append((logits_to_keep.int().tolist(), use_cache, sorted(tree)))
        return Output((torch.arange(20) / 10).expand(logits_to_keep.sum(), 20))

    norm = sum(2.718281828 ** (t / 10) for t in range(20))
    for inputs, tokens in ((padded([TWO, ONE]), (10, 7, 8)), (treed([TWO, ONE, OTHER]), (10, 7, 8, 11))):
        loss = completion_loss(model, inputs)
        chances = [2.718281828 ** (t / 10) / norm for t in tokens]
        assert loss.units.item() == len(tokens) and loss.sums == {}
        assert loss.total.item() == pytest.approx(-sum(torch.tensor(chances).log().tolist()), abs=1e-5)
        completion_loss(model, inputs, virtual_tokens=5)
    # Token 1 of the first row, tokens 2 and 3 of the second, each from the position before it; those of the tree once.
    none, names = [0] * 5, ["ends", "positions"]
    assert asked == [
        ([[1, 0, 0, 0], [0, 1, 1, 0]], False, []),
        ([none + [1, 0, 0, 0], none + [0, 1, 1, 0]], False, []),
        ([[0, 1, 1, 1]], False, names),
        ([none + [0, 1, 1, 1]], False, names),
    ]


def test_each_labelled_token_has_the_logits_of_its_own_place():
    """A model whose logits say where they come from; two rows share a place, and rows come out of the tree's order."""

    def model(input_ids, logits_to_keep, **_):
        places = logits_to_keep.flatten().nonzero().flatten()
        return type("Output", (), {"logits": torch.nn.functional.one_hot(places, 20) * 9.0})

    inputs = treed([TWO, OTHER, ONE])
    chances = token_log_probabilities(model, inputs | {"targets": inputs["predictors"]})
    assert inputs["predictors"].tolist() == [3, 1, 1, 2] and (chances > -0.01).all()


def test_the_loss_is_the_one_over_full_logits(batch, model, loss_by_hand):
    for inputs in (padded(batch), treed(batch)):
        loss, count, _ = loss_and_gradients(model, [inputs])
        assert count == sum(token != IGNORED for row in batch for token in row["labels"])
        assert loss == pytest.approx(loss_by_hand(model, batch), abs=1e-5)


@pytest.mark.parametrize("implementation", [attention.TREE, attention.MASK])
def test_trees_padded_and_single_rows_have_one_loss_and_one_gradient(implementation, batch, attentive):
    model = attentive().model.train()
    alone = loss_and_gradients(model, [padded([row]) for row in batch])
    with attention.reading(model, implementation):
        for batches in ([padded(batch)], [treed(batch)], [treed(batch[:3]), treed(batch[3:])], [treed(batch[::-1])]):
            loss, count, gradients = loss_and_gradients(model, batches)
            assert loss == pytest.approx(alone[0], abs=1e-5)
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
    with torch.no_grad(), attention.reading(model, attention.TREE):
        for name, value in model.named_parameters():
            if "lora_B" in name:  # as it is made, an adapter changes nothing
                value.normal_(std=0.1)
        inputs = padded(batch)
        width = inputs["input_ids"].shape[1]
        lengths = [len(row["input_ids"]) for row in batch]
        mask = torch.tensor([[1] * length + [0] * (width - length) for length in lengths])
        labels = torch.tensor([row["labels"] + [IGNORED] * (width - len(row["labels"])) for row in batch])
        logits = model(input_ids=inputs["input_ids"], attention_mask=mask).logits[:, ahead:-1]
        wanted = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum", ignore_index=IGNORED
        )
        for inputs in (padded(batch), treed(batch)):
            loss = completion_loss(model, inputs, virtual_tokens=ahead)
            assert loss.units > 50 and (loss.total - wanted).abs() < 1e-6 * wanted


def leak(model, inputs, batch):
    """By how much the loss and the gradients of a tree differ from those of its rows."""
    alone = loss_and_gradients(model, [padded([row]) for row in batch])
    loss, _, gradients = loss_and_gradients(model, [inputs])
    change = [(gradients[name] - one).norm() / one.norm() for name, one in alone[2].items()]
    return abs(loss - alone[0]), max(change).item()


def test_rows_see_each_other_where_a_tree_is_wrong(batch, model):
    """So that the tests above could fail."""
    inputs = treed(batch)
    assert max(leak(model, inputs, batch)) < 1e-4
    count = inputs["input_ids"].shape[1]
    running = inputs | {"positions": torch.arange(count)[None]}
    open_ended = inputs | {"ends": torch.full_like(inputs["ends"], count)}
    without = {name: value for name, value in inputs.items() if name not in ("positions", "ends")}
    for broken in (running, open_ended, without):
        loss, gradients = leak(model, broken, batch)
        assert loss > 3e-4 and gradients > 1e-1


def test_one_rows_tokens_change_no_other_rows_loss(batch, model):
    """What a row alone holds is turned around; the other's log-probabilities stay."""

    def second(rows):
        with torch.no_grad():
            return token_log_probabilities(model, treed(rows))[-taught:]

    one, other = batch[:2]
    taught = sum(label != IGNORED for label in other["labels"])
    half = len(one["input_ids"]) // 2
    turned = one | {"input_ids": one["input_ids"][:half] + one["input_ids"][half:][::-1]}
    alone = second([other])
    for rows in ([one, other], [turned, other]):
        assert torch.allclose(second(rows), alone, rtol=0, atol=1e-5)
