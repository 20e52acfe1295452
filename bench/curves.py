"""Whether our training computes what plain training computes: loss curves over the same steps, method by method.

Each method trains three times on the same rows in the same order from the same seed: as the libraries do it in
float32, ours in float32, and ours in the arithmetic that the processor is built for. Each training has a process of
its own, and its curve is kept under outputs/, so a bench that was stopped goes on with what is missing. Not measured:
speed, what a training is good for, and prompt tuning from a text, which differs from the random start in no more.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from bench.curves_run import KINDS, RATES, STEP, VALID_ROWS
from bench.measure import Spread, measurement, out_file, record, show, write
from common.arithmetic import cpu_precision
from common.profiles import EMBEDDED_MODEL
from common.provenance import basis, digest, files_digest
from common.settings import ROOT, UserError, outputs, replace_text, run_cli, writable, writing

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "datasets")
NAMES = {"full": "FullFT", "lora": "LoRA", "qlora": "QLoRA", "prompt-random": "prompt tuning"}
LABELS = {"plain": "plain, float32", "tree": "ours, float32", "native": "ours, {}"}
FIRST = 10  # steps in which rounding has had no time to grow
LAST = 20  # steps that the end of a curve is a mean over
EVERY = 5  # of a curve, the steps that the record has beside the first
# The targets, in nats a token. The first steps show whether the same is computed; later, rounding alone moves the
# weights apart, the more the higher the rate.
SAME, CLOSE, NATIVE = 1e-4, 1e-3, 0.01
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
    return [round(losses[step - 1], 4) for step in steps(len(losses))]


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


def notes(model: str, rows: int) -> list[str]:
    """What a reader must know beside the table."""
    rates = ", ".join(f"{NAMES[method]} {rate:g}" for method, rate in RATES.items())
    return [
        f"Model {model}, {rows} embedded training rows once, {STEP} a step, {VALID_ROWS} validation rows at the end; "
        f"peak learning rates {rates}, cosine, a tenth of the steps warm-up, AdamW; LoRA and QLoRA of rank 16.",
        "Plain: the same trainer with rows side by side and padded, transformers' attention, peft's and bitsandbytes' "
        "layers as they come, all in float32. Ours packs each step's rows as a tree and has its own linear layers and "
        "norms, see `common/training`. QLoRA's weights are the same 4 bits in all three.",
        f"A target for the first {FIRST} steps, since there the weights are still nearly equal, so a difference is one "
        "of what is computed. From step to step rounding moves the weights apart, and the loss of one step, a mean "
        f"over two rows, shows it most; in other arithmetic only means over steps can be compared: that of the last "
        f"{LAST} may differ by {NATIVE} nats.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.curves", description=__doc__)
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="a hub id, a folder, or tiny-random-qwen3 for a look")
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--rows", type=int, default=200, help=f"{STEP} a step")
    parser.add_argument("--out", type=out_file, help="where the record goes, instead of results/bench")
    given = parser.parse_args()
    if given.rows < STEP * LAST or given.rows % STEP:
        raise UserError(f"--rows {given.rows} makes no curve; give a multiple of {STEP}, at least {STEP * LAST}")
    cpu_precision()  # refuses a wrong name in the environment before hours are spent
    results = curves(given.methods, model=given.model, rows=given.rows)
    lines = [line for method, by_kind in results.items() for line in figures(method, by_kind)]
    print("\n".join(map(show, lines)))
    native = results[given.methods[0]]["native"]
    data = {
        "source": "embedded",
        "model": native["model"],
        "native": native["precision"],
        "rows": given.rows,
        "rates": {method: RATES[method] for method in results},
        "steps": steps(len(native["losses"])),
        "curves": {m: {kind: thinned(c["losses"]) for kind, c in kinds.items()} for m, kinds in results.items()},
    }
    entry = record("curves", lines, packages=PACKAGES, data=data, notes=notes(native["model"], given.rows))
    path = write(entry, given.out)
    plot(data, path.with_suffix(".png"))
    print(f"record: {os.path.relpath(path)}")


if __name__ == "__main__":
    run_cli(main)
