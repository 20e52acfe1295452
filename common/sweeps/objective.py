"""What trains a candidate of a search: the base model loaded anew, the stage's rows, one evaluation at the end.

Which rows and which training is the recipe's own choice: its class names a module with `load_rows` and `train`.
"""

import dataclasses
import gc
import importlib
import inspect
import math

import torch

from common.models import base_digest, load_model, locate
from common.settings import UserError
from common.sweeps.sweep import DIVERGED, NO_FIT, NO_MOVE, Candidate, Outcome, Sweep
from common.training.probe import NoFit
from common.training.trainer import Diverged, Unmoved

# What torch says where it has no exception of its own: on a CPU, and where cuBLAS gets no workspace.
_NO_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


def prepared(sweep: Sweep) -> Sweep:
    """The sweep with its model's revision, where that is known before loading, and with stages no larger than the data.

    Raises UserError, before anything is trained, where the data have no rows for a stage, or the model is another than
    the sweep was begun with.
    """
    module = importlib.import_module(sweep.recipe.module)
    stages = list(sweep.stages)
    for split, name in (("train", "train_rows"), ("validation", "valid_rows")):
        most = max(getattr(stage, name) for stage in stages)
        try:
            count = len(module.load_rows(sweep.data, split, limit=most))
        except UserError as error:
            raise UserError(f"{sweep.name} cannot have its rows: {error}") from None
        stages = [dataclasses.replace(stage, **{name: min(count, getattr(stage, name))}) for stage in stages]
    sweep = dataclasses.replace(sweep, stages=tuple(stages))
    _, revision = locate(sweep.model_id)
    if revision and sweep.model_revision not in ("", revision):
        raise UserError(
            f"{sweep.name} was begun with {sweep.model_id} at {sweep.model_revision}, here it is at {revision}; get "
            "the same model, or begin the search anew"
        )
    return dataclasses.replace(sweep, model_revision=revision or sweep.model_revision)


def train(sweep: Sweep, candidate: Candidate) -> Outcome:
    """Train `candidate` from the base weights and evaluate it once.

    A training that diverges, moves no weight or needs more memory than there is has the loss infinity, and a note that
    says which.
    Raises UserError where the weights are not those that earlier trials started from, and whatever training raises.
    """
    try:
        return _train(sweep, candidate)
    finally:  # the model is nobody's any more; give its memory back before the next one is loaded
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _train(sweep: Sweep, candidate: Candidate) -> Outcome:
    # No answers are generated on the way unless they rank the candidate.
    watch = {"evaluations": 1, "patience": 0, "select_by": sweep.rank_by}
    recipe = candidate.recipe.with_values(watch if sweep.rank_by == "score" else watch | {"score_rows": 0})
    try:
        loaded = load_model(sweep.model_id, precision=sweep.precision, quantisation=recipe.quantisation)
    except (torch.OutOfMemoryError, MemoryError):
        raise UserError(
            f"{sweep.model_id} does not fit in the memory there is, whatever the candidate; free some, or take a "
            "smaller model"
        ) from None
    digest = base_digest(loaded.model)
    if candidate.base_digest not in ("", digest):
        raise UserError(
            f"trial {candidate.id} would start from other weights than the earlier trials of the sweep; load the base "
            "model anew for each trial, and keep its files as they are while a search runs"
        )
    rows = candidate.rows
    module = importlib.import_module(recipe.module)
    train_rows = module.load_rows(sweep.data, "train", limit=rows.train_rows)
    valid_rows = module.load_rows(sweep.data, "validation", limit=rows.valid_rows)
    options = {"max_new_tokens": sweep.max_new_tokens, "batch_size": sweep.batch_size, "databases": sweep.databases}
    if "should_stop" in inspect.signature(module.train).parameters:
        options["should_stop"] = candidate.should_stop
    try:
        trained = module.train(loaded, train_rows, valid_rows, recipe, folder=candidate.folder, **options)
    except Unmoved:
        note = NO_MOVE
    except Diverged:
        note = DIVERGED
    except NoFit:
        note = NO_FIT
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        note = NO_FIT
    else:
        return _outcome(trained, digest)
    return Outcome(math.inf, rows.train_rows, rows.valid_rows, 0, 0.0, digest, note=note)


def _outcome(trained, base: str) -> Outcome:
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
        base_digest=base,
        curve=curve,
        score=trained.eval_score,
        dropped_rows=trained.dropped_rows,
        skipped_steps=trained.skipped_steps,
    )


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in _NO_MEMORY)
