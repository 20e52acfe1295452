"""A training update by either layout: the rows of a step, the model made ready, forward and backward. No optimiser.

An update weighs each row's log-probabilities by a number, as the gradients of GRPO, DPO and supervised fine-tuning do:
the loss of a step is minus the weighted sum over its labelled tokens, divided by their number. Run as a command it is
one way of one kind in a process of its own, for the peak of its memory over the largest micro-batch.
"""

import argparse
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch

from bench import trl_layout
from common.arithmetic import cpu_precision
from common.data import Example, load_examples
from common.models import LoadedModel, load_model
from common.mutations import neighbours
from common.prompts import completion_ids, prompt_ids
from common.settings import UserError, run_cli
from common.training import attention, layers
from common.training.adapters import adapt
from common.training.layout import CPU_TOKENS
from common.training.losses import token_log_probabilities
from common.training.memory import keep_freed, peak_bytes, reset_peak
from common.training.plan import tree_plan
from common.training.recipe import Recipe
from common.training.rows import IGNORED, Item, Row, collated, prefixes

KINDS = {"group": 1, "pairs": 1, "rows": 2}  # of a step → its prompts, in the number that is asked for
COMPLETIONS, SEED = 8, 42  # COMPLETIONS: of a prompt in a group
SPREAD = 1e-3  # of LoRA's second matrices, which start at zero: an update that adds nothing would check nothing


@dataclass(frozen=True)
class Way:
    """trl: TRL's layout; fast: with the session's own layers; native: in the processor's own arithmetic."""

    trl: bool = False
    fast: bool = True
    native: bool = False

    @property
    def precision(self) -> str:
        return cpu_precision() if self.native else "float32"


WAYS = {"trl": Way(trl=True), "tree": Way(fast=False), "ours": Way(), "native": Way(native=True)}


def near_misses(example: Example) -> list[str]:
    """Statements that begin as the reference does, as a model's other samples do; [] where there are too few."""
    texts = dict.fromkeys(neighbour.sql for neighbour in neighbours(example.sql) if neighbour.sql != example.sql)
    return list(texts)[: COMPLETIONS - 1] if len(texts) >= COMPLETIONS - 1 else []


def step(kind: str, loaded: LoadedModel, *, prompts: int) -> list[Item]:
    """The items of a step, each row with its `weight`.

    group: a reference and near misses of it, advantages of a reward that only the reference gets; pairs: the reference
    and the first near miss; rows: the reference.
    """
    prompts *= KINDS[kind]
    examples = load_examples("embedded", "train", limit=6 * prompts)
    texts = [(example, near_misses(example)) for example in examples]
    texts = [(example, misses) for example, misses in texts if misses][:prompts]
    if len(texts) < prompts:
        raise ValueError(f"{len(texts)} of {len(examples)} references have near misses enough, {prompts} are needed")
    if kind == "rows":
        return [[_row(example, example.sql, 1.0, loaded)] for example, _ in texts]
    if kind == "pairs":
        return [[_row(e, e.sql, 1.0, loaded), _row(e, misses[0], -1.0, loaded)] for e, misses in texts]
    low = -1 / (COMPLETIONS - 1)
    weights = [1.0] + [low] * (COMPLETIONS - 1)
    return [
        [_row(example, sql, weight, loaded)]
        for example, misses in texts
        for sql, weight in zip([example.sql, *misses], weights, strict=True)
    ]


def _row(example: Example, sql: str, weight: float, loaded: LoadedModel) -> Row:
    prompt = prompt_ids(example, loaded.tokenizer)
    completion = completion_ids(replace(example, sql=sql), loaded.tokenizer)
    return {"input_ids": prompt + completion, "labels": [IGNORED] * len(prompt) + completion, "weight": weight}


