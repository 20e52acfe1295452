"""The optimisers of the search space. Fused kernels where torch has them: one pass over the states, no temporaries."""

from typing import Any

import torch

from common.settings import UserError
from common.training.recipe import CUDA_OPTIMIZERS, Recipe

_TORCH = {
    "adam": (torch.optim.Adam, {"fused": True}),
    "adamw": (torch.optim.AdamW, {"fused": True}),
    "nadam": (torch.optim.NAdam, {}),
    "adamax": (torch.optim.Adamax, {}),
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

    Decay is decoupled in AdamW and an L2 term in the others, as torch defines them; bitsandbytes decouples it in both
    its Adam and its AdamW, which are one. Raises UserError without CUDA for an optimiser that needs it.
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
