"""A stage of fixed steps, what follows on its outcomes, and draws of each method's own."""

import math
from dataclasses import replace

import pytest

from common.profiles import Stage
from common.settings import UserError
from common.sweeps import Outcome, Sweep, search
from common.sweeps.additions import varied, widened
from common.sweeps.attempts import Slot
from common.sweeps.result import best, edges
from common.training.recipe import Recipe
from tests.unit import sweep_cases
from tests.unit.sweep_cases import line_of, outcome

lab = sweep_cases.lab
GRID = {"learning_rate": (1e-4, 1e-3, 1e-2), "effective_batch_size": (4, 8)}
BEYOND = {"learning_rate": (1e-6, 1e-5, 0.1, 0.3)}
PLAN = Sweep(
    *("sft-lora", Recipe(effective_batch_size=8), GRID, (Stage(40, 5, 6, steps=3), Stage(60, 5, 2), Stage(90, 5, 1))),
    *("model", "float32", "embedded", 1),
    first={"learning_rate": 1e-3, "effective_batch_size": 8},
    beyond=BEYOND,
    variants=({"lora_rank": 4, "lora_alpha": 16}, {"lora_rank": 128}),
)


def loss_at(rate: float, *, best: float, batch: int) -> float:
    return abs(math.log10(rate) - math.log10(best)) + 1 / batch


def objective(candidates: list, *, best: float):
    """Least at the rate `best`; a larger batch and a rank of 4 help a little."""

    def train(sweep, candidate):
        candidates.append(candidate)
        recipe = candidate.recipe
        loss = loss_at(recipe.learning_rate, best=best, batch=recipe.effective_batch_size)
        return outcome(candidate, loss=loss - 0.01 * (recipe.lora_rank == 4))

    return train


def slots(*lines: tuple[float, int, float]) -> dict[int, Slot]:
    """Of (learning rate, batch, loss)."""
    return {
        i: Slot(
            i,
            {"learning_rate": rate, "effective_batch_size": batch, "lora_rank": 64, "lora_alpha": 256},
            None,
            Outcome(loss, 1, 1, 1, 1.0, ""),
        )
        for i, (rate, batch, loss) in enumerate(lines)
    }


def test_every_candidate_takes_the_same_steps_on_the_first_rows_of_its_stage(lab):
    search(PLAN, objective=objective(lab.candidates, best=1e-3))
    one = [c for c in lab.candidates if c.stage == 1]
    assert {(c.recipe.effective_batch_size, c.rows.train_rows) for c in one} == {(4, 12), (8, 24)}  # 3 steps
    assert {c.rows.train_rows for c in lab.candidates if c.stage == 2} == {60}
    short = replace(PLAN, stages=(Stage(16, 5, 6, steps=3), *PLAN.stages[1:]))
    del lab.candidates[:]
    search(short, objective=objective(lab.candidates, best=1e-3))
    assert {c.rows.train_rows for c in lab.candidates if c.stage == 1} == {12, 16}, "no more rows than there are"


def test_candidates_of_fixed_steps_are_ranked_within_their_batch_size():
    outcomes = slots((1e-4, 8, 0.1), (1e-3, 8, 0.2), (1e-3, 4, 0.5), (1e-4, 4, 0.6), (1e-2, 4, math.nan))
    assert [slot.ordinal for slot in best(PLAN, outcomes, 9)] == [0, 1, 2, 3]
    assert [slot.ordinal for slot in best(PLAN, outcomes, 9, by_batch=True)] == [0, 2, 1, 3]
    assert [slot.ordinal for slot in best(PLAN, outcomes, 2, by_batch=True)] == [0, 2]


def test_the_best_of_each_batch_goes_on_and_is_compared_on_equal_rows(lab):
    result = search(PLAN, objective=objective(lab.candidates, best=1e-3))
    one, two = (result.trials[result.trials.stage == stage] for stage in (1, 2))
    assert len(one) == 6 and one.promoted.sum() == 2
    assert set(one[one.promoted].effective_batch_size) == {4, 8}
    assert list(two.effective_batch_size[:2]) == [8, 4] and list(two.learning_rate) == [1e-3] * 4
    # The variants come last, on the better of the two, one at a time; the rest stays the recipe's.
    assert two[["effective_batch_size", "lora_rank", "lora_alpha"]].values.tolist()[2:] == [[8, 4, 16], [8, 128, 256]]
    assert list(one.lora_rank) == [Recipe.lora_rank] * 6
    assert (result.recipe.lora_rank, result.recipe.lora_alpha, result.recipe.effective_batch_size) == (4, 16, 8)
    assert result.rank_correlation is None
    assert result.facts[0] == (
        "candidates of stage 1 took 3 optimiser steps each, so a larger batch saw more rows: they are ranked within "
        "their batch size"
    )
    assert result.facts[1].startswith(
        "the first candidate, the setting without a search, came 1 of 3 of its batch size in stage 1: loss 0.1250, the"
    )
    assert result.to_record()["facts"] == result.facts and not result.notes
    # Alpha follows the rank in its variant, so it is no edge of its own.
    assert [edge.split()[2] for edge in result.edges] == ["effective_batch_size", "lora_rank"]


