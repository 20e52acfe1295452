"""The search in one process, with an objective that trains nothing: what is drawn, promoted, kept and refused.

Several processes, killed ones and PostgreSQL are in test_sweeps_workers.py, real training in tests/tiny.
"""

import dataclasses
import json
import math
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from common.profiles import PROFILES, Stage
from common.settings import UserError
from common.sweeps import Outcome, Sweep, __main__, attempts, searching, storage, sweep, tracking, workers
from common.sweeps.attempts import Attempts, Slot, slots_of
from common.sweeps.draws import decode, distributions, draw, encode
from common.sweeps.found import best, edges, rank_correlation
from common.sweeps.searching import search
from common.sweeps.space import SPACES, first, size, space
from common.sweeps.storage import Storage
from common.training.recipe import METHODS, Recipe

SPACE = {
    "learning_rate": (1e-5, 1e-4, 1e-3),
    "optimizer": ("adam", "adamw"),
    "betas": ((0.9, 0.999), (0.95, 0.999)),
}
STAGES = (Stage(10, 5, 6), Stage(20, 5, 3), Stage(30, 5, 1))
# Worked out by hand: the best point of the grid is 1e-4, adamw, (0.9, 0.999).
POINT = {"learning_rate": 1e-4, "optimizer": "adamw", "betas": (0.9, 0.999)}


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
def made(cold, monkeypatch):
    """A sweep in a place of its own, without tracking; `trained` are the candidates that were trained."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    # A journal opens much faster than a database; test_sweeps_workers.py has every kind.
    monkeypatch.setenv("SWEEP_STORAGE", f"journal:{cold / 'sweeps.journal'}")
    monkeypatch.setattr(storage, "PATIENCE", 0.0)
    trained = []

    def objective(sweep, candidate):
        trained.append(candidate)
        return outcome(candidate)

    plan = Sweep("sft-lora", Recipe(), SPACE, STAGES, "model", "float32", "embedded", 1, {"learning_rate": 1e-3})
    return SimpleNamespace(sweep=plan, objective=objective, trained=trained, folder=cold)


def line_of(error: pytest.ExceptionInfo) -> str:
    text = str(error.value)
    assert text and "\n" not in text and "Traceback" not in text
    return text


# The space


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_method_can_be_searched_at_every_profile(method, profile):
    recipe = Recipe(method=method, per_device_train_batch_size=profile.per_device_train_batch_size)
    recipe = replace(recipe, effective_batch_size=64)
    grid, start = space(method, profile), first(method, profile)
    told = (profile.model_id, profile.precision, profile.data, 42, start)
    assert Sweep(f"sft-{method}", recipe, grid, profile.stages, *told).space == grid
    assert set(start) == set(grid), "the first trial is the method's default in full"
    for batch in grid["effective_batch_size"]:
        assert batch % profile.per_device_train_batch_size == 0
        assert math.ceil(profile.stages[0].train_rows / batch) >= 3 or len(grid["effective_batch_size"]) == 1


def test_the_grids_hold_the_published_values_and_reach_further():
    assert set(SPACES) == set(METHODS)
    t4 = PROFILES["t4"]
    assert space("full", t4)["effective_batch_size"] == (16, 32, 64, 128, 256, 512)
    assert {1e-6, 1e-5, 5e-5, 1e-4, 1e-3} <= set(space("full", t4)["learning_rate"])
    for method in ("lora", "qlora"):  # published: pinned to 1e-5
        assert (min(SPACES[method]["learning_rate"]), max(SPACES[method]["learning_rate"])) == (1e-5, 3e-3)
    for method in ("prompt-random", "prompt-text"):  # published: 1e-8
        assert (min(SPACES[method]["learning_rate"]), max(SPACES[method]["learning_rate"])) == (1e-4, 3e-2)
    small = replace(t4, stages=(Stage(48, 32, 6), *t4.stages[1:]), per_device_train_batch_size=2)
    assert space("lora", small)["effective_batch_size"] == (4, 8, 16)  # 48 rows: 12, 6 and 3 steps; 32 would leave 2
    with pytest.raises(UserError, match="no search space for 'dpo'"):
        space("dpo", t4)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space": {"rank": (4, 8)}}, "names 'rank'.*choose from optimizer"),
        ({"space": {"method": ("full", "lora")}}, "names 'method'"),
        ({"space": {"learning_rate": ()}}, "'learning_rate' is a tuple of one or more"),
        ({"space": {"learning_rate": (1e-4, 1e-4)}}, "each named once"),
        ({"space": {"learning_rate": 1e-4}}, "'learning_rate' is a tuple"),
        ({"space": {"learning_rate": ("fast",)}}, "holds 'fast'; give values such as 0.0001"),
        ({"space": {"lora_rank": (4, 8.5)}}, "holds 8.5; give values such as 64"),
        ({"space": {"betas": (0.9, 0.95)}}, r"holds 0.9; give values such as \(0.9, 0.999\)"),
        ({"space": {"learning_rate": (1e-4, -1e-4)}}, "learning rate above 0"),
        ({"space": {"optimizer": ("adam", "sgd")}}, "unknown optimizer 'sgd'"),
        ({"space": {"effective_batch_size": (8, 9)}}, "an effective batch of 9 cannot be made of device batches of 2"),
        # Only one of the four combinations is wrong.
        (
            {"space": {"effective_batch_size": (4, 6), "lora_rank": (4, 8), "per_device_train_batch_size": (2, 4)}},
            "an effective batch of 6 cannot be made of device batches of 4",
        ),
        ({"first": {"learning_rate": 2e-4}}, "learning_rate=0.0002 is not in the search space"),
        ({"first": {"lora_rank": 4}}, "lora_rank=4 is not in the search space"),
        ({"stages": STAGES[:1]}, "two stages or more"),
        ({"stages": (Stage(10, 5, 2), Stage(20, 5, 3), Stage(30, 5, 1))}, "stage 2 cannot promote 3 of 2"),
        ({"stages": (Stage(10, 0, 2), Stage(20, 5, 1))}, "at least 1 training row"),
        ({"name": "a/b"}, "name 'a/b'"),
    ],
)
def test_a_sweep_that_could_not_run_is_refused_before_anything_is_trained(made, changes, says):
    with pytest.raises(UserError, match=says) as error:
        replace(made.sweep, **changes)
    line_of(error)


def test_a_wrong_batch_is_seen_wherever_it_stands_in_the_grid():
    # The published ranges with one device batch too large for the smallest: no order of the values may hide it.
    for batches in ((8, 16, 32), (32, 16, 8), (16, 8, 32)):
        for devices in ((2, 16), (16, 2)):
            grid = SPACES["lora"] | {"effective_batch_size": batches, "per_device_train_batch_size": devices}
            with pytest.raises(UserError, match="an effective batch of 8 cannot be made of device batches of 16"):
                Sweep("sft-lora", Recipe(), grid, STAGES, "model", "float32", "embedded", 1)


# Drawing


def test_every_value_of_every_grid_comes_back_as_it_was():
    for grid in SPACES.values():
        for name, values in grid.items():
            for value in values:
                known = {other: choices[0] for other, choices in grid.items()} | {name: value}
                params = encode(grid, known)
                assert all(isinstance(param, int | str) for param in params.values()), "what every storage keeps"
                found = decode(grid, json.loads(json.dumps(params)))[name]
                assert found == value and type(found) is type(value)


def test_numbers_are_drawn_in_their_order_and_the_rest_as_categories():
    grid = {"lora_rank": (64, 4, 16), "packed": (True, False), "betas": SPACE["betas"]}
    assert [type(d).__name__ for d in distributions(grid).values()] == [
        "IntDistribution",
        *["CategoricalDistribution"] * 2,
    ]
    assert [encode(grid, {"lora_rank": rank})["lora_rank"] for rank in (4, 16, 64)] == [0, 1, 2]


def drawn(count: int, seed: int, grid=SPACE, losses=lambda values: values["learning_rate"]) -> list[dict]:
    done = []
    for ordinal in range(count):
        finished = [(values, losses(values)) for values in done]
        done.append(draw(grid, ordinal, trials=count, seed=seed, finished=finished, running=[], first={}))
    return done


def test_draws_follow_from_the_seed_and_what_is_known():
    assert drawn(8, 3) == drawn(8, 3)
    assert drawn(8, 3) != drawn(8, 4)


@pytest.mark.parametrize("seed", range(3))
def test_no_candidate_is_drawn_twice_even_when_the_whole_grid_is(seed):
    found = drawn(size(SPACE), seed)
    assert len({json.dumps(values) for values in found}) == size(SPACE) == 12


def test_a_candidate_of_another_worker_is_not_drawn():
    grid = {"lora_rank": (4, 8, 16)}
    for seed in range(10):
        told = {"trials": 3, "seed": seed, "finished": [({"lora_rank": 4}, 1.0)], "first": {}}
        assert draw(grid, 2, running=[{"lora_rank": 16}], **told) == {"lora_rank": 8}


def test_the_first_trial_has_the_values_it_was_told_and_draws_the_others():
    found = [
        draw(SPACE, 0, trials=6, seed=s, finished=[], running=[], first={"learning_rate": 1e-4}) for s in range(20)
    ]
    assert {values["learning_rate"] for values in found} == {1e-4}
    assert {values["optimizer"] for values in found} == {"adam", "adamw"}


def test_tpe_looks_where_losses_are_low():
    grid = {"lora_rank": tuple(range(1, 41)), "virtual_tokens": tuple(range(1, 41))}

    def far(values: dict) -> float:
        return abs(values["lora_rank"] - 10) + abs(values["virtual_tokens"] - 10)

    runs = [drawn(24, seed, grid, far) for seed in range(8)]
    early = sum(far(values) for run in runs for values in run[1:8]) / 56
    late = sum(far(values) for run in runs for values in run[-7:]) / 56
    # Blind draws are 25.4 off on average, give or take 1.5 over 56 of them, whenever they come.
    assert early > 20 and late < 18


# Promotion, and what is made of it


def slots(*losses: float, values=None) -> dict[int, Slot]:
    return {
        i: Slot(i, {"lora_rank": (values or range(100))[i]}, None, Outcome(loss, 1, 1, 1, 1.0, ""))
        for i, loss in enumerate(losses)
    }


def test_the_best_are_those_with_the_lowest_finite_loss_the_earlier_of_equals():
    found = best(slots(0.3, math.nan, 0.2, math.inf, 0.2, -math.inf, 0.1), 3)
    assert [slot.ordinal for slot in found] == [6, 2, 4]
    assert [slot.ordinal for slot in best(slots(math.nan, 0.5), 3)] == [1]


def test_rank_correlation_worked_out_by_hand():
    # Ranks 1 2 3 4 against 2 1 4 3: four differences of 1, so 1 - 6 * 4 / (4 * 15) = 0.6.
    before, after = slots(0.1, 0.2, 0.3, 0.4, 9.0), slots(5.0, 4.0, 700.0, 60.0)
    assert rank_correlation([before, after]) == (pytest.approx(0.6, abs=1e-12), 4)
    # Stage 2 has its own ordinals; candidates are matched by their values.
    mixed = slots(4.0, 6.0, 7.0, 5.0, values=(1, 3, 2, 0))
    assert rank_correlation([before, mixed]) == (pytest.approx(0.6, abs=1e-12), 4)
    # Ranks 1 2 3 against 1.5 1.5 3: sqrt(3) / 2.
    assert rank_correlation([slots(0.1, 0.2, 0.3), slots(1.0, 1.0, 2.0)]) == (pytest.approx(math.sqrt(0.75)), 3)
    assert rank_correlation([slots(0.1, 0.2, 0.3), slots(3.0, 2.0, 1.0)]) == (pytest.approx(-1.0), 3)
    assert rank_correlation([slots(0.1, 0.2), slots(1.0, 2.0)]) == (None, 2)
    assert rank_correlation([slots(0.1, 0.2, 0.3), slots(1.0, 1.0, 1.0)]) == (None, 3)
    assert rank_correlation([slots(0.1, 0.2, 0.3), slots(1.0, math.inf, 2.0)]) == (None, 2)
    assert rank_correlation([slots(0.1, 0.2, 0.3)]) == (None, 0)


def test_a_best_value_at_an_end_of_its_grid_is_named():
    grid = {"learning_rate": (1e-3, 1e-5, 1e-4), "weight_decay": (0.0, 0.1), "optimizer": ("adam", "adamw")}
    plan = Sweep("a", Recipe(), grid | {"lora_rank": (8,)}, STAGES, "model", "float32", "embedded", 1)
    told = {"weight_decay": 0.0, "optimizer": "adam", "lora_rank": 8}
    assert edges(plan, told | {"learning_rate": 1e-4}) == []
    (low,) = edges(plan, told | {"learning_rate": 1e-5})
    assert "learning_rate is 1e-05, the lowest" in low and "widen" in low
    high = edges(plan, told | {"learning_rate": 1e-3, "weight_decay": 0.1})
    assert ["highest" in warning for warning in high] == [True, True]


# A whole search


def test_a_search_promotes_the_best_and_trains_them_on_their_own_stage(made):
    found = search(made.sweep, objective=made.objective)
    table = found.trials
    facts = ["train_rows", "valid_rows", "tokens", "seconds", "loss", "promoted"]
    assert list(table.columns) == ["stage", "trial", *SPACE, *facts]
    assert list(table.trial) == [f"sft-lora-s1-0{i}" for i in range(6)] + [f"sft-lora-s2-0{i}" for i in range(3)]
    assert [c.id for c in made.trained] == list(table.trial)
    one, two = table[table.stage == 1], table[table.stage == 2]
    assert one.learning_rate.iloc[0] == 1e-3, "the first trial's value is the one it was told"
    # Stage 1 has six losses; the three lowest go on, in the order of their losses.
    ranked = one.sort_values(["loss", "trial"]).head(3)
    assert set(one[one.promoted].trial) == set(ranked.trial)
    names = list(SPACE)
    assert two[names].values.tolist() == ranked[names].values.tolist()
    assert list(one.train_rows) == [10] * 6 and list(two.train_rows) == [20] * 3
    winner = two.loc[two.loss.idxmin()]
    assert list(two[two.promoted].trial) == [winner.trial]
    assert found.recipe == made.sweep.recipe.with_values({name: winner[name] for name in names})
    assert found.stages == [
        {"stage": 1, "train_rows": 10, "valid_rows": 5, "trials": 6, "tokens": 6 * 70}
        | {"best": {**ranked[names].iloc[0].to_dict(), "loss": ranked.loss.iloc[0]}},
        {"stage": 2, "train_rows": 20, "valid_rows": 5, "trials": 3, "tokens": 3 * 140}
        | {"best": {**{name: winner[name] for name in names}, "loss": winner.loss}},
    ]
    assert found.rank_correlation == pytest.approx(1.0) and found.rank_correlation_n == 3
    assert found.notes == []


def test_the_winner_is_the_last_searched_stages_not_the_firsts(made):
    found = search(made.sweep, objective=lambda s, c: outcome(c, loss=loss_of(c.recipe, 1) * (-1) ** c.stage))
    two = found.trials[found.trials.stage == 2]
    assert found.recipe.learning_rate == two.learning_rate[two.loss.idxmin()]
    assert found.rank_correlation == pytest.approx(-1.0)


def test_a_finished_search_is_read_not_run(made):
    once = search(made.sweep, objective=made.objective)
    again = search(made.sweep, objective=lambda *_: pytest.fail("nothing is left to train"))
    assert again.trials.equals(once.trials)
    assert dataclasses.replace(again, trials=None) == dataclasses.replace(once, trials=None)


def test_the_result_does_not_depend_on_the_storage(made, monkeypatch):
    once = search(made.sweep, objective=made.objective, storage=f"journal:{made.folder / 'elsewhere'}")
    monkeypatch.delenv("SWEEP_STORAGE")
    other = search(made.sweep, objective=made.objective)
    assert other.trials.equals(once.trials) and len(other.trials) == 9
    assert (made.folder / "sweeps.db").exists() and (made.folder / "elsewhere").exists()


def test_every_stage_gets_its_own_rows(made):
    search(made.sweep, objective=made.objective)
    assert [c.rows for c in made.trained] == [STAGES[0]] * 6 + [STAGES[1]] * 3


def test_a_trial_on_another_stages_rows_is_refused(made):
    def on_the_first_stages_rows(sweep, candidate):  # the published fault
        return outcome(candidate, train_rows=STAGES[0].train_rows)

    with pytest.raises(
        UserError, match=r"sft-lora-s2-00 saw 10\+0 training and 5 validation rows.*stage's 20"
    ) as error:
        search(made.sweep, objective=on_the_first_stages_rows)
    line_of(error)
    assert len(search(made.sweep, objective=made.objective).trials) == 9


def test_rows_that_were_too_long_are_accounted_for(made):
    found = search(
        made.sweep, objective=lambda s, c: outcome(c, train_rows=c.rows.train_rows - 2, dropped_rows=2, valid_rows=4)
    )
    assert set(found.trials.train_rows) == {8, 18} and found.stages[1]["train_rows"] == 20


def test_a_trial_that_starts_from_trained_weights_is_refused_and_its_slot_given_back(made):
    held = {"weights": 0}

    def shared_model(sweep, candidate):  # the published fault: run k starts from what run k-1 has trained
        started = f"digest-{held['weights']}"
        held["weights"] += 1
        return outcome(candidate, base_digest=started)

    with pytest.raises(UserError, match="s1-01 did not start from the weights.*load the model anew") as error:
        search(made.sweep, objective=shared_model)
    line_of(error)
    found = search(made.sweep, objective=lambda s, c: outcome(c, base_digest="digest-0"))
    assert len(found.trials) == 9


def test_a_trial_is_told_the_weights_that_the_sweep_started_from(made):
    search(made.sweep, objective=made.objective)
    assert [c.base_digest for c in made.trained] == [""] + ["base"] * 8


def test_candidates_are_ranked_by_loss_and_by_nothing_else(made):
    def distracting(sweep, candidate):  # whatever else is reported has an order of its own
        loss = loss_of(candidate.recipe, candidate.stage)
        score = random.Random(repr(candidate.recipe)).random()
        curve = [{"step": 1, "loss": -loss, "eval_loss": -loss}]
        return outcome(candidate, score=score, seconds=score, curve=curve)

    plain = search(made.sweep, objective=made.objective)
    found = search(made.sweep, objective=distracting, storage=f"journal:{made.folder / 'other'}")
    assert list(found.trials.promoted) == list(plain.trials.promoted)
    assert found.recipe == plain.recipe and found.trials.loss.equals(plain.trials.loss)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_diverged_trial_uses_its_slot_and_is_never_promoted(made, bad):
    def objective(sweep, candidate):
        diverges = candidate.recipe.optimizer == "adamw"
        return outcome(candidate, loss=bad, tokens=0) if diverges else outcome(candidate)

    found = search(made.sweep, objective=objective)
    one = found.trials[found.trials.stage == 1]
    lost = int((one.optimizer == "adamw").sum())
    assert len(one) == 6 and 0 < lost < 6
    assert set(one.loss[one.optimizer == "adamw"]) == {math.inf}
    assert not one.promoted[one.optimizer == "adamw"].any() and found.recipe.optimizer == "adam"
    assert found.notes[0] == f"{lost} of 6 candidates of stage 1 diverged; their tokens are not counted"
    assert found.stages[0]["tokens"] == (6 - lost) * 70


def test_a_stage_without_any_loss_ends_in_one_line(made):
    for bad in (1, 2):

        def objective(sweep, candidate, bad=bad):
            return outcome(candidate, loss=math.nan) if candidate.stage == bad else outcome(candidate)

        with pytest.raises(UserError, match=f"every candidate of stage {bad} diverged") as error:
            search(made.sweep, objective=objective, storage=f"journal:{made.folder / str(bad)}")
        line_of(error)


@pytest.mark.parametrize("raised", [UserError("mend this"), RuntimeError("broken"), KeyboardInterrupt()])
def test_an_error_ends_the_search_and_the_trial_is_taken_up_again(made, raised):
    whole = search(made.sweep, objective=made.objective, storage=f"journal:{made.folder / 'whole'}")
    made.trained.clear()

    def failing(sweep, candidate):
        if candidate.id == "sft-lora-s1-03":
            candidate.folder.mkdir(parents=True)
            (candidate.folder / "checkpoint").write_text("half-way")
            failing.recipe = candidate.recipe
            raise raised
        return made.objective(sweep, candidate)

    with pytest.raises(type(raised)):
        search(made.sweep, objective=failing)
    other = Attempts(made.sweep, Storage(), 1.0)
    assert other.slots(1)[3].is_free, "at once for everybody, wherever they are"
    other.close()
    assert [c.id[-5:] for c in made.trained] == ["s1-00", "s1-01", "s1-02"]
    made.trained.clear()
    seen = []

    def goes_on(sweep, candidate):
        seen.append((candidate.folder / "checkpoint").exists())
        return made.objective(sweep, candidate)

    found = search(made.sweep, objective=goes_on)
    assert made.trained[0].id == "sft-lora-s1-03" and made.trained[0].recipe == failing.recipe
    assert seen == [True] + [False] * 5, "the stopped trial finds its checkpoint, and nothing else is trained again"
    assert found.trials.equals(whole.trials)


def test_a_trials_folder_is_its_own_and_goes_once_the_outcome_is_kept(made):
    def objective(sweep, candidate):
        candidate.folder.mkdir(parents=True)
        (candidate.folder / "weights").write_text("large")
        return made.objective(sweep, candidate)

    search(made.sweep, objective=objective)
    root = made.folder / "sweeps" / made.sweep.id
    assert [c.folder for c in made.trained] == [root / c.id for c in made.trained]
    assert not root.exists()


def test_a_grid_smaller_than_the_budget_is_tried_once_over_with_a_note(made):
    plan = replace(made.sweep, space={"lora_rank": (4, 8)}, first={})
    found = search(plan, objective=made.objective)
    assert sorted(found.trials[found.trials.stage == 1].lora_rank) == [4, 8]
    assert found.notes == [
        "stage 1 trained 2 candidates of 6: the grid has no more points",
        "stage 2 trained 2 candidates of 3: no more candidates have a loss",
    ]
    assert len(made.trained) == 4


def test_every_method_gets_the_same_budget(made):
    records = []
    for method in METHODS:
        recipe = Recipe(method=method, effective_batch_size=16)
        plan = Sweep(f"sft-{method}", recipe, SPACES[method], STAGES, "model", "float32", "embedded", 1)
        found = search(plan, objective=made.objective)
        assert found.notes == []
        records.append([{name: stage[name] for name in ("trials", "tokens", "train_rows")} for stage in found.stages])
    assert records == [records[0]] * len(METHODS)
    assert [stage["trials"] for stage in records[0]] == [6, 3]


def test_unequal_tokens_within_a_stage_are_noted(made):
    found = search(made.sweep, objective=lambda s, c: outcome(c, tokens=100 + (c.id == "sft-lora-s1-02")))
    assert found.notes == ["candidates of stage 1 saw unequal numbers of tokens, 100 to 101"]


def test_an_id_names_all_that_a_result_depends_on(made, monkeypatch):
    plan = made.sweep
    assert plan.id == replace(plan).id and plan.id.startswith("sft-lora-")
    others = [
        *({"recipe": Recipe(epochs=2)}, {"stages": STAGES[:2]}, {"model_id": "other"}, {"precision": "bfloat16"}),
        *({"space": SPACE | {"lora_rank": (4, 8)}}, {"seed": 2}, {"first": {}}, {"data": "gretel"}),
    ]
    ids = {replace(plan, **changes).id for changes in others}
    monkeypatch.setattr(sweep, "_code_digest", lambda: "other code")
    assert len(ids | {plan.id, made.sweep.id}) == len(others) + 1


def test_a_sweep_survives_being_told_to_another_machine(made):
    for method, grid in SPACES.items():
        plan = replace(made.sweep, recipe=Recipe(method=method, betas=(0.95, 0.999)), space=grid, first={})
        again = Sweep.from_json(plan.to_json())
        assert again == plan and list(again.space) == list(plan.space) and again.id == plan.id
    assert Sweep.from_json(made.sweep.to_json()) == made.sweep


# Sharing the trials: each `Attempts` is a worker


@pytest.fixture
def pair(made):
    ours, theirs = (Attempts(made.sweep, Storage(), 0.05) for _ in range(2))
    yield ours, theirs
    ours.close()
    theirs.close()


A, B = POINT, POINT | {"optimizer": "adam"}


def test_a_slot_and_its_values_go_to_whoever_comes_first(pair):
    ours, theirs = pair
    mine = ours.claim(1, 0, A)
    assert mine is not None and ours.owns(mine)
    assert theirs.claim(1, 0, B) is None, "the slot is taken"
    assert theirs.claim(1, 1, A) is None, "the values are taken"
    other = theirs.claim(1, 1, B)
    assert other is not None and ours.claim(1, 1, B) is None
    states = [trial.state for trial in ours._trials()]
    assert states == [TrialState.RUNNING, TrialState.FAIL, TrialState.FAIL, TrialState.RUNNING, TrialState.FAIL]
    assert {o: slot.values for o, slot in theirs.slots(1).items()} == {0: A, 1: B}


def test_a_surplus_outcome_is_not_counted(made, pair):
    ours, theirs = pair
    stopped = theirs.claim(1, 0, A)
    ours._fail(stopped.key)  # its worker was silent for too long
    assert ours.claim(1, 0, B) is None, "the values stay the slot's"
    again = ours.claim(1, 0, A)
    late = Outcome(1.0, 10, 5, 70, 0.5, "base")
    assert not theirs.complete(stopped, late)
    assert ours.slots(1)[0].outcome is None and ours.owns(again)
    assert ours.complete(again, replace(late, loss=2.0)) and theirs.slots(1)[0].outcome.loss == 2.0
    assert not ours.complete(again, late), "an outcome is kept once"


def attempt(number: int, ordinal: int, values: dict, state: TrialState, loss: float = 0.0):
    attrs = {"stage": 1, "ordinal": ordinal, "worker": "x"}
    if state == TrialState.COMPLETE:
        attrs["outcome"] = dataclasses.asdict(Outcome(loss, 1, 1, 1, 1.0, ""))
    trial = optuna.create_trial(
        state=state,
        value=loss if state == TrialState.COMPLETE else None,
        params=encode(SPACE, values),
        distributions=distributions(SPACE),
        user_attrs=attrs,
    )
    trial.number = trial._trial_id = number
    return trial


def test_who_has_a_slot_follows_from_the_order_of_attempts(made):
    C = POINT | {"learning_rate": 1e-3}
    R, F, D = TrialState.RUNNING, TrialState.FAIL, TrialState.COMPLETE
    table = [
        # attempts (slot, values, state) → owner and outcome by slot
        ([(0, A, R), (0, B, R)], {0: (0, None)}),  # two begin the slot: the first has it
        ([(0, A, R), (1, A, R), (1, B, R)], {0: (0, None), 1: (2, None)}),  # the same values: only the first's count
        ([(0, A, F), (0, B, R)], {0: (None, None)}),  # the first one's values stay, whatever became of it
        ([(0, A, F), (0, A, R), (0, A, R)], {0: (1, None)}),  # taken up by two: the first has it
        ([(0, A, R), (0, A, D)], {0: (None, 1)}),
        ([(0, A, D), (0, A, D)], {0: (None, 0)}),  # counted once
        ([(0, A, F), (1, B, R), (0, A, D), (2, C, F)], {0: (None, 2), 1: (1, None), 2: (None, None)}),
    ]
    for attempts_, expected in table:
        trials = [attempt(n, slot, values, state, float(n)) for n, (slot, values, state) in enumerate(attempts_)]
        for order in (trials, trials[::-1]):
            found = slots_of(made.sweep, order, 1)
            seen = {
                o: (slot.owner._trial_id if slot.owner else None, int(slot.outcome.loss) if slot.outcome else None)
                for o, slot in found.items()
            }
            assert seen == expected
    assert slots_of(made.sweep, trials, 2) == {}


def elsewhere(monkeypatch) -> None:
    """All workers but this process's live where it cannot look."""
    monkeypatch.setattr(workers, "lives", lambda token: True if token in workers._ACTIVE else None)


