"""The process's memory: its peak over a stretch of work, what there is for a training, and keeping what was freed."""

import ctypes
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

from common.models import LoadedModel
from common.training.architecture import decoder
from common.training.estimate import fit, warning
from common.training.plan import MicroBatch
from common.training.recipe import Recipe


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


def room(model: torch.nn.Module) -> int:
    """Bytes that a training of `model` may hold, its weights included: on the GPU where there is one, within the
    process's share of it; else what the system can give without swapping. 0 where the system does not say."""
    loaded = sum(value.nbytes for value in (*model.parameters(), *model.buffers()))
    if torch.cuda.is_available():
        free, whole = torch.cuda.mem_get_info()
        share = torch.cuda.get_per_process_memory_fraction() * whole
        return int(min(free + torch.cuda.memory_reserved(), share)) - torch.cuda.memory_allocated() + loaded
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024 + loaded
    return 0


def fitted(loaded: LoadedModel, recipe: Recipe, largest: MicroBatch) -> Recipe:
    """The recipe as it runs in the memory there is, by its largest micro-batch. Prints a line where that is not what
    was asked, and a warning where the memory may not do; nothing of an architecture that cannot be estimated."""
    sizes, memory, on_gpu = decoder(loaded.model.config), room(loaded.model), torch.cuda.is_available()
    if sizes is None or not memory:
        return recipe
    precision = str(loaded.model.dtype).removeprefix("torch.")
    changed, peak = fit(sizes, recipe, largest, room=memory, precision=precision, gpu=on_gpu)
    if changed != recipe:
        print("activations are computed again in the backward pass: kept, they would not fit in the GPU's memory")
    if line := warning(changed, peak, memory, gpu=on_gpu):
        print(line)
    return changed


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
