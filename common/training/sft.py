"""Supervised fine-tuning on TRL, by any method of `recipe`. The loss covers the completion only, never the prompt.

A training lives in one folder: checkpoints, the best weights so far, in the end the trained ones. Called again with the
same folder it goes on where it was, or, finished, only loads; with another model, recipe or rows it refuses.
Several processes (`common.distributed`) share the micro-batches of each step and the folder; the main one writes.
"""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pandas
import torch
import transformers
from transformers import PrinterCallback
from trl import SFTConfig

from common import distributed
from common.data import Example, check_no_leak
from common.models import LoadedModel, parameter_counts
from common.settings import UserError, writable, writing
from common.training.adapt import adapt, check_quantisation, evaluated, load_weights
from common.training.folder import belongs, finish, forget, last_checkpoint, remove_checkpoints
from common.training.memory import fitted, keep_freed, peak_bytes, reset_peak
from common.training.optimizers import optimizer_class
from common.training.precision import precision_arguments
from common.training.recipe import Recipe
from common.training.rows import group_by_length, largest, packed, padded, step_plan, tokenise
from common.training.sharing import check_sharing, dealt, micro_batches, unlabelled
from common.training.trainer import KEYS, Clock, CompletionTrainer, Diverged, Stops, best_step


@dataclass(frozen=True)
class Trained:
    """A finished training: the model ready for evaluation, its curve and what it cost.

    weights: the folder of what was trained (an adapter, or all weights). curve: step, loss, eval_loss, eval_score,
    learning_rate. eval_loss, eval_score and step are those of the weights that were kept. seconds: the trainer's own
    over all sittings, without `evaluation_seconds`; `rows` and `tokens` (padding excluded) count every epoch. Of
    several processes, seconds and memory are the main one's.
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


def train_sft(
    loaded: LoadedModel,
    train: Sequence[Example],
    valid: Sequence[Example],
    recipe: Recipe,
    *,
    folder: Path,
    max_new_tokens: int = 96,
    batch_size: int = 32,
    databases: int = 0,
) -> Trained:
    """Fine-tune `loaded` in place; checkpoints go to `folder`, and a call with the same folder and a model loaded anew
    goes on from there.

    The first `recipe.score_rows` of `valid` are answered and scored at each evaluation, with `max_new_tokens`, in
    batches of `batch_size`, on `databases` generated ones. Raises UserError for rows that leak, rows that are all too
    long, a folder of another training, a model that was trained already, and a full disk; Diverged for a loss that is
    no number.
    """
    check_no_leak(train, valid)
    check_quantisation(loaded, recipe)
    optimizer_class(recipe)  # raises for one that this machine does not have
    check_sharing(recipe)
    precision_arguments(loaded.model.dtype)
    transformers.set_seed(recipe.seed)
    rows = tokenise(train, loaded, max_length=recipe.max_length)
    valid_rows = tokenise(valid, loaded, max_length=recipe.max_length)
    if not rows or not valid_rows:
        raise UserError(f"no row fits in max_length {recipe.max_length} tokens; raise it")
    lengths = [len(row["input_ids"]) for row in rows]
    plan = step_plan(
        lengths,
        epochs=recipe.epochs,
        effective_batch_size=recipe.effective_batch_size,
        per_device_train_batch_size=recipe.per_device_train_batch_size,
        seed=recipe.seed,
    )
    with distributed.main_first():
        belongs(writable(folder), loaded, recipe, rows, valid_rows)
    if not torch.cuda.is_available():
        keep_freed()
    finished, weights = folder / "trained.json", folder / "weights"
    if not finished.exists():
        recipe = fitted(loaded, recipe, largest(rows, plan, pack=recipe.packed))
    dtype, device = loaded.model.dtype, loaded.model.device
    model = adapt(loaded, recipe)
    # What is sharded stays so: a copy takes the trained weights, for answers on the way and for what comes after.
    whole = copy.deepcopy(model).cpu() if distributed.sharded() else model
    trainable, total = parameter_counts(model)
    if not finished.exists():
        with writing(folder):
            decoding = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "databases": databases}
            answered = valid[: recipe.score_rows]
            try:
                facts = _train(model, whole, loaded, dtype, rows, valid_rows, answered, plan, recipe, folder, decoding)
            except Diverged:
                distributed.from_main(lambda: forget(folder))
                raise
            distributed.from_main(lambda: finish(whole, facts, folder))
    distributed.from_main(lambda: remove_checkpoints(folder))
    # What was saved is what is scored, in the sitting that trained as in any later one.
    facts = json.loads(finished.read_text())
    if whole is not model:
        whole.to(device)
    model = evaluated(load_weights(whole, weights), recipe, dtype)
    seen = [i for step in plan[: facts["last_step"]] for batch in step for i in batch]
    return Trained(
        loaded=LoadedModel(model, loaded.tokenizer, loaded.id, loaded.revision, loaded.quantisation),
        weights=weights,
        curve=pandas.DataFrame(facts["curve"]),
        rows=len(seen),
        tokens=sum(lengths[i] for i in seen),
        trainable_parameters=trainable,
        total_parameters=total,
        train_rows=len(rows),
        valid_rows=len(valid_rows),
        dropped_rows=len(train) - len(rows),
        recomputed=facts.get("recomputed", recipe.gradient_checkpointing),
        **{
            k: facts[k]
            for k in ("step", "eval_loss", "eval_score", "seconds", "evaluation_seconds", "peak_memory_bytes")
        },
    )


def _train(
    model, whole, loaded, dtype, rows, valid_rows, answered, plan, recipe: Recipe, folder: Path, decoding: dict
) -> dict:
    steps = len(plan)
    on_gpu = torch.cuda.is_available()
    args = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=1,  # the plan holds all epochs
        per_device_train_batch_size=1,  # an item is a whole micro-batch
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=micro_batches(recipe) // distributed.world(),
        ddp_find_unused_parameters=False,  # every step uses all that is trained
        train_sampling_strategy="sequential",
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        # One cycle, the library's default, would be plain cosine under another name.
        lr_scheduler_kwargs={"num_cycles": 2} if recipe.schedule == "cosine_with_restarts" else None,
        warmup_steps=math.ceil(recipe.warmup_ratio * steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        max_length=None,  # `tokenise` has seen to it
        activation_checkpointing=recipe.gradient_checkpointing,
        use_cpu=not on_gpu,
        eval_strategy="no",  # Stops says when
        save_strategy="no",
        save_total_limit=2,
        logging_steps=1,  # of several steps the mean would depend on where a stopped training went on
        logging_nan_inf_filter=False,  # a loss that is no number has to be seen
        report_to="none",
        disable_tqdm=True,
        seed=recipe.seed,
        dataset_kwargs={"skip_prepare_dataset": True},
        **precision_arguments(dtype),
    )
    args._n_gpu = min(args.n_gpu, 1)  # with several in sight of one process the trainer would put items together
    clock, stops = Clock(folder, steps), Stops(recipe, steps, folder / "best")
    pad = loaded.tokenizer.pad_token_id
    trainer = CompletionTrainer(
        loaded=loaded,
        recipe=recipe,
        answered=answered,
        decoding=decoding,
        whole=whole,
        model=model,
        args=args,
        train_dataset=_items(rows, [batch for step in plan for batch in dealt(step)]),
        eval_dataset=_items(valid_rows, dealt(_eval_batches(valid_rows, recipe))),
        data_collator=lambda items: _collate(*items, pad=pad, pack=recipe.packed),  # one item, or a TypeError
        optimizer_cls_and_kwargs=optimizer_class(recipe),
        callbacks=[stops, clock],
    )
    clock.trainer = stops.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    reset_peak()
    trainer.train(resume_from_checkpoint=distributed.from_main(lambda: last_checkpoint(folder)))
    trainer.whole()
    history, key = trainer.state.log_history, KEYS[recipe.select_by]
    curve = [
        {key: entry[key] for key in ("step", "loss", "eval_loss", "eval_score", "learning_rate") if key in entry}
        for entry in history
        if "loss" in entry or "eval_loss" in entry
    ]
    step = best_step(history, key)
    kept = next(entry for entry in history if "eval_loss" in entry and entry["step"] == step)
    return {
        "curve": curve,
        "step": step,
        "last_step": trainer.state.global_step,
        "eval_loss": kept["eval_loss"],
        "eval_score": kept.get("eval_score"),
        "seconds": clock.training,
        "evaluation_seconds": clock.evaluation,
        "peak_memory_bytes": max(clock.peak, peak_bytes()),
        "recomputed": recipe.gradient_checkpointing,
    }


def _items(rows: list[dict], batches: list[list[int]]) -> datasets.Dataset:
    """An item a micro-batch; one without rows, which `dealt` adds, is the shortest row with nothing taught."""
    idle = [unlabelled(min(rows, key=lambda row: len(row["input_ids"])))]
    items = [[rows[i] for i in batch] or idle for batch in batches]
    return datasets.Dataset.from_dict({name: [[row[name] for row in item] for item in items] for name in idle[0]})


def _eval_batches(rows: list[dict], recipe: Recipe) -> list[list[int]]:
    """Twice as many rows a batch as in training: nothing is kept for a backward pass."""
    lengths = [len(row["input_ids"]) for row in rows]
    return group_by_length(range(len(rows)), lengths, -(-len(rows) // (2 * recipe.per_device_train_batch_size)))


def _collate(item: dict, pad: int, pack: bool) -> dict[str, torch.Tensor]:
    batch = [
        {"input_ids": ids, "labels": labels} for ids, labels in zip(item["input_ids"], item["labels"], strict=True)
    ]
    return packed(batch) if pack else padded(batch, pad)
