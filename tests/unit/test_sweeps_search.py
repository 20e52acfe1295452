"""A whole search in one process: what is promoted, what an outcome needs, and what an error leaves."""

import dataclasses
import math
import random
from dataclasses import replace

import pytest

from common.settings import UserError
from common.sweeps import Sweep, search
from common.sweeps.attempts import Attempts
from common.sweeps.space import SPACES
from common.sweeps.storage import Storage
from common.sweeps.sweep import NO_FIT
from common.training.recipe import METHODS, Recipe
from tests.unit import sweep_cases
from tests.unit.sweep_cases import SPACE, STAGES, line_of, loss_of, outcome

lab = sweep_cases.lab


def test_a_search_promotes_the_best_and_trains_them_on_their_own_stage(lab):
    result = search(lab.sweep, objective=lab.objective)
    table = result.trials
    facts = ["train_rows", "valid_rows", "tokens", "seconds", "loss", "promoted", "note"]
    assert list(table.columns) == ["stage", "trial", *SPACE, *facts]
    assert list(table.trial) == [f"sft-lora-s1-0{i}" for i in range(6)] + [f"sft-lora-s2-0{i}" for i in range(3)]
    assert [c.id for c in lab.candidates] == list(table.trial)
    one, two = table[table.stage == 1], table[table.stage == 2]
    assert one.learning_rate.iloc[0] == 1e-3, "the first trial's value is the one that the sweep names"
    # Stage 1 has six losses; the three lowest go on, in the order of their losses.
    ranked = one.sort_values(["loss", "trial"]).head(3)
    assert set(one[one.promoted].trial) == set(ranked.trial)
    names = list(SPACE)
    assert two[names].values.tolist() == ranked[names].values.tolist()
    assert list(one.train_rows) == [10] * 6 and list(two.train_rows) == [20] * 3
    winner = two.loc[two.loss.idxmin()]
    assert list(two[two.promoted].trial) == [winner.trial]
    assert result.recipe == lab.sweep.recipe.with_values({name: winner[name] for name in names})
    assert result.stages == [
        {"stage": 1, "train_rows": 10, "valid_rows": 5, "trials": 6, "tokens": 6 * 70}
        | {"best": {**ranked[names].iloc[0].to_dict(), "loss": ranked.loss.iloc[0]}},
        {"stage": 2, "train_rows": 20, "valid_rows": 5, "trials": 3, "tokens": 3 * 140}
        | {"best": {**{name: winner[name] for name in names}, "loss": winner.loss}},
    ]
    assert result.rank_correlation == pytest.approx(1.0) and result.rank_correlation_n == 3
    assert result.notes == []


def test_the_winner_is_the_last_searched_stages_not_the_firsts(lab):
    result = search(lab.sweep, objective=lambda s, c: outcome(c, loss=loss_of(c.recipe, 1) * (-1) ** c.stage))
    two = result.trials[result.trials.stage == 2]
    assert result.recipe.learning_rate == two.learning_rate[two.loss.idxmin()]
    assert result.rank_correlation == pytest.approx(-1.0)


def test_a_finished_search_is_read_not_run(lab):
    once = search(lab.sweep, objective=lab.objective)
    again = search(lab.sweep, objective=lambda *_: pytest.fail("nothing is left to train"))
    assert again.trials.equals(once.trials)
    assert dataclasses.replace(again, trials=None) == dataclasses.replace(once, trials=None)


def test_the_result_does_not_depend_on_the_storage(lab, monkeypatch):
    once = search(lab.sweep, objective=lab.objective, storage=f"journal:{lab.folder / 'elsewhere'}")
    monkeypatch.delenv("SWEEP_STORAGE")
    other = search(lab.sweep, objective=lab.objective)
    assert other.trials.equals(once.trials) and len(other.trials) == 9
    assert (lab.folder / "sweeps.db").exists() and (lab.folder / "elsewhere").exists()


def test_every_stage_gets_its_own_rows(lab):
    search(lab.sweep, objective=lab.objective)
    assert [c.rows for c in lab.candidates] == [STAGES[0]] * 6 + [STAGES[1]] * 3


def test_a_trial_on_another_stages_rows_is_refused(lab):
    def on_the_first_stages_rows(sweep, candidate):  # the published fault
        return outcome(candidate, train_rows=STAGES[0].train_rows)

    with pytest.raises(
        UserError, match=r"sft-lora-s2-00 saw 10\+0 training and 5 validation rows.*stage's 20"
    ) as error:
        search(lab.sweep, objective=on_the_first_stages_rows)
    line_of(error)
    assert len(search(lab.sweep, objective=lab.objective).trials) == 9


