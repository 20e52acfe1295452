"""What work costs, on a fast, a slow or a busy machine: CPU time in units that such a machine takes as long for."""

import os
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

TRIES = 5


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process: what others do meanwhile does not count, but for the caches that they share."""
    started = time.process_time()
    work()
    return time.process_time() - started


def unit() -> float:
    """CPU seconds of the unit: 900,000 small sums in Python, some hundredths of a second."""
    return min(cpu_seconds(lambda: [abs(n * 1.5 - n) <= 1e-9 * n for n in range(900_000)]) for _ in range(3))


def cost(work: Callable[[], object], *, below: float) -> float:
    """The least number of units that `work` takes in a few tries. The first below the limit is the last: a neighbour
    can make work look dearer than it is, never cheaper."""
    least = cpu_seconds(work) / _first_unit()
    for _ in range(TRIES - 1):
        if least < below:
            break
        least = min(least, cpu_seconds(work) / unit())
    return least


def spent(workers: Iterable[int] = ()) -> float:
    """CPU seconds until now of this process, of its children that have ended, and (Linux) of these that still run."""
    total = sum(os.times()[:4])
    for pid in workers:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


@cache
def _first_unit() -> float:
    return unit()
