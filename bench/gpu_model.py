"""What the GPU bench runs on: Qwen3-0.6B's architecture with random weights, and rows as long as the published ones.

Speed and memory do not depend on the values, so nothing comes from the hub. Covers sizes, the model's folder and the
rows; what is measured on them is in the other modules of the bench.
"""

import gc
import hashlib
import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config

from bench import training_flops
from bench.gpu_lines import ANSWERED
from common.models import LoadedModel, device, load_model, locate
from common.profiles import TINY_MODEL, resolve
from common.settings import outputs, writable
from common.training.rows import IGNORED

QWEN3_06B = {
    "vocab_size": 151_936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40_960,
    "tie_word_embeddings": True,
}
NARROW = QWEN3_06B | {
    "vocab_size": 1024,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
}
FIRST_TOKEN = 8  # the tokenizer's own marks stand before it
LONGEST = 1024  # tokens of a row, as in the profiles
ROOMY = 60e9  # bytes; an A100, H100 or H200 has more


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    steps: at most so many timed steps of `effective` rows a pass; passes: over the same steps, one repetition each.
    answered: prompts of the generation, in batches of `batch_size`; loss_steps: of `loss_rows` rows.
    """

    architecture: dict
    effective: int
    steps: int
    passes: int
    answered: int
    batch_size: int
    loss_steps: int
    loss_rows: int


FULL = Sizes(QWEN3_06B, 32, steps=8, passes=3, answered=ANSWERED, batch_size=512, loss_steps=100, loss_rows=8)
# Keeps the bench alive where there is no GPU; its figures say nothing.
SMALL = Sizes(NARROW, 4, steps=2, passes=2, answered=24, batch_size=8, loss_steps=10, loss_rows=4)


def sizes() -> Sizes:
    return FULL if torch.cuda.is_available() else SMALL


def log_normal(count: int, *, mean: float, deviation: float, low: int, high: int, seed: int) -> list[int]:
    """Whole numbers from a log-normal distribution, cut to [low, high]."""
    variance = math.log(1 + (deviation / mean) ** 2)
    rng = random.Random(seed)
    drawn = (rng.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance)) for _ in range(count))
    return [min(max(round(value), low), high) for value in drawn]


def row_lengths(count: int, seed: int) -> list[int]:
    """Tokens of each row, prompt and answer; the published mean is 195."""
    return log_normal(count, mean=195, deviation=75, low=60, high=LONGEST, seed=seed)


def answer_lengths(count: int, seed: int) -> list[int]:
    """Tokens of each answer, the end token included."""
    return log_normal(count, mean=45, deviation=25, low=5, high=512, seed=seed + 1)


def make_rows(count: int, vocabulary: int, *, seed: int, longest_first: bool = False) -> list[dict[str, list[int]]]:
    """Rows as `common.training.rows.tokenise` makes them. longest_first: the first one has LONGEST tokens.

    Low ids are commoner (their chance falls as 1 / id), so that there is something to learn: the loss goes down.
    """
    rng, span = random.Random(seed), math.log(vocabulary - FIRST_TOKEN)
    lengths = row_lengths(count, seed)
    if longest_first:
        lengths[0] = LONGEST
    rows = []
    for length, labelled in zip(lengths, answer_lengths(count, seed), strict=True):
        ids = [FIRST_TOKEN - 1 + int(math.exp(rng.random() * span)) for _ in range(length)]
        prompt = max(length - labelled, 10)  # some prompt is always there
        rows.append({"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]})
    return rows


def config(architecture: dict, **ends: int) -> Qwen3Config:
    return Qwen3Config(**architecture, rope_theta=1_000_000.0, **ends)


def model_folder(architecture: dict) -> Path:
    """A folder that `load_model` loads: random weights in bfloat16, and the tiny model's tokenizer in place of Qwen3's,
    which only the hub has. Made once, under outputs()."""
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode()).hexdigest()[:12]
    folder = writable(outputs() / "bench") / f"random-qwen3-{digest}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
        tokenizer = AutoTokenizer.from_pretrained(locate(TINY_MODEL)[0])
        ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        torch.manual_seed(0)
        with torch.device(device()):
            model = AutoModelForCausalLM.from_config(config(architecture, **ends), dtype=torch.bfloat16)
        try:
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
            if not folder.exists():  # else another process was faster
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        del model
        free()
    return folder


def free() -> None:
    """Give back what a model that is no longer used has left, so that it stands in no later peak."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def fits(action: Callable[[], object]) -> bool:
    """Whether the action runs within the device's memory; what it held is freed where it does not."""
    try:
        action()
        return True
    except torch.OutOfMemoryError:
        pass  # freed below, when the exception holds the failed step's tensors no longer
    free()
    return False


def rates(shapes: Iterable[tuple[int, int]], *, rows: int, dtype: torch.dtype) -> dict[str, float]:
    """Operations a second in one dtype: of a large square product, and of the best of (rows × in) · (in × out) over
    `shapes`."""
    on = device()
    side = training_flops.LARGE[on.type]

    def rate(m: int, k: int, n: int) -> float:
        left, right = torch.randn(m, k, dtype=dtype, device=on), torch.randn(k, n, dtype=dtype, device=on)
        return 2 * m * k * n / training_flops._fastest(lambda: left @ right, on)

    return {"large": rate(side, side, side), "model": max(rate(rows, k, n) for k, n in sorted(set(shapes)))}


def positions(batches: Sequence[Sequence[int]], lengths: Sequence[int]) -> int:
    """Rows × longest over micro-batches, padding included."""
    return sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)


@dataclass(frozen=True)
class Setting:
    """What a part is told. seconds: its share of the time left, to choose how much it measures; smollm2: where that
    model's real weights are, "" where they are not."""

    sizes: Sizes
    seconds: float
    smollm2: str = ""

    @property
    def precision(self) -> str:
        return resolve("auto").precision if torch.cuda.is_available() else "float32"

    @property
    def batch_size(self) -> int:
        """Rows that are answered at once: fewer than wished for on a card that has not the memory."""
        if torch.cuda.is_available() and torch.cuda.get_device_properties(0).total_memory < ROOMY:
            return min(self.sizes.batch_size, resolve("auto").eval_batch_size)
        return self.sizes.batch_size

    def load(self, quantisation: str = "", precision: str = "") -> LoadedModel:
        """The random model, loaded as the product loads one."""
        folder = str(model_folder(self.sizes.architecture))
        return load_model(folder, precision=precision or self.precision, quantisation=quantisation)

    def rows(self, count: int, **options) -> list[dict[str, list[int]]]:
        return make_rows(count, self.sizes.architecture["vocab_size"], seed=11, **options)
