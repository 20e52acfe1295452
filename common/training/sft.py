"""Supervised fine-tuning on TRL, by any method of `recipe`. The loss covers the completion only, never the prompt.

A training lives in one folder: checkpoints, the best weights so far, in the end the trained ones. Called again with the
same folder it goes on where it was, or, finished, only loads; with another model, recipe or rows it refuses.
Not covered yet: several GPUs.
"""

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pandas
import torch
import transformers
from transformers import PrinterCallback
from trl import SFTConfig

from common.data import Example, check_no_leak
from common.models import LoadedModel, base_digest, parameter_counts
from common.settings import UserError, replace_text, writable, writing
from common.training.adapt import adapt, check_quantisation, evaluated, load_weights, save_weights
from common.training.memory import keep_freed, peak_bytes, reset_peak
from common.training.optimizers import optimizer_class
from common.training.precision import precision_arguments
from common.training.recipe import Recipe
from common.training.rows import group_by_length, packed, padded, step_plan, tokenise
from common.training.trainer import KEYS, Clock, CompletionTrainer, Diverged, Stops, best_step


@dataclass(frozen=True)
class Trained:
    """A finished training: the model ready for evaluation, its curve and what it cost.

    weights: the folder of what was trained (an adapter, or all weights). curve: step, loss, eval_loss, eval_score,
    learning_rate. eval_loss, eval_score and step are those of the weights that were kept. seconds: the trainer's own
    over all sittings, without `evaluation_seconds`; `rows` and `tokens` (padding excluded) count every epoch.
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
    _belongs(writable(folder), loaded, recipe, rows, valid_rows)
    if not torch.cuda.is_available():
        keep_freed()
    dtype = loaded.model.dtype
    model = adapt(loaded, recipe)
    trainable, total = parameter_counts(model)
    finished, weights = folder / "trained.json", folder / "weights"
    if not finished.exists():
        with writing(folder):
            decoding = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "databases": databases}
            answered = valid[: recipe.score_rows]
            try:
                facts = _train(model, loaded, dtype, rows, valid_rows, answered, plan, recipe, folder, decoding)
            except Diverged:
                _remove_checkpoints(folder)  # nothing of it is of use, and it must not stand in another recipe's way
                for name in ("training.json", "seconds.json"):
                    (folder / name).unlink(missing_ok=True)
                raise
            if facts["step"] != facts["last_step"]:  # else the last weights are the best
                # A copy, so that a kill before the line below finds the best weights where it looks for them.
                shutil.copytree(folder / "best", weights, dirs_exist_ok=True)
            else:
                save_weights(model, weights)
            replace_text(finished, json.dumps(facts))
    _remove_checkpoints(folder)
    # What was saved is what is scored, in the sitting that trained as in any later one.
    facts = json.loads(finished.read_text())
    model = evaluated(load_weights(model, weights), recipe, dtype)
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
        **{
            k: facts[k]
            for k in ("step", "eval_loss", "eval_score", "seconds", "evaluation_seconds", "peak_memory_bytes")
        },
    )


def _belongs(folder: Path, loaded: LoadedModel, recipe: Recipe, rows: list[dict], valid_rows: list[dict]) -> None:
    """Refuse a folder in which something else was trained; note what is trained where it is new."""
    facts = {
        "model": f"{loaded.id} {loaded.revision}".strip(),
        "start": base_digest(loaded.model),
        "recipe": hashlib.sha256(repr(dataclasses.asdict(recipe)).encode()).hexdigest(),
        "rows": hashlib.sha256(json.dumps([rows, valid_rows]).encode()).hexdigest(),
    }
    path = folder / "training.json"
    if not path.exists():
        with writing(path):
            replace_text(path, json.dumps(facts))
        return
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = {}
    other = [name for name, fact in facts.items() if found.get(name) != fact]
    if other == ["start"]:
        raise UserError(
            f"{folder} holds a training that started from other weights; load the model anew (this one may be trained "
            "already), or give another folder"
        )
    if other:
        raise UserError(
            f"{folder} holds a training with another {other[0]}; give another folder, or delete that one to train anew"
        )


def _train(
    model, loaded, dtype, rows, valid_rows, answered, plan, recipe: Recipe, folder: Path, decoding: dict
) -> dict:
    steps = len(plan)
    on_gpu = torch.cuda.is_available()
    args = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=1,  # the plan holds all epochs
        per_device_train_batch_size=1,  # an item is a whole micro-batch
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=recipe.effective_batch_size // recipe.per_device_train_batch_size,
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
    clock = Clock(folder, steps)
    pad = loaded.tokenizer.pad_token_id
    trainer = CompletionTrainer(
        loaded=loaded,
        recipe=recipe,
        answered=answered,
        decoding=decoding,
        model=model,
        args=args,
        train_dataset=_items(rows, [batch for step in plan for batch in step]),
        eval_dataset=_items(valid_rows, _eval_batches(valid_rows, recipe)),
        data_collator=lambda items: _collate(items[0], pad, recipe.packed),
        optimizer_cls_and_kwargs=optimizer_class(recipe),
        callbacks=[Stops(recipe, steps, folder / "best"), clock],
    )
    clock.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    reset_peak()
    trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
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
    }


def _items(rows: list[dict], batches: list[list[int]]) -> datasets.Dataset:
    names = ("input_ids", "labels")
    return datasets.Dataset.from_dict({name: [[rows[i][name] for i in batch] for batch in batches] for name in names})


def _eval_batches(rows: list[dict], recipe: Recipe) -> list[list[int]]:
    """Twice as many rows a batch as in training: nothing is kept for a backward pass."""
    lengths = [len(row["input_ids"]) for row in rows]
    return group_by_length(range(len(rows)), lengths, -(-len(rows) // (2 * recipe.per_device_train_batch_size)))


def _collate(item: dict, pad: int, pack: bool) -> dict[str, torch.Tensor]:
    batch = [
        {"input_ids": ids, "labels": labels} for ids, labels in zip(item["input_ids"], item["labels"], strict=True)
    ]
    return packed(batch) if pack else padded(batch, pad)


def _remove_checkpoints(folder: Path) -> None:
    for left in (*folder.glob("checkpoint-*"), folder / "best"):
        shutil.rmtree(left, ignore_errors=True)


def _last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; the trainer writes trainer_state.json last, so one without it was cut short."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
            return str(checkpoint)
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
    return None
