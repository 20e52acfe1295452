"""Linear layers and norms as a CPU trains them fastest: what they compute stays, how is changed for one training.

A LoRA layer multiplies in the arithmetic's dtype throughout and keeps its input once; peft's own casts it to float32
and back and keeps every cast. NF4 weights are dequantised once a training instead of at each product. Float32 products
go to oneDNN where MKL, PyTorch's default, does not know the processor's widest instructions. An RMSNorm keeps its
input and one number a token. Covers CPUs, plain LoRA without dropout, torch's and bitsandbytes' linear layers;
everything else, and answers on the way, run as ever. A GPU keeps its own kernels.
"""

from collections.abc import Callable
from functools import partial

import torch
from peft.tuners.lora import LoraLayer

from common.arithmetic import has_slow_mkl
from common.generation.onednn import Update, available, plain_update

Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def _product(dtype: torch.dtype) -> Product:
    """Of inputs (rows, in) with a weight (out, in) and a bias, by the fastest library for the dtype."""
    return _onednn if dtype == torch.float32 and has_slow_mkl() and available() else torch.nn.functional.linear


def _onednn(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    if not inputs.numel():  # the head of a dummy micro-batch; oneDNN has no product of nothing
        return torch.nn.functional.linear(inputs, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")


class Dense(torch.autograd.Function):
    """A linear layer whose weight is trained: inputs (…, in), weight (out, in), bias (out,) or None, a product."""

    @staticmethod
    def forward(ctx, inputs, weight, bias, product: Product) -> torch.Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1])
        ctx.save_for_backward(rows, weight)
        ctx.product, ctx.has_bias = product, bias is not None
        return product(rows, weight, bias).view(*inputs.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        rows, weight = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        inputs = weights = biases = None
        if ctx.needs_input_grad[0]:
            inputs = ctx.product(flat, weight.t(), None).view(*gradient.shape[:-1], weight.shape[1])
        if ctx.needs_input_grad[1]:
            weights = ctx.product(flat.t(), rows.t(), None)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            biases = flat.sum(dim=0)
        return inputs, weights, biases, None


class LowRank(torch.autograd.Function):
    """A frozen linear layer with a LoRA update beside it, (…, in) → (…, out).

    weight (out, in) and inputs in the arithmetic's dtype; down (rank, in) and up (out, rank) float32, as their
    gradients.
    """

    @staticmethod
    def forward(ctx, inputs, weight, bias, down, up, scaling: float, product: Product) -> torch.Tensor:
        rows = inputs.reshape(-1, inputs.shape[-1])
        narrow, wide = down.to(weight.dtype), (up * scaling).to(weight.dtype)
        hidden = rows @ narrow.t()
        output = product(rows, weight, bias).addmm_(hidden, wide.t())
        ctx.save_for_backward(rows, weight, hidden, narrow, wide)
        ctx.scaling, ctx.product = scaling, product
        return output.view(*inputs.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        rows, weight, hidden, narrow, wide = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        inner = flat @ wide
        down = (inner.t() @ rows).float()
        up = (flat.t() @ hidden).float() * ctx.scaling
        inputs = None
        if ctx.needs_input_grad[0]:
            inputs = ctx.product(flat, weight.t(), None).addmm_(inner, narrow)
            inputs = inputs.view(*gradient.shape[:-1], weight.shape[1])
        return inputs, None, None, down, up, None, None


class Norm(torch.autograd.Function):
    """RMSNorm: x / √(mean x² + eps), times the weight, in float32 but for input and output."""

    @staticmethod
    def forward(ctx, inputs, weight, eps: float) -> torch.Tensor:
        wide = inputs.float()
        scale = (wide.square().mean(dim=-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(inputs, weight, scale)
        return weight * (wide * scale).to(inputs.dtype)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        inputs, weight, scale = ctx.saved_tensors
        normed = inputs.float() * scale
        weights = None
        if ctx.needs_input_grad[1]:
            weights = (gradient * normed).flatten(0, -2).sum(dim=0).to(weight.dtype)
        outer = (gradient * weight).float()
        inner = outer - normed * (outer * normed).mean(dim=-1, keepdim=True)
        return (inner * scale).to(inputs.dtype), weights, None


def accelerate(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Give the layers of a model on a CPU the forms above; whoever trains takes their `forward` off again.

    dtype: of the arithmetic.
    """
    if next(model.parameters()).device.type != "cpu":
        return
    product = _product(dtype)
    for module in model.modules():
        forward = None
        if (update := plain_update(module)) is not None:
            forward = _low_rank(update, dtype, product)
        elif type(module) is torch.nn.Linear and module.weight.requires_grad and product != torch.nn.functional.linear:
            forward = partial(_dense, module, product=product)
        elif (eps := _norm_eps(module)) is not None:
            forward = partial(_normed, module, eps=eps)
        if forward is not None:
            # Answers on the way have layers of their own, see `common.generation.onednn`.
            adapters = list(getattr(module, "active_adapters", ()))
            module.forward = partial(_unless_special, module, adapters, forward, module.forward)


def _unless_special(
    module: torch.nn.Module,
    adapters: list[str],
    forward: Callable,
    plain: Callable,
    inputs: torch.Tensor,
    *args,
    **kwargs,
) -> torch.Tensor:
    """By `plain` in answers, with another adapter than `adapters` or none, and where more is given than the inputs."""
    is_other = isinstance(module, LoraLayer) and (
        module.disable_adapters or module.merged or module.active_adapters != adapters
    )
    if is_other or torch.is_inference_mode_enabled() or args or kwargs:
        return plain(inputs, *args, **kwargs)
    return forward(inputs)


def _dense(module: torch.nn.Linear, inputs: torch.Tensor, *, product: Product) -> torch.Tensor:
    return Dense.apply(inputs, module.weight, module.bias, product)


def _low_rank(update: Update, dtype: torch.dtype, product: Product) -> Callable | None:
    """None where the base layer does more than multiply by a matrix."""
    base, weight = update.base, update.base.weight
    if state := getattr(weight, "quant_state", None):
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(weight.data, state)
    elif type(base).forward is not torch.nn.Linear.forward:
        return None
    if weight.dim() != 2 or not weight.is_floating_point():
        return None
    if base.bias is not None and base.bias.requires_grad:
        return None
    weight = weight.detach().to(dtype)
    bias = None if base.bias is None else base.bias.detach().to(dtype)

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        return LowRank.apply(inputs.to(dtype), weight, bias, update.down, update.up, update.scaling, product)

    return forward


def _normed(module: torch.nn.Module, inputs: torch.Tensor, *, eps: float) -> torch.Tensor:
    output = Norm.apply(inputs, module.weight, eps)
    if inputs.dtype == torch.float32 and torch.is_autocast_enabled("cpu"):
        # Every linear layer that reads it would make such a copy of its own, and keep it.
        return output.to(torch.get_autocast_dtype("cpu"))
    return output


def _norm_eps(module: torch.nn.Module) -> float | None:
    """The number under the root of an RMSNorm as Llama has it; None for any other module.

    Whether it is one is tried out: some models add one to the weight, or multiply before they round.
    """
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if not isinstance(eps, float) or weight is None or weight.dim() != 1:
        return None
    sample = torch.linspace(-1, 2, 3 * len(weight), dtype=weight.dtype).view(3, -1)
    with torch.no_grad():
        return eps if torch.equal(module(sample), Norm.apply(sample, weight, eps)) else None
