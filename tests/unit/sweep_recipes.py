"""A second recipe for the tests of the search: a file in a copy of `common`, with the module that trains it.

The copy is what `Sweep.id` digests; the module is imported from it under its name, so that the search finds it by that.
"""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from common.sweeps import sweep

ROOT = Path(__file__).resolve().parents[2]
NAME = "common.training.pairwise"
SOURCE = '''
"""Trains nothing: an outcome by the recipe's own field."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pandas

from common.training.recipe import Recipe

CALLS = []


@dataclass(frozen=True)
class Pairwise(Recipe):
    module: ClassVar[str] = "common.training.pairwise"
    beta: float = 0.1
    reference_free: bool = False


def load_rows(source, split, limit):
    return [f"{source} {split} {row}" for row in range(limit)]


def train(
    loaded, train, valid, recipe, *, folder, max_new_tokens=96, batch_size=32, databases=0, should_stop=lambda: False
):
    CALLS.append(SimpleNamespace(**{name: value for name, value in locals().items() if name != "loaded"}))
    return SimpleNamespace(
        curve=pandas.DataFrame([{"step": 1, "loss": 1.0}]),
        eval_loss=abs(recipe.beta - 0.3),
        eval_score=recipe.beta if recipe.score_rows else None,
        train_rows=len(train),
        valid_rows=len(valid),
        dropped_rows=0,
        skipped_steps=2 if recipe.beta == 0.5 else 0,
        tokens=7 * len(train),
        seconds=1.0,
        evaluation_seconds=0.5,
    )
'''


def copy_of_the_code(folder: Path) -> Path:
    """A root with a copy of `common`."""
    shutil.copytree(ROOT / "common", folder / "common", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@contextmanager
def pairwise(folder: Path) -> Iterator[ModuleType]:
    """The module, for as long as the block runs."""
    path = copy_of_the_code(folder).joinpath(*NAME.split(".")).with_suffix(".py")
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location(NAME, path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, NAME, module)
        patch.setattr(sweep, "ROOT", folder)
        spec.loader.exec_module(module)
        yield module