def test_a_silent_worker_of_another_machine_loses_its_trial(made, monkeypatch):
    url = f"journal:{made.folder / 'shared'}"
    ghost = Attempts(made.sweep, Storage(url), 60.0)
    ghost.claim(1, 0, POINT)  # and never a sign of life
    ghost.close()
    elsewhere(monkeypatch)
    began = time.monotonic()
    found = search(made.sweep, objective=made.objective, storage=url, heartbeat=0.05)
    assert 0.3 < time.monotonic() - began < 10, "six heartbeats of silence"
    assert made.trained[0].id == "sft-lora-s1-00" and made.trained[0].recipe.learning_rate == 1e-4
    assert len(found.trials) == 9 and list(found.trials.trial).count("sft-lora-s1-00") == 1


def test_a_worker_that_gives_signs_of_life_keeps_its_trial(made, pair, monkeypatch):
    ours, theirs = pair
    elsewhere(monkeypatch)
    workers.leave(theirs.worker)
    mine = theirs.claim(1, 0, POINT)
    seen = [ours.look(1)]
    with theirs.alive(mine):
        for _ in range(12):  # twice as long as silence is borne
            time.sleep(0.05)
            seen.append(ours.look(1))
    assert seen[0][1], "nothing is known of it at first"
    assert not seen[-1][1] and theirs.owns(mine) and not mine.lost.is_set()


