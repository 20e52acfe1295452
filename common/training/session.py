"""A training from beginning to end, the same for every objective: begin or go on, train, finish, load.

A training lives in one folder: checkpoints, the best weights so far, in the end the trained ones. Called again with the
same folder it goes on where it was, or, finished, only loads; with another model, recipe, rows or code it refuses.
Several processes (`common.distributed`) share the micro-batches of each step and the folder; the main one writes.
An objective brings its items, its loss and what it reports, see `sft` for the shortest.
"""

import contextlib
import copy
import gc
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import datasets
import pandas
import torch
import transformers
from transformers import PrinterCallback

from common import distributed
from common.data import Example
from common.evaluation import mean_score
from common.locks import locked
from common.models import LoadedModel, parameter_counts
from common.settings import writable, writing
from common.training import checkpoints, rows
from common.training.adapters import adapt, check_quantisation, for_evaluation, load_weights
from common.training.arguments import optimizer_class, precision_arguments, trainer_arguments
from common.training.losses import Inputs, Loss, labelled_tokens
from common.training.memory import fitted, keep_freed, peak_bytes, reset_peak
from common.training.plan import (
    Plan,
    check_processes,
    evaluation_batches,
    largest,
    micro_batches,
    step_plan,
    with_dummies,
)
from common.training.recipe import Recipe
from common.training.rows import Item
from common.training.trainer import LOG_NAMES, Clock, Diverged, SessionMixin, Stops, Unmoved, best_step


@dataclass(frozen=True)
class Objective:
    """What one way of training adds to a session.

    trainer, config: a TRL trainer behind `SessionMixin`, and its arguments' class with `options`. items and
    valid_items: what is trained on and validated on, each a list of token rows. loss(model, inputs, virtual tokens): of
    one micro-batch, with the sums that it reports. units: of a micro-batch. answered: validation examples that are
    answered and scored at each evaluation. dropped: training examples that are in no item.
    """

    trainer: type
    config: type
    items: Sequence[Item]
    valid_items: Sequence[Item]
    loss: Callable[[torch.nn.Module, Inputs, int], Loss]
    units: Callable[[Inputs], torch.Tensor] = labelled_tokens
    options: dict = field(default_factory=dict)
    answered: Sequence[Example] = ()
    dropped: int = 0


@dataclass(frozen=True)
class Trained:
    """A finished training: the model ready for evaluation, its curve and what it cost.

    weights: the folder of what was trained (an adapter, or all weights). curve: step, loss, eval_loss, eval_score,
    learning_rate, and what the objective reports. eval_loss, eval_score and step are those of the weights that were
    kept. seconds: the trainer's own over all sittings, without `evaluation_seconds`; `rows` and `tokens` (padding
    excluded) count every epoch. Of several processes, seconds and memory are the main one's. code_digest: of the
    closure of `code_modules`, which trained. merged: whether an adapter was merged into the model that is evaluated.
    """

    loaded: LoadedModel
    weights: Path
    curve: pandas.DataFrame
    step: int
    eval_loss: float
    eval_score: float | None
    seconds: float
    evaluation_seconds: float
    rows: int
    tokens: int
    peak_memory_bytes: int
    recomputed: bool  # activations, in the backward pass: as the recipe or the GPU's memory asked for
    trainable_parameters: int
    total_parameters: int
    train_rows: int
    valid_rows: int
    dropped_rows: int
    skipped_steps: int  # by float16's overflow
    merged: bool
    code_digest: str
    code_modules: tuple[str, ...]


_FACTS = ("step", "eval_loss", "eval_score", "seconds", "evaluation_seconds", "peak_memory_bytes", "skipped_steps")


def check(loaded: LoadedModel, recipe: Recipe) -> None:
    """Raises UserError for what this machine, or a model that was loaded so, cannot train."""
    check_quantisation(loaded, recipe)
    optimizer_class(recipe)
    check_processes(recipe, distributed.world(), sharded=distributed.sharded())
    precision_arguments(loaded.model.dtype)


