"""A whole search in one process: what is promoted, kept and refused, and what its id names."""

import dataclasses
import math
import random
from dataclasses import replace

import pytest

from common.settings import UserError
from common.sweeps import Sweep, search, sweep
from common.sweeps.attempts import Attempts
from common.sweeps.space import SPACES
from common.sweeps.storage import Storage
from common.training.recipe import METHODS, Recipe
from tests.unit import sweeping
from tests.unit.sweeping import SPACE, STAGES, line_of, loss_of, outcome

made = sweeping.made


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
    monkeypatch.setattr(sweep, "_data_revision", lambda source: f"revision of {source}")
    assert plan.id == replace(plan).id and plan.id.startswith("sft-lora-")
    others = [
        *({"recipe": Recipe(epochs=2)}, {"stages": STAGES[:2]}, {"model_id": "other"}, {"precision": "bfloat16"}),
        *({"space": SPACE | {"lora_rank": (4, 8)}}, {"seed": 2}, {"first": {}}, {"data": "gretel"}),
    ]
    ids = {replace(plan, **changes).id for changes in others}
    ids |= {plan.id}
    monkeypatch.setattr(sweep, "_code_digest", lambda: "other code")
    ids |= {plan.id}
    monkeypatch.setattr(sweep, "_data_revision", lambda source: "of the day after")
    assert len(ids | {plan.id}) == len(others) + 3


def test_a_sweep_survives_being_told_to_another_machine(made):
    for method, grid in SPACES.items():
        plan = replace(made.sweep, recipe=Recipe(method=method, betas=(0.95, 0.999)), space=grid, first={})
        again = Sweep.from_json(plan.to_json())
        assert again == plan and list(again.space) == list(plan.space) and again.id == plan.id
    assert Sweep.from_json(made.sweep.to_json()) == made.sweep
