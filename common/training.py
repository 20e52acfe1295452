"""Supervised fine-tuning with LoRA on TRL. The loss covers the completion only, never the prompt.

The order of rows is fixed in advance (shuffled, rows of like length in one batch, batches shuffled), which makes a
stopped training go on exactly where its last checkpoint was.
Not covered yet: all weights, QLoRA, prompt tuning, early stopping.
"""

import json
import math
import random
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import datasets
import pandas
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from tqdm import tqdm
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from common.data import Example, check_no_leak
from common.models import LoadedModel, parameter_counts
from common.prompts import completion_ids, prompt_ids
from common.settings import UserError, writable, writing


@dataclass(frozen=True)
class Recipe:
    """What a training run is told. `warmup_ratio` is a share of all steps; every `save_every` steps it is saved."""

    learning_rate: float = 1e-4
    epochs: int = 1
    effective_batch_size: int = 32
    per_device_train_batch_size: int = 2
    schedule: str = "cosine"
    warmup_ratio: float = 0.05
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = 1.0
    max_length: int = 1024
    lora_rank: int = 64
    lora_alpha: int = 256
    lora_dropout: float = 0.0
    lora_targets: str | tuple[str, ...] = "all-linear"
    save_every: int = 8
    seed: int = 42

    def __post_init__(self):
        if self.effective_batch_size % self.per_device_train_batch_size:
            raise UserError(
                f"an effective batch of {self.effective_batch_size} cannot be made of device batches of "
                f"{self.per_device_train_batch_size}; give a multiple"
            )
        if self.learning_rate <= 0 or self.epochs < 1 or self.lora_rank < 1:
            raise UserError("a LoRA training needs a learning rate above 0, at least 1 epoch and a rank of at least 1")


@dataclass(frozen=True)
class Trained:
    """A finished training: the model in memory, its curve (step, loss, eval_loss, learning_rate) and what it cost.

    `seconds` is the trainer's own time over all sittings; `rows` and `tokens` (padding excluded) count every epoch.
    """

    loaded: LoadedModel
    adapter: Path
    curve: pandas.DataFrame
    seconds: float
    rows: int
    tokens: int
    peak_memory_bytes: int
    trainable_parameters: int
    total_parameters: int
    train_rows: int
    valid_rows: int
    dropped_rows: int


def tokenise(examples: Sequence[Example], loaded: LoadedModel, *, max_length: int) -> list[dict[str, list[int]]]:
    """Rows for the trainer: prompt and completion as `input_ids`; `labels` are -100 over the prompt.

    A row longer than `max_length` tokens is left out, never cut: half a reference would teach half a statement.
    """
    rows = []
    for example in examples:
        prompt, completion = prompt_ids(example, loaded.tokenizer), completion_ids(example, loaded.tokenizer)
        if len(prompt) + len(completion) <= max_length:
            rows.append({"input_ids": prompt + completion, "labels": [-100] * len(prompt) + completion})
    return rows


@torch.inference_mode()
def completion_losses(loaded: LoadedModel, example: Example, completions: Sequence[str]) -> pandas.DataFrame:
    """The training loss of each completion of one example: mean negative log-likelihood a token, in nats."""
    prompt = prompt_ids(example, loaded.tokenizer)
    losses = []
    for completion in completions:
        tokens = completion_ids(replace(example, sql=completion), loaded.tokenizer)
        ids = torch.tensor([prompt + tokens], device=loaded.model.device)
        labels = torch.tensor([[-100] * len(prompt) + tokens], device=loaded.model.device)
        losses.append(loaded.model(input_ids=ids, labels=labels).loss.item())
    return pandas.DataFrame({"completion": completions, "loss": losses}).round(3)


