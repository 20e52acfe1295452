"""One training by rewards in a process of its own, timed step by step: TRL's loop or ours, over the same prompts.

`trl`: TRL's GRPO trainer as it comes, without what slows it here: transformers' own `generate` for all completions of a
step at once, then its loss over micro-batches of the size that is asked for, every row padded to one width, activations
kept. `ours`: this study's. Both train on every group, since the reward adds a little for the place in the group to the
real one. `ours-spread`: ours with the real reward alone, so that groups without spread are left out.

The first step is the warm-up and is not timed. A step is what lies between the ends of two optimiser steps, evaluations
apart; what of it is neither sampling nor reward counts as update. Each prompt's generated databases are there before,
as they are behind `preflight`. Covers one process; not what the training is good for.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import mean

import datasets
import peft
import torch
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from bench.measure import timed
from bench.training_run import Watch
from common.arithmetic import cpu_precision
from common.data import Example, load_examples, without_leaks
from common.models import LoadedModel, load_model
from common.profiles import resolve
from common.prompts import render
from common.rewards import Rewards
from common.settings import UserError, run_cli
from common.training import plan
from common.training.arguments import precision_arguments
from common.training.group_defaults import RATES
from common.training.group_recipe import GroupRecipe
from common.training.group_trainer import GroupTrainer
from common.training.grpo import train_grpo
from common.training.memory import peak_bytes, reset_peak
from common.training.rollouts import Rollouts
from common.training.rows import tokenise

KINDS = ("trl", "ours", "ours-spread")
GENERATIONS, SEED = 8, 42
PLACE = 1e-3  # the weight of `place`: a hundredth of a right answer for a whole group
Span = tuple[float, float]  # the beginning and the end of a call, seconds on a clock


def place(examples: Sequence[Example], completions: Sequence[str]) -> list[float]:
    """A reward that gives every group a spread: the number of a completion in its group."""
    return [float(number % GENERATIONS) for number in range(len(completions))]


FUNCTIONS = {"place": place}


def recipe(kind: str, prompts: int) -> GroupRecipe:
    """What all kinds share: the cpu profile's, with nothing but updates in a step. prompts: of a step."""
    return GroupRecipe(
        learning_rate=RATES["cpu"],
        effective_batch_size=prompts,
        per_device_train_batch_size=1,
        warmup_ratio=0.0,
        weight_decay=0.01,  # where no group has a spread nothing else moves the weights, and that would be an error
        generations=GENERATIONS,
        reward=(("robust", 1.0),) if kind == "ours-spread" else (("robust", 1.0), ("place", PLACE)),
        least_divergence=0.0,
        divergence_rows=1,
        divergence_samples=1,
        save_seconds=1e9,
        seed=SEED,
    )


def functions(settings: GroupRecipe) -> dict:
    return {name: function for name, function in FUNCTIONS.items() if name in dict(settings.reward)}


def precision() -> str:
    """What the hardware is built for, for all kinds."""
    return resolve("auto").precision if torch.cuda.is_available() else cpu_precision()


def rows(loaded: LoadedModel, count: int, max_length: int) -> tuple[list[Example], list[Example]]:
    """So many prompts of the split `post`, and a row to validate on. Raises UserError where there are too few."""
    valid = load_examples("embedded", "validation", limit=1)
    examples, _ = without_leaks(load_examples("embedded", "post", limit=2 * count), valid)
    some = [example for example in examples if tokenise([example], loaded, max_length=max_length)][:count]
    if len(some) < count:
        raise UserError(f"{len(some)} prompts fit in {max_length} tokens, {count} are needed; give fewer")
    return some, valid


def in_order(examples: Sequence[Example], settings: GroupRecipe) -> list[Example]:
    """The prompts in the order in which our plan takes them."""
    sizes = {"epochs": settings.epochs, "effective_batch_size": settings.effective_batch_size, "seed": settings.seed}
    return [examples[number] for step in plan.steps(len(examples), **sizes) for number in step]


def make_databases(examples: Sequence[Example]) -> float:
    """Have the generated databases of each prompt on disk; seconds a prompt."""
    with Rewards({"robust": 1.0}) as rewards:
        rewards.score(examples[:1], ["SELECT 1"])  # starts the processes, and matches nothing
        seconds, _ = timed(lambda: rewards.score(examples, [example.sql for example in examples]))
    return seconds / len(examples)


