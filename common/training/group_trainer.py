"""TRL's GRPO trainer in this study's session: what it samples, how a step's micro-batches come, when it ends.

TRL calls the sampling and the reward, and makes advantages of rewards; the update is this study's. Which groups meet in
which micro-batch is in `groups`, what a step samples in `rollouts`.
"""

import itertools
import math
import os
import time
from collections.abc import Callable, Sequence

import torch
from transformers import Trainer, TrainerCallback
from trl import GRPOTrainer

from common import distributed
from common.training.groups import Group, GroupLayout, items, step_totals
from common.training.losses import Inputs
from common.training.policy_start import PolicyStart
from common.training.rollouts import Rollouts
from common.training.trainer import SessionMixin, Unmoved

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # of rollout_func: TRL is pinned
FIRST_STEPS = 5  # after which the policy must have moved


class Still(Unmoved):
    """A policy that its first steps have not moved."""


class GroupTrainer(SessionMixin, GRPOTrainer):
    """TRL's GRPO trainer in this study's session. start: what the policy was before the first step; answered: how many
    held-out rows are answered.

    Ends the training where held-out match has fallen below its start by more than chance while the reward has risen.
    Raises Still.
    """

    def __init__(
        self,
        *,
        rollouts: Rollouts,
        layout: GroupLayout,
        start: PolicyStart,
        answered: int,
        data_collator: Callable,
        **arguments,
    ):
        super().__init__(rollout_func=rollouts.sample, reward_funcs=[rollouts.reward], **arguments)
        self.data_collator = data_collator  # TRL has one of its own
        self.args.steps_per_generation = self.args.gradient_accumulation_steps  # samples are drawn once a step
        self._rollouts, self._layout, self._start, self._answers = rollouts, layout, start, answered
        self._updating = 0.0

    # Items are slots, in the plan's order; TRL would repeat and shuffle them.
    def get_train_dataloader(self):
        return Trainer.get_train_dataloader(self)

    def _get_train_sampler(self, *arguments, **options):
        return Trainer._get_train_sampler(self, *arguments, **options)

    def _get_eval_sampler(self, *arguments, **options):
        return Trainer._get_eval_sampler(self, *arguments, **options)

    def _prepare_inputs(self, inputs: Inputs) -> Inputs:
        return Trainer._prepare_inputs(self, inputs)  # TRL samples here, a micro-batch at a time

    def floating_point_ops(self, inputs) -> int:
        return 0  # a slot may be empty

    def get_batch_samples(self, epoch_iterator, num_batches: int, device: torch.device):
        """The step's micro-batches, sampled and rewarded, and its sampled tokens over all processes. A micro-batch of
        none is {}; full ones come last, since processes meet in the last."""
        slots = list(itertools.islice(epoch_iterator, num_batches))
        if not slots:
            return [], None
        groups = self._groups(slots)
        totals = tuple(map(sum, zip(*distributed.gathered(step_totals(groups)), strict=True)))
        recipe = self._rollouts.recipe
        sizes = {"loss_type": recipe.loss_type, "sft_weight": recipe.sft_weight, "totals": totals}
        step = items(groups, max_new_tokens=self._layout.max_new_tokens, **sizes)
        micro_batches = [self._layout.collated(batch) for batch in self._layout.packed(step, len(slots))]
        self._log_metric_now("groups_used", sum(group.has_spread for group in groups) / max(1, len(groups)))
        if not micro_batches:  # the optimiser's step comes all the same, as with zero gradients
            micro_batches = [self._layout.collated([])]
        self._updating = 0.0
        padding: list[Inputs] = [{} for _ in range(len(slots) - len(micro_batches))]
        return padding + micro_batches, torch.tensor(totals[0], device=device)

    def _groups(self, slots: Sequence[dict]) -> list[Group]:
        """What is sampled for the prompts of this process's slots."""
        recipe, world = self._rollouts.recipe, distributed.world()
        numbers = [number for slot in slots for number in slot["items"]]
        places = [at * world + distributed.rank() for at, slot in enumerate(slots) for _ in slot["items"]]
        inputs = self._rollouts.inputs(numbers, self.state.global_step, places)
        output = self._generate_and_score_completions(inputs)
        self._log_metric_now("entropy", self._rollouts.entropy)
        self._log_metric_now("completions", float(len(inputs)))
        for phase in ("sampling", "reward"):
            self._log_metric_now(f"{phase}_seconds", self._rollouts.seconds[phase])
        lengths = output["completion_mask"].sum(dim=1).tolist()
        ids = [row[:length] for row, length in zip(output["completion_ids"].tolist(), lengths, strict=True)]
        advantages, rewards = output["advantages"].tolist(), self._rollouts.rewarded.totals
        count = recipe.generations
        return [
            Group(
                self._rollouts.rows[inputs[at]["number"]],
                ids[at : at + count],
                advantages[at : at + count],
                rewards[at : at + count],
            )
            for at in range(0, len(inputs), count)
        ]

    def _log_metric_now(self, name: str, value: float) -> None:
        self._metrics["train"][name].append(value)

    def training_step(self, model, inputs: Inputs, num_items_in_batch):
        begin = time.perf_counter()
        if inputs:
            loss = super().training_step(model, inputs, num_items_in_batch)
        else:
            loss = torch.zeros((), device=self.args.device)
        self._updating += time.perf_counter() - begin
        if self.accelerator.gradient_state.sync_gradients:
            self._log_metric_now("update_seconds", self._updating)
        return loss

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        metrics = super().evaluate(*args, **kwargs)
        step, recipe = self.state.global_step, self._rollouts.recipe
        divergence, least = metrics["eval_loss"], recipe.least_divergence
        if step >= min(FIRST_STEPS, self.state.max_steps) and divergence < least:
            raise Still(
                f"after {step} steps the policy lies {divergence:.1e} nats a sequence from its start, less than "
                f"{least:g}: the learning rate of {recipe.learning_rate:g} moves it too little; raise it, or set "
                "least_divergence to 0 to go on all the same"
            )
        match, first = metrics.get("eval_match"), self._start.means.get("match")
        if match is not None and has_fallen(match, first, self._answers) and reward_rise(self.state.log_history) > 0:
            self.control.should_training_stop = True
            self.control.should_save = False  # as in `Stops`
            if distributed.is_main():
                print(
                    f"step {step}: the reward has risen by {reward_rise(self.state.log_history):.3f} while held-out "
                    f"match has fallen from {first:.3f} to {match:.3f}: the training ends; a lower rate or an anchor "
                    "(sft_weight) keeps what is lost"
                )
        return metrics


def has_fallen(match: float, start: float, answers: int) -> bool:
    """Whether a share of so many answers is below its start by more than two standard errors."""
    return match < start - 2 * math.sqrt(start * (1 - start) / max(1, answers))


def reward_rise(history: Sequence[dict]) -> float:
    """The mean reward of the last third of the steps so far, above that of the first third; 0 for fewer than three."""
    rewards = [entry["reward"] for entry in history if "reward" in entry]
    third = len(rewards) // 3
    return sum(rewards[-third:]) / third - sum(rewards[:third]) / third if third else 0.0


class FirstLook(TrainerCallback):
    """Evaluates after the first steps too: whether the policy moves is known before the time is spent."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == min(FIRST_STEPS, state.max_steps):
            control.should_evaluate = True
