"""What a training computes in, from the dtype of the base weights and the hardware. Knows no trainer."""

import torch

from common.settings import UserError


def precision_arguments(dtype: torch.dtype) -> dict:
    """The trainer's precision from the dtype in which the profile loads base weights; master weights are float32.

    The profile has it from the hardware: float32 on a CPU, float16 with loss scaling on a T4, bfloat16 with TF32 from
    compute capability 8 on. Raises UserError for bfloat16 on an older GPU.
    """
    if not torch.cuda.is_available() or dtype == torch.float32:
        return {"bf16": False, "fp16": False}
    if dtype == torch.float16:
        return {"bf16": False, "fp16": True}
    if torch.cuda.get_device_capability()[0] < 8:
        raise UserError("this GPU has no bfloat16; take the profile t4, which trains in float16")
    return {"bf16": True, "fp16": False, "tf32": True}