def run(
    loaded: LoadedModel,
    objective: Objective,
    recipe: Recipe,
    *,
    folder: Path,
    decoding: dict,
    start: Path | None = None,
) -> Trained:
    """Train `loaded` in place for the objective; call `check` before the items are made.

    decoding: `mean_score`'s arguments for the answers on the way. start: trained weights to go on from, see `adapt`.
    Raises UserError for a folder of another training or another process, a model that was trained already, and a full
    disk; Diverged for a loss that is no number.
    """
    lock = locked(folder) if distributed.is_main() else contextlib.nullcontext()
    with lock:
        return _run(loaded, objective, recipe, folder, decoding, start)


def _run(
    loaded: LoadedModel, objective: Objective, recipe: Recipe, folder: Path, decoding: dict, start: Path | None
) -> Trained:
    transformers.set_seed(recipe.seed)
    lengths = [rows.length(item) for item in objective.items]
    plan = step_plan(
        lengths,
        epochs=recipe.epochs,
        effective_batch_size=recipe.effective_batch_size,
        per_device_train_batch_size=recipe.per_device_train_batch_size,
        seed=recipe.seed,
    )
    items = {"train": objective.items, "validation": objective.valid_items}
    note = checkpoints.facts(loaded, recipe, items, start=start, decoding=decoding)
    with distributed.main_first():
        checkpoints.claim(writable(folder), note)
    if not torch.cuda.is_available():
        keep_freed()
    result, weights = folder / checkpoints.RESULT, folder / "weights"
    if not result.exists():
        widths = [[len(row["input_ids"]) for row in item] for item in objective.items]
        labelled = [rows.labelled(item) for item in objective.items]
        recipe = fitted(loaded, recipe, largest(widths, labelled, plan, pack=recipe.packed))
    dtype, device = loaded.model.dtype, loaded.model.device
    model = adapt(loaded, recipe, start)
    # What is sharded stays so: a copy takes the trained weights, for answers on the way and for what comes after.
    whole = copy.deepcopy(model).cpu() if distributed.sharded() else model
    trainable, total = parameter_counts(model)
    if not result.exists():
        with writing(folder), _forwards_restored(model):
            try:
                facts = _train(model, whole, loaded, objective, plan, recipe, folder, decoding, dtype)
            except Diverged:
                distributed.from_main(lambda: checkpoints.forget(folder))
                raise
            distributed.from_main(lambda: checkpoints.finish(whole, facts, folder))
        _collect()
    distributed.from_main(lambda: checkpoints.remove_checkpoints(folder))
    # What was saved is what is scored, in the sitting that trained as in any later one.
    facts = json.loads(result.read_text())
    if whole is not model:
        whole.to(device)
    load_weights(whole, weights)
    model, merged = for_evaluation(whole, recipe, dtype)
    passed = [i for step in plan[: facts["last_step"]] for batch in step for i in batch]
    return Trained(
        loaded=replace(loaded, model=model),
        weights=weights,
        curve=pandas.DataFrame(facts["curve"]),
        rows=len(passed),
        tokens=sum(lengths[i] for i in passed),
        trainable_parameters=trainable,
        total_parameters=total,
        train_rows=len(objective.items),
        valid_rows=len(objective.valid_items),
        dropped_rows=objective.dropped,
        recomputed=facts["recomputed"],
        merged=merged,
        code_digest=note["code"],
        code_modules=(recipe.module,),
        **{name: facts[name] for name in _FACTS},
    )


