"""What a search has found, from its finished trials: the table, the winner, and how far to trust it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas

from common.profiles import Stage
from common.settings import UserError
from common.sweeps.attempts import Slot
from common.sweeps.space import is_ordered
from common.sweeps.sweep import Sweep
from common.training.recipe import Recipe

LEAST_RANKED = 3  # candidates below which a rank correlation is no number to show


@dataclass(frozen=True)
class Found:
    """A finished search.

    trials: one line a complete trial, by stage and ordinal: stage, trial, the searched values, train_rows, valid_rows,
    tokens, seconds, loss (infinite where the training diverged), promoted. recipe: the best candidate's of the last
    searched stage. stages: for the record. rank_correlation: Spearman's, between the losses of the candidates that
    stage 1 promoted and their losses in stage 2, over rank_correlation_n of them; None below three or where either is
    constant. edges: warnings of best values at the end of their grid. notes: what else a reader should know. id: the
    sweep's. base_digest: names the weights that every trial started from.
    """

    trials: pandas.DataFrame
    recipe: Recipe
    stages: list[dict]
    rank_correlation: float | None
    rank_correlation_n: int
    edges: list[str]
    notes: list[str]
    id: str
    base_digest: str

    def to_record(self) -> dict:
        """What a record says of the search beside its stages."""
        names = ("id", "base_digest", "rank_correlation", "rank_correlation_n", "edges", "notes")
        return {name: getattr(self, name) for name in names}


def best(slots: dict[int, Slot], count: int) -> list[Slot]:
    """The `count` best finished candidates by loss, the earlier drawn of equals first. One that diverged is none."""
    finite = [slot for slot in slots.values() if slot.outcome and math.isfinite(slot.outcome.loss)]
    return sorted(finite, key=lambda slot: (slot.outcome.loss, slot.ordinal))[:count]


def found(sweep: Sweep, by_stage: Sequence[dict[int, Slot]]) -> Found:
    """The result of the searched stages. Raises UserError where no candidate of a stage has a loss."""
    stages, notes = [], []
    for number, (stage, slots) in enumerate(zip(sweep.stages, by_stage, strict=False), 1):
        ranked = best(slots, len(slots))
        if not ranked:
            raise diverged(number)
        stages.append(
            {
                "stage": number,
                "train_rows": stage.train_rows,
                "valid_rows": stage.valid_rows,
                "trials": len(slots),
                "tokens": sum(slot.outcome.tokens for slot in slots.values()),
                "best": {**ranked[0].values, "loss": ranked[0].outcome.loss},
            }
        )
        notes += _notes(number, stage, slots, ranked)
    correlation, n = rank_correlation(by_stage)
    winner = best(by_stage[-1], 1)[0]
    return Found(
        trials=table(sweep, by_stage),
        recipe=sweep.recipe.with_values(winner.values),
        stages=stages,
        rank_correlation=correlation,
        rank_correlation_n=n,
        edges=edges(sweep, winner.values),
        notes=notes,
        id=sweep.id,
        base_digest=best(by_stage[-1], 1)[0].outcome.base_digest,
    )


def table(sweep: Sweep, by_stage: Sequence[dict[int, Slot]]) -> pandas.DataFrame:
    """One line a finished trial, by stage and ordinal; `promoted` of a stage that goes on are the best so far."""
    facts = ("train_rows", "valid_rows", "tokens", "seconds", "loss")
    lines = []
    for number, slots in enumerate(by_stage, 1):
        promoted = {slot.ordinal for slot in best(slots, sweep.stages[number].trials)}
        lines += [
            {"stage": number, "trial": sweep.candidate_id(number, ordinal)}
            | slot.values
            | {name: getattr(slot.outcome, name) for name in facts}
            | {"promoted": ordinal in promoted}
            for ordinal, slot in sorted(slots.items())
            if slot.outcome
        ]
    return pandas.DataFrame(lines, columns=["stage", "trial", *sweep.space, *facts, "promoted"])


def diverged(stage: int) -> UserError:
    """The one line for a stage without any loss."""
    return UserError(f"every candidate of stage {stage} diverged; lower the learning rates of the search space")


def rank_correlation(by_stage: Sequence[dict[int, Slot]]) -> tuple[float | None, int]:
    """(Spearman's correlation, n) between the first two stages' losses, over candidates that have both."""
    if len(by_stage) < 2:
        return None, 0
    pairs = [
        (before.outcome.loss, after.outcome.loss)
        for after in best(by_stage[1], len(by_stage[1]))
        for before in by_stage[0].values()
        if before.values == after.values
    ]
    ranks = pandas.DataFrame(pairs, columns=["before", "after"]).rank()  # equal losses share their mean rank
    if len(pairs) < LEAST_RANKED or (ranks.nunique() < 2).any():
        return None, len(pairs)
    return float(ranks["before"].corr(ranks["after"])), len(pairs)


def edges(sweep: Sweep, values: dict) -> list[str]:
    """Numbers of the winner that lie at an end of their grid, where a better one may lie beyond. Nothing is below 0."""
    warnings = []
    for name, choices in sweep.space.items():
        if not is_ordered(choices) or len(choices) < 2:
            continue
        end = {min(choices): "lowest", max(choices): "highest"}.get(values[name])
        if end and values[name] != 0:
            warnings.append(f"the best {name} is {values[name]:g}, the {end} of its grid; widen it and search again")
    return warnings


def _notes(number: int, stage: Stage, slots: dict[int, Slot], ranked: list[Slot]) -> list[str]:
    notes = []
    if len(slots) < stage.trials:
        why = "the grid has no more points" if number == 1 else "no more candidates have a loss"
        notes.append(f"stage {number} trained {len(slots)} candidates of {stage.trials}: {why}")
    if lost := len(slots) - len(ranked):
        notes.append(f"{lost} of {len(slots)} candidates of stage {number} diverged; their tokens are not counted")
    tokens = sorted({slot.outcome.tokens for slot in ranked})
    if len(tokens) > 1:
        notes.append(f"candidates of stage {number} saw unequal numbers of tokens, {tokens[0]:,} to {tokens[-1]:,}")
    return notes