@pytest.mark.parametrize(
    ("rate", "rates", "winner", "edge"),
    [
        (1e-3, [], 1e-3, []),
        (0.1, [0.1, 0.1], 0.1, ["learning_rate"]),  # one value beyond the edge for the best of each batch
        (1e-5, [1e-5, 1e-5], 1e-5, ["learning_rate"]),
    ],
)
def test_a_best_rate_on_an_edge_is_followed_once_beyond_it(lab, rate, rates, winner, edge):
    result = search(PLAN, objective=objective(lab.candidates, best=rate))
    one = result.trials[result.trials.stage == 1]
    assert list(one.learning_rate[6:]) == rates and result.recipe.learning_rate == winner
    assert [line.split()[2] for line in result.edges if "rate" in line] == edge
    assert any("beyond the edge" in fact for fact in result.facts) == bool(rates)
    again = search(PLAN, objective=lambda *_: pytest.fail("nothing is left to train"))
    assert again.trials.equals(result.trials)


def test_a_best_batch_on_an_edge_is_followed_in_stage_2_where_rows_are_equal(lab):
    plan = replace(PLAN, beyond=BEYOND | {"effective_batch_size": (2, 16)}, variants=PLAN.variants[:1])
    result = search(plan, objective=objective(lab.candidates, best=1e-3))
    one, two = (result.trials[result.trials.stage == stage] for stage in (1, 2))
    assert list(two.effective_batch_size) == [8, 4, 16, 16] and list(two.lora_rank) == [64, 64, 64, 4]
    assert set(one.effective_batch_size) == {4, 8} and result.recipe.effective_batch_size == 16
    assert "stage 2 tried effective_batch_size 16 beyond the edge on which its best lay" in result.facts
    plain = replace(plan, stages=(Stage(40, 5, 6), Stage(60, 5, 2), Stage(90, 5, 1)))  # in stage 1 where that is fair
    table = search(plain, objective=objective(lab.candidates, best=1e-3)).trials
    assert 16 in set(table[table.stage == 1].effective_batch_size)


def test_what_lies_beyond_is_tried_from_the_nearest_on():
    alone = replace(PLAN, space=GRID | {"effective_batch_size": (8,)}, widening=2)
    outcomes = slots((1e-4, 8, 0.3), (1e-3, 8, 0.2), (1e-2, 8, 0.1))
    assert [values["learning_rate"] for values in widened(alone, 1, outcomes)] == [0.1, 0.3]
    assert [values["learning_rate"] for values in widened(replace(alone, widening=1), 1, outcomes)] == [0.1]
    assert widened(replace(alone, beyond={}), 1, outcomes) == []
    low = slots((1e-4, 8, 0.1), (1e-3, 8, 0.2))
    assert [values["learning_rate"] for values in widened(alone, 1, low)] == [1e-5, 1e-6]
    assert widened(alone, 1, slots((1e-4, 8, 0.2), (1e-3, 8, 0.1))) == []
    assert widened(alone, 1, slots((1e-4, 8, math.nan))) == [] == varied(alone, 1, slots((1e-4, 8, math.nan)))


def test_an_edge_that_was_passed_is_none_any_more():
    values = {"learning_rate": 1e-2, "effective_batch_size": 4, "lora_rank": 64, "lora_alpha": 256}
    assert any("learning_rate" in edge for edge in edges(PLAN, values))
    assert not any("learning_rate" in edge for edge in edges(PLAN, values, [values | {"learning_rate": 0.1}]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"beyond": {"lora_rank": (2,)}}, "values beyond the grid of 'lora_rank', which is not searched"),
        ({"beyond": {"learning_rate": (-1.0,)}}, "learning rate above 0"),
        ({"variants": ({"rank": 4},)}, "names 'rank'"),
        ({"variants": ({"lora_rank": 0},)}, "a rank"),
        ({"stages": (Stage(40, 5, 6, steps=-1), *PLAN.stages[1:])}, "at least 1 training row"),
    ],
)
def test_what_could_not_be_tried_is_refused_before_anything_is_trained(changes, says):
    with pytest.raises(UserError, match=says) as error:
        replace(PLAN, **changes)
    line_of(error)


def test_a_sweep_with_additions_is_the_same_from_its_text():
    again = Sweep.from_json(PLAN.to_json())
    assert again == PLAN and again.id == PLAN.id and again.grid == PLAN.grid
    assert PLAN.grid["learning_rate"] == (*GRID["learning_rate"], *BEYOND["learning_rate"])
    assert PLAN.grid["lora_rank"] == (64, 4, 128) and PLAN.rest == {"lora_rank": 64, "lora_alpha": 256}


def test_two_methods_with_one_space_draw_different_candidates(lab):
    grid = {"learning_rate": tuple(10.0**-i for i in range(1, 9)), "lora_rank": tuple(range(1, 9))}
    tables = []
    for name in ("sft-lora", "sft-qlora"):
        plan = Sweep(name, Recipe(), grid, (Stage(40, 5, 6), Stage(90, 5, 1)), "model", "float32", "embedded", 1)
        result = search(plan, objective=lambda s, c: outcome(c, loss=1.0))
        tables.append(result.trials[["learning_rate", "lora_rank"]].values.tolist())
    assert tables[0] != tables[1]
