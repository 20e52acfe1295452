"""How many rows are answered at once, and how many prompts are read at once, in the memory that is free.

The largest part is known in advance: keys and values, so many bytes a column of a row. What layers compute on the way
is not counted; it gets a share. Covers one CUDA device or the CPU; on others nothing is known, and nothing bounded.
"""

import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache


@dataclass(frozen=True)
class Capacity:
    """slots: rows in the batch. prefill: columns of all prompts that are read together, what stands before included."""

    slots: int
    prefill: float


def capacity(free: int | None, *, column_bytes: int, columns: int, batch_size: int) -> Capacity:
    """What goes into `free` bytes: at least one slot, at most `batch_size`.

    Half of the bytes are for the slots, `columns` each; a quarter for the keys and values of a prefill; the last one
    for what layers compute. None: nothing is known of the memory.
    """
    if free is None:
        return Capacity(batch_size, math.inf)
    slots = free // 2 // (columns * column_bytes)
    return Capacity(max(1, min(batch_size, slots)), free // 4 // column_bytes)


def column_bytes(cache: Cache) -> int:
    """Bytes of keys and values that one token of one row takes, over all layers, in the dtypes that they really have.

    The config does not tell those: under autocast, float32 weights of a norm make keys and values float32.
    """
    layers = [layer for layer in cache.layers if layer.keys is not None]  # others take the keys and values of these
    return sum(layer.keys[0, :, 0].nbytes + layer.values[0, :, 0].nbytes for layer in layers)


def probe(model: PreTrainedModel) -> Cache:
    """Keys and values of one token, to see their size."""
    options = {"past_key_values": DynamicCache(), "use_cache": True, "logits_to_keep": 1}
    return model(input_ids=torch.tensor([[0]], device=model.device), **options).past_key_values


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can be taken: on the GPU within this process's share of it, on a CPU without swapping; None where
    the system does not say."""
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
        share = int(torch.cuda.get_per_process_memory_fraction(device) * whole)
        return min(free + torch.cuda.memory_reserved(device), share) - torch.cuda.memory_allocated(device)
    if device.type == "cpu":
        with suppress(OSError, StopIteration):
            lines = Path("/proc/meminfo").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    return None
