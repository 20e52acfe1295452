"""How fast one training update is where rows share what they begin with: TRL's layout against our tree, in one run.

Forward and backward of LoRA with rank 64, no optimiser: a group update of GRPO (8 prompts of 8 completions), pairs as
DPO's policy reads them (8), and rows of supervised fine-tuning (16). Both layouts in float32, so that the ratio is of
equal arithmetic; ours once more in the processor's own. Before anything is timed both must give the same
log-probabilities. They take turns, and CPU seconds are counted, which other work on the machine hardly touches. Not
measured: sampling, scoring, references' log-probabilities, and what TRL's trainers do beside the model.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from bench import trl_layout
from bench.layouts_run import COMPLETIONS, CPU_TOKENS, KINDS, WAYS, Learner, step, tokens
from bench.measure import Ratio, Spread, measurement, out_file, record, show, write
from common.profiles import EMBEDDED_MODEL
from common.settings import ROOT, UserError, run_cli
from common.training.memory import keep_freed
from common.training.rows import Item

PACKAGES = ("torch", "transformers", "trl", "peft")
NAMES = {"group": "GRPO, a group update", "pairs": "DPO, pairs", "rows": "SFT, rows"}
LABELS = {"trl": "TRL's layout", "tree": "our tree in the libraries' layers", "ours": "ours", "native": "ours in {}"}
FASTER = {"group": 5, "pairs": 1.7}  # the targets, times
CLOSE = 1e-3  # nats: how far log-probabilities of the two layouts may differ in float32
MB = 1e6
WARM = 1  # prompts of the step that is compared, and warms up, before anything is timed
Chances = list[torch.Tensor]
Runs = dict[str, list[tuple[float, Chances]]]  # way → CPU seconds and log-probabilities of each repetition


def cpu_timed(action: Callable[[], Chances]) -> tuple[float, Chances]:
    """CPU seconds of this process over one call, all threads together, and what it returns."""
    start = time.process_time()
    returned = action()
    return time.process_time() - start, returned


def difference(one: Chances, other: Chances) -> tuple[float, float]:
    """(the largest, the mean) absolute difference between log-probabilities of the same rows, in nats."""
    gaps = (torch.cat(one).float() - torch.cat(other).float()).abs()
    return gaps.max().item(), gaps.mean().item()


def gradient_difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """The norm of the difference over the norm of the first."""
    squares = [((one[name] - other[name]).square().sum(), one[name].square().sum()) for name in one]
    return (sum(a for a, _ in squares) / sum(b for _, b in squares)).sqrt().item()


def check(kind: str, items: Sequence[Item], learners: Mapping[str, Learner]) -> None:
    """Raises RuntimeError where the layouts give other log-probabilities in the same arithmetic: their times would not
    be of the same work. Every way's first update, so it warms them up."""
    chances = {name: learner.update(kind, items) for name, learner in learners.items()}
    for name in learners:
        most, _ = difference(chances["trl"], chances[name])
        if not WAYS[name].native and not most <= CLOSE:
            raise RuntimeError(f"{NAMES[kind]}: '{name}' gives log-probabilities that differ by {most:.2g} from TRL's")


def in_turns(kind: str, items: Sequence[Item], learners: Mapping[str, Learner], repetitions: int) -> Runs:
    """Each way's update as often as that; who goes first changes."""
    runs: Runs = {name: [] for name in learners}
    for number in range(repetitions):
        for name in list(learners) if number % 2 == 0 else list(learners)[::-1]:
            runs[name].append(cpu_timed(partial(learners[name].update, kind, items)))
            line = f"{number + 1}/{repetitions} {NAMES[kind]}, {name}: {runs[name][-1][0]:.2f} CPU s"
            print(line, file=sys.stderr, flush=True)
    return runs


def agreement(kind: str, runs: Runs, gradient: float) -> list[dict]:
    """The lines of how far ours lies from TRL's layout over the whole step. gradient: see `gradient_difference`."""
    gaps = {name: difference(runs["trl"][0][1], repetitions[0][1]) for name, repetitions in runs.items()}

    def line(key: str, what: str, unit: str, value: float, target: dict | None = None) -> dict:
        return measurement(f"{kind}-{key}", f"{NAMES[kind]}: {what}", unit, Spread((value,)), target)

    lines = [
        line("difference", "largest difference of a log-probability", "nats", gaps["ours"][0], {"at_most": CLOSE}),
        line("gradient", "difference of the gradients, of their norm", "", gradient),
    ]
    if "native" in gaps:
        what = f"mean difference of a log-probability, {WAYS['native'].precision} against float32"
        lines.append(line("difference-native", what, "nats", gaps["native"][1]))
    return lines


def peak(kind: str, way: str, *, model: str, prompts: int) -> Spread:
    """Peak memory in a process of its own, see `bench.layouts_run`, in MB."""
    command = [sys.executable, "-m", "bench.layouts_run", kind, way, "--model", model, "--prompts", str(prompts)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"bench.layouts_run {kind} {way} failed: {done.stderr.strip()}")
    return Spread((json.loads(done.stdout.splitlines()[-1])["peak"] / MB,))