def test_a_worker_learns_that_its_trial_was_taken_over(made, pair):
    ours, theirs = pair
    mine = theirs.claim(1, 0, POINT)
    with theirs.alive(mine):
        ours._fail(mine.key)
        assert mine.lost.wait(5)


@pytest.mark.parametrize("fails", [False, True])
def test_an_outcome_or_error_of_a_trial_that_was_taken_over_is_nobodys(made, fails):
    def overtaken(sweep, candidate):
        made.trained.append(candidate)
        if candidate.id == "sft-lora-s1-02" and [c.id for c in made.trained].count(candidate.id) == 1:
            other = Attempts(made.sweep, Storage(), 1.0)
            other._fail(other.slots(1)[2].owner._trial_id)
            time.sleep(0.2)  # the next sign of life finds it so
            if fails:
                raise FileNotFoundError("the other worker has cleared the folder")
            return outcome(candidate, loss=-100.0)
        return outcome(candidate)

    found = search(made.sweep, objective=overtaken, heartbeat=0.05)
    assert found.trials.loss.min() > 0 and len(found.trials) == 9
    assert len(made.trained) == 10, "the trial was trained twice and counted once"


def test_a_dead_process_is_known_at_once_and_a_foreign_one_is_not():
    token = workers.enter()
    assert workers.lives(token) is True
    workers.leave(token)
    assert workers.lives(token) is False
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    machine = token.split("-")[0]
    other = f"{machine}-{child.pid}-{workers._started(child.pid)}-0"
    assert workers.lives(other) is True and workers.lives(f"{machine}-{child.pid}-1-0") is False
    child.kill()
    child.communicate()
    assert workers.lives(other) is False
    assert workers.lives("0123456789ab-1-1-0") is None and workers.lives("-1--0") is None


