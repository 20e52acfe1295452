"""Training by rewards: groups of sampled completions, each weighed against its group (GRPO), on TRL's trainer.

TRL calls the sampling and the reward, and makes advantages of rewards; the update is this study's, over groups that are
whole, each prompt once, and groups without spread not at all. One update a sample: what is trained on was drawn from
the policy as it stands. The divergence from the start is measured on samples of the start, and no penalty.
"""

import itertools
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch
from transformers import Trainer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from common import distributed
from common.data import Example, load_examples, without_leaks
from common.models import LoadedModel
from common.rewards import Reward, Rewards
from common.settings import UserError
from common.training.adapters import evaluation_weights
from common.training.group_recipe import GroupRecipe
from common.training.groups import Group, GroupLayout, items, prompt_item, step_totals
from common.training.held_out import held_out_means
from common.training.layout import implementation
from common.training.losses import Inputs, Loss
from common.training.objective import Objective, Trained
from common.training.policy_losses import divergence_loss, group_loss
from common.training.policy_start import PolicyStart, policy_start
from common.training.rollouts import Rollouts
from common.training.rows import tokenise
from common.training.session import Session, check
from common.training.trainer import SessionMixin, Unmoved

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # of rollout_func: TRL is pinned
DATABASES = 4  # generated ones that a reward asks for, of the reward seed
FIRST_STEPS = 5  # after which the policy must have moved
# A log's names for what a step's samples were like, and the curve's.
_TELEMETRY = {
    "reward": "reward",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "truncated",
    "grad_norm": "grad_norm",
}
_NUMBERS = ("robust", "both_empty", "strict_minus_robust", "published_minus_strict", "entropy", "completions")
PHASES = ("sampling", "reward", "update")


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


class GroupSession(Session):
    """A session whose items are prompts, and whose micro-batches of completions come with each step. `rollouts`,
    `first` (the policy's start): set before `run`."""

    rollouts: Rollouts
    first: PolicyStart

    @cached_property
    def _layout(self) -> GroupLayout:
        train, valid = self.objective.items, self.objective.valid_items
        name = implementation(self.loaded.model, [*train, *valid], self.recipe)
        device, pad = self.loaded.model.device.type, self.loaded.tokenizer.pad_token_id
        return GroupLayout(train, valid, self.recipe, name, pad, device, self.decoding["max_new_tokens"])

    def _trainer(self, model, whole, dtype):
        self.rollouts.seconds.clear()
        objective = self.objective
        options = {"layout": self._layout, "rollouts": self.rollouts, "start": self.first}
        self.objective = replace(
            objective, trainer=partial(objective.trainer, answered=len(objective.answered), **options)
        )
        self._running, clock = super()._trainer(model, whole, dtype)
        self.objective = objective
        self._running.add_callback(FirstLook())
        return self._running, clock

    def _collate(self, batches: list[dict]) -> Inputs | dict:
        (batch,) = batches
        return super()._collate(batches) if batch["part"] else {"items": batch["items"]}

    def _answer(self, dtype: torch.dtype, model: torch.nn.Module) -> dict[str, float]:
        with evaluation_weights(model, self.recipe, dtype):
            return held_out_means(replace(self.loaded, model=model), self.objective.answered, **self.decoding)

    def _run_trainer(self, model, whole, dtype) -> dict:
        facts = super()._run_trainer(model, whole, dtype)
        first = {f"eval_{name}": value for name, value in self.first.means.items()}
        return facts | {"curve": [{"step": 0, "eval_loss": 0.0, **first}, *_curve(self._running.state.log_history)]}


def _curve(history: Sequence[dict]) -> list[dict]:
    """A log by step: loss and rate, what the samples were like, and the evaluations."""
    lines = []
    for entry in history:
        if "loss" not in entry and "eval_loss" not in entry:
            continue
        names = ("step", "loss", "learning_rate", "groups_used", *_NUMBERS, *(f"{phase}_seconds" for phase in PHASES))
        line = {name: entry[name] for name in names if name in entry}
        line |= {name: entry[key] for key, name in _TELEMETRY.items() if key in entry}
        line |= {key: value for key, value in entry.items() if key.startswith(("eval_", "part_", "spread_"))}
        lines.append(line)
    return lines


def load_rows(source: str, split: str, *, limit: int) -> list[Example]:
    """Training rows are those that no supervised training sees."""
    return load_examples(source, "post" if split == "train" else split, limit=limit)


def train_grpo(
    loaded: LoadedModel,
    train: Sequence[Example],
    valid: Sequence[Example],
    recipe: GroupRecipe,
    *,
    folder: Path,
    functions: Mapping[str, Reward] | None = None,
    max_new_tokens: int = 96,
    batch_size: int = 32,
    databases: int = 0,
    should_stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train `loaded` by rewards on the prompts of `train`, in place; folder and answers on the way as in `train_sft`.

    functions: rewards by name beyond the built-in ones. The curve begins with step 0, the model before the training;
    its `eval_loss` is the divergence from there, in nats a sequence. Rows that are validated on are left out and
    counted. Raises UserError for a reward that fails, and Still for a rate that moves nothing.
    """
    if not train or not valid:
        raise UserError("a training needs training rows and validation rows; one of the two is empty")
    if recipe.sampling_calls % distributed.world():
        raise UserError(
            f"{distributed.world()} processes cannot share {recipe.sampling_calls} sampling calls; set sampling_calls "
            "to a multiple of the processes"
        )
    if distributed.sharded():
        raise UserError("training by rewards does not shard the model; take --config_file examples/ddp.yaml")
    check(loaded, recipe)
    clean, leaks = without_leaks(train, valid)
    if leaks:
        print(f"{leaks} of {len(train)} training rows are validation rows too and are left out")
    pairs = [(example, row) for example in clean for row in tokenise([example], loaded, max_length=recipe.max_length)]
    if not pairs:
        raise UserError(f"no row fits in max_length {recipe.max_length} tokens; raise it")
    examples, rows = map(list, zip(*pairs, strict=True))
    decoding = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "databases": databases}
    answered = list(valid[: recipe.score_rows])
    asked = valid[: recipe.divergence_rows]
    with Rewards(dict(recipe.reward), functions=functions or {}, databases=DATABASES) as rewards:
        first = policy_start(loaded, answered, asked, recipe, decoding)
        objective = Objective(
            GroupTrainer,
            GRPOConfig,
            [prompt_item(row) for row in rows],
            first.items,
            loss=_loss,
            options={
                "steps_per_generation": recipe.generations,  # set anew by the trainer; TRL wants whole groups in it
                "num_generations": recipe.generations,
                "max_completion_length": max_new_tokens,
                "temperature": recipe.temperature,
                "scale_rewards": recipe.scale_rewards,
                "beta": 0.0,
                "disable_dropout": True,
                "shuffle_dataset": False,
            },
            answered=answered,
            dropped=len(train) - len(rows),
            leaked=leaks,
        )
        session = GroupSession(loaded, objective, recipe, folder, decoding, recipe.start_folder, should_stop)
        session.rollouts = Rollouts(loaded, rows, examples, recipe, rewards, decoding)
        session.first = first
        return session.run()


train = train_grpo  # what a search calls, see `Recipe.module`


def _loss(model, inputs: Inputs, virtual_tokens: int) -> Loss:
    """Of sampled rows the training's, of the start's the divergence."""
    return (divergence_loss if "reference" in inputs else group_loss)(model, inputs, virtual_tokens)
