"""The result of a search, from its finished trials: the table, the winner, and how far to trust it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas

from common.profiles import Stage
from common.settings import UserError
from common.sweeps.attempts import Slot
from common.sweeps.space import is_ordered
from common.sweeps.sweep import DIVERGED, NO_FIT, NO_MOVE, Sweep
from common.training.recipe import Recipe

# Why candidates have no loss → what to say of them, and what to do where none has.
FAILURES = {
    DIVERGED: ("diverged", "lower the learning rates of the search space"),
    NO_MOVE: ("moved no weight", "raise the learning rates of the search space, or train on more rows"),
    NO_FIT: (
        "needed more memory than the machine had",
        "lower the recipe's per_device_train_batch_size or max_length, or set gradient_checkpointing",
    ),
}
BATCH = "effective_batch_size"
LEAST_RANKED = 3  # candidates below which a rank correlation is no number to show


@dataclass(frozen=True)
class SearchResult:
    """A finished search.

    trials: one line a complete trial, by stage and ordinal: stage, trial, the searched values, train_rows, valid_rows,
    tokens, seconds, loss (infinite where there is none), score (where candidates are ranked by it), promoted, and note,
    why there is no loss. recipe: the best candidate's of the last searched stage. stages: for the record.
    rank_correlation: Spearman's, between what ranks the candidates that stage 1 promoted in it and in stage 2, over
    rank_correlation_n of them; None below three, where either is constant, and after a stage of fixed steps. edges:
    warnings of best values at the end of their grid. notes: what else went otherwise than planned. facts: how
    candidates were compared and what came of it. id: the sweep's. base_digest: names the weights that every trial
    started from.
    """

    trials: pandas.DataFrame
    recipe: Recipe
    stages: list[dict]
    rank_correlation: float | None
    rank_correlation_n: int
    edges: list[str]
    notes: list[str]
    facts: list[str]
    id: str
    base_digest: str

    def to_record(self) -> dict:
        """What a record says of the search beside its stages."""
        names = ("id", "base_digest", "rank_correlation", "rank_correlation_n", "edges", "notes", "facts")
        return {name: getattr(self, name) for name in names}


def best(sweep: Sweep, slots: dict[int, Slot], count: int, *, by_batch: bool = False) -> list[Slot]:
    """The `count` best finished candidates as the sweep ranks them, the earlier of equals first. One that has diverged
    or did not fit in memory is none.

    by_batch: of a stage of fixed steps, in which a larger batch has seen more rows: candidates are ranked within their
    batch size, the best of each first.
    """
    values = {slot.ordinal: sweep.objective_value(slot.outcome) for slot in slots.values() if slot.outcome}
    ranking = sorted((value, ordinal) for ordinal, value in values.items() if math.isfinite(value))
    places: dict[object, int] = {}
    keys = []
    for value, ordinal in ranking:
        batch = slots[ordinal].values.get(BATCH) if by_batch else None
        places[batch] = places.get(batch, 0) + 1
        keys.append((places[batch], value, ordinal))
    return [slots[ordinal] for _, _, ordinal in sorted(keys)[:count]]


def result_of(sweep: Sweep, by_stage: Sequence[dict[int, Slot]]) -> SearchResult:
    """The result of the searched stages. Raises UserError where no candidate of a stage has a loss."""
    stages, notes = [], []
    ranks = ("loss", "score") if sweep.rank_by == "score" else ("loss",)
    for number, (stage, slots) in enumerate(zip(sweep.stages, by_stage, strict=False), 1):
        ranking = best(sweep, slots, len(slots), by_batch=bool(stage.steps))
        if not ranking:
            raise no_candidate(number, slots)
        stages.append(
            {
                "stage": number,
                "train_rows": stage.train_rows,
                "valid_rows": stage.valid_rows,
                "trials": len(slots),
                "tokens": sum(slot.outcome.tokens for slot in slots.values()),
                "best": {**ranking[0].values, **{name: getattr(ranking[0].outcome, name) for name in ranks}},
            }
        )
        notes += _notes(number, stage, slots, ranking)
    correlation, n = rank_correlation(sweep, by_stage)
    last = sweep.stages[len(by_stage) - 1]
    winner = best(sweep, by_stage[-1], 1, by_batch=bool(last.steps))[0]
    candidates = [slot.values for slots in by_stage for slot in slots.values()]
    return SearchResult(
        trials=table(sweep, by_stage),
        recipe=sweep.recipe.with_values(winner.values),
        stages=stages,
        rank_correlation=correlation,
        rank_correlation_n=n,
        edges=edges(sweep, winner.values, candidates),
        notes=notes,
        facts=_facts(sweep, by_stage, correlation, n),
        id=sweep.id,
        base_digest=winner.outcome.base_digest,
    )


def table(sweep: Sweep, by_stage: Sequence[dict[int, Slot]]) -> pandas.DataFrame:
    """One line a finished trial, by stage and ordinal; `promoted` of a stage that goes on are the best so far."""
    facts = ["train_rows", "valid_rows", "tokens", "seconds", "loss", *(["score"] if sweep.rank_by == "score" else [])]
    lines = []
    for number, slots in enumerate(by_stage, 1):
        stage, following = sweep.stages[number - 1 : number + 1]
        promotions = {slot.ordinal for slot in best(sweep, slots, following.trials, by_batch=bool(stage.steps))}
        lines += [
            {"stage": number, "trial": sweep.candidate_id(number, ordinal)}
            | slot.values
            | {name: getattr(slot.outcome, name) for name in facts}
            | {"promoted": ordinal in promotions, "note": slot.outcome.note}
            for ordinal, slot in sorted(slots.items())
            if slot.outcome
        ]
    return pandas.DataFrame(lines, columns=["stage", "trial", *sweep.grid, *facts, "promoted", "note"])


def no_candidate(stage: int, slots: dict[int, Slot]) -> UserError:
    """The one line for a stage without any loss."""
    counts = _failures(slots)
    advice = ", and ".join(FAILURES[note][1] for note in counts)
    if len(counts) == 1:
        return UserError(f"every candidate of stage {stage} {FAILURES[next(iter(counts))][0]}; {advice}")
    parts = ", ".join(f"{count} {FAILURES[note][0]}" for note, count in counts.items())
    return UserError(f"no candidate of stage {stage} has a loss: {parts}; {advice}")


def _failures(slots: dict[int, Slot]) -> dict[str, int]:
    """Why candidates have no loss → how many."""
    notes = [slot.outcome.note for slot in slots.values() if slot.outcome]
    return {note: notes.count(note) for note in FAILURES if note in notes}


def rank_correlation(sweep: Sweep, by_stage: Sequence[dict[int, Slot]]) -> tuple[float | None, int]:
    """(Spearman's correlation, n) between what ranks candidates in the first two stages, over those that have both;
    None where stage 1 ranks them within their batch sizes alone."""
    if len(by_stage) < 2 or sweep.stages[0].steps:
        return None, 0
    pairs = [
        (sweep.objective_value(before.outcome), sweep.objective_value(after.outcome))
        for after in best(sweep, by_stage[1], len(by_stage[1]))
        for before in by_stage[0].values()
        if before.values == after.values
    ]
    ranks = pandas.DataFrame(pairs, columns=["before", "after"]).rank()  # equal values share their mean rank
    if len(pairs) < LEAST_RANKED or (ranks.nunique() < 2).any():
        return None, len(pairs)
    return float(ranks["before"].corr(ranks["after"])), len(pairs)


def edges(sweep: Sweep, values: dict, candidates: Sequence[dict] = ()) -> list[str]:
    """Numbers of the winner that lie at an end of what was tried, the grid and what other `candidates` have, where a
    better one may lie beyond. Nothing is below 0; what a variant changes beside its first value follows that."""
    warnings, followers = [], {name for changes in sweep.variants for name in [*changes][1:]}
    for name in (name for name in sweep.grid if name not in followers):
        choices = {*sweep.space.get(name, sweep.grid[name]), *(candidate[name] for candidate in candidates)}
        if not is_ordered(tuple(choices)) or len(choices) < 2:
            continue
        end = {min(choices): "lowest", max(choices): "highest"}.get(values[name])
        if end and values[name] != 0:
            warnings.append(f"the best {name} is {values[name]:g}, the {end} of its grid; widen it and search again")
    return warnings


def _notes(number: int, stage: Stage, slots: dict[int, Slot], ranking: list[Slot]) -> list[str]:
    notes = []
    if len(slots) < stage.trials:
        why = "the grid has no more points" if number == 1 else "no more candidates have a loss"
        notes.append(f"stage {number} trained {len(slots)} candidates of {stage.trials}: {why}")
    for note, count in _failures(slots).items():
        what = FAILURES[note][0]
        notes.append(f"{count} of {len(slots)} candidates of stage {number} {what}; their tokens are not counted")
    if steps := max((slot.outcome.skipped_steps for slot in ranking), default=0):
        notes.append(f"candidates of stage {number} lost up to {steps} optimiser steps to float16's overflow")
    tokens = sorted({slot.outcome.tokens for slot in ranking})
    if len(tokens) > 1 and not stage.steps:
        notes.append(f"candidates of stage {number} saw unequal numbers of tokens, {tokens[0]:,} to {tokens[-1]:,}")
    return notes


def _facts(sweep: Sweep, by_stage: Sequence[dict[int, Slot]], correlation: float | None, n: int) -> list[str]:
    """How candidates were compared, what was tried beyond the grid's edges, and how the setting of no search fared."""
    facts = [
        f"candidates of stage {number} took {stage.steps} optimiser steps each, so a larger batch saw more rows: they "
        "are ranked within their batch size"
        for number, stage in enumerate(sweep.stages[: len(by_stage)], 1)
        if stage.steps
    ]
    for number, slots in enumerate(by_stage, 1):
        earlier = [slot.values for before in by_stage[: number - 1] for slot in before.values()]
        for name, values in sweep.space.items():
            tried = {slot.values[name] for slot in slots.values()} - {*values, *(known[name] for known in earlier)}
            if tried:
                outside = ", ".join(map(str, sorted(tried, key=str)))
                facts.append(f"stage {number} tried {name} {outside} beyond the edge on which its best lay")
    slots = by_stage[0]
    rivals = [s for s in best(sweep, slots, len(slots)) if s.values.get(BATCH) == slots[0].values.get(BATCH)]
    if sweep.first and slots[0] in rivals:
        losses = [f"{getattr(slot.outcome, sweep.rank_by):.4f}" for slot in (slots[0], rivals[0])]
        facts.append(
            f"the first candidate, the setting without a search, came {rivals.index(slots[0]) + 1} of {len(rivals)} of "
            f"its batch size in stage 1: {sweep.rank_by} {losses[0]}, the best {losses[1]}"
        )
    if correlation is not None:
        facts.append(f"rank correlation of stages 1 and 2: {correlation:.2f} over {n} candidates")
    return facts