def row_order(lengths: Sequence[int], *, batch_size: int, epochs: int, seed: int) -> list[int]:
    """Row indexes over all epochs: each epoch holds every row once, batches of like length in random order.

    Rows are shuffled, sorted by length inside chunks of 16 batches, cut into batches, and the batches shuffled.
    """
    rng, order = random.Random(seed), []
    for _ in range(epochs):
        rows = list(range(len(lengths)))
        rng.shuffle(rows)
        chunk = batch_size * 16
        rows = [i for at in range(0, len(rows), chunk) for i in sorted(rows[at : at + chunk], key=lambda i: lengths[i])]
        batches = [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
        short = [batches.pop()] if len(batches[-1]) < batch_size else []  # last, so that later batches stay aligned
        rng.shuffle(batches)
        order += [i for batch in batches + short for i in batch]
    return order


def train_sft(
    loaded: LoadedModel, train: Sequence[Example], valid: Sequence[Example], recipe: Recipe, *, folder: Path
) -> Trained:
    """Fine-tune `loaded` in place; checkpoints go to `folder`, and a call with the same folder goes on from there.

    Returns a model with the adapter merged into the weights, ready for evaluation; the adapter itself is saved in
    `folder`/adapter. Raises UserError for rows that leak, rows that are all too long, and a full disk.
    """
    check_no_leak(train, valid)
    transformers.set_seed(recipe.seed)
    rows = tokenise(train, loaded, max_length=recipe.max_length)
    valid_rows = tokenise(valid, loaded, max_length=recipe.max_length)
    if not rows or not valid_rows:
        raise UserError(f"no row fits in max_length {recipe.max_length} tokens; raise it")
    lengths = [len(row["input_ids"]) for row in rows]
    order = row_order(lengths, batch_size=recipe.per_device_train_batch_size, epochs=recipe.epochs, seed=recipe.seed)
    lora = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=recipe.lora_targets,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(loaded.model, lora)
    trainable, total = parameter_counts(model)
    writable(folder)
    finished = folder / "trained.json"
    if not finished.exists():
        with writing(folder):
            facts = _train(model, loaded, rows, valid_rows, order, recipe, folder)
            model.save_pretrained(folder / "adapter")
            finished.write_text(json.dumps(facts))
    # What was saved is what is scored, in the sitting that trained as in any later one.
    facts = json.loads(finished.read_text())
    model.load_adapter(folder / "adapter", model.active_adapter)
    model = model.merge_and_unload().eval()
    return Trained(
        loaded=LoadedModel(model, loaded.tokenizer, loaded.id, loaded.revision, loaded.quantisation),
        adapter=folder / "adapter",
        curve=pandas.DataFrame(facts["curve"]),
        seconds=facts["seconds"],
        rows=len(order),
        tokens=sum(lengths[i] for i in order),
        peak_memory_bytes=facts["peak_memory_bytes"],
        trainable_parameters=trainable,
        total_parameters=total,
        train_rows=len(rows),
        valid_rows=len(valid_rows),
        dropped_rows=len(train) - len(rows),
    )


def _train(
    model: PeftModel, loaded: LoadedModel, rows, valid_rows, order: list[int], recipe: Recipe, folder: Path
) -> dict:
    steps = math.ceil(len(order) / recipe.effective_batch_size)
    steps_per_epoch = math.ceil(steps / recipe.epochs)
    on_gpu = torch.cuda.is_available()
    half = loaded.model.dtype if on_gpu else torch.float32
    args = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=1,  # `order` holds all epochs
        per_device_train_batch_size=recipe.per_device_train_batch_size,
        per_device_eval_batch_size=recipe.per_device_train_batch_size * 2,
        gradient_accumulation_steps=recipe.effective_batch_size // recipe.per_device_train_batch_size,
        train_sampling_strategy="sequential",
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=math.ceil(recipe.warmup_ratio * steps),
        weight_decay=recipe.weight_decay,
        adam_beta1=recipe.betas[0],
        adam_beta2=recipe.betas[1],
        max_grad_norm=recipe.max_grad_norm,
        max_length=None,  # `tokenise` has seen to it
        gradient_checkpointing=False,
        bf16=half == torch.bfloat16,
        fp16=half == torch.float16,
        tf32=True if on_gpu and half == torch.bfloat16 else None,
        use_cpu=not on_gpu,
        eval_strategy="steps",
        eval_steps=steps_per_epoch,
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=recipe.save_every,
        save_total_limit=2,
        logging_steps=1 if steps <= 200 else 10,
        logging_nan_inf_filter=False,  # a loss that is no number has to be seen
        report_to="none",
        disable_tqdm=True,
        seed=recipe.seed,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    clock = _Clock(folder, steps)
    trainer = _CompletionTrainer(
        model=model,
        args=args,
        train_dataset=datasets.Dataset.from_list(rows).select(order),
        eval_dataset=datasets.Dataset.from_list(valid_rows),
        processing_class=loaded.tokenizer,
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    if on_gpu:
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    curve = [
        {key: entry[key] for key in ("step", "loss", "eval_loss", "learning_rate") if key in entry}
        for entry in trainer.state.log_history
        if "loss" in entry or "eval_loss" in entry
    ]
    if not all(math.isfinite(value) for entry in curve for value in entry.values()):
        raise UserError("the training loss is not a number; lower the learning rate")
    return {"curve": curve, "seconds": clock.seconds, "peak_memory_bytes": peak}


def _last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; the trainer writes trainer_state.json last, so one without it was cut short."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
            return str(checkpoint)
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
    return None


class _CompletionTrainer(SFTTrainer):
    """Computes logits only at positions that some row of the batch is taught; TRL does so on CUDA alone, and elsewhere
    spends a third of a training step on the prompt's logits."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if return_outputs or inputs["input_ids"].is_cuda:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        targets = inputs["labels"][:, 1:]
        taught = (targets != -100).any(dim=0).nonzero().squeeze(1)
        fields = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        logits = model(**fields, logits_to_keep=taught, use_cache=False).logits
        targets = targets[:, taught].flatten()
        total = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets, reduction="sum")
        return total / ((targets != -100).sum() if num_items_in_batch is None else num_items_in_batch)


class _Clock(TrainerCallback):
    """A progress bar on stderr with the time left, and the seconds spent over all sittings, kept at each checkpoint."""

    def __init__(self, folder: Path, steps: int):
        self._path, self._steps, self.seconds = folder / "seconds.json", steps, 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step and self._path.exists():
            self.seconds = json.loads(self._path.read_text())
        self._mark = time.perf_counter()
        self._bar = tqdm(total=self._steps, initial=state.global_step, desc="training", unit="step", file=sys.stderr)

    def on_step_end(self, args, state, control, **kwargs):
        now = time.perf_counter()
        self.seconds, self._mark = self.seconds + now - self._mark, now
        self._bar.update()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            self._bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)

    def on_save(self, args, state, control, **kwargs):
        self._path.write_text(json.dumps(self.seconds))

    def on_train_end(self, args, state, control, **kwargs):
        self._bar.close()
