"""TRL's fused head in the GPU bench: its micro-batches, its loss beside the plain one; how answers are checked."""

import pytest
import torch

from bench import gpu_generation, gpu_head, gpu_training
from bench.gpu_generation import Answered
from bench.gpu_model import SMALL, Setting
from common.training.rows import IGNORED

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = [
    {"input_ids": [9, 8, 7, 6, 5], "labels": [IGNORED, IGNORED, 7, 6, 5]},
    {"input_ids": [11, 12, 13], "labels": [IGNORED, IGNORED, 13]},
]


def test_labels_lie_beside_the_tokens_and_padding_has_none():
    steps = gpu_training.plain_steps(ROWS, [[[0, 1]], [[1]]], pad=3)
    batch = steps.batches[0][0]
    assert batch["input_ids"].tolist() == [[9, 8, 7, 6, 5], [11, 12, 13, 3, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 7, 6, 5], [-100, -100, 13, -100, -100]]
    assert steps.weights == [4, 1] and steps.batches[1][0]["input_ids"].tolist() == [[11, 12, 13]]


def test_the_fused_loss_and_its_gradient_are_the_plain_ones():
    setting = Setting(SMALL, 1.0)
    rows, losses, gradients = setting.rows(4), [], []
    plan = gpu_training.plan_of(rows, 4, 2)
    batch = gpu_training.plain_steps(rows, plan, 0).batches[0][0]
    for training in (
        gpu_head.by_trl(setting, None),
        gpu_training.Training(
            setting.load().model.requires_grad_(True),
            gpu_training.recipe("full", 4),
            gpu_training.plain_completion_loss,
            None,
        ),
    ):
        total = training._loss(training.model, batch)
        total.backward()
        losses.append(total.item())
        gradients.append(training.model.get_input_embeddings().weight.grad.clone())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert torch.allclose(*gradients, atol=1e-4 * gradients[1].abs().max())


def test_answers_of_another_length_are_no_measurement():
    lengths = [5] * 100
    gpu_generation.check_lengths(Answered(1.0, [5] * 99 + [6], 0), lengths)
    with pytest.raises(RuntimeError, match="only 98 of 100 answers ended where they should"):
        gpu_generation.check_lengths(Answered(1.0, [5] * 98 + [6, 7], 0), lengths)