# Storages


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nosuch://u:hunter2@host/db", "no sweep storage of the kind 'nosuch'; give sqlite"),
        ("mysql://u:hunter2@host/db", "a mysql sweep storage needs the Python package MySQLdb; install it"),
        ("postgresql://u:hunter2@127.0.0.1:1/db", r"postgresql://127.0.0.1:1/db cannot be used \(.*refused"),
        ("postgres://u:hunter2@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db cannot be used"),
        ("hunter2", "SWEEP_STORAGE names no storage; give sqlite"),
        ("sqlite://", "cannot be kept in memory"),
        ("sqlite:///{folder}/text.txt", "text.txt cannot be used .*not a database"),
        ("sqlite:///{folder}/text.txt/sweeps.db", "cannot write .*text.txt: (Not a directory|File exists)"),
        ("journal:{folder}/text.txt", "journal .*text.txt cannot be read"),
        ("journal:{folder}/text.txt/sweeps.journal", "cannot write .*text.txt: (Not a directory|File exists)"),
        ("sqlite:////proc/nowhere/sweeps.db", "cannot write /proc/nowhere"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line_without_the_password(made, monkeypatch, url, says):
    (made.folder / "text.txt").write_text("neither database\nnor journal\n")
    monkeypatch.setenv("SWEEP_STORAGE", url.format(folder=made.folder))
    with pytest.raises(UserError, match=says) as error:
        search(made.sweep, objective=made.objective)
    assert "hunter2" not in line_of(error) and not made.trained
    assert (made.folder / "text.txt").read_text().startswith("neither"), "what is not ours is left as it was"


def test_a_password_in_a_drivers_own_words_is_taken_out():
    store = object.__new__(Storage)
    store._parsed, store.where = storage._parse("postgresql://u:hunter2@host/db"), "postgresql://host/db"
    try:
        raise optuna.exceptions.StorageInternalError("failed") from Exception(
            "no entry for u with hunter2\nDETAIL: hunter2"
        )
    except optuna.exceptions.StorageInternalError as error:
        said = str(store._down(error))
    assert "(no entry for u with <password>)" in said and "hunter2" not in said


def test_two_who_make_the_tables_at_once_do_not_stumble(made, monkeypatch):
    real, calls = storage.RDBStorage, []

    def beaten(url, **options):
        calls.append(url)
        if len(calls) < 3:
            raise sqlalchemy.exc.OperationalError("CREATE TABLE studies", {}, Exception("table studies already exists"))
        return real(url, **options)

    monkeypatch.setattr(storage, "RDBStorage", beaten)
    assert Storage(f"sqlite:///{made.folder / 'new.db'}").call("get_all_studies") == [] and len(calls) == 3


def failing(store: Storage, method: str, times: float) -> None:
    """`method` of the storage finds the database away, `times` times."""
    real, left = getattr(store._storage, method), [times]

    def call(*args, **kwargs):
        left[0] -= 1
        if left[0] >= 0:
            cause = sqlalchemy.exc.OperationalError(
                "SELECT", {}, Exception("server closed the connection: hunter2\nmore")
            )
            raise optuna.exceptions.StorageInternalError("failed") from cause
        return real(*args, **kwargs)

    setattr(store._storage, method, call)


def test_an_outage_is_waited_out_and_a_long_one_loses_nothing(made, monkeypatch):
    store = Storage()
    monkeypatch.setattr(searching, "Storage", lambda url: store)
    folders = []

    def objective(sweep, candidate):
        candidate.folder.mkdir(parents=True, exist_ok=True)
        if candidate.id == "sft-lora-s1-02" and candidate.folder not in folders:
            folders.append(candidate.folder)
            (candidate.folder / "trained").write_text("hours of work")
            failing(store, "set_trial_user_attr", math.inf)
        return made.objective(sweep, candidate)

    with pytest.raises(
        UserError, match=r"sweeps.journal cannot be used \(server closed the connection.*goes on where"
    ) as error:
        search(made.sweep, objective=objective)
    assert "more" not in line_of(error)
    assert (folders[0] / "trained").exists(), "the trained model waits for the storage"
    store = Storage()
    monkeypatch.setattr(storage, "PATIENCE", 5.0)
    failing(store, "create_new_trial", 2)
    found = search(made.sweep, objective=objective)
    assert len(found.trials) == 9 and not folders[0].exists()


def test_half_a_line_in_a_journal_is_dropped(made):
    path = made.folder / "sweeps.journal"
    with pytest.raises(KeyboardInterrupt):
        search(made.sweep, objective=stopping(made, 3), storage=str(path))
    with path.open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":"killed in mid-wri')
    assert len(search(made.sweep, objective=made.objective, storage=str(path)).trials) == 9


def stopping(made, after: int):
    def objective(sweep, candidate):
        if len(made.trained) == after:
            raise KeyboardInterrupt
        return made.objective(sweep, candidate)

    return objective


@pytest.mark.parametrize("told", ["0", "-1", "nan", "inf", "often"])
def test_a_heartbeat_that_is_no_time_is_refused(made, monkeypatch, told):
    monkeypatch.setenv("SWEEP_HEARTBEAT", told)
    with pytest.raises(UserError, match=f"SWEEP_HEARTBEAT={told} is no number of seconds"):
        search(made.sweep, objective=made.objective)


# The command


def run(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["sweeps", *words])
    with pytest.raises(SystemExit) as ended:
        __main__.run_cli(__main__.main)
    return ended.value.code or 0, *capsys.readouterr()


def test_list_and_show_tell_how_far_a_sweep_is(made, monkeypatch, capsys):
    code, _, error = run(monkeypatch, capsys, "list")
    assert (
        code == 2
        and error == "error: there is no sweep storage yet; run a notebook that searches, or set SWEEP_STORAGE\n"
    )
    assert not list(made.folder.iterdir()), "looking makes nothing"
    with pytest.raises(KeyboardInterrupt):
        search(made.sweep, objective=stopping(made, 4))
    capsys.readouterr()
    assert run(monkeypatch, capsys, "list")[:2] == (0, f"{made.sweep.id}  stage 1: 4/6  stage 2: 0/3\n")
    code, shown, _ = run(monkeypatch, capsys, "show", "sft")
    assert code == 0 and len(shown.splitlines()) == 5 and "sft-lora-s1-03" in shown and "s1-04" not in shown


def test_a_name_that_fits_no_sweep_or_several_is_one_line(made, monkeypatch, capsys):
    for seed in (1, 2):
        search(replace(made.sweep, seed=seed), objective=made.objective)
    capsys.readouterr()
    code, _, error = run(monkeypatch, capsys, "show", "sft-full")
    assert code == 2 and "no sweep in" in error and "'sft-full'" in error and error.count("\n") == 1
    code, _, error = run(monkeypatch, capsys, "show", "sft-lora")
    assert code == 2 and "several sweeps in" in error and made.sweep.id in error
    assert run(monkeypatch, capsys, "show", made.sweep.id)[0] == 0


def test_a_worker_with_other_code_is_refused(made, monkeypatch, capsys):
    with pytest.raises(KeyboardInterrupt):
        search(made.sweep, objective=stopping(made, 1))
    monkeypatch.setattr(sweep, "_code_digest", lambda: "edited since")
    capsys.readouterr()
    code, _, error = run(monkeypatch, capsys, "worker", "sft")
    assert code == 2 and "was begun with other code, data or packages" in error


def test_a_worker_finishes_a_sweep_that_a_notebook_began(made, monkeypatch, capsys):
    with pytest.raises(KeyboardInterrupt):
        search(made.sweep, objective=stopping(made, 1))
    monkeypatch.setattr(__main__, "search", lambda plan: search(plan, objective=made.objective))
    capsys.readouterr()
    code, said, _ = run(monkeypatch, capsys, "worker", "sft")
    assert code == 0 and said.startswith("stage 1: 6 trials, best {'learning_rate'") and "stage 2: 3 trials" in said


# Weights & Biases


@pytest.fixture
def logged(made, monkeypatch):
    """Weights & Biases as a list of what was logged."""
    runs = []

    class Run:
        def __init__(self, **told):
            runs.append(self)
            self.told, self.steps, self.summary, self.ended = told, [], {}, False

        def log(self, metrics, step):
            self.steps.append((step, metrics))

        def finish(self):
            self.ended = True

    fake = SimpleNamespace(init=lambda **told: Run(**told), Settings=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(tracking, "_failed", [])
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(tracking, "key", {"WANDB_PROJECT": "mine"}.get)
    return SimpleNamespace(runs=runs, fake=fake)


def test_each_trial_is_logged_once_with_its_values_and_curve(made, logged):
    curve = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}, {"step": 2, "eval_loss": 1.4, "eval_score": math.nan}]
    search(made.sweep, objective=lambda s, c: outcome(c, curve=curve))
    ids = [run.told["id"] for run in logged.runs]
    assert ids == [f"{made.sweep.id}-s{s}-0{i}" for s, n in ((1, 6), (2, 3)) for i in range(n)]
    run = logged.runs[0]
    assert run.steps == [(1, {"loss": 2.0}), (2, {"loss": 1.5, "eval_loss": 1.4})]
    assert run.told["group"] == made.sweep.id and run.told["project"] == "mine" and run.told["name"] == "sft-lora-s1-00"
    assert run.told["config"]["learning_rate"] == 1e-3 and run.told["config"]["stage"] == 1
    assert run.told["config"]["train_rows"] == 10 and logged.runs[-1].told["config"]["train_rows"] == 20
    assert set(run.summary) == {"final_loss", "tokens", "seconds"} and all(run.ended for run in logged.runs)
    settings = run.told["settings"]
    assert settings.mode == "offline" and settings.api_key is None and settings.silent
    assert settings.disable_git and settings.x_disable_stats and settings.x_disable_meta and settings.console == "off"


