"""What every TRL trainer of this study does alike: the step's loss, the evaluation, when to stop, what to keep.

`SessionMixin` goes before any TRL trainer. The loss of an optimiser step is a mean over the units of all its
micro-batches, so it does not depend on how items are grouped. Evaluations come at steps fixed in advance; whether one
is the best so far, and whether it ends the training, follows from the log alone, so that a training that goes on
decides as one that never stopped. On a CPU with a fixed number of threads it does so to the last bit; where threads
follow the machine's load, and on CUDA, sums may be taken in another order.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from tqdm import tqdm
from transformers import TrainerCallback

from common import distributed, threads
from common.settings import UserError, replace_text
from common.training.adapters import save_weights
from common.training.arguments import FIRST_SCALE
from common.training.checkpoints import SECONDS, best_folder, remove_worse
from common.training.losses import Inputs, Loss
from common.training.memory import peak_bytes
from common.training.recipe import SELECTIONS, Recipe


class Diverged(UserError):
    """A training whose loss is not a number."""


class Abandoned(UserError):
    """A training that was told to stop before its end; its folder may be another's by now."""


class Unmoved(Diverged):
    """A training in which no weight has moved: it has come to nothing as one that diverged has."""


LOG_NAMES = {name: f"eval_{name}" for name in SELECTIONS}  # select_by → the log's name


CLOCK_STEPS = 10  # steps after which several processes ask the main one for the time: to ask costs all of them a wait


class SessionMixin:
    """A TRL trainer whose items are whole micro-batches and whose loss and evaluation are this study's.

    loss: of one micro-batch. units: how many units a micro-batch has, known before its loss. answer: mean score and
    match of answers by the model as it is, None for no answers. optimizer: its class and arguments. whole_model: the
    model itself, or, where the trainer shards it over processes, a copy of its own for whole weights.
    """

    loss_is_scaled_for_ga = True  # by the units of the whole step

    def __init__(
        self,
        *,
        loss: Callable[[torch.nn.Module, Inputs], Loss],
        units: Callable[[Inputs], torch.Tensor],
        answer: Callable[[torch.nn.Module], dict[str, float]] | None,
        whole_model: torch.nn.Module,
        model: torch.nn.Module,
        optimizer: tuple[type[torch.optim.Optimizer], dict[str, Any]],
        **arguments,
    ):
        quantised = getattr(model, "is_loaded_in_4bit", False)
        weights = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad and quantised}
        super().__init__(model=model, **arguments)
        self.optimizer_cls_and_kwargs = optimizer  # set here, since not every trainer takes it
        self._loss, self._units, self._answer, self._whole = loss, units, answer, whole_model
        self.evaluation_seconds = 0.0
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and name in weights:  # TRL rounds what is trained beside 4-bit weights
                parameter.data = weights[name]
        if scaler := self.accelerator.scaler:
            scaler.load_state_dict(scaler.state_dict() | {"scale": FIRST_SCALE})

    def _prepare_dataset(self, dataset, *_, **__):
        return dataset  # items are ready as they come

    def _get_num_items_in_batch(self, batch_samples: list[Inputs], device: torch.device) -> torch.Tensor:
        """Units of the step, of all processes: over them gradients and the logged loss are averaged."""
        units = sum(self._units(inputs) for inputs in batch_samples)
        return self.accelerator.gather(units.to(device)).sum()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if num_items_in_batch is None:
            raise RuntimeError("a step's loss is a mean over its units, and their number is not known")
        return self._loss(model, inputs).total / num_items_in_batch * self.accelerator.num_processes

    def whole(self) -> torch.nn.Module:
        """The model with all its weights, on the CPU where it is a copy; every process asks for it together."""
        if self._whole is self.model:
            return self.model
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # what a forward pass has left whole has the precision of the arithmetic
        parts = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, parameter in self._whole.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(parts[name].full_tensor())
        return self._whole

    def _save_rng_state(self, output_dir):
        super()._save_rng_state(output_dir)
        distributed.wait()  # the main one's next file says that the checkpoint is whole

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """Mean loss over all units of the validation items, the objective's further means, and the mean score
        and match of the answers to some of the rows."""
        start = time.perf_counter()
        model, was_training = self.model, self.model.training
        model.eval()
        total, units, sums = 0.0, 0.0, {}
        with torch.no_grad():
            for batch in self.get_eval_dataloader():
                with self.compute_loss_context_manager():
                    part = self._loss(model, self._prepare_inputs(batch))
                total, units = total + part.total.item(), units + part.units.item()
                sums = {name: sums.get(name, 0.0) + value.item() for name, value in part.sums.items()}
        parts = distributed.gathered({"loss": total, "units": units} | sums)
        count = sum(part["units"] for part in parts)
        metrics = {f"eval_{name}": sum(part[name] for part in parts) / count for name in ("loss", *sums)}
        if self._answer:
            with self.compute_loss_context_manager():
                whole = self.whole()
                if whole is not model:
                    whole.to(self.args.device)
                metrics |= {f"eval_{name}": value for name, value in self._answer(whole).items()}
            if whole is not model:
                whole.to("cpu")
        model.train(was_training)
        self.evaluation_seconds += time.perf_counter() - start
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def evaluations(history: Sequence[dict], key: str) -> list[tuple[int, float]]:
    """(step, badness) of the evaluations in a trainer's log: the loss, or score or match with its sign turned."""
    sign = 1 if key == "eval_loss" else -1
    return [(entry["step"], sign * entry[key]) for entry in history if key in entry]


