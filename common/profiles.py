"""Profiles: one name sets the model, the data and the sizes; the hardware sets precision and batch.

Covers one device. Nothing here loads a model; torch is imported only to look at the hardware.
"""

from dataclasses import dataclass, replace

from common.arithmetic import VARIABLE, cpu_precision, native_bfloat16
from common.settings import UserError

EMBEDDED_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"  # a quick one, for benches and trials
TINY_MODEL = "tiny-random-qwen3"
LARGER_TINY_MODEL = "tiny-random-qwen3-4-layers"


@dataclass(frozen=True)
class Stage:
    """Rows of one stage of the search; stages are the first rows of the one split, so they are nested.

    `trials` candidates are trained in it: in the first stage they are drawn, in a later one they are the best before.
    steps: optimiser steps of each candidate, on as many of the stage's rows as they take; 0: one pass over all of them.
    """

    train_rows: int
    valid_rows: int
    trials: int
    steps: int = 0


@dataclass(frozen=True)
class Profile:
    """Sizes of a run. `precision` is the dtype of weights in evaluation and of training's arithmetic."""

    name: str
    model_id: str
    larger_model_id: str  # what a small trained model is held against, untrained and in NF4
    data: str
    stages: tuple[Stage, Stage, Stage]
    test_rows: int
    max_new_tokens: int
    precision: str
    per_device_train_batch_size: int
    eval_batch_size: int
    max_length: int
    score_rows: int  # validation rows answered and scored at each evaluation of the last stage
    memory_gb: float  # of the machine it is for, as far as a training may have it
    databases: int = 4  # generated ones that a match must hold on too
    evaluations: int = 0  # a pass of the last stage; 0: as many as cost a tenth of the training
    other_test_rows: int = 0  # of each further split that is tested on (test_unseen, test_forms), where the data has it


_TINY = (TINY_MODEL, LARGER_TINY_MODEL)
_QWEN3 = ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-8B")
_CODER = ("Qwen/Qwen2.5-Coder-0.5B-Instruct", "Qwen/Qwen2.5-Coder-1.5B-Instruct")
_SMOKE = (Stage(16, 8, 3, steps=2), Stage(24, 8, 2), Stage(32, 16, 1))
# Half of what a trial costs on two cores is its validation, a third of the cost of training on as many rows; fewer rows
# would not tell candidates apart. A second stage of two has the best of each batch size, and then their variants.
_CPU = (Stage(32, 96, 8, steps=4), Stage(40, 96, 2), Stage(320, 96, 1))
_PUBLISHED = (Stage(4096, 1024, 16), Stage(8192, 2048, 4), Stage(97_500, 2_500, 1))

PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            *("smoke", *_TINY, "embedded", _SMOKE, 16, 24, "float32", 4, 16, 768, 4, 4),
            evaluations=1,
            other_test_rows=8,
        ),
        Profile(
            *("cpu", *_CODER, "embedded", _CPU, 640, 96, "float32", 2, 32, 640, 96, 16),
            evaluations=2,
            other_test_rows=320,
        ),
        Profile("t4", *_QWEN3, "gretel", _PUBLISHED, 5851, 512, "float16", 2, 32, 1024, 128, 15),
        # 8 rows a device batch though 16 would fit: of an effective batch of 32, four groups by length are about 13 %
        # padding, two groups 27 % (simulated, lengths of mean 195), more than random pairs have (12 to 16 %).
        Profile("h100", *_QWEN3, "gretel", _PUBLISHED, 5851, 512, "bfloat16", 8, 128, 1024, 128, 80),
    )
}


def resolve(name: str) -> Profile:
    """The profile of that name; `auto` picks it from the hardware.

    `cpu` comes in the arithmetic that this processor is built for, see `common.arithmetic`. Raises UserError for any
    other name, and where the environment wants bfloat16 of a processor that cannot multiply it.
    """
    if name == "auto":
        name = _from_hardware()
    if name not in PROFILES:
        raise UserError(f"unknown profile '{name}'; choose one of auto, {', '.join(PROFILES)}")
    if name != "cpu":
        return PROFILES[name]
    precision = cpu_precision()
    if precision == "bfloat16" and not native_bfloat16() and not multiplies_bfloat16():
        raise UserError(f"{VARIABLE} is 'bfloat16', which this processor cannot multiply; leave it out to have float32")
    return replace(PROFILES[name], precision=precision)


def multiplies_bfloat16() -> bool:
    """Whether PyTorch has fast products of bfloat16 for this CPU: oneDNN's want AVX512 or AVX-NE-CONVERT."""
    import torch

    return not torch.backends.mkldnn.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _from_hardware() -> str:
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    # bf16 arithmetic came with compute capability 8; before it (a T4 is 7.5) fp16 with loss scaling.
    return "h100" if torch.cuda.get_device_capability()[0] >= 8 else "t4"