def test_a_trial_that_was_stopped_while_it_was_logged_is_logged_again_under_the_same_id(made, logged):
    real = logged.fake.init

    def interrupt():
        raise KeyboardInterrupt

    def stopped(**told):
        run = real(**told)
        run.finish = interrupt if len(logged.runs) == 3 else run.finish
        return run

    logged.fake.init = stopped
    with pytest.raises(KeyboardInterrupt):
        search(made.sweep, objective=made.objective)
    logged.fake.init = real
    search(made.sweep, objective=made.objective)
    ids = [run.told["id"] for run in logged.runs]
    assert len(ids) == 10 and ids[2] == ids[3] and len(set(ids)) == 9


@pytest.mark.parametrize(("mode", "expected"), [(None, "online"), ("online", "online"), ("offline", "offline")])
def test_a_key_makes_it_online_unless_the_environment_says_otherwise(made, logged, monkeypatch, mode, expected):
    monkeypatch.setattr(tracking, "key", {"WANDB_API_KEY": "secret"}.get)
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    search(made.sweep, objective=made.objective)
    told = logged.runs[0].told
    assert told["settings"].mode == expected and (told["settings"].api_key == "secret") == (expected == "online")
    assert told["resume"] == ("allow" if expected == "online" else None)
    assert "secret" not in str({name: value for name, value in told.items() if name != "settings"})


