"""The parts of the GPU bench, by name, and the process that measures one of them.

A part is a function of a `Setting` that returns what it measured: {"values": {line's name: values, one a repetition},
"notes": [...]}, the names being those of `bench.gpu_lines.LINES`. A new part is a function here with its place in
PARTS, and its lines there. Each runs in a process of its own, so that nothing of one stands in another's peak of
memory, and one that fails ends no other.
"""

import argparse
import importlib
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.settings import UserError, run_cli

if TYPE_CHECKING:
    from bench.gpu_model import Setting


@dataclass(frozen=True)
class Part:
    """seconds: what it needs at least, start included, on a fast card; its share of the time goes by it. needs:
    packages beyond torch, transformers and peft; real: it needs SmolLM2's weights; cuda: it takes too long without."""

    measure: Callable[["Setting"], dict]
    seconds: float
    needs: tuple[str, ...] = field(default=())
    real: bool = False
    cuda: bool = False


def _from(module: str, function: str, *arguments: str) -> Callable[["Setting"], dict]:
    """`bench.module.function(setting, *arguments)`, imported when it is called: to name the parts needs no torch."""
    return lambda setting: getattr(importlib.import_module(f"bench.{module}"), function)(setting, *arguments)


PARTS: dict[str, Part] = {
    "ceilings": Part(_from("gpu_checks", "ceilings"), 20),
    "full": Part(_from("gpu_methods", "on_random_weights", "full"), 40),
    "lora": Part(_from("gpu_methods", "on_random_weights", "lora"), 40),
    "qlora": Part(_from("gpu_methods", "on_random_weights", "qlora"), 40, needs=("bitsandbytes",)),
    "prompt": Part(_from("gpu_methods", "on_random_weights", "prompt"), 35),
    "generation": Part(_from("gpu_generation", "on_random_weights"), 120),
    "generation-library": Part(_from("gpu_generation", "by_generate_batch"), 60),
    "head": Part(_from("gpu_head", "measure"), 40, needs=("trl",)),
    "tree-sft": Part(_from("gpu_tree", "measure", "sft"), 40, needs=("trl",)),
    "tree-pair": Part(_from("gpu_tree", "measure", "pair"), 40, needs=("trl",)),
    "tree-group": Part(_from("gpu_tree", "measure", "group"), 40, needs=("trl",)),
    "grpo": Part(_from("gpu_grpo", "measure"), 60, needs=("trl", "datasets")),
    "loss": Part(_from("gpu_checks", "loss"), 50),
    "t4": Part(_from("gpu_checks", "t4"), 40),
    "trainer": Part(_from("gpu_checks", "trainer"), 40, needs=("trl", "datasets")),
    "smollm2-full": Part(_from("gpu_methods", "on_smollm2", "full"), 30, real=True, cuda=True),
    "smollm2-lora": Part(_from("gpu_methods", "on_smollm2", "lora"), 30, real=True, cuda=True),
    "smollm2-generation": Part(_from("gpu_generation", "on_smollm2"), 40, real=True, cuda=True),
    "variants": Part(_from("gpu_checks", "variants"), 90, cuda=True),
}


def end_with(parent: int) -> None:
    """End this process when the one that started it is gone, however that ended: nothing is left on the card."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_parts", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--smollm2", default="")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the process to end with")
    arguments = parser.parse_args()
    end_with(arguments.parent)
    import torch

    from bench.gpu_model import Setting, sizes

    try:
        part = PARTS[arguments.part].measure(Setting(sizes(), arguments.seconds, arguments.smollm2))
    except torch.OutOfMemoryError:
        raise UserError("it did not fit in the device's memory") from None
    print(json.dumps(part))


if __name__ == "__main__":
    run_cli(main)
