"""What every bench shares: repetitions with their spread, peak memory, the machine, and the record.

A measurement is the median of several repetitions after a warm-up, with their minimum and maximum. Times are wall time,
so anything else that runs on the machine is in them. Peak memory is Linux's own high-water mark; elsewhere it is None.
"""

import importlib.metadata
import json
import platform
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.tables import FOLDER, met
from common import provenance
from common.arithmetic import processor
from common.paths import output
from common.results.sections import scorer_digest
from common.settings import replace_text, results, writable, writing


@dataclass(frozen=True)
class Spread:
    """Repetitions of one measurement, in any unit."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    @property
    def repetitions(self) -> int:
        return len(self.values)

    def map(self, change: Callable[[float], float]) -> "Spread":
        """The same repetitions in another unit."""
        return Spread(tuple(map(change, self.values)))


@dataclass(frozen=True)
class Ratio:
    """How many times `over` is of `under`: median by median, its ends the worst case and the best."""

    over: Spread
    under: Spread

    @property
    def median(self) -> float:
        return self.over.median / self.under.median

    @property
    def low(self) -> float:
        return self.over.low / self.under.high

    @property
    def high(self) -> float:
        return self.over.high / self.under.low

    @property
    def repetitions(self) -> int:
        return min(self.over.repetitions, self.under.repetitions)


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that one call takes, and what it returns."""
    start = time.perf_counter()
    returned = action()
    return time.perf_counter() - start, returned


def repeat(action: Callable[[], object], repetitions: int) -> Spread:
    """Seconds of each repetition, after one call that is not counted."""
    action()
    return Spread(tuple(timed(action)[0] for _ in range(repetitions)))


def measurement(
    name: str, what: str, unit: str, result: Spread | Ratio | None, target: dict[str, float] | None = None
) -> dict:
    """One line of a record, see `bench.tables`. result: None where it could not be measured.

    target: {"at_least": x} or {"at_most": x}. Whether it is met is decided on the median.
    """
    value, low, high = (result.median, result.low, result.high) if result else (None, None, None)
    return {
        "name": name,
        "what": what,
        "unit": unit,
        "value": _six_digits(value),
        "low": _six_digits(low),
        "high": _six_digits(high),
        "repetitions": result.repetitions if result else 0,
        "target": target,
        "met": met(_six_digits(value), target),
    }


def _six_digits(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def peak_bytes(process: int | str = "self") -> int | None:
    """The most memory a process has held so far; None where there is no /proc or no such process.

    VmHWM and not getrusage's maximum: that one is inherited, so a small worker would show its parent's size.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    peaks = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(peaks[0]) * 1024 if peaks else None


def children() -> list[int]:
    """Process ids of this process's children, over all its threads; [] where there is no /proc."""
    paths = Path("/proc/self/task").glob("*/children")
    return sorted({int(word) for path in paths for word in path.read_text().split()})


def environment(packages: Iterable[str]) -> dict:
    """What the numbers depend on: the processor, its cores, versions; nothing that names the machine or its user."""
    from common.distributed import cpus  # here, since it takes torch, which is not in the memory that scoring needs

    cores = cpus()
    return {
        "device": f"{processor()}, {cores} cores",
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in sorted(packages)}
        | {"sqlite": sqlite3.sqlite_version},
    }


def record(
    name: str, measurements: Sequence[dict], *, packages: Iterable[str], data: dict, notes: Sequence[str]
) -> dict:
    """A bench's record. notes: paragraphs for the README's table, what a reader must know beside it."""
    sha, dirty = provenance.commit("bench")
    return {
        "name": name,
        "code": {"commit": sha, "dirty": dirty, "scorer_digest": scorer_digest()},
        "environment": environment(packages),
        "data": data,
        "measurements": list(measurements),
        "notes": list(notes),
    }


def out_file(text: str) -> Path:
    """The path that `--out` names. Raises UserError, before anything is measured, where no record can be written."""
    return output(text, "--out", "give the path of a .json file, such as mine.json")


def write(record: dict, path: Path | None = None) -> Path:
    """Write a record to `results/bench`, or to the path given; returns where."""
    path = path or results() / FOLDER / f"{record['name']}.json"
    text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    writable(path.parent)
    with writing(path):
        replace_text(path, text + "\n")
    return path


def show(line: dict) -> str:
    """One measurement for a terminal."""
    if line["value"] is None:
        return f"{line['what']}: not measured"
    target = "".join(f", target {kind.replace('_', ' ')} {value:g}" for kind, value in (line["target"] or {}).items())
    verdict = {True: ": met", False: ": NOT MET", None: ""}[line["met"]]
    spread = f" ({line['low']:.4g} to {line['high']:.4g})" if line["repetitions"] > 1 else ""
    return f"{line['what']}: {line['value']:.4g} {line['unit']}{spread}{target}{verdict}"
