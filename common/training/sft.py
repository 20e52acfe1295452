"""Supervised fine-tuning on TRL, by any method of `recipe`. The loss covers the completion only, never the prompt."""

from collections.abc import Callable, Sequence
from pathlib import Path

from trl import SFTConfig, SFTTrainer

from common.data import Example, load_examples, without_leaks
from common.models import LoadedModel
from common.settings import UserError
from common.training.losses import completion_loss
from common.training.objective import Objective, Trained
from common.training.recipe import Recipe
from common.training.rows import Item, tokenise
from common.training.session import Session, check
from common.training.trainer import SessionMixin

__all__ = ["Trained", "load_rows", "train", "train_sft"]


class CompletionTrainer(SessionMixin, SFTTrainer):
    """TRL's SFT trainer in this study's session.

    TRL skips logits where nothing is labelled too, but on CUDA alone; elsewhere it spends a third of a training step on
    the prompt's.
    """


def load_rows(source: str, split: str, *, limit: int) -> list[Example]:
    """What `train` takes as its rows, the same ones for every seed of a training, see `load_examples`."""
    return load_examples(source, split, limit=limit)


def train_sft(
    loaded: LoadedModel,
    train: Sequence[Example],
    valid: Sequence[Example],
    recipe: Recipe,
    *,
    folder: Path,
    max_new_tokens: int = 96,
    batch_size: int = 32,
    databases: int = 0,
    start: Path | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Trained:
    """Fine-tune `loaded` in place; checkpoints go to `folder`, and a call with the same folder and a model loaded anew
    goes on from there.

    The first `recipe.score_rows` of `valid` are answered and scored at each evaluation, with `max_new_tokens`, in
    batches of `batch_size`, on `databases` generated ones. start: a folder of trained weights to go on from, by the
    same method. should_stop: asked after each step, see `Session`. Training rows that are also validation rows are left
    out and counted. Raises UserError where that is all of them, for rows that are all too long, a folder of another
    training, a model that was trained already, and a full disk; Diverged for a loss that is no number.
    """
    clean, leaks = without_leaks(train, valid)
    if leaks:
        print(f"{leaks} of {len(train)} training rows are validation rows too and are left out")
    check(loaded, recipe)
    items, valid_items = (_items(examples, loaded, recipe) for examples in (clean, valid))
    objective = Objective(
        CompletionTrainer,
        SFTConfig,
        items,
        valid_items,
        completion_loss,
        options={"max_length": None},  # `tokenise` has seen to it
        answered=valid[: recipe.score_rows],
        dropped=len(train) - len(items),
        leaked=leaks,
    )
    decoding = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "databases": databases}
    return Session(loaded, objective, recipe, folder, decoding, Path(start) if start else None, should_stop).run()


def _items(examples: Sequence[Example], loaded: LoadedModel, recipe: Recipe) -> list[Item]:
    """An item a row. Raises UserError where none is short enough."""
    rows = tokenise(examples, loaded, max_length=recipe.max_length)
    if not rows:
        if not examples:
            raise UserError("a training needs training rows and validation rows; one of the two is empty")
        raise UserError(f"no row fits in max_length {recipe.max_length} tokens; raise it")
    return [[row] for row in rows]


train = train_sft  # what a search calls, see `Recipe.module`
