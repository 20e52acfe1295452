"""TRL's SFT trainer with this study's loss, evaluation and stops.

The loss is a mean over the taught tokens of a whole optimiser step, so it does not depend on how rows are grouped.
Evaluations and checkpoints come at steps fixed in advance; whether an evaluation is the best so far, and whether it
ends the training, follows from the log alone, so that a training that goes on decides as one that never stopped.
"""

import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.distributed.fsdp import FSDPModule
from tqdm import tqdm
from transformers import TrainerCallback
from trl import SFTTrainer

from common import distributed
from common.data import Example
from common.evaluation import mean_score
from common.models import LoadedModel
from common.settings import UserError, replace_text
from common.training.adapt import save_weights
from common.training.loss import completion_loss
from common.training.memory import peak_bytes
from common.training.recipe import Recipe


class Diverged(UserError):
    """A training whose loss is not a number."""


KEYS = {"loss": "eval_loss", "score": "eval_score"}  # select_by → the log's name


class CompletionTrainer(SFTTrainer):
    """SFTTrainer whose items are whole micro-batches and whose evaluation is this study's.

    Logits are computed where a token is taught, on every device alike. TRL skips the prompt's too, but on CUDA alone;
    elsewhere it spends a third of a training step on them.
    whole: the model itself, or, where the trainer shards it over processes, a copy of its own for whole weights.
    """

    def __init__(
        self, *, loaded: LoadedModel, recipe: Recipe, answered: Sequence[Example], decoding: dict, whole, **kwargs
    ):
        super().__init__(processing_class=loaded.tokenizer, **kwargs)
        self._loaded, self._recipe, self._answered, self._decoding = loaded, recipe, answered, decoding
        self._whole = whole
        self._virtual_tokens = recipe.virtual_tokens if recipe.method.startswith("prompt") else 0
        self.evaluation_seconds = 0.0
        for parameter in self.model.parameters():
            if parameter.requires_grad:  # TRL casts what is trained beside 4-bit weights to bfloat16
                parameter.data = parameter.data.float()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        total, count = completion_loss(model, inputs, virtual_tokens=self._virtual_tokens)
        if num_items_in_batch is None:
            return total / count
        # The number of tokens is that of all processes, over which gradients and the logged loss are averaged.
        return total / num_items_in_batch * self.accelerator.num_processes

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
        """Mean loss over all taught validation tokens, and the mean score of the answers to some of the rows."""
        start = time.perf_counter()
        model, was_training = self.model, self.model.training
        model.eval()
        total = count = 0.0
        with torch.no_grad():
            for batch in self.get_eval_dataloader():
                with self.compute_loss_context_manager():
                    part, taught = completion_loss(model, self._prepare_inputs(batch), self._virtual_tokens)
                total, count = total + part.item(), count + taught.item()
        totals, counts = zip(*distributed.gathered((total, count)), strict=True)
        metrics = {"eval_loss": sum(totals) / sum(counts)}
        if self._answered:
            with self.compute_loss_context_manager():
                whole = self.whole()
                if whole is not model:
                    whole.to(self.args.device)
                loaded = LoadedModel(whole, self._loaded.tokenizer, self._loaded.id, self._loaded.revision)
                metrics["eval_score"] = mean_score(loaded, self._answered, **self._decoding)
            if whole is not model:
                whole.to("cpu")
        model.train(was_training)
        self.evaluation_seconds += time.perf_counter() - start
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def evaluations(history: Sequence[dict], key: str) -> list[tuple[int, float]]:
    """(step, badness) of the evaluations in a trainer's log: the loss, or the score with its sign turned."""
    sign = -1 if key == "eval_score" else 1
    return [(entry["step"], sign * entry[key]) for entry in history if key in entry]


def best_step(history: Sequence[dict], key: str) -> int:
    """The step of the best evaluation, the earliest of equals."""
    return min(evaluations(history, key), key=lambda found: (found[1], found[0]))[0]


class Stops(TrainerCallback):
    """Evaluates and saves at fixed steps, keeps the best weights in `best`, and ends the training when `patience`
    evaluations brought none better. The weights of the last step are not kept there: they are in the model."""

    def __init__(self, recipe: Recipe, steps: int, best: Path):
        self._recipe, self._best, self._last = recipe, best, steps
        self.trainer: CompletionTrainer | None = None
        self._evaluate = {-(-steps * i // recipe.evaluations) for i in range(1, recipe.evaluations + 1)}
        every = recipe.save_every
        self._save = (set(range(every, steps, every)) if every else set()) | (self._evaluate - {steps})

    def on_step_end(self, args, state, control, **kwargs):
        control.should_evaluate = state.global_step in self._evaluate
        control.should_save = state.global_step in self._save

    def on_evaluate(self, args, state, control, **kwargs):
        key = KEYS[self._recipe.select_by]
        found = evaluations(state.log_history, key)
        best = best_step(state.log_history, key)
        since = sum(step > best for step, _ in found)
        if self._recipe.patience and since >= self._recipe.patience:
            control.should_training_stop = True
            control.should_save = False  # a checkpoint from here would go on where the training has ended
        elif best == state.global_step != self._last:
            model = self.trainer.whole()
            if distributed.is_main():
                save_weights(model, self._best)


class Clock(TrainerCallback):
    """A progress bar on stderr with the time left; the seconds of training and of evaluation and the peak of memory
    over all sittings, kept at each checkpoint. Writing a checkpoint is in neither. Of several processes the main one
    shows and keeps them. Raises Diverged."""

    def __init__(self, folder: Path, steps: int):
        self._path, self._steps = folder / "seconds.json", steps
        self.training, self.evaluation, self.peak = 0.0, 0.0, 0
        self.trainer: CompletionTrainer | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        if state.global_step and self._path.exists():
            self.training, self.evaluation, self.peak = json.loads(self._path.read_text())
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

    def _take(self, *, trained: bool) -> None:
        """Add what has passed since the last look, evaluation apart."""
        now, evaluated = time.perf_counter(), self.trainer.evaluation_seconds
        self.training += (now - self._mark - evaluated) * trained
        self.evaluation += evaluated
        self._mark, self.trainer.evaluation_seconds = now, 0.0

    def on_step_end(self, args, state, control, **kwargs):
        self._take(trained=True)
        self._bar.update()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not all(math.isfinite(logs[key]) for key in ("loss", "eval_loss") if key in (logs or {})):
            raise Diverged("the training loss is not a number; lower the learning rate")
        if logs and "loss" in logs:
            self._bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)

    def on_save(self, args, state, control, **kwargs):
        self._take(trained=False)
        self.peak = max(self.peak, peak_bytes())
        if distributed.is_main():
            replace_text(self._path, json.dumps([self.training, self.evaluation, self.peak]))

    def on_train_end(self, args, state, control, **kwargs):
        self._take(trained=False)
        self._bar.close()
