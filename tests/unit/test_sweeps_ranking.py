"""What candidates are ranked by: the loss, or the score where the sweep says so; what has neither is the worst."""

import math
import random
from dataclasses import replace

import pytest

from common.settings import UserError
from common.sweeps import Outcome, search
from common.sweeps.sweep import NO_FIT
from common.training.recipe import Recipe
from tests.unit import sweep_cases
from tests.unit.sweep_cases import SPACE, line_of, loss_of, outcome

lab = sweep_cases.lab


def scores(lab):
    """The lab's sweep, by score."""
    return replace(lab.sweep, recipe=Recipe(score_rows=4), rank_by="score")


def by_score(sweep, candidate, **facts):
    """A high score where the plain objective has a low loss; the loss itself is noise."""
    noise = random.Random(repr(candidate.recipe)).random()
    return outcome(candidate, **{"loss": noise, "score": 1 - loss_of(candidate.recipe, candidate.stage) / 10} | facts)


def test_the_highest_scores_are_promoted_and_drawn_after_whatever_the_losses(lab):
    names = list(SPACE)
    plain = search(lab.sweep, objective=lab.objective)
    result = search(scores(lab), objective=by_score)
    # The same points in the same order: TPE and promotion saw the same ranks.
    assert result.trials[["trial", *names]].equals(plain.trials[["trial", *names]])
    assert list(result.trials.promoted) == list(plain.trials.promoted)
    assert result.recipe == plain.recipe.with_values({"score_rows": 4})
    assert result.rank_correlation == pytest.approx(1.0) and result.rank_correlation_n == 3
    assert "score" not in plain.trials and list(result.trials.columns)[-4:] == ["loss", "score", "promoted", "note"]
    for stage in (1, 2):
        lines = result.trials[result.trials.stage == stage]
        best = lines.loc[lines.score.idxmax()]
        record = result.stages[stage - 1]["best"]
        assert (record["score"], record["loss"]) == (best.score, best.loss) and best.promoted


def test_a_search_by_score_goes_on_from_its_storage(lab):
    whole = search(scores(lab), objective=by_score, storage=f"journal:{lab.folder / 'whole'}")
    calls = []

    def stops(sweep, candidate):
        calls.append(candidate)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return by_score(sweep, candidate)

    with pytest.raises(KeyboardInterrupt):
        search(scores(lab), objective=stops)
    assert search(scores(lab), objective=by_score).trials.equals(whole.trials)


@pytest.mark.parametrize("facts", [{"loss": math.nan}, {"score": math.nan}, {"note": NO_FIT}])
def test_what_diverged_or_does_not_fit_is_worst_by_score_too(lab, facts):
    def objective(sweep, candidate):
        fails = candidate.recipe.optimizer == "adamw"
        return by_score(sweep, candidate, **({"score": 1.0} | facts if fails else {}))

    result = search(scores(lab), objective=objective)
    assert result.recipe.optimizer == "adam"
    one = result.trials[result.trials.stage == 1]
    assert 0 < (one.optimizer == "adamw").sum() < 6 and not one.promoted[one.optimizer == "adamw"].any()


def test_ranks_reverse_where_scores_do(lab):
    result = search(scores(lab), objective=lambda s, c: outcome(c, score=loss_of(c.recipe, 1) * (-1) ** c.stage))
    assert result.rank_correlation == pytest.approx(-1.0)
    two = result.trials[result.trials.stage == 2]
    assert result.recipe.learning_rate == two.learning_rate[two.score.idxmax()]


def test_a_trial_without_a_score_is_refused(lab):
    with pytest.raises(UserError, match="sft-lora-s1-00 has no score to rank it by") as error:
        search(scores(lab), objective=lab.objective)
    line_of(error)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rank_by": "score"}, "rank_by='score' needs validation rows to answer; set score_rows"),
        ({"rank_by": "speed"}, "ranked by loss or score, not by 'speed'"),
    ],
)
def test_a_rank_that_nothing_gives_is_refused(lab, changes, says):
    with pytest.raises(UserError, match=says) as error:
        replace(lab.sweep, **changes)
    line_of(error)


def test_what_is_minimised():
    result = Outcome(0.5, 1, 1, 1, 1.0, "", score=0.75)
    plain = sweep_cases.PLAN
    by_scores = replace(plain, recipe=Recipe(score_rows=1), rank_by="score")
    assert (plain.objective_value(result), by_scores.objective_value(result)) == (0.5, -0.75)
    for failure in (replace(result, loss=-math.inf), replace(result, note=NO_FIT)):
        assert failure.loss == plain.objective_value(failure) == by_scores.objective_value(failure) == math.inf
    assert (replace(result, loss=math.nan).note, replace(result, note=NO_FIT).note) == ("diverged", "does not fit")
