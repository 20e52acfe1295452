"""The published training recipe, restated to be timed: transformers' Trainer as it comes, and the model's own loss.

Two rows a device batch with gradient accumulation, in random order, padded to the longest of the batch; gradient
checkpointing; logits at every position and the loss over the whole text, prompt included; the Trainer's own optimiser.
The study trained with a TRL of its time, whose trainer did no more than this with a column of text; the installed one
skips logits and fuses the head, which would time another recipe.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import peft
from transformers import DataCollatorForSeq2Seq, PrinterCallback, Trainer, TrainingArguments

from common.models import LoadedModel
from common.training.adapters import adapt
from common.training.arguments import precision_arguments
from common.training.memory import peak_bytes, reset_peak
from common.training.recipe import Recipe


def random_order(plan: Sequence[Sequence[Sequence[int]]], seed: int) -> list[int]:
    """The rows of every optimiser step of `plan` in random order: both recipes take each step on the same rows."""
    rng, order = random.Random(seed), []
    for step in plan:
        rows = [row for batch in step for row in batch]
        rng.shuffle(rows)
        order += rows
    return order


def make_trainer(loaded: LoadedModel, rows: Sequence[Sequence[int]], recipe: Recipe, folder: Path) -> Trainer:
    """A trainer over token ids in the order given. Of `recipe` it takes what both recipes share: method, LoRA's sizes,
    learning rate, both batch sizes."""
    import datasets  # here, so that a bench without a trainer does without it

    dtype = loaded.model.dtype
    if recipe.quantisation:
        peft.prepare_model_for_kbit_training(loaded.model, use_gradient_checkpointing=False)  # the Trainer turns it on
    args = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=recipe.per_device_train_batch_size,
        gradient_accumulation_steps=recipe.effective_batch_size // recipe.per_device_train_batch_size,
        train_sampling_strategy="sequential",  # `random_order` has seen to it
        activation_checkpointing=True,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="cosine",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=loaded.model.device.type == "cpu",
        seed=recipe.seed,
        **precision_arguments(dtype),
    )
    trainer = Trainer(
        model=adapt(loaded, recipe),
        args=args,
        train_dataset=datasets.Dataset.from_dict({"input_ids": list(rows), "labels": list(rows)}),
        data_collator=DataCollatorForSeq2Seq(loaded.tokenizer),  # pads ids and labels to the longest of the batch
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def train(loaded: LoadedModel, rows: Sequence[Sequence[int]], recipe: Recipe, folder: Path) -> int:
    """Train once over the rows; returns the peak of memory meanwhile, in bytes."""
    trainer = make_trainer(loaded, rows, recipe, folder)
    reset_peak()
    trainer.train()
    return peak_bytes()
