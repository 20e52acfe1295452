"""How fast fine-tuning is and how much memory it takes: the published recipe against `common.training`, in one run.

Full fine-tuning, LoRA and QLoRA on the same rows and the same effective batch: rows and tokens a second, padding, peak
memory, and the useful arithmetic against the machine's own matrix products. Each training has a process of its own;
both recipes take turns, so that a machine that slows down slows both. Not measured: prompt tuning, and what a training
is good for.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bench.measure import Ratio, Spread, measurement, record, show, write
from common.profiles import EMBEDDED_MODEL
from common.settings import ROOT, UserError, run_cli

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets")
NAMES = {"full": "FullFT", "lora": "LoRA", "qlora": "QLoRA"}
KINDS = ("published", "ours")
EFFECTIVE = 16
FASTER, SMALLER, UTILISED, LOOK = 2, 1, 60, 10  # the targets: times, times, percent, percent
Runs = dict[tuple[str, str], list[dict]]  # (kind, method) → what `bench.training_run` printed, repetition by repetition


def train(kind: str, method: str, *, model: str, rows: int) -> dict:
    """One training in a process of its own, see `bench.training_run`. Raises UserError with what that one was told."""
    command = [sys.executable, "-m", "bench.training_run", kind, method, "--model", model, "--rows", str(rows)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 2:
        raise UserError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    if done.returncode:
        raise RuntimeError(f"bench.training_run {kind} {method} failed: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def trainings(methods: Sequence[str], *, model: str, rows: int, repetitions: int) -> Runs:
    """All trainings, both recipes in turn; who goes first changes, since the second finds a warmer machine."""
    runs: Runs = defaultdict(list)
    for number in range(repetitions):
        for method in methods:
            for kind in KINDS if number % 2 == 0 else KINDS[::-1]:
                run = train(kind, method, model=model, rows=rows)
                runs[kind, method].append(run)
                print(
                    f"{number + 1}/{repetitions} {NAMES[method]}, {kind}: {run['rows'] / run['seconds']:.3g} rows/s, "
                    f"{run['peak'] / 1e6:,.0f} MB",
                    file=sys.stderr,
                    flush=True,
                )
    return runs


def _spread(runs: list[dict], value) -> Spread:
    return Spread(tuple(map(value, runs)))


def _rate(runs: list[dict], what: str) -> Spread:
    return _spread(runs, lambda run: run[what] / run["seconds"])


def of_method(method: str, theirs: list[dict], ours: list[dict]) -> list[dict]:
    """The lines of one method."""
    name, timed = NAMES[method], method != "qlora"  # its time is the quantisation library's: reported without target
    rates = [_rate(runs, "rows") for runs in (theirs, ours)]
    peaks = [_spread(runs, lambda run: run["peak"] / 1e6) for runs in (theirs, ours)]

    def both(key: str, what: str, unit: str, spreads: Sequence[Spread], target: dict | None = None) -> list[dict]:
        return [
            measurement(f"{method}-{key}-published", f"{name}, published recipe: {what}", unit, spreads[0]),
            measurement(f"{method}-{key}", f"{name}, ours: {what}", unit, spreads[1], target),
        ]

    against = "– against the published recipe"
    return [
        *both("rows", "rows", "rows/s", rates),
        measurement(
            f"{method}-speedup", against, "×", Ratio(rates[1], rates[0]), {"at_least": FASTER} if timed else None
        ),
        *both("tokens", "tokens, padding excluded", "tokens/s", [_rate(runs, "tokens") for runs in (theirs, ours)]),
        *both(
            "utilisation",
            "useful operations, of the machine's rate",
            "%",
            [
                _spread(runs, lambda run: 100 * run["flops"] / run["seconds"] / run["ceiling"]["large"])
                for runs in (theirs, ours)
            ],
            {"at_least": UTILISED} if method == "full" else None,
        ),
        *both("memory", "peak memory", "MB", peaks),
        measurement(f"{method}-memory-ratio", against, "×", Ratio(peaks[1], peaks[0]), {"at_most": SMALLER}),
        measurement(
            f"{method}-look",
            f"{name}, ours: the validation loss after an epoch, of the training's time",
            "%",
            _spread(ours, lambda run: 100 * run["evaluation"]),
            {"at_most": LOOK},
        ),
    ]


def of_machine(runs: Runs) -> list[dict]:
    """Padding, which is the same for every method, and the rate that utilisation is a share of."""
    every = [run for group in runs.values() for run in group]
    lines = [
        measurement(
            f"padding-{kind}",
            f"padding among the positions, {'published recipe' if kind == 'published' else kind}",
            "%",
            _spread(
                [run for (of, _), group in runs.items() if of == kind for run in group],
                lambda run: 100 * (1 - run["tokens"] / run["positions"]),
            ),
        )
        for kind in KINDS
    ]
    return lines + [
        measurement(f"products-{key}", what, "GFLOP/s", _spread(every, lambda run, key=key: run["ceiling"][key] / 1e9))
        for key, what in (
            ("large", "matrix products of this machine, a large square one"),
            ("model", "matrix products of this machine, the best of the model's shapes"),
        )
    ]


def notes(run: dict) -> list[str]:
    """What a reader must know beside the table. run: any of the trainings."""
    recipe = run["recipe"]
    return [
        f"Model {run['model']}, {run['precision']}, the same {run['rows']} rows in the same optimiser steps of "
        f"{recipe['effective_batch_size']} for both recipes, after one step of warm-up that is in no rate. LoRA and "
        f"QLoRA: rank {recipe['lora_rank']}, alpha {recipe['lora_alpha']}, all linear layers. Memory is the whole "
        "process's (on a GPU, what the training holds there) from the first step to the end of the training, ours "
        "with its evaluation. Each training ran in a process of its own.",
        "The published recipe: two rows a device batch in random order, padded to the longer, gradient checkpointing, "
        "logits at every position and the loss over prompt and completion, the Trainer's own AdamW. It is restated "
        "with transformers' Trainer and the model's own loss, since TRL's trainer as installed here fuses the output "
        "head, which the study's version did not. Quantised weights are prepared by peft's own function for it.",
        f"Useful operations are what the loss over the completion needs: 6 a weight and token for full fine-tuning, 4 "
        f"a frozen and 6 an adapter's weight, the output head only where a token is predicted ({run['labelled']:,} of "
        f"{run['tokens']:,} tokens); the same for both recipes. Layers computed again, padding, the prompt's logits, "
        "attention's own products, norms and the optimiser do not count. The machine's rate is that of a large square "
        "product, the fastest of a few, measured after each training in its process.",
    ]


def check(rows: int, repetitions: int) -> None:
    """Raises UserError for sizes that leave nothing to time."""
    if rows % EFFECTIVE or rows < 2 * EFFECTIVE:
        raise UserError(f"--rows {rows} is no multiple of {EFFECTIVE} above it; give {2 * EFFECTIVE} or more")
    if repetitions < 1:
        raise UserError(f"--repetitions {repetitions} measures nothing; give at least 1")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="a hub id, a folder, or tiny-random-qwen3 for a look")
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--rows", type=int, default=48, help=f"a multiple of {EFFECTIVE}; the first step is not timed")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where the record goes, instead of results/bench")
    arguments = parser.parse_args()
    check(arguments.rows, arguments.repetitions)
    runs = trainings(arguments.methods, model=arguments.model, rows=arguments.rows, repetitions=arguments.repetitions)
    lines = [line for m in arguments.methods for line in of_method(m, runs["published", m], runs["ours", m])]
    lines += of_machine(runs)
    print("\n".join(map(show, lines)))
    one = runs["ours", arguments.methods[0]][0]
    data = {
        "source": "embedded",
        "model": one["model"],
        "precision": one["precision"],
        "rows": arguments.rows,
        **{key: one[key] for key in ("tokens", "labelled")},
        "timed_rows": one["rows"],
        "recipe": {name: value for name, value in one["recipe"].items() if name != "method"},
    }
    whole = record("training", lines, packages=PACKAGES, data=data, notes=notes(one))
    if one["accelerator"]:
        whole["environment"]["device"] = f"{one['accelerator']}; {whole['environment']['device']}"
    print(f"record: {os.path.relpath(write(whole, arguments.out))}")


if __name__ == "__main__":
    run_cli(main)