def test_rows_that_were_too_long_are_accounted_for(lab):
    result = search(
        lab.sweep, objective=lambda s, c: outcome(c, train_rows=c.rows.train_rows - 2, dropped_rows=2, valid_rows=4)
    )
    assert set(result.trials.train_rows) == {8, 18} and result.stages[1]["train_rows"] == 20


def test_a_trial_that_starts_from_trained_weights_is_refused_and_its_slot_given_back(lab):
    held = {"weights": 0}

    def shared_model(sweep, candidate):  # the published fault: run k starts from what run k-1 has trained
        started = f"digest-{held['weights']}"
        held["weights"] += 1
        return outcome(candidate, base_digest=started)

    with pytest.raises(UserError, match="s1-01 did not start from the weights.*load the model anew") as error:
        search(lab.sweep, objective=shared_model)
    line_of(error)
    result = search(lab.sweep, objective=lambda s, c: outcome(c, base_digest="digest-0"))
    assert len(result.trials) == 9


def test_a_trial_is_told_the_weights_that_the_sweep_started_from(lab):
    search(lab.sweep, objective=lab.objective)
    assert [c.base_digest for c in lab.candidates] == [""] + ["base"] * 8


def test_candidates_are_ranked_by_loss_and_by_nothing_else(lab):
    def distracting(sweep, candidate):  # whatever else is reported has an order of its own
        loss = loss_of(candidate.recipe, candidate.stage)
        score = random.Random(repr(candidate.recipe)).random()
        curve = [{"step": 1, "loss": -loss, "eval_loss": -loss}]
        return outcome(candidate, score=score, seconds=score, curve=curve)

    plain = search(lab.sweep, objective=lab.objective)
    result = search(lab.sweep, objective=distracting, storage=f"journal:{lab.folder / 'other'}")
    assert list(result.trials.promoted) == list(plain.trials.promoted)
    assert result.recipe == plain.recipe and result.trials.loss.equals(plain.trials.loss)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_diverged_trial_uses_its_slot_and_is_never_promoted(lab, bad):
    def objective(sweep, candidate):
        diverges = candidate.recipe.optimizer == "adamw"
        return outcome(candidate, loss=bad, tokens=0) if diverges else outcome(candidate)

    result = search(lab.sweep, objective=objective)
    one = result.trials[result.trials.stage == 1]
    count = int((one.optimizer == "adamw").sum())
    assert len(one) == 6 and 0 < count < 6
    assert set(one.loss[one.optimizer == "adamw"]) == {math.inf}
    assert not one.promoted[one.optimizer == "adamw"].any() and result.recipe.optimizer == "adam"
    assert result.notes[0] == f"{count} of 6 candidates of stage 1 diverged; their tokens are not counted"
    assert result.stages[0]["tokens"] == (6 - count) * 70


def test_a_stage_without_any_loss_ends_in_one_line(lab):
    for bad in (1, 2):

        def objective(sweep, candidate, bad=bad):
            return outcome(candidate, loss=math.nan) if candidate.stage == bad else outcome(candidate)

        with pytest.raises(UserError, match=f"every candidate of stage {bad} diverged") as error:
            search(lab.sweep, objective=objective, storage=f"journal:{lab.folder / str(bad)}")
        line_of(error)


NO_ROOM = {"loss": math.inf, "tokens": 0, "note": NO_FIT}


def test_a_trial_that_does_not_fit_in_memory_uses_its_slot_and_is_no_divergence(lab):
    def objective(sweep, candidate):
        if candidate.recipe.betas == (0.95, 0.999):
            return outcome(candidate, **NO_ROOM)
        diverges = candidate.recipe.optimizer == "adamw" and candidate.stage == 1
        return outcome(candidate, loss=math.nan, tokens=0) if diverges else outcome(candidate)

    result = search(lab.sweep, objective=objective)
    one = result.trials[result.trials.stage == 1]
    large = [betas == (0.95, 0.999) for betas in one.betas]
    assert 0 < sum(large) < 6 and set(one.note[large]) == {"does not fit"} and set(one.loss[large]) == {math.inf}
    assert not one.promoted[large].any() and result.recipe.betas == (0.9, 0.999)
    failures = int((one.note == "diverged").sum())
    assert failures > 0 and set(one.note[one.promoted]) == {""}
    assert result.notes[:2] == [
        f"{failures} of 6 candidates of stage 1 diverged; their tokens are not counted",
        f"{sum(large)} of 6 candidates of stage 1 needed more memory than the machine had; their tokens are "
        "not counted",
    ]
    again = search(lab.sweep, objective=lambda *_: pytest.fail("what does not fit is not tried again"))
    assert again.trials.equals(result.trials)


