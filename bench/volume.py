"""How time and memory grow with the number of rows: scores N rows in a process of its own and prints what it took.

A process of its own, since a high-water mark of memory never falls. `--batch N` scores in calls of N rows, as a
training run does; without it everything is one call, whose verdicts and rows the caller gets back at once.
"""

import argparse
import json
from itertools import islice

from bench import workload
from bench.measure import children, peak_bytes, timed
from common.scoring import Scorer
from common.settings import run_cli

BASE = 500  # rows that are repeated


def score(scorer: Scorer, base: list[workload.Row], size: int, batch: int | None) -> None:
    """Score `size` rows strictly, and let go of the verdicts."""
    rows = workload.many(base, size)
    if batch is None:
        scorer.score_batch(rows)
        return
    while part := list(islice(rows, batch)):
        scorer.score_batch(part)


def measure(*, size: int, batch: int | None, repetitions: int, workers: int) -> dict:
    """Seconds of each repetition, and the peak memory of this process and of its largest worker, in bytes."""
    base = workload.independent(workload.examples(min(size, BASE)))
    with Scorer(workers=workers) as scorer:
        score(scorer, base, min(size, 200), batch)
        times = [timed(lambda: score(scorer, base, size, batch))[0] for _ in range(repetitions)]
        peaks = [peak for process in children() if (peak := peak_bytes(process)) is not None]
        return {"seconds": times, "parent": peak_bytes(), "worker": max(peaks, default=None)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.volume", description=__doc__)
    parser.add_argument("size", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    print(json.dumps(measure(**vars(parser.parse_args()))))


if __name__ == "__main__":
    run_cli(main)
