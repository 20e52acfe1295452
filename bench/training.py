"""How fast fine-tuning is and how much memory it takes: the published recipe against `common.training`, in one run.

Full fine-tuning, LoRA and QLoRA on the same rows in the same optimiser steps: rows a second, peak memory, and the
useful arithmetic against the best matrix products of any library and dtype on the machine. Ours in the hardware's
arithmetic with shared prefixes, without them, and, where that arithmetic is not float32, in float32. Each training has
a process of its own; all kinds take turns, so that a machine that slows down slows all. Not measured: prompt tuning,
and what a training is good for (`bench.curves` has the losses).
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.measure import Ratio, Spread, measurement, out_file, record, show, write
from common.arithmetic import cpu_precision
from common.profiles import EMBEDDED_MODEL
from common.settings import ROOT, UserError, run_cli

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets")
NAMES = {"full": "FullFT", "lora": "LoRA", "qlora": "QLoRA"}
KINDS = {
    "published": "published recipe, float32",
    "float32": "ours in float32",
    "padded": "ours without shared prefixes",
    "ours": "ours",
}
EFFECTIVE = 16
# The targets, times the published recipe's rows a second: in native bfloat16, and in float32.
FASTER = {"bfloat16": {"full": 4, "lora": 6, "qlora": 4}, "float32": {"full": 2.5, "lora": 2.5}}
SMALLER, UTILISED, LOOK = 0.8, 50, 10  # times, percent, percent
CEILINGS = {
    "float32": "float32, PyTorch's own (MKL)",
    "float32-onednn": "float32, oneDNN",
    "bfloat16": "bfloat16, PyTorch's own",
    "bfloat16-onednn": "bfloat16, oneDNN with the weight laid out",
}
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


def trainings(methods: Sequence[str], kinds: Sequence[str], *, model: str, rows: int, repetitions: int) -> Runs:
    """All trainings, the kinds in turn; who goes first changes, since the second finds a warmer machine."""
    runs: Runs = defaultdict(list)
    for number in range(repetitions):
        for method in methods:
            for kind in kinds if number % 2 == 0 else kinds[::-1]:
                run = train(kind, method, model=model, rows=rows)
                runs[kind, method].append(run)
                print(
                    f"{number + 1}/{repetitions} {NAMES[method]}, {kind}: {run['rows'] / run['seconds']:.3g} rows/s, "
                    f"{run['peak'] / 1e6:,.0f} MB",
                    file=sys.stderr,
                    flush=True,
                )
    return runs


def _spread(runs: list[dict], value: Callable[[dict], float]) -> Spread:
    return Spread(tuple(map(value, runs)))


def ceiling(run: dict) -> float:
    """Operations a second that the machine can do: its best products."""
    return max(run["ceilings"].values())


def of_method(method: str, runs: dict[str, list[dict]]) -> list[dict]:
    """The lines of one method. runs: of each kind."""
    name, ours = NAMES[method], runs["ours"]
    rates = {kind: _spread(group, lambda run: run["rows"] / run["seconds"]) for kind, group in runs.items()}
    peaks = {kind: _spread(group, lambda run: run["peak"] / 1e6) for kind, group in runs.items()}
    lines = []
    for kind, group in runs.items():
        of, targets = f"{name}, {KINDS[kind]}", kind in ("ours", "float32")
        lines.append(measurement(f"{method}-rows-{kind}", f"{of}: rows", "rows/s", rates[kind]))
        if kind != "published":
            times = FASTER[group[0]["precision"]].get(method) if targets else None
            lines.append(
                measurement(
                    f"{method}-speedup-{kind}",
                    "– against the published recipe",
                    "×",
                    Ratio(rates[kind], rates["published"]),
                    {"at_least": times} if times else None,
                )
            )
        share = _spread(group, lambda run: 100 * run["flops"] / run["seconds"] / ceiling(run))
        least = {"at_least": UTILISED} if kind == "ours" else None
        what = f"{of}: useful operations, of the ceiling"
        lines.append(measurement(f"{method}-utilisation-{kind}", what, "%", share, least))
        lines.append(measurement(f"{method}-memory-{kind}", f"{of}: peak memory", "MB", peaks[kind]))
        if kind != "published":
            ratio = Ratio(peaks[kind], peaks["published"])
            most = {"at_most": SMALLER} if targets else None
            lines.append(
                measurement(f"{method}-memory-ratio-{kind}", "– against the published recipe", "×", ratio, most)
            )
    look = _spread(ours, lambda run: 100 * run["evaluation"])
    what = f"{name}, ours: the validation loss after an epoch, of the training's time"
    return [*lines, measurement(f"{method}-look", what, "%", look, {"at_most": LOOK})]


def of_machine(runs: Runs) -> list[dict]:
    """What is read of each row's tokens, the same for every method, and the machine's products."""
    lines = []
    for kind in dict.fromkeys(kind for kind, _ in runs):
        group = [run for (of, _), parts in runs.items() if of == kind for run in parts]
        share = _spread(group, lambda run: run["positions"] / run["tokens"])
        what = f"positions read a token of the rows, {KINDS[kind]}"
        lines.append(measurement(f"positions-{kind}", what, "×", share))
    every = [run for group in runs.values() for run in group]
    for name in every[0]["ceilings"]:
        rate = _spread(every, lambda run, name=name: run["ceilings"][name] / 1e9)
        what = f"matrix products of this machine, {CEILINGS[name]}"
        lines.append(measurement(f"products-{name}", what, "GFLOP/s", rate))
    return lines


def notes(run: dict) -> list[str]:
    """What a reader must know beside the table. run: any of ours."""
    recipe = run["recipe"]
    return [
        f"Model {run['model']}; ours computes in {run['precision']}. The same {run['rows']} rows in the same optimiser "
        f"steps of {recipe['effective_batch_size']} for all kinds, after one step of warm-up that is in no rate. LoRA "
        f"and QLoRA: rank {recipe['lora_rank']}, alpha {recipe['lora_alpha']}, all linear layers. Memory is the whole "
        "process's (on a GPU, what the training holds there) from the first step to the end of the training, ours "
        "with its evaluation. Each training ran in a process of its own.",
        "The published recipe: two rows a device batch in random order, padded to the longer, gradient checkpointing, "
        "logits at every position and the loss over prompt and completion, the Trainer's own AdamW, float32. It is "
        "restated with transformers' Trainer and the model's own loss, since TRL's trainer as installed here fuses the "
        "output head, which the study's version did not. Quantised weights are prepared by peft's own function for it.",
        f"Useful operations are what the loss over the completion needs: 6 a weight and token for full fine-tuning, 4 "
        f"a frozen and 6 an adapter's weight, for each token once however many rows of a step begin with it "
        f"({run['unique']:,} of {run['tokens']:,} tokens), the output head only where a token is predicted "
        f"({run['labelled']:,}); the same for all kinds. Layers computed again, padding, the prompt's logits, "
        "attention's own products, norms and the optimiser do not count. The ceiling is the best product of this "
        "machine by any library and dtype, large and square or of the model's shapes with 512 rows, the fastest of a "
        "few, measured after each training in its process.",
    ]


def check(rows: int, repetitions: int, kinds: Sequence[str] = tuple(KINDS)) -> None:
    """Raises UserError for sizes that leave nothing to time."""
    if rows % EFFECTIVE or rows < 2 * EFFECTIVE:
        raise UserError(f"--rows {rows} is no multiple of {EFFECTIVE} above it; give {2 * EFFECTIVE} or more")
    if not {"published", "ours"} <= set(kinds):
        raise UserError("--kinds without published and ours compares nothing; give both")
    if repetitions < 1:
        raise UserError(f"--repetitions {repetitions} measures nothing; give at least 1")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__)
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="a hub id, a folder, or tiny-random-qwen3 for a look")
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="published and ours at least")
    parser.add_argument("--rows", type=int, default=48, help=f"a multiple of {EFFECTIVE}; the first step is not timed")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=out_file, help="where the record goes, instead of results/bench")
    arguments = parser.parse_args()
    check(arguments.rows, arguments.repetitions, arguments.kinds)
    kinds = [kind for kind in KINDS if kind in arguments.kinds and (kind != "float32" or cpu_precision() != "float32")]
    sizes = {"model": arguments.model, "rows": arguments.rows, "repetitions": arguments.repetitions}
    runs = trainings(arguments.methods, kinds, **sizes)
    lines = [line for m in arguments.methods for line in of_method(m, {kind: runs[kind, m] for kind in kinds})]
    lines += of_machine(runs)
    print("\n".join(map(show, lines)))
    one = runs["ours", arguments.methods[0]][0]
    data = {
        "source": "embedded",
        "model": one["model"],
        "precision": one["precision"],
        "rows": arguments.rows,
        **{key: one[key] for key in ("tokens", "unique", "labelled")},
        "timed_rows": one["rows"],
        "recipe": {name: value for name, value in one["recipe"].items() if name != "method"},
    }
    whole = record(record_name(arguments.model), lines, packages=PACKAGES, data=data, notes=notes(one))
    if one["accelerator"]:
        whole["environment"]["device"] = f"{one['accelerator']}; {whole['environment']['device']}"
    print(f"record: {os.path.relpath(write(whole, arguments.out))}")


def record_name(model: str) -> str:
    """`training`, or, for another model than the embedded one, with the model's name behind it."""
    return "training" if model == EMBEDDED_MODEL else f"training-{Path(model).name.lower()}"


if __name__ == "__main__":
    run_cli(main)
