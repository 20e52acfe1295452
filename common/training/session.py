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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import datasets
import pandas
import torch
import transformers
from transformers import PrinterCallback

from common import distributed
from common.evaluation import answer_means
from common.locks import locked
from common.models import LoadedModel, parameter_counts
from common.settings import writable, writing
from common.training import attention, checkpoints, layers
from common.training.adapters import (
    adapt,
    check_new,
    check_quantisation,
    check_start,
    evaluation_weights,
    for_evaluation,
    load_weights,
)
from common.training.arguments import precision_arguments, trainer_arguments
from common.training.layout import Layout, implementation
from common.training.losses import Inputs
from common.training.memory import fitted, keep_freed, peak_bytes, reset_peak
from common.training.objective import Objective, Trained
from common.training.optimizers import optimizer_class
from common.training.plan import check_processes, with_dummies
from common.training.probe import feasible_recipe
from common.training.recipe import Recipe
from common.training.trainer import LOG_NAMES, Clock, Diverged, SessionMixin, Stops, Unmoved, best_step

_FACTS = ("step", "eval_loss", "eval_score", "eval_match", "seconds", "evaluation_seconds", "peak_memory_bytes")
_FACTS += ("skipped_steps",)


def check(loaded: LoadedModel, recipe: Recipe) -> None:
    """Raises UserError for what this machine, or a model that was loaded so, cannot train."""
    check_new(loaded)
    check_quantisation(loaded, recipe)
    optimizer_class(recipe)
    check_processes(recipe, distributed.world(), sharded=distributed.sharded())
    precision_arguments(loaded.model.dtype)


