"""The arithmetic that this machine's processor is built for: the dtype in which a CPU multiplies matrices fastest.

A processor that multiplies bfloat16 natively (AVX512-BF16, AMX) does two to four times as many such products a second
as float32 ones, and reads half the bytes; on any other, bfloat16 is slower than float32. Decided by what the processor
says of itself; TEXT_TO_SQL_PRECISION in the environment decides otherwise. GPUs have theirs from the profile. Not
covered: processors other than x86, and systems that do not list a processor's abilities; they compute in float32.
"""

import os
from functools import cache
from pathlib import Path

from common.settings import UserError

VARIABLE = "TEXT_TO_SQL_PRECISION"
PRECISIONS = ("float32", "bfloat16")
NATIVE = {"avx512_bf16", "amx_bf16"}  # as Linux calls them


@cache
def native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 natively."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    return any(NATIVE.intersection(line.partition(":")[2].split()) for line in lines if line.startswith("flags"))


def cpu_precision() -> str:
    """The dtype of base weights and products on this CPU. Raises UserError where the environment names no such one."""
    name = os.environ.get(VARIABLE, "")
    if name and name not in PRECISIONS:
        raise UserError(f"{VARIABLE} is '{name}'; give one of {', '.join(PRECISIONS)}, or leave it out")
    return name or ("bfloat16" if native_bfloat16() else "float32")
