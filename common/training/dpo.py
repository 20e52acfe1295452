"""Preference training on certified pairs, by DPO's losses, from the base model or from a trained adapter.

The reference is the model that the training starts from, whatever that is: its log-probabilities are taken once, before
the first step, and are kept, so that a training that goes on has the same ones. Covers one process.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import ClassVar

import pandas
from trl import DPOConfig, DPOTrainer

from common import distributed, provenance
from common.data import Example, load_examples, without_leaks
from common.evaluation import answer_means
from common.models import LoadedModel, base_digest, weights_digest
from common.preferences import files
from common.preferences.pairs import Pair
from common.settings import UserError, outputs, replace_text, writable
from common.training.adapters import adapt
from common.training.likelihoods import by_row, log_probabilities
from common.training.objective import Objective, Trained
from common.training.preference_losses import LOSSES, pairs, preference_loss
from common.training.recipe import Recipe
from common.training.rows import Item, labelled, tokenise
from common.training.session import Session, check
from common.training.trainer import SessionMixin

REFERENCE = "ref"  # what TRL calls its copy of an adapter that a training goes on from
ROUNDING = 1e-3  # nats a token: a smaller change says nothing


@dataclass(frozen=True)
class PreferenceRecipe(Recipe):
    """A recipe for preference pairs; a batch's rows are pairs.

    pair_loss, beta, sft_weight: see `preference_loss`. start: a folder of trained weights below outputs/ that the
    training goes on from and that is the reference, "" for the base model. validation: the source whose validation
    rows are answered on the way, "" for the questions of the validation pairs.
    """

    module: ClassVar[str] = "common.training.dpo"

    pair_loss: str = "sigmoid"
    beta: float = 0.1
    sft_weight: float = 0.0
    start: str = ""
    validation: str = ""

    def __post_init__(self):
        super().__post_init__()
        if self.method not in ("lora", "qlora"):
            raise UserError(f"preference training is by lora or qlora, not by {self.method}")
        if self.pair_loss not in LOSSES:
            raise UserError(f"unknown pair_loss '{self.pair_loss}'; choose one of {', '.join(LOSSES)}")
        if not 0 < self.beta < float("inf") or not 0 <= self.sft_weight < float("inf"):
            raise UserError("beta is above 0, and sft_weight is not negative")

    @property
    def start_folder(self) -> Path | None:
        return outputs() / self.start if self.start else None


class PreferenceTrainer(SessionMixin, DPOTrainer):
    """TRL's DPO trainer in this study's session. start_match: of so many held-out `answers` before the first step, None
    where nothing is answered.

    Says so when an evaluation finds right answers less likely than before the first step, and ends the training when
    held-out match has fallen below its start with that, by more than chance.
    """

    def __init__(self, *, start_match: float | None, answers: int, **arguments):
        super().__init__(**arguments)
        self._start_match, self._answers = start_match, answers
        if REFERENCE in self.model.peft_config:  # TRL's own copy of the adapter, which nobody asks
            self.model.delete_adapter(REFERENCE)

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        metrics = super().evaluate(*args, **kwargs)
        change, match = metrics["eval_chosen_change"], metrics.get("eval_match")
        if change >= -ROUNDING:
            return metrics
        step = self.state.global_step
        line = f"step {step}: right answers are less likely than before the first step ({change:+.3f} nats a token)"
        if match is not None and self._start_match is not None and self._has_fallen(match):
            self.control.should_training_stop = True
            self.control.should_save = False  # as in `Stops`
            line += f", and held-out match has fallen from {self._start_match:.3f} to {match:.3f}: the training ends"
        if distributed.is_main():
            print(f"{line}; a lower rate, a larger beta or an SFT term keeps them")
        return metrics

    def _has_fallen(self, match: float) -> bool:
        """By more than two standard errors: a single answer is no reason."""
        error = math.sqrt(self._start_match * (1 - self._start_match) / max(1, self._answers))
        return match < self._start_match - 2 * error


def load_rows(source: str, split: str, *, limit: int) -> list[Pair]:
    """Pairs of a split of a file, see `common.preferences.files`."""
    return files.read(Path(source), split, limit=limit)


def train_pairs(
    loaded: LoadedModel,
    train: Sequence[Pair],
    valid: Sequence[Pair],
    recipe: PreferenceRecipe,
    *,
    folder: Path,
    max_new_tokens: int = 96,
    batch_size: int = 32,
    databases: int = 0,
    should_stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train `loaded` on pairs, in place, by `recipe.method`; folder, answers on the way and errors as in `train_sft`.

    The curve begins with step 0, the model before the training; the seconds hold those that the reference took. Pairs
    of rows that are validated on are left out and counted. Raises UserError for several processes.
    """
    if distributed.world() > 1:
        raise UserError("preference training covers one process; start it without accelerate launch")
    if not train or not valid:
        raise UserError("a training needs training pairs and validation pairs; one of the two is empty")
    check(loaded, recipe)
    answered = _answered(valid, recipe)
    clean, leaks = without_leaked_pairs(train, [*answered, *(pair.example for pair in valid)])
    parts = [_items(part, loaded, recipe) for part in (clean, valid)]
    if not all(parts):
        raise UserError(f"no pair fits in max_length {recipe.max_length} tokens; raise it")
    decoding = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "databases": databases}
    start = _start(loaded, parts, answered, recipe, decoding)
    objective = Objective(
        partial(PreferenceTrainer, start_match=start["match"], answers=len(answered)),
        DPOConfig,
        *parts,
        loss=_loss(recipe, parts[0]),
        units=pairs,
        options={"max_length": None},  # `tokenise` has seen to it
        answered=answered,
        dropped=len(train) - len(parts[0]),
        leaked=leaks,
    )
    trained = Session(loaded, objective, recipe, folder, decoding, recipe.start_folder, should_stop).run()
    trained = replace(trained, seconds=trained.seconds + start["seconds"])
    return replace(trained, curve=_from_start(trained.curve, start, parts[1]))


