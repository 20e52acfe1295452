"""What trains a candidate of a search: the base model loaded anew, the stage's rows, one evaluation at the end."""

import gc
import math

import torch

from common.data import load_examples
from common.models import base_digest, load_model
from common.settings import UserError
from common.sweeps.sweep import Candidate, Outcome, Sweep
from common.training.sft import train_sft
from common.training.trainer import Diverged


def check_data(sweep: Sweep) -> None:
    """Raises UserError where the data have fewer rows than a stage asks for, before anything is trained."""
    for split, name in (("train", "train_rows"), ("validation", "valid_rows")):
        most = max(getattr(stage, name) for stage in sweep.stages)
        try:
            load_examples(sweep.data, split, limit=most, seed=sweep.seed)
        except UserError as error:
            stages = [str(n) for n, stage in enumerate(sweep.stages, 1) if getattr(stage, name) == most]
            raise UserError(f"stage {stages[0]} of {sweep.name} cannot have its rows: {error}") from None


def train(sweep: Sweep, candidate: Candidate) -> Outcome:
    """Train `candidate` from the base weights and evaluate it once. A training that diverges has the loss infinity.

    Raises UserError where the weights are not those that earlier trials started from, and whatever training raises.
    """
    try:
        return _train(sweep, candidate)
    finally:  # the model is nobody's any more; give its memory back before the next one is loaded
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _train(sweep: Sweep, candidate: Candidate) -> Outcome:
    recipe = candidate.recipe.with_values({"evaluations": 1, "patience": 0, "select_by": "loss", "score_rows": 0})
    loaded = load_model(sweep.model_id, precision=sweep.precision, quantisation=recipe.quantisation)
    digest = base_digest(loaded.model)
    if candidate.base_digest not in ("", digest):
        raise UserError(
            f"trial {candidate.id} would start from other weights than the earlier trials of the sweep; load the base "
            "model anew for each trial, and keep its files as they are while a search runs"
        )
    rows = candidate.rows
    train = load_examples(sweep.data, "train", limit=rows.train_rows, seed=sweep.seed)
    valid = load_examples(sweep.data, "validation", limit=rows.valid_rows, seed=sweep.seed)
    try:
        trained = train_sft(loaded, train, valid, recipe, folder=candidate.folder)
    except Diverged:
        return Outcome(math.inf, rows.train_rows, rows.valid_rows, 0, 0.0, digest)
    curve = [
        {name: value for name, value in entry.items() if not math.isnan(value)}
        for entry in trained.curve.to_dict("records")
    ]
    return Outcome(
        loss=trained.eval_loss,
        train_rows=trained.train_rows,
        valid_rows=trained.valid_rows,
        tokens=trained.tokens,
        seconds=trained.seconds + trained.evaluation_seconds,
        base_digest=digest,
        curve=curve,
        dropped_rows=trained.dropped_rows,
    )
