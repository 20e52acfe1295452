"""How fast scoring is: the published recipe against `common.scoring`, in one run and on the same rows.

Measures strict and robust matches with one worker, the cost of building a suite of databases, GRPO's shape, 5,851 rows
(the size of the published test set) with two workers, and time and memory up to 100,000 rows. Starting a worker is left
out of every rate and stands on a line of its own. Not measured: models, and databases that come from files.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import published, workload
from bench.measure import Ratio, Spread, children, measurement, out_file, record, repeat, show, timed, write
from common.scoring import Scorer, Verdict
from common.settings import ROOT, UserError, run_cli

PACKAGES = ("evaluate", "rouge-score", "rapidfuzz", "numpy", "datasets", "sqlglot")
DATABASES = 4
# Linear and flat are read as: at the largest size a row costs at most a fifth more than at the smallest, and the peak
# of memory is at most a tenth higher. A cost that grew with the rows, or a kept row, would be far beyond either.
SLOWER, LARGER = 1.2, 1.1
A_ROW = {"schema": "CREATE TABLE t (a INT)", "reference": "SELECT a FROM t", "prediction": "SELECT a FROM t"}


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rows: int = 500
    repetitions: int = 5
    published: int = 500  # rows over all repetitions: each runs its own part of them
    prompts: int = 64
    bulk: int = 5_851
    volumes: tuple[int, ...] = (1_000, 10_000, 100_000)
    batch: int = 1_000


QUICK = Sizes(rows=24, repetitions=2, published=8, prompts=4, bulk=60, volumes=(50, 200), batch=50)


@contextmanager
def warm_scorer(**options: int) -> Iterator[Scorer]:
    """A scorer whose workers run already."""
    with Scorer(**options) as scorer:
        scorer.score_batch([{**A_ROW, "reference": f"SELECT a + {i} FROM t"} for i in range(options["workers"])])
        yield scorer


@contextmanager
def fresh_outputs() -> Iterator[Path]:
    """Caches go to an empty folder meanwhile: what is measured was not built before."""
    before = os.environ.get("TEXT_TO_SQL_OUTPUTS")
    with tempfile.TemporaryDirectory(prefix="text-to-sql-bench-") as folder:
        os.environ["TEXT_TO_SQL_OUTPUTS"] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["TEXT_TO_SQL_OUTPUTS"]
            else:
                os.environ["TEXT_TO_SQL_OUTPUTS"] = before


def against_published(rows: list[workload.Row], sizes: Sizes) -> tuple[list[dict], dict, list[str]]:
    """Strict and robust rates against the published recipe's, and whether both give the same published verdicts.

    The repetitions take turns, so that a machine that slows down slows all of them.
    """
    sample = rows[: sizes.published]
    with fresh_outputs(), warm_scorer(workers=1) as scorer:
        lines = suites(rows, sizes)
        verdicts = scorer.score_batch(rows)  # the warm-up
        pairs = [published.score(**sample[0])]
        rates: dict[str, list[float]] = {"published": [], "bare": [], "strict": [], "robust": []}
        cpu: dict[str, list[float]] = {"worker": [], "parent": []}
        ours: list[tuple[Verdict, tuple[bool, float]]] = []
        for number in range(sizes.repetitions):
            part = slice(number, None, sizes.repetitions)  # parts are alike in what they hold, together they are all
            took, pairs = timed(lambda part=part: [published.score(**row) for row in sample[part]])
            rates["published"].append(len(pairs) / took)
            ours += zip(verdicts[: len(sample)][part], pairs, strict=True)
            rates["bare"].append(len(rows) / timed(lambda: [published.executes_alike(**row) for row in rows])[0])
            before = _cpu_seconds()
            rates["strict"].append(len(rows) / timed(lambda: scorer.score_batch(rows))[0])
            for name, seconds in _cpu_seconds().items():
                cpu[name] += [(seconds - before[name]) / len(rows) * 1000] if name in before else []
            # A new scorer each time: what is measured is a suite read from the disk's cache, not from memory.
            with warm_scorer(workers=1, databases=DATABASES) as other:
                rates["robust"].append(len(rows) / timed(lambda other=other: other.score_batch(rows))[0])
    theirs, bare, strict, robust = (Spread(tuple(values)) for values in rates.values())
    floor = Ratio(bare, theirs)
    spent = {name: Spread(tuple(values)) if values else None for name, values in cpu.items()}
    against = "– against the published recipe"
    lines = [
        measurement("published", "published recipe, one process", "rows/s", theirs),
        measurement("bare", "– its SQL alone, without ROUGE and without a sandbox", "rows/s", bare),
        measurement("bare-speedup", "– that against the published recipe", "×", floor),
        measurement("strict", "strict match, one worker", "rows/s", strict),
        measurement("strict-speedup", against, "×", Ratio(strict, theirs), {"at_least": 300}),
        measurement("strict-cpu-worker", "– CPU time a row of the worker", "ms", spent["worker"]),
        measurement("strict-cpu-parent", "– and of the calling process meanwhile", "ms", spent["parent"]),
        measurement("robust", f"robust match on {DATABASES} more databases, one worker", "rows/s", robust),
        measurement("robust-speedup", against, "×", Ratio(robust, theirs), {"at_least": 100}),
        *lines,
    ]
    agree = sum(v.published_match == m and abs(v.published_score - s) < 1e-9 for v, (m, s) in ours)
    data = {
        "rows": len(rows),
        "outcomes": dict(sorted(Counter(verdict.outcome for verdict in verdicts).items())),
        "published_rows": len(ours),
        "published_agree": agree,
    }
    notes = [
        f"The published recipe is slow: each repetition runs {len(sample) // sizes.repetitions} rows, a different part "
        f"of the same {len(rows)} each time. Both scorers gave the same published match and score on {agree} of "
        f"{len(ours)} rows. A ratio is median by median; its ends are the slowest of one by the fastest of the other.",
        "The recipe's time is numpy's, ours is SQLite's and Python's, so their ratio is the machine's as well. With a "
        f"sandbox, both verdicts and ROUGE-L, strict match reaches {strict.median / bare.median:.0%} of the rate of "
        f"the recipe's SQL alone, which makes a database for each row too and is {floor.median:.0f} times the recipe. "
        "Worker and caller work side by side, so that a row takes about as long as the worker's CPU time; what that is "
        "above the SQL alone is the guard, copies for statements that write, the comparison of rows and the published "
        "metric.",
        "Only completions that match go on to the further databases, which are built once for a reference and kept on "
        f"disk; {sum(v.outcome == 'match' for v in verdicts)} of these rows match.",
    ]
    return lines, data, notes


def _cpu_seconds() -> dict[str, float]:
    """CPU time of this process, and of its only worker where the system tells (Linux)."""
    seconds = {"parent": time.process_time()}
    with suppress(OSError, ValueError):
        (worker,) = children()
        seconds["worker"] = int(Path(f"/proc/{worker}/schedstat").read_text().split()[0]) / 1e9
    return seconds


def suites(rows: list[workload.Row], sizes: Sizes) -> list[dict]:
    """What building a reference's databases costs once, and the robust rate where every completion is right.

    Each repetition takes other rows: a suite is built once. Afterwards all of them are in the cache.
    """
    right = [{**row, "prediction": row["reference"]} for row in rows]
    build_times, rates = [], []
    for number in range(sizes.repetitions):
        some = right[number :: sizes.repetitions]
        seconds = []
        for _ in ("first", "again"):
            with warm_scorer(workers=1, databases=DATABASES) as scorer:
                seconds.append(timed(lambda some=some, scorer=scorer: scorer.score_batch(some))[0])
        build_times.append((seconds[0] - seconds[1]) / len(some) * 1000)
        rates.append(len(some) / seconds[1])
    build = Spread(tuple(build_times))
    return [
        measurement("robust-right", "robust match where every completion is right", "rows/s", Spread(tuple(rates))),
        measurement("suite", f"building {DATABASES} databases, once a reference", "ms", build, {"at_most": 40}),
    ]


def grpo(sizes: Sizes) -> list[dict]:
    """Completions in groups of eight against as many rows with a reference each, one worker, strict."""
    size = sizes.prompts * len(workload.KINDS)
    examples = workload.examples(size)
    alone, groups = workload.independent(examples), workload.groups(examples[: sizes.prompts])
    rates: dict[str, list[float]] = {"alone": [], "groups": []}
    with warm_scorer(workers=1) as scorer:
        for number in range(sizes.repetitions + 1):
            for name, rows in (("alone", alone), ("groups", groups)):
                took, _ = timed(lambda rows=rows: scorer.score_batch(rows))
                if number:  # the first is the warm-up
                    rates[name].append(size / took)
    rate, base = Spread(tuple(rates["groups"])), Spread(tuple(rates["alone"]))
    return [
        measurement("independent", f"{size:,} rows, a reference each, one worker", "rows/s", base),
        measurement(
            "grpo", f"GRPO's shape, {sizes.prompts} prompts with {len(workload.KINDS)} completions", "rows/s", rate
        ),
        measurement("grpo-speedup", "– against rows with a reference each", "×", Ratio(rate, base), {"at_least": 2}),
    ]


def bulk(sizes: Sizes) -> list[dict]:
    """As many rows as the published test set has, with two workers; and what starting a scorer costs."""
    rows = workload.independent(workload.examples(sizes.bulk))
    with warm_scorer(workers=2) as scorer:
        took = repeat(lambda: scorer.score_batch(rows), sizes.repetitions)

    def start() -> None:
        with Scorer(workers=1) as scorer:
            scorer.score(**A_ROW)

    return [
        measurement("bulk", f"{sizes.bulk:,} rows, strict, two workers", "s", took, {"at_most": 8}),
        measurement("start", "a new scorer's first verdict", "s", repeat(start, sizes.repetitions)),
    ]


def volume(sizes: Sizes) -> tuple[list[dict], list[str]]:
    """Time and memory at each size in calls of `batch` rows, and of the largest size in one call."""
    first, last = sizes.volumes[0], sizes.volumes[-1]
    measures = {size: _volume(size, sizes.batch, 1 if size == last else sizes.repetitions) for size in sizes.volumes}
    whole = _volume(last, None, 1)
    a_row = {size: Spread(tuple(s / size * 1000 for s in measures[size]["seconds"])) for size in measures}
    lines = [
        measurement(f"row-{size}", f"a row among {size:,}, strict, two workers", "ms", a_row[size]) for size in measures
    ]
    lines.append(
        measurement(
            "linear",
            f"– at {last:,} rows against {first:,}",
            "×",
            Ratio(a_row[last], a_row[first]),
            {"at_most": SLOWER},
        )
    )
    for name, who in (("parent", "the calling process"), ("worker", "its largest worker")):
        large, small = (_megabytes(measures[size][name]) for size in (last, first))
        lines += [
            measurement(f"memory-{name}", f"peak memory of {who} at {last:,} rows", "MB", large),
            measurement(
                f"flat-{name}",
                f"– against {first:,} rows",
                "×",
                large and small and Ratio(large, small),
                {"at_most": LARGER},
            ),
        ]
    lines.append(
        measurement(
            "memory-one-call",
            f"peak memory of the calling process, {last:,} rows in one call",
            "MB",
            _megabytes(whole["parent"]),
        )
    )
    notes = [
        f"The last lines score in calls of {sizes.batch:,} rows, but for the one that says otherwise: a call keeps its "
        f"rows and verdicts until it returns. {last:,} rows ran once, in a process of their own like every size."
    ]
    return lines, notes


def _volume(size: int, batch: int | None, repetitions: int) -> dict:
    command = [sys.executable, "-m", "bench.volume", str(size), "--repetitions", str(repetitions)]
    command += ["--batch", str(batch)] if batch else []
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(f"bench.volume failed: {process.stderr.strip()}")
    return json.loads(process.stdout)


def _megabytes(size: int | None) -> Spread | None:
    return None if size is None else Spread((size / 1e6,))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.scoring", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few rows, to see that it runs; no record without --out")
    parser.add_argument("--largest", type=int, help="leave out sizes above this, e.g. 10000 to save a minute")
    parser.add_argument("--out", type=out_file, help="where the record goes, instead of results/bench")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    if arguments.largest:
        volumes = tuple(size for size in sizes.volumes if size <= arguments.largest)
        if len(volumes) < 2:
            raise UserError(
                f"--largest {arguments.largest} leaves nothing to compare; give at least {sizes.volumes[1]}"
            )
        sizes = Sizes(**{**vars(sizes), "volumes": volumes})
    lines: list[dict] = []

    def add(more: list[dict]) -> None:
        lines.extend(more)
        print("\n".join(map(show, more)), flush=True)  # as it comes: the whole takes minutes

    more, data, notes = against_published(workload.independent(workload.examples(sizes.rows)), sizes)
    add(more)
    add(grpo(sizes))
    add(bulk(sizes))
    more, volume_notes = volume(sizes)
    add(more)
    data |= {"source": "embedded", "seed": workload.SEED, "kinds": list(workload.KINDS), "sizes": vars(sizes)}
    result = record("scoring", lines, packages=PACKAGES, data=data, notes=notes + volume_notes)
    if arguments.out or not arguments.quick:
        print(f"record: {os.path.relpath(write(result, arguments.out))}")


if __name__ == "__main__":
    run_cli(main)
