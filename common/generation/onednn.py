"""Linear layers on a CPU, multiplied in the layout that oneDNN's products want, for as long as weights do not change.

PyTorch hands a plain weight to the product, which rearranges it at every call; a decoding step has few rows, so that
costs as much as the product (`bench.generation` times both). Covers weights in float32 and bfloat16, and 4-bit ones
that compute in these, unpacked once; all other layers, GPUs, and a PyTorch without these operations are left.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from peft.tuners.lora import LoraLayer

# oneDNN and PyTorch's side of it each keep 1,024 products that they have prepared, a third of a megabyte a shape, and
# rows of ever new lengths fill that. Read when the first product is made; so many hold what one micro-batch repeats.
for _variable in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_variable, "128")
DTYPES = (torch.float32, torch.bfloat16)
OPERATIONS = ("_reorder_linear_weight", "_linear_pointwise")  # private to PyTorch: asked for before they are used


@dataclass(frozen=True)
class Update:
    """A plain LoRA layer: a frozen linear layer and what stands beside it. down: (rank, in), up: (out, rank)."""

    base: torch.nn.Linear
    down: torch.nn.Parameter
    up: torch.nn.Parameter
    scaling: float


def plain_update(module: torch.nn.Module) -> Update | None:
    """None where a module is no LoRA layer, or more than a plain one: a variant, a dropout, several or no adapters."""
    if not isinstance(module, LoraLayer) or module.disable_adapters or module.merged:
        return None
    names, base = module.active_adapters, module.get_base_layer()
    if len(names) != 1 or names[0] not in module.lora_A or names[0] in getattr(module, "lora_variant", {}):
        return None
    (name,) = names
    down, up, dropout = module.lora_A[name], module.lora_B[name], module.lora_dropout[name]
    if not isinstance(base, torch.nn.Linear) or base.weight.requires_grad or getattr(dropout, "p", 0.0):
        return None
    if down.bias is not None or up.bias is not None:
        return None
    return Update(base, down.weight, up.weight, module.scaling[name])


@contextmanager
def laid_out(model: torch.nn.Module) -> Iterator[None]:
    """Within it, the linear layers of `model` use copies of their weights; changed weights and gradients are not seen.

    A product differs from the plain one by rounding only; a plain LoRA layer computes in its base weight's dtype.
    """
    changed, bases = [], set()
    try:
        for module in model.modules() if available() else ():
            update = plain_update(module)
            if module in bases or (weight := _plain_weight(update.base if update else module)) is None:
                continue
            changed.append((module, vars(module).get("forward")))  # a training may have given it another one
            layout = torch.ops.mkldnn._reorder_linear_weight(weight)
            if update:
                bases.add(update.base)
                down, up = update.down.detach(), update.up.detach() * update.scaling
                sides = down.to(weight.dtype).t(), up.to(weight.dtype).t()
                module.forward = partial(_multiply_beside, layout, update.base.bias, *sides)
            else:
                module.forward = partial(_multiply, layout, module.bias)
        yield
    finally:
        for module, forward in changed:
            del module.forward
            if forward is not None:
                module.forward = forward


def available() -> bool:
    """Whether this PyTorch has oneDNN and both operations."""
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in OPERATIONS)


def _multiply(weight: torch.Tensor, bias: torch.Tensor | None, inputs: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")


def _multiply_beside(
    weight: torch.Tensor, bias: torch.Tensor | None, down: torch.Tensor, up: torch.Tensor, inputs: torch.Tensor
) -> torch.Tensor:
    return _multiply(weight, bias, inputs).add_(inputs @ down @ up)


def _plain_weight(module: torch.nn.Module) -> torch.Tensor | None:
    """The weight in the dtype of its products, (out, in), where it can be laid out anew."""
    if not isinstance(module, torch.nn.Linear):
        return None
    weight = module.weight.detach()
    if weight.device.type != "cpu":
        return None
    is_packed = bool(getattr(module.weight, "quant_state", None))
    if type(module).forward is not torch.nn.Linear.forward and not is_packed:
        return None  # a router, or a layer that quantises on the way: it does more than multiply
    if is_packed and getattr(module, "compute_dtype", None) in DTYPES:
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(weight, module.weight.quant_state).to(module.compute_dtype)
    return weight if weight.dtype in DTYPES and weight.dim() == 2 else None
