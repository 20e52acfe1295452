"""What every trainer is called with: precision and the arguments that no objective changes."""

import math
from pathlib import Path

import torch

from common.settings import UserError
from common.training.recipe import Recipe

# float16's loss is scaled up by this at first. torch's own 65,536 overflows in the first steps of a training, and a
# step that overflows is skipped: of a search's few steps that would be a part worth having.
FIRST_SCALE = 2.0**10


def trainer_arguments(recipe: Recipe, dtype: torch.dtype, folder: Path, *, steps: int, accumulation: int) -> dict:
    """Arguments for any trainer whose items are whole micro-batches and which runs `steps` steps.

    dtype: of the base weights. accumulation: micro-batches a step of this process.
    """
    return {
        "output_dir": str(folder),
        "num_train_epochs": 1,  # the plan holds all epochs
        "per_device_train_batch_size": 1,  # an item is a whole micro-batch
        "per_device_eval_batch_size": 1,
        "gradient_accumulation_steps": accumulation,
        "ddp_find_unused_parameters": False,  # every step uses all that is trained
        "train_sampling_strategy": "sequential",
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        # One cycle, the library's default, would be plain cosine under another name.
        "lr_scheduler_kwargs": {"num_cycles": 2} if recipe.schedule == "cosine_with_restarts" else None,
        "warmup_steps": min(math.ceil(recipe.warmup_ratio * steps), steps - 1),  # one step at least has a rate
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "activation_checkpointing": recipe.gradient_checkpointing,
        "use_cpu": not torch.cuda.is_available(),
        "eval_strategy": "no",  # Stops says when
        "save_strategy": "no",
        "save_total_limit": 2,
        "logging_steps": 1,  # of several steps the mean would depend on where a stopped training went on
        "logging_nan_inf_filter": False,  # a loss that is no number has to be seen
        "remove_unused_columns": False,  # an item names its rows, the model never sees it
        "report_to": "none",
        "disable_tqdm": True,
        "seed": recipe.seed,
        **precision_arguments(dtype),
    }


def precision_arguments(dtype: torch.dtype) -> dict[str, bool]:
    """The trainer's precision from the dtype in which the profile loads base weights; master weights are float32.

    The profile has it from the hardware: bfloat16 on a CPU that multiplies it natively, else float32, float16 with loss
    scaling on a T4, bfloat16 with TF32 from compute capability 8 on. Raises UserError for bfloat16 on an older GPU and
    for float16 on a CPU.
    """
    if dtype == torch.float32:
        return {"bf16": False, "fp16": False}
    if not torch.cuda.is_available():
        if dtype == torch.float16:
            raise UserError("a CPU trains in float32 or bfloat16; load the model with one of these")
        return {"bf16": True, "fp16": False}
    if dtype == torch.float16:
        return {"bf16": False, "fp16": True}
    if torch.cuda.get_device_capability()[0] < 8:
        raise UserError("this GPU has no bfloat16; take the profile t4, which trains in float16")
    return {"bf16": True, "fp16": False, "tf32": True}
