"""The search itself: every stage but the last, trial by trial, by one worker or several that share a storage.

Stage 1 trains what TPE draws, each later stage the best of the one before, anew from the base weights on its own rows.
Where the best lies on an edge of the grid, some candidates beyond it follow once; the last searched stage ends with the
variants of its best. A stage of fixed steps takes as many of its rows as these need.
Promotion is by the loss alone, or by the score alone where the sweep says so, ties by ordinal. Any number of processes
may call `search` with the same sweep: each takes free trials, waits where there is none, and all return the same
result. Stopped anywhere and called again, it goes on.
"""

import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from common.paths import model_name, source_name
from common.profiles import Stage
from common.settings import UserError, outputs, writable
from common.sweeps import folders
from common.sweeps.additions import varied, widened
from common.sweeps.attempts import Attempt, Attempts, Slot
from common.sweeps.result import SearchResult, best, no_candidate, result_of
from common.sweeps.sampler import draw
from common.sweeps.space import size
from common.sweeps.storage import Storage, quiet
from common.sweeps.sweep import Candidate, Objective, Outcome, Sweep
from common.tracking import log_run
from common.training.recipe import Recipe

HEARTBEAT = 10.0  # seconds between a worker's signs of life; SWEEP_HEARTBEAT sets another number


def search(
    sweep: Sweep,
    *,
    objective: Objective | None = None,
    folder: Path | None = None,
    storage: str | None = None,
    heartbeat: float | None = None,
) -> SearchResult:
    """Run, or go on with, all stages of `sweep` but the last.

    objective: what trains a candidate; None trains the sweep's model on its data. folder: where trials keep their
    checkpoints (outputs/sweeps/ID). storage: a storage instead of SWEEP_STORAGE's. heartbeat: seconds between signs of
    life; a trial whose worker gives none for six times that is taken up by another. Raises UserError for a storage that
    is down, for data without rows, for a trial that did not start from the base weights, and whatever else a
    trial raises, after giving its slot back.
    """
    if objective is None:
        from common.sweeps import objective as training  # torch

        sweep = training.prepared(sweep)
        objective = training.train
    quiet()
    place = writable(folder or outputs() / "sweeps" / sweep.id)
    attempts = Attempts(sweep, Storage(storage), heartbeat or _heartbeat())
    by_stage: list[dict[int, Slot]] = []
    try:
        for number, stage in enumerate(sweep.stages[:-1], 1):
            promotions = None
            if by_stage:
                before = sweep.stages[number - 2]
                promotions = best(sweep, by_stage[-1], stage.trials, by_batch=bool(before.steps))
            # A grid with fewer points than trials is tried once over; what has no loss is never promoted.
            count = min(stage.trials, size(sweep.space)) if promotions is None else len(promotions)
            if not count:
                raise no_candidate(number - 1, by_stage[-1])
            by_stage.append(_run_stage(sweep, number, count, promotions, attempts, objective, place))
    finally:
        attempts.close()
    for number, slots in enumerate(by_stage, 1):
        for ordinal in slots:  # what killed workers have left
            folders.clear(place, sweep.candidate_id(number, ordinal))
    if folder is None:
        with suppress(OSError):
            place.rmdir()
    return result_of(sweep, by_stage)


def _heartbeat() -> float:
    text = os.environ.get("SWEEP_HEARTBEAT") or HEARTBEAT
    with suppress(ValueError):
        if 0 < (seconds := float(text)) < math.inf:
            return seconds
    raise UserError(f"SWEEP_HEARTBEAT={text} is no number of seconds above 0; unset it for {HEARTBEAT:g}")


def _run_stage(
    sweep: Sweep,
    stage: int,
    count: int,
    promotions: list[Slot] | None,
    attempts: Attempts,
    objective: Objective,
    folder: Path,
) -> dict[int, Slot]:
    """The slots of a stage once all of its candidates have outcomes, whoever brought them: `count` that are drawn or
    promoted, and those that follow from their outcomes."""
    additions: list[dict] = []

    def values(ordinal: int, slots: dict[int, Slot]) -> dict:
        return additions[ordinal - count] if ordinal >= count else _values(sweep, ordinal, promotions, slots)

    _run_trials(sweep, stage, count, values, attempts, objective, folder)
    for more in (widened, *[varied] * (stage == len(sweep.stages) - 1)):
        known = count + len(additions)
        slots = {ordinal: slot for ordinal, slot in attempts.slots(stage).items() if ordinal < known}
        if fresh := more(sweep, stage, slots):
            additions += fresh
            _run_trials(sweep, stage, known + len(fresh), values, attempts, objective, folder)
    return attempts.slots(stage)