class Learner:
    """A model with a LoRA update of rank 64, ready to be trained one way. Ways of one seed start from equal weights."""

    def __init__(self, model_id: str, way: Way):
        self.way, self.loaded = way, load_model(model_id, precision=way.precision)
        self._dtype = self.loaded.model.dtype
        if way.trl:
            trl_layout.add_head(self.loaded.model)
        torch.manual_seed(SEED)
        self.model = adapt(self.loaded, Recipe(method="lora"))
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=SPREAD)
        self.model.train()
        self._attention = "" if way.trl else attention.choice(self.loaded.model, self.loaded.tokenizer.model_max_length)
        if not way.trl and not self._attention:
            raise UserError(f"{model_id} cannot read a tree: its rows would mix; take another model")
        if way.fast and not way.trl:
            layers.accelerate(self.model, self._dtype)

    def update(self, kind: str, items: Sequence[Item], most: int | None = None) -> list[torch.Tensor]:
        """Gradients of the step's loss; returns the log-probabilities of each row's labelled tokens, item by item.

        most: only so many micro-batches, the largest first; [] of rows that are in none.
        """
        self.model.zero_grad(set_to_none=False)
        rows = [row for item in items for row in item]
        total = sum(_labelled(row) for row in rows)
        chances: list[torch.Tensor] = [torch.empty(0)] * len(rows)
        pad, context = self.loaded.tokenizer.pad_token_id, nullcontext()
        if self.way.trl:
            batches = trl_layout.micro_batches(kind, items, pad)
            batches.sort(key=lambda batch: -batch[1]["input_ids"].numel())
        else:
            numbers = _numbers(items)
            batches = [([n for i in part for n in numbers[i]], [items[i] for i in part]) for part in parts(items)]
            batches = [(group, collated(some, pad=pad, as_tree=True)) for group, some in batches]
            batches.sort(key=lambda batch: -batch[1]["input_ids"].numel())
            context = attention.reading(self.model, self._attention)
        with context:
            for group, inputs in batches[:most]:
                with torch.autocast("cpu", self._dtype, enabled=self._dtype != torch.float32):
                    some = self._log_probabilities(inputs)
                weights = [rows[number]["weight"] for number in group]
                (-sum(weight * one.sum() for weight, one in zip(weights, some, strict=True)) / total).backward()
                for number, one in zip(group, some, strict=True):
                    chances[number] = one.detach()
        return chances

    def _log_probabilities(self, inputs: dict[str, torch.Tensor]) -> Sequence[torch.Tensor]:
        if self.way.trl:
            return trl_layout.log_probabilities(self.model, inputs)
        return token_log_probabilities(self.model, inputs).split(inputs["counts"].tolist())

    def gradients(self) -> dict[str, torch.Tensor]:
        """Of all that is trained, by name."""
        return {name: weight.grad for name, weight in self.model.named_parameters() if weight.requires_grad}


def parts(items: Sequence[Item]) -> list[list[int]]:
    """Numbers of the items by micro-batch, as a session of a CPU cuts them."""
    options = {"epochs": 1, "effective_batch_size": len(items), "most_tokens": CPU_TOKENS, "world": 1, "seed": SEED}
    return tree_plan(prefixes(items), **options)[0]


def _numbers(items: Sequence[Item]) -> list[list[int]]:
    """The numbers of each item's rows among all."""
    numbers, count = [], 0
    for item in items:
        numbers.append(list(range(count, count + len(item))))
        count += len(item)
    return numbers


def _labelled(row: Row) -> int:
    return len(row["labels"]) - row["labels"].count(IGNORED)


def tokens(kind: str, items: Sequence[Item], padding: int) -> dict[str, int]:
    """What a step reads: tokens of its rows, padding excluded, positions by TRL's layout, unique ones, labelled ones.

    unique: over the session's micro-batches, so a beginning that two of them share counts twice.
    """
    rows = [row for item in items for row in item]
    trees = [collated([items[i] for i in part], pad=padding, as_tree=True) for part in parts(items)]
    return {
        "tokens": sum(len(row["input_ids"]) for row in rows),
        "positions": sum(b["input_ids"].numel() for _, b in trl_layout.micro_batches(kind, items, padding)),
        "unique": sum(batch["input_ids"].numel() for batch in trees),
        "labelled": sum(map(_labelled, rows)),
        "micro_batches": len(trees),
    }


def peak(kind: str, name: str, *, model_id: str, prompts: int) -> int:
    """The most bytes that this process holds over the largest micro-batch of an update, gradients of others beside."""
    learner = Learner(model_id, WAYS[name])
    items = step(kind, learner.loaded, prompts=prompts)
    for weight in learner.model.parameters():
        if weight.requires_grad:
            weight.grad = torch.ones_like(weight)  # as pages that are written, not zeros that take none
    keep_freed()
    reset_peak()
    learner.update(kind, items, most=1)
    return peak_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.layouts_run", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=int, required=True)
    given = parser.parse_args()
    print(json.dumps({"peak": peak(given.kind, given.way, model_id=given.model, prompts=given.prompts)}))


if __name__ == "__main__":
    run_cli(main)
