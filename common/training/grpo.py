"""Training by rewards: groups of sampled completions, each weighed against its group (GRPO), on TRL's trainer.

The update is over groups that are whole, each prompt once, and groups without spread not at all. One update a sample:
what is trained on was drawn from the policy as it stands. The divergence from the start is measured on samples of the
start, and no penalty.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from trl import GRPOConfig

from common import distributed
from common.data import Example, load_examples, without_leaks
from common.models import LoadedModel
from common.rewards import Reward, Rewards
from common.settings import UserError
from common.training.adapters import evaluation_weights
from common.training.group_recipe import GroupRecipe
from common.training.group_trainer import FirstLook, GroupTrainer
from common.training.groups import GroupLayout, prompt_item
from common.training.held_out import held_out_means
from common.training.layout import implementation
from common.training.losses import Inputs, Loss
from common.training.objective import Objective, Trained
from common.training.policy_losses import divergence_loss, group_loss
from common.training.policy_start import PolicyStart, policy_start
from common.training.rollouts import Rollouts
from common.training.rows import tokenise
from common.training.session import Session, check

# A log's names for what a step's samples were like, and the curve's.
_TELEMETRY = {
    "reward": "reward",
    "completions/mean_length": "length",
    "completions/clipped_ratio": "truncated",
    "grad_norm": "grad_norm",
}
_NUMBERS = ("robust", "both_empty", "strict_minus_robust", "published_minus_strict", "entropy", "completions")
PHASES = ("sampling", "reward", "update")


@dataclass
class GroupSession(Session):
    """A session whose items are prompts, and whose micro-batches of completions come with each step. first: what the
    policy was before it."""

    layout: GroupLayout | None = None
    first: PolicyStart | None = None

    @property
    def _layout(self) -> GroupLayout:
        return self.layout

    def _trainer(self, model, whole, dtype):
        self._running, clock = super()._trainer(model, whole, dtype)
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
    with Rewards(dict(recipe.reward), functions=functions) as rewards:
        first = policy_start(loaded, answered, valid[: recipe.divergence_rows], recipe, decoding)
        items = [prompt_item(row) for row in rows]
        reading = implementation(loaded.model, [*items, *first.items], recipe)
        device, pad = loaded.model.device.type, loaded.tokenizer.pad_token_id
        layout = GroupLayout(items, first.items, recipe, reading, pad, device, max_new_tokens)
        rollouts = Rollouts(loaded, rows, examples, recipe, rewards, decoding)
        objective = Objective(
            partial(GroupTrainer, rollouts=rollouts, layout=layout, start=first, answered=len(answered)),
            GRPOConfig,
            items,
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
        start = recipe.start_folder
        return GroupSession(loaded, objective, recipe, folder, decoding, start, should_stop, layout, first).run()


train = train_grpo  # what a search calls, see `Recipe.module`


def _loss(model, inputs: Inputs, virtual_tokens: int) -> Loss:
    """Of sampled rows the training's, of the start's the divergence."""
    return (divergence_loss if "reference" in inputs else group_loss)(model, inputs, virtual_tokens)
