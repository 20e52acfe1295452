"""The search itself: every stage but the last, trial by trial, by one worker or several that share a storage.

Stage 1 trains what TPE draws, each later stage the best of the one before, anew from the base weights on its own rows.
Promotion is by loss alone, ties by ordinal. Any number of processes may call `search` with the same sweep: each takes
free trials, waits where there is none, and all return the same result. Stopped anywhere and called again, it goes on.
"""

import math
import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from common.settings import UserError, outputs, writable
from common.sweeps import tracking
from common.sweeps.attempts import Attempt, Attempts, Slot
from common.sweeps.draws import draw
from common.sweeps.found import Found, best, diverged, found
from common.sweeps.space import size
from common.sweeps.storage import Storage, quiet
from common.sweeps.sweep import Candidate, Objective, Outcome, Sweep

HEARTBEAT = 10.0  # seconds between a worker's signs of life; SWEEP_HEARTBEAT sets another number


def search(
    sweep: Sweep,
    *,
    objective: Objective | None = None,
    folder: Path | None = None,
    storage: str | None = None,
    heartbeat: float | None = None,
) -> Found:
    """Run, or go on with, all stages of `sweep` but the last.

    objective: what trains a candidate; None trains the sweep's model on its data. folder: where trials keep their
    checkpoints (outputs/sweeps/ID). storage: a storage instead of SWEEP_STORAGE's. heartbeat: seconds between signs of
    life; a trial whose worker gives none for six times that is taken up by another. Raises UserError for a storage that
    is down, for data smaller than a stage, for a trial that did not start from the base weights, and whatever else a
    trial raises, after giving its slot back.
    """
    if objective is None:
        from common.sweeps import objective as training  # torch

        training.check_data(sweep)
        objective = training.train
    quiet()
    place = writable(folder or outputs() / "sweeps" / sweep.id)
    attempts = Attempts(sweep, Storage(storage), heartbeat or _heartbeat())
    by_stage: list[dict[int, Slot]] = []
    try:
        for number, stage in enumerate(sweep.stages[:-1], 1):
            chosen = best(by_stage[-1], stage.trials) if by_stage else None
            # A grid with fewer points than trials is tried once over; what diverged is never promoted.
            budget = min(stage.trials, size(sweep.space)) if chosen is None else len(chosen)
            if not budget:
                raise diverged(number - 1)
            _run_stage(sweep, number, budget, chosen, attempts, objective, place)
            by_stage.append(attempts.slots(number))
    finally:
        attempts.close()
    for number, slots in enumerate(by_stage, 1):
        for ordinal in slots:  # what a worker left that was killed after its outcome was kept
            shutil.rmtree(place / sweep.candidate_id(number, ordinal), ignore_errors=True)
    if folder is None:
        with suppress(OSError):
            place.rmdir()
    return found(sweep, by_stage)


def _heartbeat() -> float:
    told = os.environ.get("SWEEP_HEARTBEAT") or HEARTBEAT
    with suppress(ValueError):
        if 0 < (seconds := float(told)) < math.inf:
            return seconds
    raise UserError(f"SWEEP_HEARTBEAT={told} is no number of seconds above 0; unset it for {HEARTBEAT:g}")


def _run_stage(
    sweep: Sweep,
    stage: int,
    budget: int,
    chosen: list[Slot] | None,
    attempts: Attempts,
    objective: Objective,
    folder: Path,
) -> None:
    """Return once the stage has `budget` outcomes, whoever brought them."""
    waiting = min(2.0, attempts.heartbeat / 2)
    with tqdm(total=budget, desc=f"{sweep.name} stage {stage}", unit="trial", file=sys.stderr) as bar:
        while True:
            slots, unsure = attempts.look(stage)
            _show(bar, slots)
            if sum(slot.outcome is not None for slot in slots.values()) >= budget:
                return
            free = next((o for o in range(budget) if o not in slots or slots[o].is_free), None)
            if free is None or unsure:  # the next stage needs what the others are at
                time.sleep(waiting)
                continue
            values = slots[free].values if free in slots else _values(sweep, free, chosen, slots)
            attempt = attempts.claim(stage, free, values)
            if attempt is not None:
                _run_trial(sweep, attempt, values, attempts, objective, folder)


def _values(sweep: Sweep, ordinal: int, chosen: list[Slot] | None, slots: dict[int, Slot]) -> dict:
    """A candidate that nobody began: promoted to this stage, or drawn for the first one."""
    if chosen is not None:
        return chosen[ordinal].values
    known = [slots[o] for o in sorted(slots)]
    return draw(
        sweep.space,
        ordinal,
        trials=sweep.stages[0].trials,
        seed=sweep.seed,
        finished=[(slot.values, slot.outcome.loss) for slot in known if slot.outcome],
        running=[slot.values for slot in known if not slot.outcome],
        first=sweep.first,
    )


def _run_trial(
    sweep: Sweep, attempt: Attempt, values: dict, attempts: Attempts, objective: Objective, folder: Path
) -> None:
    """Train one candidate and keep its outcome. Its folder goes once the outcome is kept, and not before."""
    name = sweep.candidate_id(attempt.stage, attempt.ordinal)
    candidate = Candidate(
        id=name,
        stage=attempt.stage,
        rows=sweep.stages[attempt.stage - 1],
        recipe=sweep.recipe.with_values(values),
        folder=folder / name,
        base_digest=attempts.base_digest(),
    )
    try:
        with attempts.alive(attempt):
            outcome = objective(sweep, candidate)
            _check(candidate, outcome, attempts.base_digest())
            if attempt.lost.is_set():
                return
            # Before the outcome is kept, so that a worker killed between the two logs it again, under the same id.
            tracking.log_trial(sweep, candidate, values, outcome)
    except BaseException as error:
        # Taken over while it was silent: the trial is another worker's, and so is its folder, whatever went wrong here.
        if attempt.lost.is_set() and isinstance(error, Exception):
            return
        with suppress(UserError):  # a storage that is down; the attempt will be found dead
            attempts.give_back(attempt, patience=0)
        raise
    if attempts.complete(attempt, outcome):
        shutil.rmtree(candidate.folder, ignore_errors=True)


def _check(candidate: Candidate, outcome: Outcome, base_digest: str) -> None:
    """Refuse an outcome that would be compared with others of another start or other rows."""
    if base_digest and outcome.base_digest != base_digest:
        raise UserError(
            f"trial {candidate.id} did not start from the weights that the earlier trials of the sweep started from; "
            "load the model anew for each trial"
        )
    rows = candidate.rows
    if outcome.train_rows + outcome.dropped_rows != rows.train_rows or not 0 < outcome.valid_rows <= rows.valid_rows:
        raise UserError(
            f"trial {candidate.id} saw {outcome.train_rows}+{outcome.dropped_rows} training and {outcome.valid_rows} "
            f"validation rows, not its stage's {rows.train_rows} and {rows.valid_rows}; load the stage's rows"
        )


def _show(bar: tqdm, slots: dict[int, Slot]) -> None:
    done = [slot.outcome.loss for slot in slots.values() if slot.outcome]
    bar.n = len(done)
    if done:
        bar.set_postfix(best=f"{min(done):.4f}", refresh=False)
    bar.refresh()