def trl_trainer(
    loaded: LoadedModel,
    examples: Sequence[Example],
    settings: GroupRecipe,
    rewards: Rewards,
    folder: Path,
    *,
    groups: int,
    max_new_tokens: int,
) -> GRPOTrainer:
    """TRL's trainer over prompts in the order given. groups: of a micro-batch, whose rows TRL draws from all groups of
    the step."""
    args = GRPOConfig(
        output_dir=str(folder),
        max_steps=len(examples) // settings.effective_batch_size,
        per_device_train_batch_size=groups * settings.generations,
        gradient_accumulation_steps=settings.effective_batch_size // groups,
        num_generations=settings.generations,
        max_completion_length=max_new_tokens,
        temperature=settings.temperature,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        loss_type=settings.loss_type,
        scale_rewards=settings.scale_rewards,
        beta=0.0,
        disable_dropout=True,
        shuffle_dataset=False,
        activation_checkpointing=False,
        save_strategy="no",
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        use_cpu=loaded.model.device.type == "cpu",
        seed=SEED,
        **precision_arguments(loaded.model.dtype),
    )

    def reward(completions: list[str], number: list[int], **_: object) -> list[float]:
        return rewards.score([examples[n] for n in number], completions).totals

    lines = [{"prompt": render(e, loaded.tokenizer), "number": number} for number, e in enumerate(examples)]
    trainer = GRPOTrainer(
        model=loaded.model,
        reward_funcs=reward,
        args=args,
        train_dataset=datasets.Dataset.from_list(lines),
        processing_class=loaded.tokenizer,
        peft_config=peft.LoraConfig(
            r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=settings.lora_targets
        ),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@contextmanager
def spans(owner: type, name: str) -> Iterator[list[Span]]:
    """When each call of a method began and ended, for as long as the block runs."""
    real, calls, is_inherited = getattr(owner, name), [], name not in vars(owner)

    def call(*arguments, **options):
        begin = time.perf_counter()
        try:
            return real(*arguments, **options)
        finally:
            calls.append((begin, time.perf_counter()))

    setattr(owner, name, call)
    try:
        yield calls
    finally:
        if is_inherited:  # a copy left here would hide the method from whoever watches the class above
            delattr(owner, name)
        else:
            setattr(owner, name, real)


def phases(ends: Sequence[float], calls: Mapping[str, Sequence[Span]]) -> list[dict[str, float]]:
    """Seconds of each step but the first, by phase. ends: of optimiser steps; calls: by `sampling`, `reward` and
    `evaluation`, which is no part of a step."""
    steps = []
    for begin, end in pairwise(ends):
        parts = {name: sum(b - a for a, b in some if begin <= a and b <= end) for name, some in calls.items()}
        seconds = end - begin - parts.pop("evaluation")
        steps.append(parts | {"seconds": seconds, "update": seconds - sum(parts.values())})
    return steps


def by_trl(
    loaded: LoadedModel, examples: Sequence[Example], settings: GroupRecipe, folder: Path, **sizes: int
) -> tuple[int, list[dict[str, float]]]:
    """(peak of memory in bytes, tokens of a completion and share of groups with a spread by step)"""
    with Rewards(dict(settings.reward), functions=functions(settings)) as rewards:
        trainer = trl_trainer(loaded, examples, settings, rewards, folder, **sizes)
        reset_peak()
        trainer.train()
    return peak_bytes(), [
        {"tokens": entry["completions/mean_length"], "groups": 1 - entry["frac_reward_zero_std"]}
        for entry in trainer.state.log_history
        if "completions/mean_length" in entry
    ]


def by_us(
    loaded: LoadedModel, examples: Sequence[Example], valid: Sequence[Example], settings: GroupRecipe, folder: Path
) -> tuple[int, list[dict[str, float]]]:
    """As `by_trl`."""
    profile = resolve("auto")
    decoding = {"max_new_tokens": profile.max_new_tokens, "batch_size": profile.eval_batch_size}
    trained = train_grpo(loaded, examples, valid, settings, folder=folder, functions=functions(settings), **decoding)
    steps = trained.curve.dropna(subset=["length"])
    return trained.peak_memory_bytes, [
        {"tokens": tokens, "groups": share} for tokens, share in zip(steps["length"], steps["groups_used"], strict=True)
    ]


def measure(kind: str, *, model_id: str, prompts: int, steps: int, groups: int = 1) -> dict:
    """One training and what each of its `steps` behind the first one cost, as means; see the keys below.

    prompts: of a step. groups: of a micro-batch of TRL's. Raises UserError for a model that is not there and for too
    few prompts, RuntimeError where a group that should teach has no spread.
    """
    settings, profile = recipe(kind, prompts), resolve("auto")
    loaded = load_model(model_id, precision=precision())
    examples, valid = rows(loaded, prompts * (steps + 1), settings.max_length)
    with tempfile.TemporaryDirectory(prefix="text-to-sql-bench-") as name, Watch(loaded.model) as watch:
        folder = Path(name)
        os.environ["TEXT_TO_SQL_OUTPUTS"] = name  # where databases and the policy's start are kept: none are there yet
        databases = make_databases(examples)
        with (
            spans(*((GRPOTrainer, "_generate_single_turn") if kind == "trl" else (Rollouts, "sample"))) as sampling,
            spans(GRPOTrainer, "_calculate_rewards") as reward,
            spans(GroupTrainer, "evaluate") as evaluation,
        ):
            if kind == "trl":
                order = in_order(examples, settings)
                sizes = {"groups": groups, "max_new_tokens": profile.max_new_tokens}
                peak, logs = by_trl(loaded, order, settings, folder / "training", **sizes)
            else:
                peak, logs = by_us(loaded, examples, valid, settings, folder / "training")
    ends = [mark.seconds for mark in watch.marks]
    if not len(ends) == len(logs) == steps + 1:
        raise RuntimeError(f"{len(ends)} steps and {len(logs)} lines of the log instead of {steps + 1}")
    if kind != "ours-spread" and min(log["groups"] for log in logs) < 1:
        raise RuntimeError("a group has no spread although the reward sees to it")
    each = phases(ends, {"sampling": sampling, "reward": reward, "evaluation": evaluation})
    return {
        **{name: mean(step[name] for step in each) for name in ("seconds", "sampling", "reward", "update")},
        "completions": prompts * GENERATIONS,
        "tokens": mean(log["tokens"] for log in logs[1:]),
        "groups": mean(log["groups"] for log in logs[1:]),
        "databases": databases,
        "peak": peak,
        "model": f"{loaded.id} {loaded.revision}".strip(),
        "precision": precision(),
        "max_new_tokens": profile.max_new_tokens,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.grpo_run", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--groups", type=int, default=1, help="groups a micro-batch of TRL's")
    given = parser.parse_args()
    sizes = {"prompts": given.prompts, "steps": given.steps, "groups": given.groups}
    print(json.dumps(measure(given.kind, model_id=given.model, **sizes)))


if __name__ == "__main__":
    run_cli(main)
