"""How many threads products take on a CPU that others use too: as many as there are CPUs left.

Two threads that share one CPU with another process are slower than one: at every product each waits for the other. A
training calls `adjust` at each step, decoding every few; a look costs far less than a millisecond and is taken at most
twice a second. Covers Linux; elsewhere and where the work is a GPU's nothing changes. Results change by rounding only.
"""

import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from common import distributed

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # who sets one has decided; accelerate and torchrun do
INTERVAL = 0.5  # seconds between two looks
MEMORY = 2.0  # seconds after which a look counts e times less: a short burst is no load
BAND = 0.6  # CPUs: by how many the number must be wrong before it changes
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Look:
    """Seconds: when it was, and the CPU time until then of all processes and of this one with its children."""

    time: float
    busy: float
    process: float


def adjust() -> None:
    """Set torch's number of threads to the CPUs that other processes leave, from 1 to the number it began with.

    The load is that since the last call, at first since this module was imported, smoothed. A number that the user has
    fixed stays: by an environment variable of VARIABLES, or by `torch.set_num_threads` after the import.
    """
    _load.adjust()


def number(current: int, others: float, *, cpus: int, most: int, processes: int = 1) -> int:
    """Threads for a process that has `current` ones, of `cpus` of which others use `others`; from 1 to `most`.

    processes: how many of one job run on this machine. What is free is there for all of them, so each takes its share:
    they would take it all at once and give it back at once.
    """
    shortage = current - (cpus - others)
    if shortage > BAND:
        return max(1, min(most, round(cpus - others)))
    if -shortage / processes > BAND:
        return max(1, min(most, current + round(-shortage / processes)))
    return current


def average(before: float, one: Look, other: Look) -> float:
    """CPUs that others use, after the look `other`; before: what was thought at `one`."""
    seconds = other.time - one.time
    others = max(0.0, other.busy - one.busy - (other.process - one.process)) / seconds
    return others + (before - others) * math.exp(-seconds / MEMORY)


class Load:
    """What the machine was doing at the last look, and the number of threads that was set then."""

    def __init__(self, look: Look | None):
        self._most = self._current = torch.get_num_threads()
        self._look = look
        self._others = 0.0

    def adjust(self) -> None:
        if is_fixed(os.environ, self._current) or torch.cuda.is_available():
            return
        if self._look and time.monotonic() - self._look.time < INTERVAL:
            return
        look = take_look()
        if look is None:
            return
        if self._look:
            self._others = average(self._others, self._look, look)
            sizes = {"cpus": distributed.cpus(), "most": self._most}
            threads = number(
                self._current, self._others, processes=int(os.environ.get("LOCAL_WORLD_SIZE", "1")), **sizes
            )
            if threads != self._current:
                torch.set_num_threads(threads)
                self._current = threads
        self._look = look


def is_fixed(environment: Mapping[str, str], current: int) -> bool:
    """Whether the user has decided; current: the number that was set here, or that there was."""
    return any(environment.get(name) for name in VARIABLES) or torch.get_num_threads() != current


def take_look() -> Look | None:
    """None where the system does not say."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
        return Look(time.monotonic(), busy_seconds(lines, os.sched_getaffinity(0), os.nice(0) > 0), process_seconds())
    except (AttributeError, OSError):
        return None


def busy_seconds(lines: list[str], cpus: set[int], is_nice: bool) -> float:
    """CPU seconds that all processes had on these CPUs, by the lines of /proc/stat, and what other guests of the host
    took. Without `is_nice` those of nice processes do not count, since they make way."""
    ticks = 0
    for line in lines:
        name, *words = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cpus:
            user, nice, system, _, _, *rest = map(int, words[:8])  # then hardware and software interrupts, stolen time
            ticks += user + system + sum(rest) + (nice if is_nice else 0)
    return ticks / TICKS


def process_seconds() -> float:
    """CPU seconds of this process and of all that come from it: scoring between two steps is no other's load."""
    times = os.times()
    seconds = times.user + times.system + times.children_user + times.children_system
    queue = children("self")
    while queue:
        process = queue.pop()
        with suppress(OSError):  # it has just ended
            words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            seconds += sum(map(int, words[11:15])) / TICKS  # its own, then those of its children that have ended
            queue += children(process)
    return seconds


def children(process: int | str) -> list[int]:
    """The ids of a process's children, of all its threads."""
    words: list[str] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            words += path.read_text().split()
    return [int(word) for word in words]


_load = Load(take_look())
