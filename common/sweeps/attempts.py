"""The attempts at a sweep's trials, kept in an Optuna storage that several workers share.

A slot is one trial of a stage (`sft-lora-s1-00`); an attempt is one worker's try at it, and one trial of the Optuna
study. Optuna's own ways to share work do not carry this: its queue and its retry of stale trials rest on a change of a
trial's state that is not atomic on SQLite (it is read, then written; optuna issue 4621), and its heartbeats do not
exist for journals. What is atomic in every storage is adding a trial: it gets a number, and who has added one sees all
with lower numbers. So workers agree as with a list that is only ever appended to:

- the first attempt at a slot fixes the slot's values, unless another slot has them already: then it is void;
- an attempt with other values than its slot's is void, and its worker gives it back;
- of a slot's attempts the lowest that is running owns it, and the lowest that is complete is its result.

Each rule looks only at what does not change any more, or at states that only ever go from running to complete or
failed. Two workers that take up the same dead trial both add an attempt; the second sees the first and gives its back.
"""

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from common.settings import UserError
from common.sweeps import liveness
from common.sweeps.sampler import decode, distributions, encode
from common.sweeps.storage import Storage
from common.sweeps.sweep import Outcome, Sweep

SILENCE = 6  # heartbeats without a sign of life after which a worker counts as dead


@dataclass
class Slot:
    """One trial of a stage: its values, who is at it (None: nobody), and what came out (None: nothing yet)."""

    ordinal: int
    values: dict
    owner: FrozenTrial | None = None
    outcome: Outcome | None = None

    @property
    def is_free(self) -> bool:
        """Whether it waits for a worker."""
        return self.owner is None and self.outcome is None


@dataclass(frozen=True)
class Attempt:
    """A worker's claim to a slot. `takeover` is set once this worker knows that it lost the slot to another."""

    stage: int
    ordinal: int
    key: int  # the storage's own id
    takeover: threading.Event = dataclasses.field(default_factory=threading.Event)


