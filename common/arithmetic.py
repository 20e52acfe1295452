"""The arithmetic that this machine's processor is built for: the dtype in which a CPU multiplies matrices fastest.

A processor that multiplies bfloat16 natively (AVX512-BF16, AMX) does two to four times as many such products a second
as float32 ones, and reads half the bytes; on any other, bfloat16 is slower than float32. Decided by what the processor
says of itself; TEXT_TO_SQL_PRECISION in the environment decides otherwise. GPUs have theirs from the profile. Not
covered: processors other than x86, and systems that do not list a processor's abilities; they compute in float32.
"""

import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path

from common.settings import UserError

VARIABLE = "TEXT_TO_SQL_PRECISION"
PRECISIONS = ("float32", "bfloat16")
NATIVE = {"avx512_bf16", "amx_bf16"}  # as Linux calls them


@cache
def _cpu(field: str) -> str:
    """What the system says of the first processor; "" where it does not."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return ""


def native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 natively."""
    return bool(NATIVE.intersection(_cpu("flags").split()))


def has_slow_mkl() -> bool:
    """Whether MKL, which PyTorch takes for float32, may leave the processor's widest instructions out: all but Intel's.

    On one AMD machine oneDNN was twice as fast, on another a tenth (`bench.training` measures both).
    """
    return _cpu("vendor_id") not in ("", "GenuineIntel")


def processor() -> str:
    """The processor by name and generation, and what it multiplies natively; nothing that names the machine."""
    name = _cpu("model name") or platform.processor() or platform.machine()
    generation = f" (family {_cpu('cpu family')}, model {_cpu('model')})" if _cpu("cpu family") else ""
    return f"{name}{generation}, {'native bfloat16' if native_bfloat16() else 'no native bfloat16'}"


def cpu_precision() -> str:
    """The dtype of base weights and products on this CPU. Raises UserError where the environment names no such one."""
    name = os.environ.get(VARIABLE, "")
    if name and name not in PRECISIONS:
        raise UserError(f"{VARIABLE} is '{name}'; give one of {', '.join(PRECISIONS)}, or leave it out")
    return name or ("bfloat16" if native_bfloat16() else "float32")
