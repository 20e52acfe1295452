"""The useful arithmetic of a training, and the rate at which this machine multiplies matrices.

Counted as Kaplan et al. 2020 (arXiv:2001.08361, section 2.1) and PaLM (arXiv:2204.02311, appendix B) do: two operations
a weight and token forward, two for the gradient of the input, two for the gradient of the weight, the last only where
the weight is trained. What a recipe computes beyond that is not useful: layers computed again, padding, logits that no
loss over the completion needs. Not counted at all: attention's own products, norms, activations, the optimiser.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch

from common.generation import onednn
from common.profiles import multiplies_bfloat16

LARGE = {"cpu": 2048, "cuda": 8192}  # side of the square product
ROWS = 512  # tokens of a micro-batch: the products of a training have so many rows
ATTEMPTS = 5


@dataclass(frozen=True)
class Products:
    """The matrix products of a causal language model: (in, out) of each weight in its layers, and of its output head.

    `rank` is LoRA's on every weight of the layers, 0 without it. `frozen`: nothing that is counted here is trained, as
    in prompt tuning; LoRA's base weights are frozen in any case.
    """

    layers: tuple[tuple[int, int], ...]
    head: tuple[int, int]
    rank: int = 0
    frozen: bool = False

    def useful_flops(self, *, tokens: int, labelled: int) -> int:
        """Of one pass forward and back over `tokens` tokens (no padding), of which `labelled` are predicted.

        Only a predicted token needs the output head.
        """
        weights = sum(a * b for a, b in self.layers)
        adapter = self.rank * sum(a + b for a, b in self.layers)
        head = self.head[0] * self.head[1]
        each = 4 if self.rank or self.frozen else 6  # a frozen weight has no gradient of its own
        return (each * weights + 6 * adapter) * tokens + each * head * labelled


def products(model: torch.nn.Module, *, rank: int = 0, frozen: bool = False) -> Products:
    """Of a model without adapter; a quantised weight counts as the weight that it stands for."""
    head = model.get_output_embeddings()
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head]
    layers = tuple((module.in_features, module.out_features) for module in linear)
    return Products(layers, (head.in_features, head.out_features), rank, frozen)


def rates(shapes: Iterable[tuple[int, int]], device: torch.device) -> dict[str, float]:
    """Operations a second by each library and dtype of this machine that trains: the best of a large square product and
    of (ROWS × in) · (in × out) over `shapes`. The largest of them is the ceiling."""
    side = LARGE[device.type]
    sizes = [(side, side, side), *((ROWS, wide, high) for wide, high in sorted(set(shapes)))]
    best: dict[str, float] = {}
    for rows, wide, high in sizes:
        for name, product in _products(rows, wide, high, device).items():
            best[name] = max(best.get(name, 0.0), 2 * rows * wide * high / _fastest(product, device))
    return best


def _products(rows: int, wide: int, high: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """Ways of multiplying inputs (rows, in) by a weight (out, in), by name."""
    linear = torch.nn.functional.linear
    inputs, weight = torch.randn(rows, wide, device=device), torch.randn(high, wide, device=device)
    halves = inputs.bfloat16(), weight.bfloat16()
    ways: dict[str, Callable[[], object]] = {
        "float32": lambda: linear(inputs, weight),
        "bfloat16": lambda: linear(*halves),
    }
    if device.type == "cpu" and onednn.available():
        pairs = {"float32": (inputs, weight)} | ({"bfloat16": halves} if multiplies_bfloat16() else {})
        for name, (one, other) in pairs.items():
            layout = torch.ops.mkldnn._reorder_linear_weight(other)
            ways[f"{name}-onednn"] = partial(onednn._multiply, layout, None, one)
    return ways


def _fastest(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of a few calls: a ceiling is what the machine can do when nothing is in its way."""
    taken = []
    for _ in range(ATTEMPTS):
        start = time.perf_counter()
        action()
        wait(device)
        taken.append(time.perf_counter() - start)
    return min(taken)


def wait(device: torch.device) -> None:
    """Until everything asked of a GPU is done; a CPU is done when the call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
