"""One training in a process of its own, timed step by step: the published recipe's or one of ours, on the same rows.

A process of its own, since what one training leaves behind would stand in the next one's peak of memory. The first
optimiser step is the warm-up: the optimiser's states and the allocator's pages come with it. Loading, evaluation and
saving are in no rate. The machine's rates of matrix products are measured in the same process, after the training.
"""

import argparse
import json
import tempfile
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from bench import published_training
from bench.training import EFFECTIVE, KINDS, NAMES
from bench.training_flops import products, rates, wait
from common.arithmetic import cpu_precision
from common.data import load_examples
from common.models import device, load_model
from common.profiles import resolve
from common.settings import UserError, run_cli
from common.training.plan import step_plan
from common.training.recipe import Recipe
from common.training.rows import IGNORED, tokenise
from common.training.sft import train_sft
from common.training.tree import tree

MICRO, SEED = 2, 42


def recipe(method: str, kind: str = "ours") -> Recipe:
    """What all kinds share, and how ours are called."""
    return Recipe(
        method=method,
        effective_batch_size=EFFECTIVE,
        per_device_train_batch_size=MICRO,
        lora_rank=16,
        lora_alpha=32,
        shared_prefixes=kind != "padded",
        save_every=0,
        seed=SEED,
    )


def precision(kind: str) -> str:
    """The dtype of base weights and products: on a CPU the hardware's for ours, float32 as published, and where ours is
    asked for it."""
    if torch.cuda.is_available():
        return resolve("auto").precision
    return cpu_precision() if kind in ("ours", "padded") else "float32"


@dataclass(frozen=True)
class Mark:
    """The end of an optimiser step: seconds on a clock, and how much the model has read in training until then.

    positions: rows × width of every micro-batch, padding included.
    """

    seconds: float
    positions: int
    batches: int


class Watch(AbstractContextManager):
    """Marks the end of each optimiser step of any training of `model` inside, whoever steps."""

    def __init__(self, model: torch.nn.Module):
        self.marks: list[Mark] = []
        self._model, self._positions, self._batches = model, 0, 0

    def __enter__(self) -> "Watch":
        embeddings = self._model.get_input_embeddings()
        self._hooks = [
            # A layer may be computed again in the backward pass; the embedding is not.
            embeddings.register_forward_hook(self._read),
            register_optimizer_step_post_hook(self._stepped),
        ]
        return self

    def __exit__(self, *_) -> None:
        for hook in self._hooks:
            hook.remove()

    def _read(self, module: torch.nn.Module, args: tuple, output: torch.Tensor) -> None:
        if module.training:  # not in an evaluation
            self._positions += args[0].numel()
            self._batches += 1

    def _stepped(self, optimizer: torch.optim.Optimizer, *_) -> None:
        wait(self._model.device)
        self.marks.append(Mark(time.perf_counter(), self._positions, self._batches))


def measure(kind: str, method: str, *, model_id: str, rows: int) -> dict:
    """One training of `rows` rows and what it cost, per step after the first; see the keys below.

    rows: a multiple of the effective batch, at least two of them. Raises UserError for a model that is not there or
    that cannot read one of the rows whole.
    """
    method_recipe, dtype = recipe(method, kind), precision(kind)
    loaded = load_model(model_id, precision=dtype, quantisation=method_recipe.quantisation)
    train = load_examples("embedded", "train", limit=rows)
    # As many as the last stage of the search has for its training rows, so that the cost of a look is true to scale.
    stage = resolve("cpu").stages[-1]
    valid = load_examples("embedded", "validation", limit=max(1, rows * stage.valid_rows // stage.train_rows))
    tokens = tokenise(train, loaded, max_length=method_recipe.max_length)
    if len(tokens) < rows:
        raise UserError(f"{model_id} makes more than {method_recipe.max_length} tokens of a row; take another model")
    plan = step_plan(
        [len(row["input_ids"]) for row in tokens],
        epochs=1,
        effective_batch_size=EFFECTIVE,
        per_device_train_batch_size=MICRO,
        seed=SEED,
    )
    counted = products(loaded.model, rank=0 if method == "full" else method_recipe.lora_rank)
    evaluation = None
    with tempfile.TemporaryDirectory(prefix="text-to-sql-bench-") as folder, Watch(loaded.model) as watch:
        if kind == "published":
            texts = [tokens[i]["input_ids"] for i in published_training.random_order(plan, SEED)]
            peak = published_training.train(loaded, texts, method_recipe, Path(folder))
        else:
            trained = train_sft(loaded, train, valid, method_recipe, folder=Path(folder))
            peak, evaluation = trained.peak_memory_bytes, trained.evaluation_seconds / trained.seconds
    if len(watch.marks) != len(plan):
        raise RuntimeError(f"{len(watch.marks)} optimiser steps were seen instead of {len(plan)}")
    timed = [tokens[i] for step in plan[1:] for batch in step for i in batch]
    read, labelled = sum(len(row["input_ids"]) for row in timed), sum(_labelled(row) for row in timed)
    first, last = watch.marks[0], watch.marks[-1]
    # What the loss needs: tokens that rows of a step begin with alike are needed once.
    unique = sum(len(tree([tokens[i]["input_ids"][:-1] for batch in step for i in batch]).ids) for step in plan[1:])
    return {
        "seconds": last.seconds - first.seconds,
        "rows": len(timed),
        "tokens": read,
        "unique": unique,
        "labelled": labelled,
        "positions": last.positions - first.positions,
        "batches": last.batches - first.batches,
        "flops": counted.useful_flops(tokens=unique, labelled=labelled),
        "peak": peak,
        "evaluation": evaluation,  # its seconds over the training's; None for the published recipe, which is not asked
        "ceilings": rates(counted.layers, device()),
        "model": f"{loaded.id} {loaded.revision}".strip(),
        "precision": dtype,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "recipe": asdict(method_recipe),
    }


def _labelled(row: dict[str, list[int]]) -> int:
    return sum(label != IGNORED for label in row["labels"])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.training_run", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("method", choices=NAMES)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, required=True)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.kind, arguments.method, model_id=arguments.model, rows=arguments.rows)))


if __name__ == "__main__":
    run_cli(main)
