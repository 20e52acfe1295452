"""What follows from the outcomes of a stage: the best of them, how two stages rank alike, and values at an edge."""

import math

import pytest

from common.sweeps import Outcome, Sweep
from common.sweeps.attempts import Slot
from common.sweeps.result import best, edges, rank_correlation
from common.training.recipe import Recipe
from tests.unit.sweep_cases import PLAN, STAGES


def slots(*losses: float, values=None) -> dict[int, Slot]:
    return {
        i: Slot(i, {"lora_rank": (values or range(100))[i]}, None, Outcome(loss, 1, 1, 1, 1.0, ""))
        for i, loss in enumerate(losses)
    }


def test_the_best_are_those_with_the_lowest_finite_loss_the_earlier_of_equals():
    ranking = best(PLAN, slots(0.3, math.nan, 0.2, math.inf, 0.2, -math.inf, 0.1), 3)
    assert [slot.ordinal for slot in ranking] == [6, 2, 4]
    assert [slot.ordinal for slot in best(PLAN, slots(math.nan, 0.5), 3)] == [1]


def test_rank_correlation_worked_out_by_hand():
    # Ranks 1 2 3 4 against 2 1 4 3: four differences of 1, so 1 - 6 * 4 / (4 * 15) = 0.6.
    before, after = slots(0.1, 0.2, 0.3, 0.4, 9.0), slots(5.0, 4.0, 700.0, 60.0)
    assert rank_correlation(PLAN, [before, after]) == (pytest.approx(0.6, abs=1e-12), 4)
    # Stage 2 has its own ordinals; candidates are matched by their values.
    mixed = slots(4.0, 6.0, 7.0, 5.0, values=(1, 3, 2, 0))
    assert rank_correlation(PLAN, [before, mixed]) == (pytest.approx(0.6, abs=1e-12), 4)
    # Ranks 1 2 3 against 1.5 1.5 3: sqrt(3) / 2.
    assert rank_correlation(PLAN, [slots(0.1, 0.2, 0.3), slots(1.0, 1.0, 2.0)]) == (pytest.approx(math.sqrt(0.75)), 3)
    assert rank_correlation(PLAN, [slots(0.1, 0.2, 0.3), slots(3.0, 2.0, 1.0)]) == (pytest.approx(-1.0), 3)
    assert rank_correlation(PLAN, [slots(0.1, 0.2), slots(1.0, 2.0)]) == (None, 2)
    assert rank_correlation(PLAN, [slots(0.1, 0.2, 0.3), slots(1.0, 1.0, 1.0)]) == (None, 3)
    assert rank_correlation(PLAN, [slots(0.1, 0.2, 0.3), slots(1.0, math.inf, 2.0)]) == (None, 2)
    assert rank_correlation(PLAN, [slots(0.1, 0.2, 0.3)]) == (None, 0)


def test_a_best_value_at_an_end_of_its_grid_is_named():
    grid = {"learning_rate": (1e-3, 1e-5, 1e-4), "weight_decay": (0.0, 0.1), "optimizer": ("adam", "adamw")}
    plan = Sweep("a", Recipe(), grid | {"lora_rank": (8,)}, STAGES, "model", "float32", "embedded", 1)
    values = {"weight_decay": 0.0, "optimizer": "adam", "lora_rank": 8}
    assert edges(plan, values | {"learning_rate": 1e-4}) == []
    (low,) = edges(plan, values | {"learning_rate": 1e-5})
    assert "learning_rate is 1e-05, the lowest" in low and "widen" in low
    high = edges(plan, values | {"learning_rate": 1e-3, "weight_decay": 0.1})
    assert ["highest" in warning for warning in high] == [True, True]
