"""The reward model: one logit at the end of prompt and answer, trained on pairs by the Bradley-Terry loss.

Its body is the causal model with a LoRA adapter, which goes on from a trained one where there is one; in the place of
the head over the vocabulary stands one row of weights, which is saved with the adapter. So a reward model is trained,
kept and loaded like any adapter. Scores of different prompts are comparable only as far as `centering` makes them so.
Covers one process.
"""

import copy
import json
import shutil
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from trl import RewardConfig, RewardTrainer

from common import distributed
from common.data import Example
from common.models import LoadedModel
from common.preferences.pairs import Pair
from common.settings import UserError, once, outputs, writable
from common.training import dpo
from common.training.adapters import adapt, save_weights
from common.training.layout import Layout, implementation
from common.training.likelihoods import by_row
from common.training.objective import Objective, Trained
from common.training.preference_losses import pairs, reward_loss, row_scores
from common.training.recipe import Recipe
from common.training.rows import IGNORED, Item, Row, tokenise
from common.training.session import Session, check
from common.training.trainer import SessionMixin

HEAD = "lm_head"
SPREAD = 1e-3  # of the head's first weights: scores begin near zero, and rows can be told apart


@dataclass(frozen=True)
class RewardRecipe(Recipe):
    """A recipe for the reward model; a batch's rows are pairs. start: as in `PreferenceRecipe`. centering: see
    `reward_loss`."""

    module: ClassVar[str] = "common.training.reward"

    start: str = ""
    centering: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        if self.method not in ("lora", "qlora"):
            raise UserError(f"a reward model is trained by lora or qlora, not by {self.method}")
        if self.score_rows or not 0 <= self.centering < float("inf"):
            raise UserError("a reward model answers nothing (score_rows is 0), and its centering is not negative")


class RewardHead(torch.nn.Linear):
    """One logit from the last hidden states, in float32 under any autocast: half precision would make ties."""

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            return super().forward(hidden.float())


def with_vocabulary(model: PreTrainedModel) -> PreTrainedModel:
    """A reward model's causal model with a head over the vocabulary in the place of the one logit; the body is the same
    one. For the question whether it keeps rows apart: one logit says little, and is of another precision."""
    twin = copy.copy(model)
    twin._modules, twin._forward_pre_hooks = dict(model._modules), OrderedDict()
    embedding = model.get_input_embeddings().weight
    head = torch.nn.Linear(embedding.shape[1], embedding.shape[0], bias=False, device="meta")
    head.weight = torch.nn.Parameter(embedding.detach(), requires_grad=False)
    setattr(twin, HEAD, head)
    return twin


class RewardSession(Session):
    """A session whose rows lie as the model with its own head would have them."""

    @cached_property
    def _layout(self) -> Layout:
        train, valid = self.objective.items, self.objective.valid_items
        name = implementation(with_vocabulary(self.loaded.model), [*train, *valid], self.recipe)
        pad, device = self.loaded.tokenizer.pad_token_id, self.loaded.model.device.type
        return Layout(train, valid, self.recipe, name, pad, device)


class ScoreTrainer(SessionMixin, RewardTrainer):
    """TRL's reward trainer in this study's session."""


load_rows = dpo.load_rows


def train_reward(
    loaded: LoadedModel,
    train: Sequence[Pair],
    valid: Sequence[Pair],
    recipe: RewardRecipe,
    *,
    folder: Path,
    should_stop: Callable[[], bool] | None = None,
    **_: object,
) -> Trained:
    """Train `loaded` as a reward model, in place; folder and errors as in `train_sft`. What it gives back holds the
    reward model, see `scores`."""
    if distributed.world() > 1:
        raise UserError("the reward model is trained by one process; start it without accelerate launch")
    if not train or not valid:
        raise UserError("a training needs training pairs and validation pairs; one of the two is empty")
    check(loaded, recipe)
    clean, leaks = dpo.without_leaked_pairs(train, [pair.example for pair in valid])
    parts = [_items(part, loaded, recipe) for part in (clean, valid)]
    if not all(parts):
        raise UserError(f"no pair fits in max_length {recipe.max_length} tokens; raise it")
    start = once(writable(folder) / "start", lambda path: _write_start(loaded, recipe, path))
    _put_head(loaded)
    objective = Objective(
        ScoreTrainer,
        RewardConfig,
        *parts,
        loss=lambda model, inputs, virtual: reward_loss(model, inputs, virtual, centering=recipe.centering),
        units=pairs,
        options={"max_length": None},  # `tokenise` has seen to it
        dropped=len(train) - len(parts[0]),
        leaked=leaks,
    )
    return RewardSession(loaded, objective, recipe, folder, {}, start, should_stop).run()


