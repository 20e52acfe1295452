"""How fast preference training is and how much memory it takes: TRL's trainer, as published and at its best, and ours.

LoRA by DPO's sigmoid loss on the same pairs, each training in a process of its own, in turns. Pairs a second hold the
references' log-probabilities. Not measured: what the training is good for, and how pairs are made.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence

from bench.measure import Ratio, Spread, measurement, out_file, record, show, write
from bench.preferences_run import EFFECTIVE, KINDS, MICRO
from common.profiles import EMBEDDED_MODEL
from common.settings import ROOT, UserError, run_cli

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
NAMES = {"published": "published recipe, float32", "trl": "TRL's trainer at its best", "ours": "ours"}
FASTER, SMALLER = {"published": 4, "trl": 1.7}, 0.8
AGAINST = {"published": "– against the published recipe", "trl": "– against TRL's layout"}


MICROS = (1, 2, 4)  # pairs a device batch of TRL's trainer, of which the fastest counts


def run(kind: str, *, model: str, pairs: int, micro: int = MICRO) -> dict:
    """One training, see `bench.preferences_run`. Raises UserError with what that one was told."""
    command = [sys.executable, "-m", "bench.preferences_run", kind, "--model", model, "--pairs", str(pairs)]
    command += ["--micro", str(micro)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 2:
        raise UserError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    if done.returncode:
        raise RuntimeError(f"bench.preferences_run {kind} failed: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def rate(one: dict) -> float:
    """Pairs a second, with the references' part."""
    return one["pairs"] / (one["seconds"] + one["reference_seconds"])


def lines_of(runs: dict[str, list[dict]]) -> list[dict]:
    """Rates, their ratios and peaks, a ratio behind the line that it is of."""
    rates = {kind: Spread(tuple(map(rate, group))) for kind, group in runs.items()}
    peaks = {kind: Spread(tuple(one["peak"] / 1e6 for one in group)) for kind, group in runs.items()}
    lines = []
    for kind in runs:
        lines.append(measurement(f"pairs-{kind}", f"DPO, {NAMES[kind]}: pairs", "pairs/s", rates[kind]))
        if kind == "ours":
            for other, times in FASTER.items():
                ratio = Ratio(rates["ours"], rates[other])
                lines.append(measurement(f"speedup-{other}", AGAINST[other], "×", ratio, {"at_least": times}))
    for kind in runs:
        lines.append(measurement(f"memory-{kind}", f"DPO, {NAMES[kind]}: peak memory", "MB", peaks[kind]))
        if kind == "ours":
            for other in FASTER:
                ratio = Ratio(peaks["ours"], peaks[other])
                lines.append(measurement(f"memory-ratio-{other}", AGAINST[other], "×", ratio, {"at_most": SMALLER}))
    return lines


def notes(runs: dict[str, list[dict]], pairs: int, micro: int) -> Sequence[str]:
    ours = runs["ours"][0]
    return [
        f"Model {ours['model']}, LoRA of rank 16 on all linear layers, {pairs} pairs of a reference and a near miss, "
        f"{EFFECTIVE} an optimiser step, the first of which is in no rate. Ours and TRL's best compute in "
        f"{ours['precision']}. Each training ran in a process of its own; memory is the whole process's.",
        "The published recipe is TRL's trainer with two pairs a device batch, gradient checkpointing and the reference "
        "computed at every step with the adapter off. At its best TRL takes references once and keeps activations; of "
        f"{', '.join(map(str, MICROS))} pairs a device batch {micro} were the fastest. Its pairs lie side by side, "
        "padded on the right. Ours reads what the two answers of a pair begin with once; a near miss shares more with "
        "its reference than a sample does with another.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.preferences", description=__doc__)
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="a hub id, a folder, or tiny-random-qwen3 for a look")
    parser.add_argument("--pairs", type=int, default=24, help=f"a multiple of {EFFECTIVE}")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=out_file, help="where the record goes, instead of results/bench")
    given = parser.parse_args()
    if given.pairs % EFFECTIVE or given.pairs < 2 * EFFECTIVE:
        raise UserError(f"--pairs {given.pairs} is no multiple of {EFFECTIVE} above it; give {2 * EFFECTIVE} or more")
    if given.repetitions < 1:
        raise UserError(f"--repetitions {given.repetitions} measures nothing; give at least 1")
    runs: dict[str, list[dict]] = defaultdict(list)
    sizes = {"model": given.model, "pairs": given.pairs}
    micro = max(MICROS, key=lambda micro: rate(run("trl", **sizes, micro=micro)))
    for number in range(given.repetitions):
        for kind in KINDS if number % 2 == 0 else KINDS[::-1]:
            one = run(kind, **sizes, micro=micro if kind == "trl" else MICRO)
            runs[kind].append(one)
            line = f"{number + 1}/{given.repetitions} {kind}: {rate(one):.3g} pairs/s, {one['peak'] / 1e6:,.0f} MB"
            print(line, file=sys.stderr, flush=True)
    runs = {kind: runs[kind] for kind in KINDS}
    lines = lines_of(runs)
    print("\n".join(map(show, lines)))
    ours = runs["ours"][0]
    data = {"source": "embedded", "model": ours["model"], "precision": ours["precision"], "pairs": given.pairs}
    data |= {"micro": micro}
    entry = record("preferences", lines, packages=PACKAGES, data=data, notes=notes(runs, given.pairs, micro))
    print(f"record: {os.path.relpath(write(entry, given.out))}")


if __name__ == "__main__":
    run_cli(main)