def best_step(history: Sequence[dict], key: str) -> int:
    """The step of the best evaluation, the earliest of equals."""
    return min(evaluations(history, key), key=lambda evaluation: (evaluation[1], evaluation[0]))[0]


class Stops(TrainerCallback):
    """Evaluates at fixed steps and saves there and by the clock, keeps the best weights so far under their step's name,
    and ends the training when `patience` evaluations brought none better.

    The weights of the last step are not kept there: they are in the model. When a checkpoint is due by the clock is
    decided by the main process, and so is, by `should_stop`, whether the training goes on at all. Raises Abandoned.
    """

    def __init__(self, recipe: Recipe, steps: int, folder: Path, should_stop: Callable[[], bool] | None = None):
        self._recipe, self._folder, self._last, self._should_stop = recipe, folder, steps, should_stop
        self.trainer: SessionMixin | None = None
        self._evaluate = {-(-steps * i // recipe.evaluations) for i in range(1, recipe.evaluations + 1)}
        every = recipe.save_every
        self._save = (set(range(every, steps, every)) if every else set()) | (self._evaluate - {steps})
        self._saved = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        step = state.global_step
        if self._should_stop and distributed.from_main(self._should_stop):
            raise Abandoned(f"the training in {self._folder} was told to stop after step {step}")
        control.should_evaluate = step in self._evaluate
        control.should_save = step in self._save or (step != self._last and self._overdue(step))

    def _overdue(self, step: int) -> bool:
        if distributed.world() > 1 and step % CLOCK_STEPS:
            return False
        due = time.monotonic() - self._saved >= self._recipe.save_seconds
        return distributed.from_main(lambda: due)

    def on_save(self, args, state, control, **kwargs):
        self._saved = time.monotonic()
        key = LOG_NAMES[self._recipe.select_by]
        if distributed.is_main() and evaluations(state.log_history, key):
            remove_worse(self._folder, best_step(state.log_history, key))

    def on_evaluate(self, args, state, control, **kwargs):
        key = LOG_NAMES[self._recipe.select_by]
        best = best_step(state.log_history, key)
        since = sum(step > best for step, _ in evaluations(state.log_history, key))
        if self._recipe.patience and since >= self._recipe.patience:
            control.should_training_stop = True
            control.should_save = False  # a checkpoint from here would go on where the training has ended
        elif best == state.global_step != self._last:
            model = self.trainer.whole()
            if distributed.is_main():
                save_weights(model, best_folder(self._folder, best))


class Clock(TrainerCallback):
    """A progress bar on stderr with the time left, and threads by the machine's load.

    Adds up the seconds of training and of evaluation, the peak of memory and the steps that float16 has skipped over
    all sittings; they are kept at each checkpoint. Writing a checkpoint is in neither. Of several processes the main
    one shows and keeps them. Raises Diverged.
    """

    def __init__(self, folder: Path, steps: int):
        self._path, self._steps = folder / SECONDS, steps
        self.training, self.evaluation, self.peak, self.skipped_steps = 0.0, 0.0, 0, 0
        self.trainer: SessionMixin | None = None
        self._scale = 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step and self._path.exists():
            with suppress(ValueError, TypeError):  # damaged: what it cost until here is lost, the training is not
                self.training, self.evaluation, self.peak, self.skipped_steps = json.loads(self._path.read_text())
        self._scale = scaler.get_scale() if (scaler := self.trainer.accelerator.scaler) else 0.0
        self.trainer.evaluation_seconds = 0.0
        self._mark = time.perf_counter()
        self._bar = tqdm(
            total=self._steps,
            initial=state.global_step,
            desc="training",
            unit="step",
            file=sys.stderr,
            disable=not distributed.is_main(),
        )

    def _advance(self, *, trained: bool) -> None:
        """Add what has passed since the last look, evaluation apart."""
        now, evaluation = time.perf_counter(), self.trainer.evaluation_seconds
        self.training += (now - self._mark - evaluation) * trained
        self.evaluation += evaluation
        self._mark, self.trainer.evaluation_seconds = now, 0.0

    def on_step_begin(self, args, state, control, **kwargs):
        threads.adjust()

    def on_substep_end(self, args, state, control, **kwargs):
        threads.adjust()

    def on_step_end(self, args, state, control, **kwargs):
        self._advance(trained=True)
        self._bar.update()
        if scaler := self.trainer.accelerator.scaler:
            # Fused optimisers skip by themselves; a scale that falls is the one sign that all of them show.
            scale = scaler.get_scale()
            self.skipped_steps += scale < self._scale
            self._scale = scale

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not all(math.isfinite(logs[key]) for key in ("loss", "eval_loss") if key in (logs or {})):
            raise Diverged("the training loss is not a number; lower the learning rate")
        if logs and "loss" in logs:
            self._bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)

    def on_save(self, args, state, control, **kwargs):
        self._advance(trained=False)
        self.peak = max(self.peak, peak_bytes())
        if distributed.is_main():
            numbers = [self.training, self.evaluation, self.peak, self.skipped_steps]
            replace_text(self._path, json.dumps(numbers))

    def on_train_end(self, args, state, control, **kwargs):
        self._advance(trained=False)
        self._bar.close()
