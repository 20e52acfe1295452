"""Whether a training fits in the GPU's memory, by trying: the largest micro-batch once forward and back.

That holds what a later step holds: gradients of what is trained, and the room of the optimiser's states. Nothing of it
stays: no gradient, no random number, no mode. Arithmetic before it is `estimate`; a step of the optimiser, several
micro-batches of different sizes after each other, and CPUs, which swap before they refuse, are not covered.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator

import torch

from common import distributed
from common.models import parameter_counts
from common.settings import UserError
from common.training.estimate import STATE_BYTES
from common.training.recipe import Recipe

NOTICE = "activations are computed again in the backward pass: kept, they did not fit in the GPU's memory"


class NoFit(UserError):
    """A training whose largest micro-batch does not fit in the GPU's memory, whatever is computed again."""


def feasible_recipe(model: torch.nn.Module, recipe: Recipe, loss: Callable[[], torch.Tensor]) -> Recipe:
    """The recipe as it runs: as it is where the largest micro-batch fits, else with activations computed again in the
    backward pass, of which a line is printed.

    model: as it is trained, adapters included. loss: computes the largest micro-batch's loss, a scalar, as the training
    will (its autocast too). Of several processes all come here, and all get the same. Raises NoFit.
    """
    states = STATE_BYTES.get(recipe.optimizer, 0) * parameter_counts(model)[0]
    if not recipe.gradient_checkpointing:
        if _all_fit(model, loss, states):
            return recipe
        recipe = recipe.with_values({"gradient_checkpointing": True})
    was_on = model.is_activation_checkpointing
    model.activation_checkpointing_enable()
    try:
        safe = _all_fit(model, loss, states)
    finally:
        if not was_on:
            model.activation_checkpointing_disable()
            model.disable_input_require_grads()
    if not safe:
        raise NoFit(
            "the largest micro-batch does not fit in the GPU's memory, though activations are computed again; lower "
            "per_device_train_batch_size or max_length, or take method='qlora' or an optimizer with smaller states"
        )
    if distributed.is_main():
        print(NOTICE)
    return recipe


def _all_fit(model: torch.nn.Module, loss: Callable[[], torch.Tensor], reserve: int) -> bool:
    return all(distributed.gathered(fits(model, loss, reserve=reserve)))


def fits(model: torch.nn.Module, loss: Callable[[], torch.Tensor], *, reserve: int = 0) -> bool:
    """Whether `loss()` and its backward pass fit in memory, with gradients there and `reserve` bytes more.

    Gradients, modes and random states are left as they were, and the memory is given back.
    """
    with _unchanged(model):
        safe = _passes(model, loss, reserve)  # its own frame: what it held is gone when it returns
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return safe


def _passes(model: torch.nn.Module, loss: Callable[[], torch.Tensor], reserve: int) -> bool:
    try:
        weight = next(model.parameters())
        states = torch.empty(reserve, dtype=torch.uint8, device=weight.device)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        model.train()
        loss().backward()
        if weight.is_cuda:
            torch.cuda.synchronize(weight.device)
        del states
    except torch.OutOfMemoryError:
        return False
    return True


@contextlib.contextmanager
def _unchanged(model: torch.nn.Module) -> Iterator[None]:
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, mode in modes:
            module.training = mode