def test_a_failure_of_tracking_is_one_line_and_never_the_end(made, logged, capsys, monkeypatch):
    calls = []
    monkeypatch.setattr(
        logged.fake, "init", lambda **_: calls.append(1) or (_ for _ in ()).throw(OSError("key=secret"))
    )
    assert len(search(made.sweep, objective=made.objective).trials) == 9
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if "Weights" in line]
    assert len(lines) == 1 and "could not log sft-lora-s1-00 (OSError)" in lines[0] and "secret" not in lines[0]
    assert len(calls) == 1, "each try may take a time-out"


def test_disabled_tracking_is_not_even_imported(made, logged, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    search(made.sweep, objective=made.objective)
    assert logged.runs == []


def test_real_tracking_offline_is_silent_and_tells_nothing_of_the_machine(made):
    code = (
        "from common.sweeps.tracking import log_run\n"
        "for i in range(3):\n"
        "    log_run(f'sft-x-s1-0{i}', name='x', group='g', config={'betas': (0.9, 0.999)},\n"
        "            curve=[{'step': 1, 'loss': 2.0}], summary={'final_loss': 1.0})\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    runs = sorted((made.folder / "wandb").glob("offline-run-*"))
    assert [run.name.split("-", 3)[3] for run in runs] == ["sft-x-s1-00", "sft-x-s1-01", "sft-x-s1-02"]
    kept = b"".join(path.read_bytes() for run in runs for path in run.rglob("*.wandb"))
    assert b"final_loss" in kept and b"betas" in kept
    for private in (os.uname().nodename + ".", str(storage.Path.cwd()), sys.executable):
        assert private.encode() not in kept
    assert not [
        path for run in runs for path in run.rglob("*") if path.name in ("wandb-metadata.json", "requirements.txt")
    ]


def test_the_package_needs_no_torch():
    code = (
        "import sys, common.sweeps, common.sweeps.__main__\n"
        "print(*{'torch', 'transformers', 'trl', 'wandb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_silence_is_longer_than_a_hiccup():
    assert attempts.SILENCE * searching.HEARTBEAT >= 60