def lines_of(
    kind: str, counts: Mapping[str, int], seconds: Mapping[str, Spread], peaks: Mapping[str, Spread]
) -> list[dict]:
    """What one kind of step cost by each way; a ratio follows the line that it is of."""
    name = NAMES[kind]
    lines = [
        measurement(f"{kind}-positions", f"{name}, TRL's layout", "positions", Spread((float(counts["positions"]),))),
        measurement(f"{kind}-unique", f"{name}, ours", "positions", Spread((float(counts["unique"]),))),
    ]
    for way, spread in seconds.items():
        label, suffix = LABELS[way].format(WAYS[way].precision), "" if way == "ours" else f"-{way}"
        lines.append(measurement(f"{kind}-seconds{suffix}", f"{name}, {label}", "CPU s", spread))
        if way != "trl":
            what, target = "– TRL's layout against it", None  # which the table of all ratios leaves out
            if way == "ours":
                what, target = "– against TRL's layout", {"at_least": FASTER[kind]} if kind in FASTER else None
            lines.append(measurement(f"{kind}-speedup{suffix}", what, "×", Ratio(seconds["trl"], spread), target))
    for way, spread in peaks.items():
        label, suffix = LABELS[way].format(WAYS[way].precision), "" if way == "ours" else f"-{way}"
        lines.append(measurement(f"{kind}-memory{suffix}", f"{name}, {label}: peak memory", "MB", spread))
    return lines


def notes(model: str, prompts: int, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What a reader must know beside the table."""
    few, texts = trl_layout.ROWS, []
    for kind, what in (("group", "groups"), ("pairs", "pairs"), ("rows", "rows")):
        every, unique = counts[kind]["tokens"], counts[kind]["unique"]
        texts.append(
            f"{unique:,} of {every:,} tokens in {KINDS[kind] * prompts} {what} ({every / unique:.1f} times fewer)"
        )
    return [
        f"Model {model}, LoRA of rank 64 on all linear layers, {torch.get_num_threads()} threads; CPU seconds of the "
        "process, all threads together. Each way has gone through a smaller step before it is timed.",
        "A completion is a reference of the embedded training rows or a near miss of it (one operator, constant, "
        "column or clause changed; those nearest to the statement's outside), with its end token: "
        f"{COMPLETIONS} different ones a prompt in a group. A trained model's samples repeat one another, these do "
        f"not. Ours reads {', '.join(texts)}: no row's last token, and a beginning that two micro-batches share twice.",
        "TRL's layout is that of the installed TRL on a CPU, with its own padding and output head, which computes "
        "logits at every position there. A group's prompts are padded on the left, its completions on the right, all "
        f"to one width, {few['group']} rows a micro-batch; pairs have the chosen rows above the rejected, "
        f"{few['pairs']} rows; rows of supervised fine-tuning come {few['rows']} at a time in random order. Ours takes "
        f"micro-batches of at most {CPU_TOKENS} unique tokens. Both have a weighted sum of log-probabilities as loss.",
        "Peak memory is the whole process's, over the largest micro-batch, in a process of its own.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.layouts", description=__doc__)
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="a hub id, a folder, or tiny-random-qwen3 for a look")
    parser.add_argument("--prompts", type=int, default=8, help="of a group update and of pairs; rows are twice as many")
    parser.add_argument("--repetitions", type=int, default=1, help="turns, of four CPU minutes each on SmolLM2")
    parser.add_argument("--tree", action="store_true", help="time the tree in the libraries' own layers, too")
    parser.add_argument("--without-memory", action="store_true", help="leave the peaks of memory out")
    parser.add_argument("--out", type=out_file, help="where the record goes, instead of results/bench")
    given = parser.parse_args()
    if given.prompts < 1 or given.repetitions < 1:
        raise UserError("give at least 1 prompt and 1 repetition")
    left_out = {"tree": not given.tree, "native": WAYS["native"].precision == "float32"}
    ways = [name for name in WAYS if not left_out.get(name)]
    peaks = {
        kind: {
            way: peak(kind, way, model=given.model, prompts=given.prompts)
            for way in ways
            if way != "tree" and not given.without_memory
        }
        for kind in KINDS
    }
    learners = {way: Learner(given.model, WAYS[way]) for way in ways}
    keep_freed()
    loaded = learners["trl"].loaded
    lines, counts = [], {}
    for kind in KINDS:
        items = step(kind, loaded, prompts=given.prompts)
        counts[kind] = tokens(kind, items, loaded.tokenizer.pad_token_id)
        check(kind, step(kind, loaded, prompts=min(WARM, given.prompts)), learners)
        runs = in_turns(kind, items, learners, given.repetitions)
        gradient = gradient_difference(learners["trl"].gradients(), learners["ours"].gradients())
        seconds = {way: Spread(tuple(one for one, _ in repetitions)) for way, repetitions in runs.items()}
        lines += lines_of(kind, counts[kind], seconds, peaks[kind]) + agreement(kind, runs, gradient)
    print("\n".join(map(show, lines)))
    model = f"{loaded.id} {loaded.revision}".strip()
    data = {"source": "embedded", "model": model, "prompts": given.prompts, "steps": counts}
    data["native"] = WAYS["native"].precision
    entry = record("layouts", lines, packages=PACKAGES, data=data, notes=notes(model, given.prompts, counts))
    print(f"record: {os.path.relpath(write(entry, given.out))}")


if __name__ == "__main__":
    run_cli(main)
