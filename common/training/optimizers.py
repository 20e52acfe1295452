"""The optimisers by their names in a recipe. In each of them weight decay is decoupled: it shrinks weights by the rate
times the decay and is no part of the gradient (arXiv:1711.05101).

torch couples it in Adam, NAdam and Adamax unless told otherwise: added to the gradient after clipping, .01 of a weight
is then many times what clipping to a norm of 1 leaves of the gradient. With decoupled decay adam is adamw.
"""

from typing import Any

import torch

from common.settings import UserError
from common.training.recipe import CUDA_OPTIMIZERS, Recipe


class Adamax(torch.optim.Adamax):
    """torch's, with decoupled weight decay, which torch has for NAdam but not for it."""

    @torch.no_grad()
    def step(self, closure=None):
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
            group["weight_decay"] = 0.0
        try:
            return super().step(closure)
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay


# Fused kernels where torch has them: one pass over the states, no temporaries.
_TORCH = {
    "adam": (torch.optim.Adam, {"fused": True, "decoupled_weight_decay": True}),
    "adamw": (torch.optim.AdamW, {"fused": True}),
    "nadam": (torch.optim.NAdam, {"decoupled_weight_decay": True}),
    "adamax": (Adamax, {}),
}
_BITSANDBYTES = {
    "adam_8bit": "Adam8bit",
    "adamw_8bit": "AdamW8bit",
    "paged_adam_8bit": "PagedAdam8bit",
    "paged_adamw_8bit": "PagedAdamW8bit",
    "paged_adamw": "PagedAdamW",
}


def optimizer_class(recipe: Recipe) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """Class and arguments for the trainer, which sets the weight decay itself (none on norms and biases).

    bitsandbytes decouples the decay in both its Adam and its AdamW, which are one. Raises UserError without CUDA for an
    optimiser that needs it.
    """
    shared = {"lr": recipe.learning_rate, "betas": recipe.betas, "eps": 1e-8}
    if recipe.optimizer in CUDA_OPTIMIZERS:
        if not torch.cuda.is_available():
            plain = recipe.optimizer.removeprefix("paged_").removesuffix("_8bit")
            raise UserError(f"the optimiser {recipe.optimizer} needs a CUDA device; take {plain} here")
        import bitsandbytes

        return getattr(bitsandbytes.optim, _BITSANDBYTES[recipe.optimizer]), shared
    kind, options = _TORCH[recipe.optimizer]
    return kind, shared | options
