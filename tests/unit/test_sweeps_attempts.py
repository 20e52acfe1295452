"""How workers share the trials, each of them an `Attempts`: who has a slot, who loses it, and who is known to live."""

import dataclasses
import subprocess
import sys
import time
from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState

from common.sweeps import Outcome, attempts, search, searching, workers
from common.sweeps.attempts import Attempts, slots_of
from common.sweeps.draws import distributions, encode
from common.sweeps.storage import Storage
from tests.unit import sweeping
from tests.unit.sweeping import SPACE, outcome

# Worked out by hand: the best point of the grid is 1e-4, adamw, (0.9, 0.999).
POINT = {"learning_rate": 1e-4, "optimizer": "adamw", "betas": (0.9, 0.999)}
made = sweeping.made


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


def test_silence_is_longer_than_a_hiccup():
    assert attempts.SILENCE * searching.HEARTBEAT >= 60
