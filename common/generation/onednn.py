"""Linear layers on a CPU, multiplied in the layout that oneDNN's products want, for as long as weights do not change.

PyTorch hands a plain weight to the product, which rearranges it at every call; a decoding step has few rows, so that
costs as much as the product (`bench.generation` times both). Covers weights in float32 and bfloat16, and 4-bit ones
that compute in these, unpacked once; all other layers, GPUs, and a PyTorch without these operations are left.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

# oneDNN and PyTorch's side of it each keep 1,024 products that they have prepared, a third of a megabyte a shape, and
# rows of ever new lengths fill that. Read when the first product is made; so many hold what one micro-batch repeats.
for _variable in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_variable, "128")
DTYPES = (torch.float32, torch.bfloat16)
OPERATIONS = ("_reorder_linear_weight", "_linear_pointwise")  # private to PyTorch: asked for before they are used


@contextmanager
def laid_out(model: torch.nn.Module) -> Iterator[None]:
    """Within it, the linear layers of `model` use copies of their weights; changed weights and gradients are not seen.

    A product differs from the plain one by rounding only.
    """
    changed = []
    try:
        for module in model.modules() if available() else ():
            if (weight := _plain_weight(module)) is not None:
                changed.append((module, vars(module).get("forward")))  # a training may have given it another one
                module.forward = partial(_multiply, torch.ops.mkldnn._reorder_linear_weight(weight), module.bias)
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
