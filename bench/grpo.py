"""How fast a whole step of training by rewards (GRPO) is: TRL's loop with transformers' generation, and ours.

Sampling, reward and update of the same prompts, 8 completions each, LoRA of rank 64, each training in a process of its
own, in turns. TRL's loop and `ours` train on every group; `ours-spread` leaves out groups without spread, as a training
does. Not measured: what the training is good for, and TRL with another engine for sampling.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence

import torch

from bench.grpo_run import GENERATIONS, KINDS
from bench.measure import Ratio, Spread, measurement, out_file, record, show, write
from common.profiles import EMBEDDED_MODEL
from common.settings import ROOT, UserError, run_cli
from common.training.memory import room

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
NAMES = {"trl": "TRL's loop", "ours": "ours", "ours-spread": "ours, groups without spread left out"}
FASTER, LEAST, PUBLISHED = 8, 2, 1.4  # times TRL's loop; completions a second; those of the published table, on a T4
REWARD_SHARE = 1  # per cent of a step
GROUPS = (1, 2, 4)  # of a micro-batch of TRL's, of which the fastest counts
PHASES = {"seconds": "a step", "sampling": "sampling, a step", "reward": "reward, a step", "update": "update, a step"}


def run(kind: str, *, model: str, prompts: int, steps: int, groups: int = 1) -> dict:
    """One training, see `bench.grpo_run`. Raises UserError with what that one was told."""
    command = [sys.executable, "-m", "bench.grpo_run", kind, "--model", model, "--prompts", str(prompts)]
    command += ["--steps", str(steps), "--groups", str(groups)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 2:
        raise UserError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    if done.returncode:
        raise RuntimeError(f"bench.grpo_run {kind} failed: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def rate(one: dict) -> float:
    """Completions a second, everything in it that a step has."""
    return one["completions"] / one["seconds"]


def rates_by_groups(*, model: str, prompts: int) -> dict[int, float]:
    """TRL's completions a second with so many groups in a micro-batch: one step each, behind one of warm-up. A size is
    not tried where its memory, by that of the size before, is not there."""
    rates: dict[int, float] = {}
    peak = 0.0  # bytes of a group, the weights counted anew with each: too much rather than too little
    for groups in GROUPS:
        if prompts % groups or groups * peak > room(torch.nn.Identity()) > 0:
            continue
        one = run("trl", model=model, prompts=prompts, steps=1, groups=groups)
        rates[groups], peak = rate(one), one["peak"] / groups
        print(f"TRL's loop, {groups} groups a micro-batch: {rate(one):.3g} completions/s", file=sys.stderr, flush=True)
    return rates


def lines_of(runs: dict[str, list[dict]]) -> list[dict]:
    """Rates, seconds by phase and peaks, a ratio behind the line that it is of."""

    def line(kind: str, name: str, what: str, unit: str, values: Spread, target: dict | None = None) -> dict:
        return measurement(f"{name}-{kind}", f"GRPO, {NAMES[kind]}: {what}", unit, values, target)

    spreads = {
        kind: {name: Spread(tuple(one[name] for one in group)) for name in (*PHASES, "tokens", "groups", "peak")}
        for kind, group in runs.items()
    }
    rates = {kind: Spread(tuple(map(rate, group))) for kind, group in runs.items()}
    lines = []
    for kind in runs:
        is_ours = kind != "trl"
        target = {"at_least": LEAST} if is_ours else None
        lines.append(line(kind, "completions", "completions", "completions/s", rates[kind], target))
        if is_ours:
            ratio, target = Ratio(rates[kind], rates["trl"]), {"at_least": FASTER} if kind == "ours" else None
            lines.append(measurement(f"speedup-{kind}", "– against TRL's loop", "×", ratio, target))
            times = rates[kind].map(lambda value: value / PUBLISHED)
            what = f"– of the {PUBLISHED} a second of the published table, on a T4"
            lines.append(measurement(f"published-{kind}", what, "×", times))
    for kind, spread in spreads.items():
        lines += [line(kind, name, what, "s", spread[name]) for name, what in PHASES.items()]
        shares = Spread(tuple(100 * one["reward"] / one["seconds"] for one in runs[kind]))
        target = {"at_most": REWARD_SHARE} if kind != "trl" else None
        lines.append(line(kind, "reward-share", "reward, of a step", "%", shares, target))
        lines.append(line(kind, "tokens", "a completion", "tokens", spread["tokens"]))
    lines.append(
        line("ours-spread", "groups", "groups with a spread", "%", spreads["ours-spread"]["groups"].map(_per_cent))
    )
    for kind in spreads:
        peaks = {other: spreads[other]["peak"].map(lambda value: value / 1e6) for other in ("trl", kind)}
        lines.append(line(kind, "memory", "peak memory", "MB", peaks[kind]))
        if kind != "trl":
            ratio = Ratio(peaks[kind], peaks["trl"])
            lines.append(measurement(f"memory-ratio-{kind}", "– against TRL's loop", "×", ratio))
    seconds = Spread(tuple(one["databases"] for group in runs.values() for one in group))
    lines.append(measurement("databases", "a prompt's generated databases, made once", "s", seconds))
    return lines


def _per_cent(share: float) -> float:
    return 100 * share


def notes(runs: dict[str, list[dict]], *, prompts: int, steps: int, groups: int, rates: Sequence[int]) -> list[str]:
    """What a reader must know beside the table."""
    ours = runs["ours"][0]
    where = ours["accelerator"] or "the CPU"
    sizes = ", ".join(str(size * GENERATIONS) for size in rates)
    return [
        f"Model {ours['model']}, base weights and products in {ours['precision']} on {where}, LoRA of rank 64 on all "
        f"linear layers. {steps} steps of {prompts} prompts, {GENERATIONS} completions each, temperature 1, at most "
        f"{ours['max_new_tokens']} new tokens, behind a first step that is in no figure. Each training ran in a "
        "process of its own, over the same prompts in the same steps; memory is that process's, without those that "
        "score. What is sampled differs, so the tokens of a completion stand beside the seconds.",
        "TRL's loop is its GRPO trainer with transformers' `generate` for all completions of a step at once, then "
        f"TRL's layout and loss: rows padded to one width, {groups * GENERATIONS} a micro-batch, of {sizes} the "
        "fastest. It has our arithmetic, no checkpointing, no reference model and one update a sample. Not measured: "
        "TRL with vLLM, which needs a GPU.",
        "TRL's loop and `ours` have the robust reward and a little for the place in the group, so that every group "
        "teaches. With groups without spread left out, the robust reward stands alone; how many have a spread is the "
        "model's: an untrained one has few, and then a step is little more than sampling.",
        "Sampling and reward are the calls for them; update is the rest of a step, which is what lies between the ends "
        "of two optimiser steps. Each prompt's generated databases are on disk before the training, as `preflight` "
        f"leaves them; what they take stands apart. The published table has {PUBLISHED} samples a second, of another "
        "model on a T4, and does not say whether a sample is a completion.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.grpo", description=__doc__)
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="a hub id, a folder, or tiny-random-qwen3 for a look")
    parser.add_argument("--prompts", type=int, default=4, help=f"of a step, {GENERATIONS} completions each")
    parser.add_argument("--steps", type=int, default=2, help="that are measured, behind one of warm-up")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--out", type=out_file, help="where the record goes, instead of results/bench")
    given = parser.parse_args()
    for name in ("prompts", "steps", "repetitions"):
        if getattr(given, name) < 1:
            raise UserError(f"--{name} {getattr(given, name)} measures nothing; give at least 1")
    rates = rates_by_groups(model=given.model, prompts=given.prompts)
    groups = max(rates, key=rates.__getitem__)
    runs: dict[str, list[dict]] = defaultdict(list)
    sizes = {"model": given.model, "prompts": given.prompts, "steps": given.steps}
    for number in range(given.repetitions):
        for kind in KINDS if number % 2 == 0 else KINDS[::-1]:
            one = run(kind, **sizes, groups=groups if kind == "trl" else 1)
            runs[kind].append(one)
            line = (
                f"{number + 1}/{given.repetitions} {kind}: {rate(one):.3g} completions/s, {one['peak'] / 1e6:,.0f} MB"
            )
            print(line, file=sys.stderr, flush=True)
    runs = {kind: runs[kind] for kind in KINDS}
    lines = lines_of(runs)
    print("\n".join(map(show, lines)))
    ours = runs["ours"][0]
    data = {"source": "embedded", "model": ours["model"], "precision": ours["precision"], "groups": groups}
    data |= {"prompts": given.prompts, "steps": given.steps, "generations": GENERATIONS}
    text = notes(runs, prompts=given.prompts, steps=given.steps, groups=groups, rates=list(rates))
    entry = record("grpo", lines, packages=PACKAGES, data=data, notes=text)
    print(f"record: {os.path.relpath(write(entry, given.out))}")


if __name__ == "__main__":
    run_cli(main)