def test_a_stage_in_which_nothing_fits_says_so(lab):
    def mixture(sweep, candidate):
        return outcome(candidate, **NO_ROOM if candidate.id.endswith("02") else {"loss": math.nan})

    for objective, says in (
        (
            lambda s, c: outcome(c, **NO_ROOM),
            "^every candidate of stage 1 needed more memory than the machine had; lower .*batch_size",
        ),
        (
            mixture,
            "^no candidate of stage 1 has a loss: 5 diverged, 1 needed more memory .*learning rates.*batch_size",
        ),
    ):
        with pytest.raises(UserError, match=says) as error:
            search(lab.sweep, objective=objective, storage=f"journal:{lab.folder / str(id(objective))}")
        line_of(error)


@pytest.mark.parametrize("raised", [UserError("mend this"), RuntimeError("broken"), KeyboardInterrupt()])
def test_an_error_ends_the_search_and_the_trial_is_taken_up_again(lab, raised):
    whole = search(lab.sweep, objective=lab.objective, storage=f"journal:{lab.folder / 'whole'}")
    lab.candidates.clear()

    def failing(sweep, candidate):
        if candidate.id == "sft-lora-s1-03":
            candidate.folder.mkdir(parents=True)
            (candidate.folder / "checkpoint").write_text("half-way")
            failing.recipe = candidate.recipe
            raise raised
        return lab.objective(sweep, candidate)

    with pytest.raises(type(raised)):
        search(lab.sweep, objective=failing)
    other = Attempts(lab.sweep, Storage(), 1.0)
    assert other.slots(1)[3].is_free, "at once for everybody, wherever they are"
    other.close()
    assert [c.id[-5:] for c in lab.candidates] == ["s1-00", "s1-01", "s1-02"]
    lab.candidates.clear()
    views = []

    def goes_on(sweep, candidate):
        views.append((candidate.folder / "checkpoint").exists())
        return lab.objective(sweep, candidate)

    result = search(lab.sweep, objective=goes_on)
    assert lab.candidates[0].id == "sft-lora-s1-03" and lab.candidates[0].recipe == failing.recipe
    assert views == [True] + [False] * 5, "the stopped trial finds its checkpoint, and nothing else is trained again"
    assert result.trials.equals(whole.trials)


def test_a_trials_folder_is_its_own_and_goes_once_the_outcome_is_kept(lab):
    def objective(sweep, candidate):
        candidate.folder.mkdir(parents=True)
        (candidate.folder / "weights").write_text("large")
        return lab.objective(sweep, candidate)

    search(lab.sweep, objective=objective)
    root = lab.folder / "sweeps" / lab.sweep.id
    for candidate in lab.candidates:
        home = candidate.folder.relative_to(root).parts[0]
        assert home.startswith(f"{candidate.id}."), "a person sees whose it is"
    assert len({c.folder for c in lab.candidates}) == 9 and not root.exists()


def test_a_grid_smaller_than_the_budget_is_tried_once_over_with_a_note(lab):
    plan = replace(lab.sweep, space={"lora_rank": (4, 8)}, first={})
    result = search(plan, objective=lab.objective)
    assert sorted(result.trials[result.trials.stage == 1].lora_rank) == [4, 8]
    assert result.notes == [
        "stage 1 trained 2 candidates of 6: the grid has no more points",
        "stage 2 trained 2 candidates of 3: no more candidates have a loss",
    ]
    assert len(lab.candidates) == 4


def test_every_method_gets_the_same_budget(lab):
    records = []
    for method in METHODS:
        recipe = Recipe(method=method, effective_batch_size=16)
        plan = Sweep(f"sft-{method}", recipe, SPACES[method], STAGES, "model", "float32", "embedded", 1)
        result = search(plan, objective=lab.objective)
        assert result.notes == []
        records.append([{name: stage[name] for name in ("trials", "tokens", "train_rows")} for stage in result.stages])
    assert records == [records[0]] * len(METHODS)
    assert [stage["trials"] for stage in records[0]] == [6, 3]


def test_unequal_tokens_within_a_stage_are_noted(lab):
    result = search(lab.sweep, objective=lambda s, c: outcome(c, tokens=100 + (c.id == "sft-lora-s1-02")))
    assert result.notes == ["candidates of stage 1 saw unequal numbers of tokens, 100 to 101"]