train = train_pairs  # what a search calls, see `Recipe.module`


def without_leaked_pairs(train: Sequence[Pair], held_out: Sequence[Example]) -> tuple[list[Pair], int]:
    """The pairs of no held-out row, in their order, and how many were dropped, of which a line is printed. Raises
    UserError where none remains."""
    rows, _ = without_leaks([pair.example for pair in train], held_out)
    ids = {row.id for row in rows}
    clean = [pair for pair in train if pair.example.id in ids]
    if leaks := len(train) - len(clean):
        print(f"{leaks} of {len(train)} training pairs are of validation rows and are left out")
    return clean, leaks


def items(part: Sequence[Pair], loaded: LoadedModel, *, max_length: int) -> list[Item]:
    """An item a pair: the row of the right answer and that of the wrong one, both whole. Those with a row of more than
    `max_length` tokens are left out."""
    both = [
        tokenise(
            [replace(pair.example, sql=sql) for sql in (pair.chosen, pair.rejected)], loaded, max_length=max_length
        )
        for pair in part
    ]
    return [rows for rows in both if len(rows) == 2]


def _items(part: Sequence[Pair], loaded: LoadedModel, recipe: Recipe) -> list[Item]:
    return items(part, loaded, max_length=recipe.max_length)


def _loss(recipe: PreferenceRecipe, train: Sequence[Item]) -> Callable:
    chosen_tokens = mean(labelled(item[:1]) for item in train)
    names = {"loss": recipe.pair_loss, "beta": recipe.beta, "sft_weight": recipe.sft_weight}
    return lambda model, inputs, virtual: preference_loss(model, inputs, virtual, chosen_tokens=chosen_tokens, **names)


def _answered(valid: Sequence[Pair], recipe: PreferenceRecipe) -> list[Example]:
    if not recipe.score_rows:
        return []
    if recipe.validation:
        return load_examples(recipe.validation, "validation", limit=recipe.score_rows)
    return list({pair.example.id: pair.example for pair in valid}.values())[: recipe.score_rows]


def _start(
    loaded: LoadedModel,
    parts: Sequence[list[Item]],
    answered: Sequence[Example],
    recipe: PreferenceRecipe,
    decoding: dict,
) -> dict:
    """What the model says before the first step: `match` of held-out answers, None without, and the log-probability of
    each row, which goes beside its tokens; `seconds` that these took.

    Kept in outputs/references/ for trainings that start alike: a search's trials, and one that goes on.
    """
    everything = [item for part in parts for item in part]
    folder = recipe.start_folder
    digest = provenance.digest(
        [[row["input_ids"] for row in item] for item in everything],
        base_digest(loaded.model) + (weights_digest(folder) if folder else ""),
        [[example.id, example.question, example.schema, example.sql] for example in answered],
        {name: value for name, value in decoding.items() if name != "batch_size"},
        provenance.code(*provenance.SCORING),
        provenance.basis(recipe.module, without=provenance.SCORING),
    )
    path = writable(outputs() / "references") / f"{digest}.json"
    try:
        start = json.loads(path.read_text())
    except (OSError, ValueError):
        start = _before(loaded, everything, answered, recipe, decoding)
        replace_text(path, json.dumps(start))
    for item, values in zip(everything, start["references"], strict=True):
        for row, value in zip(item, values, strict=True):
            row["reference"] = value
    return start


def _before(
    loaded: LoadedModel, items: list[Item], answered: Sequence[Example], recipe: PreferenceRecipe, decoding: dict
) -> dict:
    model, dtype = loaded.model, loaded.model.dtype
    folder = recipe.start_folder
    trained = adapt(loaded, recipe, folder) if folder else model
    pad = loaded.tokenizer.pad_token_id
    begin = time.perf_counter()
    try:
        references = by_row(trained, items, recipe, base=model, pad=pad, dtype=dtype, numbers=log_probabilities)
        seconds, match = time.perf_counter() - begin, None
        if answered:
            match = answer_means(replace(loaded, model=trained.eval()), answered, **decoding)["match"]
    finally:
        if folder:
            trained.unload()  # the adapter comes again with the training
    return {"match": match, "references": references, "seconds": seconds}


def _from_start(curve: pandas.DataFrame, start: dict, valid: Sequence[Item]) -> pandas.DataFrame:
    """The curve with step 0 before it, at which policy and reference are one. valid: the validation pairs' items."""
    names = {"eval_margin": 0.0, "eval_chosen_change": 0.0, "eval_rejected_change": 0.0, "eval_match": start["match"]}
    for at, side in enumerate(("chosen", "rejected")):
        names[f"eval_{side}_token"] = mean(item[at]["reference"] / labelled([item[at]]) for item in valid)
    first = {"step": 0} | {name: value for name, value in names.items() if name in curve and value is not None}
    return pandas.concat([pandas.DataFrame([first]), curve], ignore_index=True)[list(curve.columns)]
