"""The process's memory: its peak over a stretch of work, and keeping what was freed for the next step."""

import ctypes
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch


def reset_peak() -> None:
    """Start counting anew, from what is in use. Linux and CUDA can; elsewhere the mark stays the highest so far."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what `keep_freed` kept of an earlier training is not this one's
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """The most bytes held since `reset_peak`: on the GPU where there is one, else resident in this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def keep_freed() -> None:
    """Have the C library keep freed memory instead of handing it back to the system, where it is glibc.

    A training step frees and takes the same gigabytes again; page faults on what was handed back cost a CPU a fifth of
    the step. The process's size stays at its peak.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  (AttributeError elsewhere)
        library.mallopt(-4, 0)  # M_MMAP_MAX: no block is a mapping of its own, which goes as soon as it is freed
        library.mallopt(-1, -1)  # M_TRIM_THRESHOLD: the heap is never cut
