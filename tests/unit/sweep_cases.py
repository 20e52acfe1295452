"""What the tests of the search share: a sweep, an objective that trains nothing, and a stop in mid-search."""

import math
from types import SimpleNamespace

import pytest

from common.sweeps import Outcome, storage
from common.training.recipe import Recipe
from tests.unit.sweep_process import PLAN

SPACE, STAGES = PLAN.space, PLAN.stages


def loss_of(recipe: Recipe, stage: int) -> float:
    far = abs(math.log10(recipe.learning_rate) + 4)
    return far + 0.25 * (recipe.optimizer == "adam") + 2 * (recipe.betas[0] - 0.9) + 1.0 / stage


def outcome(candidate, **other) -> Outcome:
    rows = candidate.rows
    loss = loss_of(candidate.recipe, candidate.stage)
    return Outcome(
        **{"loss": loss, "train_rows": rows.train_rows, "valid_rows": rows.valid_rows, "tokens": 7 * rows.train_rows}
        | {"seconds": 0.5, "base_digest": "base"}
        | other
    )


@pytest.fixture
def lab(cold, monkeypatch):
    """A sweep in a place of its own, without tracking; `candidates` are those that the objective has trained."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    # A journal opens much faster than a database; test_sweeps_workers.py has every kind.
    monkeypatch.setenv("SWEEP_STORAGE", f"journal:{cold / 'sweeps.journal'}")
    monkeypatch.setattr(storage, "PATIENCE", 0.0)
    candidates = []

    def objective(sweep, candidate):
        candidates.append(candidate)
        return outcome(candidate)

    return SimpleNamespace(sweep=PLAN, objective=objective, candidates=candidates, folder=cold)


def line_of(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert text and "\n" not in text and "Traceback" not in text
    return text


def stopping(lab, after: int):
    def objective(sweep, candidate):
        if len(lab.candidates) == after:
            raise KeyboardInterrupt
        return lab.objective(sweep, candidate)

    return objective