def _train(
    model: torch.nn.Module,
    whole: torch.nn.Module,
    loaded: LoadedModel,
    objective: Objective,
    plan: Plan,
    recipe: Recipe,
    folder: Path,
    decoding: dict,
    dtype: torch.dtype,
) -> dict:
    """Run the trainer to its end, from the last checkpoint where there is one; what to keep of it as JSON."""
    steps, world = len(plan), distributed.world()
    virtual_tokens = recipe.virtual_tokens if recipe.method.startswith("prompt") else 0
    accumulation = micro_batches(recipe) // world
    arguments = trainer_arguments(recipe, dtype, folder, steps=steps, accumulation=accumulation) | objective.options
    args = objective.config(**arguments)
    args._n_gpu = min(args.n_gpu, 1)  # with several in sight of one process the trainer would put items together
    parts, dummy = (objective.items, objective.valid_items), rows.dummy(objective.items)
    valid_lengths = [rows.length(item) for item in objective.valid_items]
    valid_batches = with_dummies(evaluation_batches(valid_lengths, recipe), world)

    def collate(batches: list[dict]) -> Inputs:
        (batch,) = batches  # one, or an error
        items = [parts[batch["part"]][i] for i in batch["items"]] or [dummy]
        return rows.collated(items, pad=loaded.tokenizer.pad_token_id, pack=recipe.packed)

    def score(trained: torch.nn.Module) -> float:
        return mean_score(replace(loaded, model=trained), objective.answered, **decoding)

    clock, stops = Clock(folder, steps), Stops(recipe, steps, folder)
    trainer: SessionMixin = objective.trainer(
        loss=lambda trained, inputs: objective.loss(trained, inputs, virtual_tokens),
        units=objective.units,
        score=score if objective.answered else None,
        whole_model=whole,
        model=model,
        args=args,
        processing_class=loaded.tokenizer,
        train_dataset=_dataset(0, [batch for step in plan for batch in with_dummies(step, world)]),
        eval_dataset=_dataset(1, valid_batches),
        data_collator=collate,
        optimizer=optimizer_class(recipe),
        callbacks=[stops, clock],
    )
    clock.trainer = stops.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    before = _weights_digest(whole) if whole is model else ""
    reset_peak()
    trainer.train(resume_from_checkpoint=distributed.from_main(lambda: checkpoints.last_checkpoint(folder)))
    trained = trainer.whole()
    if before and _weights_digest(trained) == before:
        raise Unmoved(
            f"no trained weight has moved in {trainer.state.global_step} steps (float16 skipped {clock.skipped_steps} "
            f"of them); raise the learning rate of {recipe.learning_rate:g}, or train more steps"
        )
    history = trainer.state.log_history
    step = best_step(history, LOG_NAMES[recipe.select_by])
    best = next(entry for entry in history if "eval_loss" in entry and entry["step"] == step)
    return {
        "curve": _curve(history),
        "step": step,
        "last_step": trainer.state.global_step,
        "eval_loss": best["eval_loss"],
        "eval_score": best.get("eval_score"),
        "seconds": clock.training,
        "evaluation_seconds": clock.evaluation,
        "peak_memory_bytes": max(clock.peak, peak_bytes()),
        "skipped_steps": clock.skipped_steps,
        "recomputed": recipe.gradient_checkpointing,
    }


def _curve(history: Sequence[dict]) -> list[dict]:
    """A trainer's log by step: losses, the objective's means, scores and rates."""
    lines = [entry for entry in history if "loss" in entry or "eval_loss" in entry]
    names = ["step", "loss", "eval_loss", "eval_score", "learning_rate"]
    names += sorted({name for entry in lines for name in entry if name.startswith("eval_")} - set(names))
    return [{name: entry[name] for name in names if name in entry} for entry in lines]


def _dataset(part: int, batches: Sequence[Sequence[int]]) -> datasets.Dataset:
    """A line a micro-batch: the part whose items it takes, and their numbers; none for a dummy one."""
    features = datasets.Features({"part": datasets.Value("int64"), "items": datasets.List(datasets.Value("int64"))})
    return datasets.Dataset.from_dict({"part": [part] * len(batches), "items": list(batches)}, features=features)


def _weights_digest(model: torch.nn.Module) -> str:
    """Of what is trained, as it is now."""
    digest = hashlib.sha256()
    for parameter in model.parameters():
        if parameter.requires_grad:
            digest.update(parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@contextlib.contextmanager
def _forwards_restored(model: torch.nn.Module):
    """Takes off what trainers put around a model's forward (autocast, a fused head): what is evaluated after a training
    computes as the same weights loaded anew."""
    names = ("forward", "_original_forward")
    before = {module: {n: vars(module)[n] for n in names if n in vars(module)} for module in model.modules()}
    try:
        yield
    finally:
        for module in model.modules():
            for name in names:
                vars(module).pop(name, None)
            vars(module).update(before.get(module, {}))


def _collect() -> None:
    """Trainer and callbacks know each other, so optimiser states would stay until Python looks for such circles."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
