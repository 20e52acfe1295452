"""One training in a process of its own, for its loss by step: as the libraries do it, or ours; see `bench.curves`.

Plain training is the same trainer on the same rows in the same steps, all in float32, with rows side by side and
padded, transformers' attention and peft's layers as they come. Ours packs the rows of a step as a tree and computes
with the session's own layers, in float32 or in the arithmetic that the processor is built for. A training that was
stopped goes on from its last checkpoint.
"""

import argparse
import contextlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from common.arithmetic import cpu_precision
from common.data import load_examples
from common.models import load_model
from common.settings import run_cli
from common.training.recipe import Recipe
from common.training.sft import train_sft

SEED, STEP, VALID_ROWS = 42, 2, 32  # STEP: rows a step
# Learning rates of the notebooks: examples/ for the first three, the search's in sft/ for prompt tuning.
RATES = {"full": 1e-4, "lora": 1e-3, "qlora": 1e-3, "prompt-random": 0.03}


@dataclass(frozen=True)
class Kind:
    """plain: without the tree and without the session's own layers. native: in the processor's own arithmetic."""

    plain: bool = False
    native: bool = False

    @property
    def precision(self) -> str:
        return cpu_precision() if self.native else "float32"


KINDS = {"plain": Kind(plain=True), "tree": Kind(), "native": Kind(native=True)}


def recipe(method: str, kind: Kind) -> Recipe:
    """One pass in steps of two rows; all else as in the notebooks."""
    return Recipe(
        method=method,
        learning_rate=RATES[method],
        effective_batch_size=STEP,
        per_device_train_batch_size=STEP,
        schedule="cosine",
        warmup_ratio=0.1,
        lora_rank=16,
        lora_alpha=32,
        shared_prefixes=not kind.plain,
        seed=SEED,
    )


def measure(method: str, name: str, *, model_id: str, rows: int, folder: Path) -> dict:
    """The loss of each step, in nats a labelled token, and of the validation rows at the end.

    name: of KINDS. folder: of the training, removed at its end. Raises UserError for a model that is not there or that
    the method cannot train.
    """
    kind = KINDS[name]
    chosen = recipe(method, kind)
    loaded = load_model(model_id, precision=kind.precision, quantisation=chosen.quantisation)
    train = load_examples("embedded", "train", limit=rows)
    valid = load_examples("embedded", "validation", limit=VALID_ROWS)
    # No switch in the product for this alone.
    plain = mock.patch("common.training.layers.accelerate") if kind.plain else contextlib.nullcontext()
    with plain:
        trained = train_sft(loaded, train, valid, chosen, folder=folder)
    shutil.rmtree(folder)
    return {
        "losses": trained.curve["loss"].dropna().tolist(),
        "valid": trained.eval_loss,
        "seconds": trained.seconds,
        "precision": kind.precision,
        "model": f"{loaded.id} {loaded.revision}".strip(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.curves_run", description=__doc__)
    parser.add_argument("method", choices=RATES)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    curve = measure(given.method, given.kind, model_id=given.model, rows=given.rows, folder=given.folder)
    print(json.dumps(curve))


if __name__ == "__main__":
    run_cli(main)
