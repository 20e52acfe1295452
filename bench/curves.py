"""Whether our training computes what plain training computes: loss curves over the same steps, method by method.

Each method trains three times on the same rows in the same order from the same seed: as the libraries do it in
float32, ours in float32, and ours in the arithmetic that the processor is built for. Each training has a process of its
own, and its curve is kept under outputs/, so a bench that was stopped goes on with what is missing. Not measured: speed,
what a training is good for, and prompt tuning from a text, which differs from the random start in the start alone.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from bench.curves_run import KINDS, RATES, STEP, VALID_ROWS
from bench.measure import Spread, measurement, record, show, write
from common.profiles import EMBEDDED_MODEL
from common.provenance import basis, digest, files_digest
from common.settings import ROOT, UserError, outputs, replace_text, run_cli, writable, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets")
NAMES = {"full": "FullFT", "lora": "LoRA", "qlora": "QLoRA", "prompt-random": "prompt tuning"}
LABELS = {"plain": "plain, float32", "tree": "ours, float32", "native": "ours, {}"}
FIRST = 10  # steps in which rounding has had no time to grow
LAST = 20  # steps that the end of a curve is a mean over
EVERY = 5  # of a curve, the steps that the record has beside the first
Curves = dict[str, dict[str, dict]]  # method → kind → what `bench.curves_run` printed


def state_folder(model: str, rows: int) -> Path:
    """Where curves are kept: another place for other code, packages, model or rows."""
    code = basis("common.training.sft", "common.models", "common.data")
    run = files_digest([ROOT / "bench" / "curves_run.py"])
    return outputs() / "bench" / f"curves-{digest(code, run, model, rows)[:12]}"


def train(method: str, kind: str, *, model: str, rows: int, folder: Path) -> dict:
    """One training in a process of its own, see `bench.curves_run`. Raises UserError with what that one was told."""
    command = [sys.executable, "-m", "bench.curves_run", method, kind, "--model", model, "--rows", str(rows)]
    done = subprocess.run([*command, "--folder", str(folder)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 2:
        raise UserError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    if done.returncode:
        raise RuntimeError(f"bench.curves_run {method} {kind} failed: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def curves(methods: Sequence[str], *, model: str, rows: int) -> Curves:
    """All curves, those of an earlier sitting as they were kept."""
    folder = writable(state_folder(model, rows))
    results: Curves = {method: {} for method in methods}
    for method in methods:
        for kind in KINDS:
            path = folder / f"{method}-{kind}.json"
            try:
                curve = json.loads(path.read_text())
            except (OSError, ValueError):
                curve = train(method, kind, model=model, rows=rows, folder=folder / f"{method}-{kind}")
                with writing(path):
                    replace_text(path, json.dumps(curve))
            results[method][kind] = curve
            print(
                f"{NAMES[method]}, {kind}: {len(curve['losses'])} steps in {curve['seconds']:.0f} s, "
                f"loss {mean(curve['losses'][-LAST:]):.4f} at the end",
                file=sys.stderr,
                flush=True,
            )
    return results


def figures(method: str, by_kind: dict[str, dict]) -> list[dict]:
    """The lines of one method."""
    name, losses = NAMES[method], {kind: curve["losses"] for kind, curve in by_kind.items()}
    native = by_kind["native"]["precision"]

    def line(key: str, what: str, value: float | None, target: dict | None = None) -> dict:
        spread = None if value is None else Spread((value,))
        return measurement(f"{method}-{key}", f"{name}, {what}", "nats", spread, target)

    gaps = [abs(one - other) for one, other in zip(losses["tree"], losses["plain"], strict=True)]
    native_gaps = [one - other for one, other in zip(losses["native"], losses["plain"], strict=True)]
    ours, other = "ours in float32 against plain", f"ours in {native} against plain in float32"
    return [
        line("first", f"{ours}: largest difference of the first {FIRST} steps", max(gaps[:FIRST]), {"at_most": SAME}),
        line("largest", f"{ours}: largest difference of a step", max(gaps), {"at_most": CLOSE}),
        line("mean", f"{ours}: mean difference of a step", mean(gaps)),
        line("native-mean", f"{other}: mean difference of a step", mean(map(abs, native_gaps))),
        line(
            "native-end",
            f"{other}: difference of the mean of the last {LAST} steps",
            abs(mean(native_gaps[-LAST:])),
            {"at_most": NATIVE},
        ),
        *(
            line(
                f"valid-{kind}",
                f"validation loss at the end, {LABELS[kind].format(curve['precision'])}",
                curve["valid"],
            )
            for kind, curve in by_kind.items()
        ),
    ]


def thinned(losses: Sequence[float]) -> list[float]:
    """The first step's loss and every fifth's, to four places."""
    return [round(loss, 4) for step, loss in zip(steps(len(losses)), losses, strict=False) if step]


def steps(count: int) -> list[int]:
    """The steps of a curve of `count` that the record has."""
    return [1, *range(EVERY, count + 1, EVERY)]


def plot(data: dict, path: Path) -> None:
    """The record's curves, a panel a method; equal records give equal bytes."""
    from matplotlib.figure import Figure  # the object interface: no backend, nothing on a screen

    methods = data["curves"]
    figure = Figure(figsize=(3.2 * len(methods), 2.8), layout="constrained")
    panels = figure.subplots(1, len(methods), squeeze=False)[0]
    for axes, (method, curve) in zip(panels, methods.items(), strict=True):
        for (kind, label), style in zip(LABELS.items(), ("-", "--", ":"), strict=True):
            axes.plot(data["steps"], curve[kind], style, label=label.format(data["native"]))
        axes.set(title=NAMES[method], xlabel="step", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("training loss, nats a token")
    panels[-1].legend(frameon=False, fontsize="small")
    with writing(path):
        figure.savefig(path, dpi=100, metadata={"Software": None})
