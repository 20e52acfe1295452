"""How workers share the trials, each of them an `Attempts`: who has a slot, who loses it, and who is known to live."""

import dataclasses
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState

from common.sweeps import Outcome, attempts, liveness, search, searching
from common.sweeps.attempts import Attempts, slots_of
from common.sweeps.sampler import distributions, encode
from common.sweeps.storage import Storage
from tests.unit import sweep_cases
from tests.unit.sweep_cases import SPACE, outcome

# Worked out by hand: the best point of the grid is 1e-4, adamw, (0.9, 0.999).
POINT = {"learning_rate": 1e-4, "optimizer": "adamw", "betas": (0.9, 0.999)}
lab = sweep_cases.lab


@pytest.fixture
def pair(lab):
    ours, theirs = (Attempts(lab.sweep, Storage(), 0.05) for _ in range(2))
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


def test_a_surplus_outcome_is_not_counted(lab, pair):
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


def test_who_has_a_slot_follows_from_the_order_of_attempts(lab):
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
            slots = slots_of(lab.sweep, order, 1)
            facts = {
                o: (slot.owner._trial_id if slot.owner else None, int(slot.outcome.loss) if slot.outcome else None)
                for o, slot in slots.items()
            }
            assert facts == expected
    assert slots_of(lab.sweep, trials, 2) == {}


def until(condition) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def elsewhere(monkeypatch) -> None:
    """All workers but this process's live where it cannot look."""
    monkeypatch.setattr(liveness, "lives", lambda token: True if token in liveness._ACTIVE else None)


def test_a_silent_worker_of_another_machine_loses_its_trial(lab, monkeypatch):
    url = f"journal:{lab.folder / 'shared'}"
    ghost = Attempts(lab.sweep, Storage(url), 60.0)
    ghost.claim(1, 0, POINT)  # and never a sign of life
    ghost.close()
    elsewhere(monkeypatch)
    clock = [0.0]
    monkeypatch.setattr(attempts, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(searching, "time", SimpleNamespace(sleep=lambda pause: clock.append(clock.pop() + pause)))
    result = search(lab.sweep, objective=lab.objective, storage=url, heartbeat=2.0)
    assert clock == [13.0], "six heartbeats of silence, and the pause after which that is seen"
    assert lab.candidates[0].id == "sft-lora-s1-00" and lab.candidates[0].recipe.learning_rate == 1e-4
    assert len(result.trials) == 9 and list(result.trials.trial).count("sft-lora-s1-00") == 1


def test_a_worker_that_gives_signs_of_life_keeps_its_trial(lab, pair, monkeypatch):
    ours, theirs = pair
    elsewhere(monkeypatch)
    clock = [0.0]
    monkeypatch.setattr(attempts, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    liveness.leave(theirs.worker)
    mine = theirs.claim(1, 0, POINT)
    views = [ours.look(1)]
    with theirs.alive(mine):
        for beats in range(1, 5):
            until(lambda beats=beats: ours.slots(1)[0].owner.user_attrs.get("beats", 0) >= beats)
            clock[0] += 5 * ours.heartbeat  # in all three times as long as silence is borne
            views.append(ours.look(1))
    assert views[0][1], "nothing is known of it at first"
    assert not views[-1][1] and theirs.owns(mine) and not mine.takeover.is_set()


def test_a_worker_learns_that_its_trial_was_taken_over(lab, pair):
    ours, theirs = pair
    mine = theirs.claim(1, 0, POINT)
    with theirs.alive(mine):
        ours._fail(mine.key)
        assert mine.takeover.wait(300)


@pytest.mark.parametrize("fails", [False, True])
def test_an_outcome_or_error_of_a_trial_that_was_taken_over_is_nobodys(lab, fails):
    stops = []

    def overtaken(sweep, candidate):
        lab.candidates.append(candidate)
        if candidate.id == "sft-lora-s1-02" and [c.id for c in lab.candidates].count(candidate.id) == 1:
            other = Attempts(lab.sweep, Storage(), 1.0)
            other._fail(other.slots(1)[2].owner._trial_id)
            until(candidate.should_stop)  # the next sign of life finds it so
            stops.append(candidate.should_stop())
            if fails:
                raise FileNotFoundError("a file system that is away")
            return outcome(candidate, loss=-100.0)
        return outcome(candidate)

    result = search(lab.sweep, objective=overtaken, heartbeat=0.05)
    assert result.trials.loss.min() > 0 and len(result.trials) == 9
    assert len(lab.candidates) == 10, "the trial was trained twice and counted once"
    assert stops == [True]


def test_a_dead_process_is_known_at_once_and_a_foreign_one_is_not():
    token = liveness.enter()
    assert liveness.lives(token) is True
    liveness.leave(token)
    assert liveness.lives(token) is False
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    machine = token.split("-")[0]
    other = f"{machine}-{child.pid}-{liveness._start(child.pid)}-0"
    assert liveness.lives(other) is True and liveness.lives(f"{machine}-{child.pid}-1-0") is False
    child.kill()
    child.communicate()
    assert liveness.lives(other) is False
    assert liveness.lives("0123456789ab-1-1-0") is None and liveness.lives("-1--0") is None


THREADS = """
import ctypes, threading
threading.Thread(target=input).start()
print("begun", flush=True)
ctypes.CDLL(None).pthread_exit(None)  # the first thread alone
"""


def test_a_process_is_dead_once_all_its_threads_are():
    child = subprocess.Popen([sys.executable, "-c", THREADS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    stat = Path(f"/proc/{child.pid}/stat")
    while (state := stat.read_text().rpartition(")")[2].split()[0]) != "Z":
        assert state in "RSD", "the first thread is about to end"
        time.sleep(0.01)
    token = f"{liveness._machine()}-{child.pid}-{liveness._start(child.pid)}-0"
    assert liveness.lives(token) is True, "what it has locked is locked"
    child.kill()
    child.communicate()
    assert liveness.lives(token) is False


def test_silence_is_longer_than_a_hiccup():
    assert attempts.SILENCE * searching.HEARTBEAT >= 60
