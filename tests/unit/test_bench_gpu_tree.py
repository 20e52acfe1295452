"""Tree-packed updates in the GPU bench: what begins alike, both layouts' micro-batches, one loss in both."""

import pytest
import torch

from bench import gpu_tree
from bench.gpu_model import SMALL, Setting
from bench.gpu_training import IGNORED
from common.training.tree import tree

pytestmark = pytest.mark.usefixtures("one_thread")
SETTING = Setting(SMALL, 1.0)


@pytest.mark.parametrize("kind", gpu_tree.ANSWERS)
def test_items_begin_alike(kind):
    rows = SETTING.rows(6)
    items = gpu_tree.make_items(rows, kind)
    assert [len(item) for item in items] == [gpu_tree.ANSWERS[kind]] * 6
    heads = {tuple(row["input_ids"][: gpu_tree.BEGINNING]) for item in items for row in item}
    assert len(heads) == 1
    for item, row in zip(items, rows, strict=True):
        count = row["labels"].count(IGNORED)
        assert item[0]["input_ids"][gpu_tree.BEGINNING :] == row["input_ids"][gpu_tree.BEGINNING :]
        assert {tuple(one["input_ids"][:count]) for one in item} == {tuple(item[0]["input_ids"][:count])}
        assert all(one["labels"] == [IGNORED] * count + one["input_ids"][count:] for one in item)
        assert len({tuple(one["input_ids"]) for one in item}) == len(item)
        whole = sum(len(one["input_ids"]) for one in item)
        unique = len(tree([one["input_ids"] for one in item]).ids)
        alone = count + len(item) * (len(row["input_ids"]) - count)  # the prompt once, all answers
        assert unique == whole if kind == "sft" else unique <= alone < whole


def test_a_group_is_padded_on_both_sides():
    rows = [
        {"input_ids": [5, 6, 7, 8], "labels": [IGNORED, IGNORED, 7, 8]},
        {"input_ids": [5, 9], "labels": [IGNORED, 9]},
    ]
    batch = gpu_tree.sided(rows, 3)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [3, 5, 9, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 7, 8], [-100, -100, 9, -100]]


@pytest.mark.parametrize("kind", gpu_tree.ANSWERS)
def test_both_layouts_take_the_same_rows_in_each_step(kind):
    items = gpu_tree.make_items(SETTING.rows(4), kind)
    theirs, ours = gpu_tree.trl_steps(items, kind, 2, 4, 0), gpu_tree.tree_steps(items, kind, 2, 2, 0)
    assert theirs.weights == ours.weights and len(theirs.batches) == len(ours.batches) == 2
    for step, tree_step in zip(theirs.batches, ours.batches, strict=True):
        targets = [batch["labels"][batch["labels"] != IGNORED].tolist() for batch in step]
        tree_targets = [batch["targets"].tolist() for batch in tree_step]
        assert sorted(sum(targets, [])) == sorted(sum(tree_targets, []))
    if kind == "sft":
        assert ours.weights[0] == sum(len(batch["targets"]) for batch in ours.batches[0])
    else:
        assert ours.weights[0] == (2 if kind == "pair" else 16)
    assert all(len(batch["input_ids"]) == 4 for batch in theirs.batches[0]) or kind == "sft"


@pytest.mark.parametrize("kind", gpu_tree.ANSWERS)
def test_both_layouts_have_one_loss_and_one_gradient(kind):
    """However the micro-batches are cut."""
    items = gpu_tree.make_items(SETTING.rows(2), kind)
    both, implementation = gpu_tree.ways(SETTING, kind, items, 2)
    losses, gradients = [], []
    for way, size in ((both["-trl"], 2), (both[""], 1), (both[""], 2)):
        torch.manual_seed(0)  # of the adapter's first weights
        training = way.training()
        for name, parameter in training.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
        total = 0.0
        with way.reading(training.model):
            for batch in way.steps(size).batches[0]:
                part = training._loss(training.model, batch)
                part.backward()
                total += part.item()
        losses.append(total)
        gradients.append(torch.cat([p.grad.flatten() for p in training.trained]))
    assert implementation == "tree"
    assert losses[1:] == pytest.approx(losses[:1] * 2, rel=1e-5)
    for gradient in gradients[1:]:
        assert torch.allclose(gradient, gradients[0], atol=2e-5 * gradients[0].abs().max().item())


def test_losses_by_hand():
    sums = torch.tensor([-1.0, -3.0, -2.0, -2.5])
    inputs = {"advantage": torch.tensor([1.0, -1.0, 1.0, -1.0])}

    def loss(kind):
        return gpu_tree.objective(kind, lambda model, inputs: sums)(None, inputs).item()

    assert loss("sft") == 8.5 and loss("group") == pytest.approx(-(-1 + 3 - 2 + 2.5))
    logistic = [torch.sigmoid(torch.tensor(0.1 * gap)).log().item() for gap in (2.0, 0.5)]
    assert loss("pair") == pytest.approx(-sum(logistic))