train = train_reward  # what a search calls, see `Recipe.module`


def scores(
    reward_model: LoadedModel, answers: Sequence[tuple[Example, str]], *, max_length: int = 4096, dtype=None
) -> list[float]:
    """The score of each answer (a statement) to its example's question; NaN where both are longer than `max_length`
    tokens. Answers to one question share its prompt. dtype: of the arithmetic; None takes the base weights'."""
    model, tokenizer = reward_model.model, reward_model.tokenizer
    groups: dict[str, list[int]] = {}
    items: dict[str, Item] = {}
    values = [float("nan")] * len(answers)
    for number, (example, sql) in enumerate(answers):
        if rows := tokenise([replace(example, sql=sql)], reward_model, max_length=max_length):
            groups.setdefault(example.id, []).append(number)
            items.setdefault(example.id, []).append(_scored(rows[0], tokenizer.pad_token_id))
    recipe = RewardRecipe(max_length=max_length)
    results = by_row(
        model,
        list(items.values()),
        recipe,
        base=with_vocabulary(model.get_base_model() if isinstance(model, PeftModel) else model),
        pad=tokenizer.pad_token_id,
        dtype=dtype or _precision(model),
        numbers=row_scores,
    )
    for numbers, scores_of_group in zip(groups.values(), results, strict=True):
        for number, score in zip(numbers, scores_of_group, strict=True):
            values[number] = score
    return values


def load_reward_model(loaded: LoadedModel, weights: Path) -> LoadedModel:
    """The reward model whose adapter and head lie in `weights`, on the base model that it was trained on. Raises
    UserError for a folder of something else."""
    try:
        config = json.loads((weights / "adapter_config.json").read_text())
    except (OSError, ValueError):
        config = {}
    if not isinstance(config, dict) or config.get("modules_to_save") != [HEAD]:
        raise UserError(f"{weights} holds no reward model; give the folder that train_reward names as its weights")
    other = UserError(
        f"{weights} holds a reward model of another model than {loaded.id}; load the one it was trained on"
    )
    if config.get("base_model_name_or_path") not in (loaded.id, None):
        raise other
    _put_head(loaded)
    try:
        return replace(loaded, model=PeftModel.from_pretrained(loaded.model, weights).eval())
    except (RuntimeError, ValueError):  # sizes that differ, modules that are not there
        raise other from None


def _precision(model: torch.nn.Module) -> torch.dtype:
    """Of the base weights: the head and the adapter are float32 in any model."""
    embedding = model.get_input_embeddings().weight
    return embedding.dtype


def _items(part: Sequence[Pair], loaded: LoadedModel, recipe: Recipe) -> list[Item]:
    pad = loaded.tokenizer.pad_token_id
    return [[_scored(row, pad) for row in item] for item in dpo.items(part, loaded, max_length=recipe.max_length)]


def _scored(row: Row, pad: int) -> Row:
    """The row with one more token, which is not read; its label stands where the score is."""
    ids = row["input_ids"]
    return {"input_ids": [*ids, pad], "labels": [IGNORED] * len(ids) + [pad]}


def _put_head(loaded: LoadedModel) -> None:
    """One row of weights in the place of the head over the vocabulary, drawn as the same ones each time."""
    model = loaded.model
    head = RewardHead(model.get_output_embeddings().in_features, 1, bias=False, dtype=torch.float32)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=random) * SPREAD)
    model.config.get_text_config().tie_word_embeddings = False
    model.config.num_labels = 1
    model.set_output_embeddings(head.to(model.device))
    model.requires_grad_(False)


def _write_start(loaded: LoadedModel, recipe: RewardRecipe, path: Path) -> None:
    """An adapter to start from that names the head as trained: the recipe's start, or a new one."""
    if recipe.start:
        shutil.copytree(outputs() / recipe.start, path)
    else:
        transformers.set_seed(recipe.seed)  # before the session does: the adapter is drawn here
        model = adapt(loaded, recipe)
        save_weights(model, path)
        model.unload()
        loaded.model.is_changed = False
    config = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps(config | {"modules_to_save": [HEAD]}))
    width = loaded.model.get_output_embeddings().in_features
    random = torch.Generator().manual_seed(0)
    head = torch.randn((1, width), generator=random) * SPREAD
    tensors = load_file(path / "adapter_model.safetensors")
    save_file(tensors | {f"base_model.model.{HEAD}.weight": head}, path / "adapter_model.safetensors")