class Attempts:
    """The attempts at one sweep, as one worker makes and sees them.

    heartbeat: seconds between signs of life; after SILENCE without one a trial is free again, and at once where its
    worker is known to be dead. Silence is measured by the clock of who listens, so clocks of machines need not agree.
    """

    def __init__(self, sweep: Sweep, storage: Storage, heartbeat: float):
        self._sweep, self._storage, self.heartbeat = sweep, storage, heartbeat
        self._study = _study(sweep, storage)
        # Worker → its last sign of life, when it was new to us, and whether it is known to live.
        self._signs: dict[str, tuple[tuple[int, int], float, bool | None]] = {}
        self.worker = liveness.enter()

    def close(self) -> None:
        """This worker is done; what it still holds is free for the others."""
        liveness.leave(self.worker)

    def slots(self, stage: int) -> dict[int, Slot]:
        """The slots of a stage that were begun, by ordinal."""
        return slots_of(self._sweep, self._trials(), stage)

    def base_digest(self) -> str:
        """The base weights of the first outcome of the sweep, "" before there is one."""
        complete = [trial for trial in self._trials() if trial.state == TrialState.COMPLETE]
        first = min(complete, key=lambda trial: trial.number, default=None)
        return first.user_attrs["outcome"]["base_digest"] if first else ""

    def claim(self, stage: int, ordinal: int, values: dict) -> Attempt | None:
        """A claim to a slot with these values; None where another worker has it, or has the values."""
        space = self._sweep.grid
        trial = optuna.create_trial(
            state=TrialState.RUNNING,
            params=encode(space, values),
            distributions=distributions(space),
            user_attrs={
                "id": self._sweep.candidate_id(stage, ordinal),
                "stage": stage,
                "ordinal": ordinal,
                "worker": self.worker,
            },
        )
        attempt = Attempt(stage, ordinal, self._storage.call("create_new_trial", self._study, trial))
        if self.owns(attempt):
            return attempt
        self.give_back(attempt)
        return None

    def owns(self, attempt: Attempt) -> bool:
        """Whether the slot is this attempt's, by the rules above."""
        slot = self.slots(attempt.stage).get(attempt.ordinal)
        return slot is not None and slot.owner is not None and slot.owner._trial_id == attempt.key

    def complete(self, attempt: Attempt, outcome: Outcome) -> bool:
        """Keep an outcome; False where the slot was taken over in the meantime and the outcome is not wanted."""
        facts = dataclasses.asdict(outcome)
        del facts["curve"]  # the tracker has it
        values = [self._sweep.objective_value(outcome)]
        try:
            self._storage.call("set_trial_user_attr", attempt.key, "outcome", facts)
            self._storage.call("set_trial_state_values", attempt.key, state=TrialState.COMPLETE, values=values)
        except UpdateFinishedTrialError:
            return False
        return True

    def give_back(self, attempt: Attempt, *, patience: float | None = None) -> None:
        """The slot is free again, for whoever comes first."""
        self._fail(attempt.key, patience)

    def look(self, stage: int) -> tuple[dict[int, Slot], bool]:
        """The slots of a stage, those of dead workers freed, and whether some worker may yet turn out to be dead.

        While that is so, no new candidate should be begun: if that worker is dead, its candidate comes first, as it
        would have come in a search that was never stopped.
        """
        slots = self.slots(stage)
        lives = {slot.owner._trial_id: self._lives(slot.owner) for slot in slots.values() if slot.owner is not None}
        dead = [key for key, alive in lives.items() if alive is False]
        for key in dead:
            self._fail(key)
        return self.slots(stage) if dead else slots, None in lives.values()

    @contextmanager
    def alive(self, attempt: Attempt) -> Iterator[None]:
        """Signs of life while the trial is trained, from a thread."""
        end = threading.Event()
        thread = threading.Thread(target=self._beat, args=(attempt, end), daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()

    def _beat(self, attempt: Attempt, end: threading.Event) -> None:
        beats = 0
        while not end.wait(self.heartbeat):
            beats += 1
            try:
                self._storage.call("set_trial_user_attr", attempt.key, "beats", beats, patience=0)
            except UserError:
                continue  # the storage is away; whoever looks for our signs of life cannot read it either
            except UpdateFinishedTrialError:
                attempt.takeover.set()
                return

    def _lives(self, trial: FrozenTrial) -> bool | None:
        """Whether the worker of a running attempt lives; None before that is known."""
        worker, now = trial.user_attrs["worker"], time.monotonic()
        sign = (trial._trial_id, trial.user_attrs.get("beats", 0))
        last, since, alive = self._signs.get(worker, (sign, now, liveness.lives(worker)))
        if sign != last:
            since, alive = now, True
        self._signs[worker] = (sign, since, alive)
        return False if liveness.lives(worker) is False or now - since > SILENCE * self.heartbeat else alive

    def _fail(self, key: int, patience: float | None = None) -> None:
        with suppress(UpdateFinishedTrialError):  # it is complete, or somebody else was faster
            self._storage.call("set_trial_state_values", key, state=TrialState.FAIL, patience=patience)

    def _trials(self) -> list[FrozenTrial]:
        start = time.monotonic()
        trials = self._storage.call("get_all_trials", self._study, deepcopy=False)
        if time.monotonic() - start > self.heartbeat:
            self._signs.clear()  # the storage was away, and nobody could give a sign of life
        return trials


def slots_of(sweep: Sweep, trials: list[FrozenTrial], stage: int) -> dict[int, Slot]:
    """The slots of a stage by ordinal, read from all attempts at a sweep by the rules above."""
    slots: dict[int, Slot] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if trial.user_attrs.get("stage") != stage:
            continue
        ordinal, values = trial.user_attrs["ordinal"], decode(sweep.grid, trial.params)
        if ordinal not in slots:
            if any(slot.values == values for slot in slots.values()):
                continue
            slots[ordinal] = Slot(ordinal, values)
        slot = slots[ordinal]
        if slot.values != values or slot.outcome is not None:
            continue
        if trial.state == TrialState.COMPLETE:
            slot.outcome, slot.owner = Outcome(**trial.user_attrs["outcome"]), None
        elif trial.state == TrialState.RUNNING and slot.owner is None:
            slot.owner = trial
    return slots


def _study(sweep: Sweep, storage: Storage) -> int:
    """The sweep's study, made where it is new, with the sweep in it for workers on other machines."""
    try:
        study = storage.call("get_study_id_from_name", sweep.id)
    except KeyError:
        try:
            study = storage.call("create_new_study", [StudyDirection.MINIMIZE], sweep.id)
        except DuplicatedStudyError:  # another worker was faster
            study = storage.call("get_study_id_from_name", sweep.id)
    if "sweep" not in storage.call("get_study_user_attrs", study):
        storage.call("set_study_user_attr", study, "sweep", sweep.to_json())
    return study
