"""One preference training in a process of its own, timed step by step: TRL's trainer or ours, on the same pairs.

`published`: TRL's DPO trainer with the settings of the published study's time: two pairs a device batch, gradient
checkpointing, the reference by switching the adapter off at every step, float32. `trl`: TRL's trainer without what
slows it here: no checkpointing, references taken once before, our arithmetic, and the device batch that is asked for.
`ours`: this study's. The first optimiser step is the warm-up. References taken before it are timed apart, and a share
of theirs is in each rate, as many pairs as are timed.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import datasets
import peft
import torch
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer

from bench.training_run import Watch
from common.arithmetic import cpu_precision
from common.data import Example, load_examples
from common.models import LoadedModel, load_model
from common.mutations import neighbours
from common.preferences.pairs import Pair
from common.profiles import resolve
from common.prompts import completion_ids, prompt_ids, render
from common.settings import UserError, run_cli
from common.training import dpo
from common.training.arguments import precision_arguments
from common.training.dpo import PreferenceRecipe, train_pairs
from common.training.memory import peak_bytes, reset_peak

KINDS = ("published", "trl", "ours")
EFFECTIVE, MICRO, SEED = 8, 2, 42


def recipe() -> PreferenceRecipe:
    """What all kinds share, and how ours are called."""
    sizes = {"effective_batch_size": EFFECTIVE, "per_device_train_batch_size": MICRO}
    return PreferenceRecipe(lora_rank=16, lora_alpha=32, seed=SEED, **sizes)


def precision(kind: str) -> str:
    """float32 as published, else what the hardware is built for."""
    if torch.cuda.is_available():
        return resolve("auto").precision
    return "float32" if kind == "published" else cpu_precision()


def pairs_of(count: int) -> list[Pair]:
    """References of the split `post` and a near miss of each. Raises UserError where there are too few."""
    examples = load_examples("embedded", "post", limit=3 * count)
    both = [(example, neighbours(example.sql)) for example in examples]
    pairs = [Pair(e, e.sql, misses[0].sql, "reference", "mutation", "", "") for e, misses in both if misses][:count]
    if len(pairs) < count:
        raise UserError(f"{len(pairs)} references have a near miss, {count} are needed; give fewer pairs")
    return pairs


def trl_trainer(kind: str, loaded: LoadedModel, pairs: Sequence[Pair], folder: Path, micro: int = MICRO) -> DPOTrainer:
    """TRL's trainer over tokenised pairs in the order given."""
    published, settings = kind == "published", recipe()
    args = DPOConfig(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=EFFECTIVE // micro,
        precompute_ref_batch_size=micro,
        train_sampling_strategy="sequential",
        activation_checkpointing=published,
        precompute_ref_log_probs=not published,
        max_length=None,
        learning_rate=settings.learning_rate,
        beta=settings.beta,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=loaded.model.device.type == "cpu",
        seed=SEED,
        **precision_arguments(loaded.model.dtype),
    )
    config = peft.LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules="all-linear")
    trainer = DPOTrainer(
        model=loaded.model,
        args=args,
        train_dataset=datasets.Dataset.from_list([texts(pair, loaded) for pair in pairs]),
        processing_class=loaded.tokenizer,
        peft_config=config,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def texts(pair: Pair, loaded: LoadedModel) -> dict[str, str]:
    """The pair as TRL reads it, as texts: of messages it leaves out the think block that the template puts before an
    answer. It adds the end token itself."""
    return {"prompt": render(pair.example, loaded.tokenizer), "chosen": pair.chosen, "rejected": pair.rejected}


def tokens_of(example: Example, sql: str, loaded: LoadedModel) -> int:
    return len(prompt_ids(example, loaded.tokenizer)) + len(completion_ids(replace(example, sql=sql), loaded.tokenizer))


@contextmanager
def timed(owner: object, name: str) -> Iterator[list[float]]:
    """Seconds of each call of a function, one place where references are taken, for as long as the block runs."""
    real, seconds = getattr(owner, name), []

    def call(*arguments, **options):
        start = time.perf_counter()
        try:
            return real(*arguments, **options)
        finally:
            seconds.append(time.perf_counter() - start)

    setattr(owner, name, call)
    try:
        yield seconds
    finally:
        setattr(owner, name, real)


def measure(kind: str, *, model_id: str, count: int, micro: int = MICRO) -> dict:
    """One training of `count` pairs and what it cost, after the first step. count: a multiple of EFFECTIVE, at least
    two of them. micro: TRL's pairs a device batch."""
    pairs = pairs_of(count)
    loaded = load_model(model_id, precision=precision(kind))
    tokens = sum(tokens_of(pair.example, sql, loaded) for pair in pairs for sql in (pair.chosen, pair.rejected))
    with tempfile.TemporaryDirectory(prefix="text-to-sql-bench-") as folder, Watch(loaded.model) as watch:
        os.environ["TEXT_TO_SQL_OUTPUTS"] = folder  # where references are kept: none are there yet
        if kind == "ours":
            with timed(dpo, "_before") as seconds:
                trained = train_pairs(loaded, pairs, pairs[:2], recipe(), folder=Path(folder) / "training")
            peak = trained.peak_memory_bytes
        else:
            with timed(DPOTrainer, "_precompute_ref_logps") as seconds:
                trainer = trl_trainer(kind, loaded, pairs, Path(folder), micro)
                reset_peak()
                trainer.train()
            peak = peak_bytes()
    steps = count // EFFECTIVE
    marks = watch.marks[-steps:]
    timed_pairs = count - EFFECTIVE
    return {
        "seconds": marks[-1].seconds - marks[0].seconds,
        "reference_seconds": sum(seconds) * timed_pairs / count,
        "pairs": timed_pairs,
        "tokens": tokens,
        "peak": peak,
        "model": f"{loaded.id} {loaded.revision}".strip(),
        "precision": precision(kind),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.preferences_run", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--micro", type=int, default=MICRO, help="TRL's pairs a device batch")
    given = parser.parse_args()
    print(json.dumps(measure(given.kind, model_id=given.model, count=given.pairs, micro=given.micro)))


if __name__ == "__main__":
    run_cli(main)
