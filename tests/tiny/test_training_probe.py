"""The largest micro-batch tried before a training: what fits, what fits with activations computed again, what does not.

A callable that runs out of memory stands for a GPU that is too small; one pass is the tiny model's real one.
"""

import gc
import weakref

import pytest
import torch

from common.models import parameter_counts
from common.training.adapters import adapt
from common.training.losses import completion_loss
from common.training.probe import NOTICE, NoFit, feasible_recipe, fits
from common.training.rows import collated


@pytest.fixture
def lora(tiny, short):
    return adapt(tiny(), short.with_values({"method": "lora", "lora_dropout": 0.5}))


@pytest.fixture
def loss(lora, rows, tokens):
    """Of four rows, by a model that is in training: its dropout draws random numbers."""
    batch = collated([[row] for row in tokens(rows[0][:4])], pad=0, as_tree=False)
    return lambda: completion_loss(lora, batch).total


def state(model) -> tuple:
    """What may not change: gradients, modes, hooks, random numbers, weights."""
    return (
        [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        [(m.training, len(m._forward_hooks), getattr(m, "gradient_checkpointing", None)) for m in model.modules()],
        torch.get_rng_state().tolist(),
        sum(p.double().sum().item() for p in model.parameters()),
    )


def raise_no_memory():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")


def test_a_pass_that_fits_leaves_everything_as_it_was(lora, loss):
    lora.eval()
    first = next(p for p in lora.parameters() if p.requires_grad)
    first.grad = torch.ones_like(first)
    before, calls = state(lora), []

    def look():
        calls.append(lora.training and all((p.grad is not None) == p.requires_grad for p in lora.parameters()))
        total = loss()
        total.register_hook(lambda gradient: calls.append("backward"))
        return total

    assert fits(lora, look)
    assert calls == [True, "backward"]  # in training, with gradients there, and back
    assert state(lora) == before
    assert torch.equal(loss(), loss())  # still in evaluation: no dropout


@pytest.mark.parametrize("at", ["forward", "backward"])
def test_a_pass_that_does_not_fit_leaves_everything_as_it_was(lora, loss, at):
    before = state(lora)

    def fail():
        total = loss()
        total.register_hook(lambda gradient: raise_no_memory())
        return raise_no_memory() if at == "forward" else total

    assert not fits(lora, fail)
    assert state(lora) == before


def test_what_a_failed_pass_took_is_freed(lora):
    references = []

    def fail():
        activations = torch.zeros(1000)
        references.append(weakref.ref(activations))
        raise_no_memory()

    assert not fits(lora, fail)
    assert references[0]() is None


def test_another_error_is_none_of_memory_and_passes(lora):
    before = state(lora)
    with pytest.raises(ZeroDivisionError):
        fits(lora, lambda: 1 / 0)
    assert state(lora) == before


def test_the_optimisers_states_have_their_room(lora, loss, short):
    sizes = []

    def look():
        tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor and each.dtype == torch.uint8]
        sizes.extend(tensor.numel() for tensor in tensors)
        return loss()

    states = 8 * parameter_counts(lora)[0]  # AdamW's two in float32
    assert feasible_recipe(lora, short, look) == short and states in sizes
    del sizes[:]
    gc.collect()
    assert fits(lora, look) and states not in sizes


def test_what_does_not_fit_is_computed_again_and_says_so(lora, loss, short, capsys):
    before, modes = state(lora), []

    def look():
        modes.append(lora.is_activation_checkpointing)
        return loss() if modes[-1] else raise_no_memory()

    assert feasible_recipe(lora, short, look) == short.with_values({"gradient_checkpointing": True})
    assert modes == [False, True] and state(lora) == before
    assert capsys.readouterr().out == f"{NOTICE}\n"


def test_what_fits_is_left_alone(lora, loss, short, capsys):
    assert feasible_recipe(lora, short, loss) == short
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_never_fits_is_one_line(lora, short, checkpointing):
    before, modes = state(lora), []

    def look():
        modes.append(lora.is_activation_checkpointing)
        raise_no_memory()

    with pytest.raises(
        NoFit, match="^the largest micro-batch does not fit in the GPU's memory, though .*; lower per_dev"
    ):
        feasible_recipe(lora, short.with_values({"gradient_checkpointing": checkpointing}), look)
    assert modes == ([True] if checkpointing else [False, True]) and state(lora) == before