def _run_trials(
    sweep: Sweep,
    stage: int,
    budget: int,
    values_of: Callable[[int, dict[int, Slot]], dict],
    attempts: Attempts,
    objective: Objective,
    folder: Path,
) -> None:
    """Return once the stage has `budget` outcomes, whoever brought them."""
    pause = min(2.0, attempts.heartbeat / 2)
    with tqdm(total=budget, desc=f"{sweep.name} stage {stage}", unit="trial", file=sys.stderr) as bar:
        while True:
            slots, unsure = attempts.look(stage)
            _show(bar, sweep, slots)
            if sum(slot.outcome is not None for slot in slots.values()) >= budget:
                return
            free = next((o for o in range(budget) if o not in slots or slots[o].is_free), None)
            if free is None or unsure:  # the next stage needs what the others are at
                time.sleep(pause)
                continue
            values = slots[free].values if free in slots else values_of(free, slots)
            attempt = attempts.claim(stage, free, values)
            if attempt is not None:
                _run_trial(sweep, attempt, values, attempts, objective, folder)


def _values(sweep: Sweep, ordinal: int, promotions: list[Slot] | None, slots: dict[int, Slot]) -> dict:
    """A candidate that nobody began: promoted to this stage, or drawn for the first one."""
    if promotions is not None:
        return promotions[ordinal].values
    history = [(slots[o], {name: slots[o].values[name] for name in sweep.space}) for o in sorted(slots)]
    drawn = draw(
        sweep.space,
        ordinal,
        trials=sweep.stages[0].trials,
        seed=sweep.draw_seed,
        results=[(values, sweep.objective_value(slot.outcome)) for slot, values in history if slot.outcome],
        rivals=[values for slot, values in history if not slot.outcome],
        first=sweep.first,
    )
    return drawn | sweep.rest


def _run_trial(
    sweep: Sweep, attempt: Attempt, values: dict, attempts: Attempts, objective: Objective, root: Path
) -> None:
    """Train one candidate and keep its outcome. Its folder goes once the outcome is kept, and not before."""
    name, recipe = sweep.candidate_id(attempt.stage, attempt.ordinal), sweep.recipe.with_values(values)
    try:
        with folders.attempt_folder(root, name, values) as folder:
            candidate = Candidate(
                id=name,
                stage=attempt.stage,
                rows=_rows(sweep.stages[attempt.stage - 1], recipe),
                recipe=recipe,
                folder=folder,
                base_digest=attempts.base_digest(),
                should_stop=attempt.takeover.is_set,
            )
            with attempts.alive(attempt):
                outcome = objective(sweep, candidate)
                _check(sweep, candidate, outcome, attempts.base_digest())
                if attempt.takeover.is_set():
                    return
                # Before the outcome is kept: a worker killed between the two logs it again, under the same id.
                _log_trial(sweep, candidate, values, outcome)
            attempts.complete(attempt, outcome)
    except BaseException as error:
        # Another worker has the trial, whatever went wrong here.
        if attempt.takeover.is_set() and isinstance(error, Exception):
            return
        with suppress(UserError):  # a storage that is down; the attempt will be found dead
            attempts.give_back(attempt, patience=0)
        raise


def _rows(stage: Stage, recipe: Recipe) -> Stage:
    """The stage as a candidate sees it: with the rows that its steps take, where their number is fixed."""
    count = stage.steps * recipe.effective_batch_size or stage.train_rows
    return dataclasses.replace(stage, train_rows=min(count, stage.train_rows))


def _check(sweep: Sweep, candidate: Candidate, outcome: Outcome, base_digest: str) -> None:
    """Refuse an outcome that cannot be compared with the others: of another start, other rows, or without a score."""
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
    if sweep.rank_by == "score" and outcome.score is None and not outcome.note:
        raise UserError(f"trial {candidate.id} has no score to rank it by; its trainer answers no validation rows")


def _log_trial(sweep: Sweep, candidate: Candidate, values: dict, outcome: Outcome) -> None:
    """One run a trial in the tracker, under the same id whenever it is logged."""
    summary = {"final_loss": outcome.loss, "tokens": outcome.tokens, "seconds": outcome.seconds}
    log_run(
        f"{sweep.id}-s{candidate.stage}-{candidate.id.rpartition('-')[2]}",
        name=candidate.id,
        group=sweep.id,
        config=values
        | {"method": sweep.name, "stage": candidate.stage}
        | {"model": model_name(sweep.model_id), "data": source_name(sweep.data)}
        | {"train_rows": outcome.train_rows, "valid_rows": outcome.valid_rows}
        | ({"note": outcome.note} if outcome.note else {}),
        curve=outcome.curve,
        summary=summary if outcome.score is None else summary | {"final_score": outcome.score},
    )


def _show(bar: tqdm, sweep: Sweep, slots: dict[int, Slot]) -> None:
    bar.n = sum(slot.outcome is not None for slot in slots.values())
    if leader := best(sweep, slots, 1):
        bar.set_postfix(best=f"{getattr(leader[0].outcome, sweep.rank_by):.4f}", refresh=False)
    bar.refresh()