@dataclass
class Session:
    """One training of `loaded`, in place, for an objective; call `check` before the items are made.

    decoding: `answer_means`' arguments for the answers on the way. start: trained weights to go on from, see `adapt`.
    should_stop: asked after each step.
    """

    loaded: LoadedModel
    objective: Objective
    recipe: Recipe
    folder: Path
    decoding: dict
    start: Path | None = None
    should_stop: Callable[[], bool] | None = None

    def run(self) -> Trained:
        """Begin or go on, train, finish and load.

        Raises UserError for a folder of another training or another process, a model that was trained already, and a
        full disk; Diverged for a loss that is no number; Abandoned where it is told to stop.
        """
        with locked(self.folder) if distributed.is_main() else contextlib.nullcontext():
            note = self._begin()
            dtype, device = self.loaded.model.dtype, self.loaded.model.device
            model = adapt(self.loaded, self.recipe, self.start)
            # What is sharded stays so: a copy takes the trained weights, for answers on the way and what comes after.
            whole = copy.deepcopy(model).cpu() if distributed.sharded() else model
            counts = parameter_counts(model)
            if not self._result.exists():
                self._train(model, whole, dtype)
            distributed.from_main(lambda: checkpoints.remove_checkpoints(self.folder))
            if whole is not model:
                whole.to(device)
            return self._load(whole, dtype, note["code"], counts)

    @property
    def _result(self) -> Path:
        return self.folder / checkpoints.RESULT

    @cached_property
    def _layout(self) -> Layout:
        train, valid = self.objective.items, self.objective.valid_items
        name = implementation(self.loaded.model, [*train, *valid], self.recipe)
        return Layout(
            train, valid, self.recipe, name, self.loaded.tokenizer.pad_token_id, self.loaded.model.device.type
        )

    def _begin(self) -> dict:
        """Claim the folder, and fit the recipe to the memory there is; what names the training."""
        transformers.set_seed(self.recipe.seed)
        objective = self.objective
        if self.start:
            check_start(self.loaded, self.recipe, self.start)
        items = {"train": objective.items, "validation": objective.valid_items}
        note = checkpoints.facts(self.loaded, self.recipe, items, start=self.start, decoding=self.decoding)
        with distributed.main_first():
            checkpoints.claim(writable(self.folder), note)
        if not torch.cuda.is_available():
            keep_freed()
        if not self._result.exists():
            layout = self._layout  # before adapters come: it is the loaded model that is looked at
            if not torch.cuda.is_available():
                self.recipe = fitted(self.loaded, self.recipe, layout.largest)
        return note

    def _train(self, model: torch.nn.Module, whole: torch.nn.Module, dtype: torch.dtype) -> None:
        """Train from the last checkpoint, or from the start, to the end, and put weights and result in their places."""
        name = self._layout.implementation
        reading = attention.reading(model, name) if name else contextlib.nullcontext()
        with writing(self.folder), _forwards_restored(model), reading:
            layers.accelerate(model, dtype)
            if torch.cuda.is_available() and whole is model:  # of a sharded one no part is tried alone
                self.recipe = feasible_recipe(model, self.recipe, lambda: self._largest_loss(model, dtype))
            try:
                facts = self._run_trainer(model, whole, dtype)
            except Diverged:
                distributed.from_main(lambda: checkpoints.forget(self.folder))
                raise
            distributed.from_main(lambda: checkpoints.finish(whole, facts, self.folder))
        # Trainer and callbacks know each other: optimiser states would stay until Python looks for such circles.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _largest_loss(self, model: torch.nn.Module, dtype: torch.dtype) -> torch.Tensor:
        """Of the largest micro-batch, in the arithmetic of the training."""
        device = self.loaded.model.device
        inputs = {name: value.to(device) for name, value in self._layout.collated(self._layout.largest_items).items()}
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            return self.objective.loss(model, inputs, self._virtual_tokens).total

    @property
    def _virtual_tokens(self) -> int:
        return self.recipe.virtual_tokens if self.recipe.method.startswith("prompt") else 0

    def _run_trainer(self, model: torch.nn.Module, whole: torch.nn.Module, dtype: torch.dtype) -> dict:
        """Run the trainer; what to keep of it as JSON."""
        trainer, clock = self._trainer(model, whole, dtype)
        before = _weights_digest(whole) if whole is model else ""
        reset_peak()
        trainer.train(resume_from_checkpoint=distributed.from_main(lambda: checkpoints.last_checkpoint(self.folder)))
        steps = trainer.state.global_step
        if before and _weights_digest(trainer.whole()) == before:
            raise Unmoved(
                f"no trained weight has moved in {steps} steps (float16 skipped {clock.skipped_steps} of them); raise "
                f"the learning rate of {self.recipe.learning_rate:g}, or train more steps"
            )
        trainer.whole()
        history = trainer.state.log_history
        step = best_step(history, LOG_NAMES[self.recipe.select_by])
        best = next(entry for entry in history if "eval_loss" in entry and entry["step"] == step)
        return {
            "curve": _curve(history),
            "step": step,
            "last_step": steps,
            "eval_loss": best["eval_loss"],
            "eval_score": best.get("eval_score"),
            "eval_match": best.get("eval_match"),
            "seconds": clock.training,
            "evaluation_seconds": clock.evaluation,
            "peak_memory_bytes": max(clock.peak, peak_bytes()),
            "skipped_steps": clock.skipped_steps,
            "recomputed": self.recipe.gradient_checkpointing,
        }

    def _trainer(
        self, model: torch.nn.Module, whole: torch.nn.Module, dtype: torch.dtype
    ) -> tuple[SessionMixin, Clock]:
        """The objective's trainer over the plan's micro-batches, and its clock."""
        objective, recipe, world, layout = self.objective, self.recipe, distributed.world(), self._layout
        steps = len(layout.plan)
        arguments = trainer_arguments(recipe, dtype, self.folder, steps=steps, accumulation=layout.accumulation)
        args = objective.config(**arguments | objective.options)
        args._n_gpu = min(args.n_gpu, 1)  # with several in sight of one process the trainer would put items together
        clock = Clock(self.folder, steps)
        stops = Stops(recipe, steps, self.folder, self.should_stop)
        trainer: SessionMixin = objective.trainer(
            loss=lambda trained, inputs: objective.loss(trained, inputs, self._virtual_tokens),
            units=objective.units,
            answer=partial(self._answer, dtype) if objective.answered else None,
            whole_model=whole,
            model=model,
            args=args,
            processing_class=self.loaded.tokenizer,
            train_dataset=_dataset(0, [batch for step in layout.plan for batch in with_dummies(step, world)]),
            eval_dataset=_dataset(1, with_dummies(layout.valid_batches, world)),
            data_collator=self._collate,
            optimizer=optimizer_class(recipe),
            callbacks=[stops, clock],
        )
        clock.trainer = stops.trainer = trainer
        trainer.remove_callback(PrinterCallback)
        return trainer, clock

    def _collate(self, batches: list[dict]) -> Inputs:
        (batch,) = batches  # one, or an error
        part = (self.objective.items, self.objective.valid_items)[batch["part"]]
        return self._layout.collated([part[i] for i in batch["items"]])

    def _answer(self, dtype: torch.dtype, model: torch.nn.Module) -> dict[str, float]:
        with evaluation_weights(model, self.recipe, dtype):
            return answer_means(replace(self.loaded, model=model), self.objective.answered, **self.decoding)

    def _load(self, model: torch.nn.Module, dtype: torch.dtype, code_digest: str, counts: tuple[int, int]) -> Trained:
        """What was saved is what is scored, in the sitting that trained as in any later one."""
        facts, objective, weights = checkpoints.read_result(self.folder), self.objective, self.folder / "weights"
        load_weights(model, weights)
        model, merged = for_evaluation(model, self.recipe, dtype)
        passed = [i for step in self._layout.plan[: facts["last_step"]] for batch in step for i in batch]
        return Trained(
            loaded=replace(self.loaded, model=model),
            weights=weights,
            curve=pandas.DataFrame(facts["curve"]),
            rows=len(passed),
            tokens=sum(self._layout.lengths[i] for i in passed),
            trainable_parameters=counts[0],
            total_parameters=counts[1],
            train_rows=len(objective.items),
            valid_rows=len(objective.valid_items),
            dropped_rows=objective.dropped,
            leaked_rows=objective.leaked,
            recomputed=facts["recomputed"],
            merged=merged,
            code_digest=code_digest,
            code_modules=(self.recipe.module,),
            **{name: facts[name] for name in _FACTS},
        )


def _curve(history: Sequence[dict]) -> list[dict]:
    """A trainer's log by step: losses, the objective's means, scores and rates."""
    lines = [entry for entry in history if "loss" in entry or "eval_loss" in entry]
    names = ["step", "loss", "eval_loss", "eval_score", "eval_match", "learning_rate"]
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
def _forwards_restored(model: torch.nn.Module) -> Iterator[None]:
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
