"""What a search is, what a trial is given and what it returns. No torch, no storage."""

import dataclasses
import importlib
import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from common import provenance
from common.data import revision
from common.profiles import Profile, Stage
from common.settings import ROOT, UserError
from common.sweeps.space import Space, beyond, check, first, space, variants
from common.training.defaults import default_recipe
from common.training.recipe import Recipe

RANKS = ("loss", "score")
# Why a trial has no loss.
DIVERGED, NO_MOVE = "diverged", "moved no weight"
NO_FIT = "does not fit"  # in the memory of the machine that trained it


@dataclass(frozen=True)
class Sweep:
    """A search over all stages but the last, which the caller trains once with the recipe of the result.

    name: a record's method name. recipe: what is not searched; its class names the module that trains it. space:
    parameter name → values. stages: rows and trials; the trials of a stage after the first are the best of the one
    before. first: values of the first trial, all or some; the others are drawn. beyond: parameter name → values beyond
    the ends of its grid, of which at most `widening` are tried where the best lies at an end. variants: changes that
    the last searched stage tries on its best candidate, one at a time. rank_by: "loss", or "score", by which
    the answers to the recipe's first `score_rows` validation rows are ranked, the higher the better. max_new_tokens,
    batch_size, databases: of these answers and their scoring. model_revision: what `search` has pinned the model to.
    Raises UserError for what could not be run to its end.
    """

    name: str
    recipe: Recipe
    space: Space
    stages: tuple[Stage, ...]
    model_id: str
    precision: str
    data: str
    seed: int
    first: dict = field(default_factory=dict)
    beyond: Space = field(default_factory=dict)
    widening: int = 2
    variants: tuple[dict, ...] = ()
    rank_by: str = "loss"
    max_new_tokens: int = 96
    batch_size: int = 32
    databases: int = 0
    model_revision: str = ""

    def __post_init__(self):
        for name in ("space", "beyond"):
            lists = {key: _tuples(values) for key, values in getattr(self, name).items()}
            space = {n: tuple(map(_tuples, v)) if isinstance(v, tuple) else v for n, v in lists.items()}
            object.__setattr__(self, name, space)
        object.__setattr__(self, "first", {name: _tuples(value) for name, value in self.first.items()})
        variants = tuple({name: _tuples(value) for name, value in changes.items()} for changes in self.variants)
        object.__setattr__(self, "variants", variants)
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise UserError(f"a sweep's name '{self.name}' is made of letters, digits, '.', '_' and '-'")
        if len(self.stages) < 2:
            raise UserError("a search needs two stages or more: the last one trains what the others have chosen")
        if any(min(stage.train_rows, stage.valid_rows, stage.trials, stage.steps + 1) < 1 for stage in self.stages):
            raise UserError("every stage of a search has at least 1 training row, 1 validation row and 1 trial")
        for number, (before, stage) in enumerate(zip(self.stages, self.stages[1:], strict=False), 2):
            if stage.trials > before.trials:
                raise UserError(f"stage {number} cannot promote {stage.trials} of {before.trials} candidates")
        if self.rank_by not in RANKS:
            raise UserError(f"candidates are ranked by {' or '.join(RANKS)}, not by '{self.rank_by}'")
        if self.rank_by == "score" and not self.recipe.score_rows:
            raise UserError("rank_by='score' needs validation rows to answer; set score_rows in the recipe")
        check(self.space, self.recipe, self.first)
        if strange := [name for name in self.beyond if name not in self.space]:
            raise UserError(f"there are values beyond the grid of '{strange[0]}', which is not searched")
        if self.grid != self.space:
            check(self.grid, self.recipe, {})

    @cached_property
    def grid(self) -> Space:
        """Every value that a candidate may have: the space, what lies beyond its ends, and the variants'."""
        grid = {
            name: values + tuple(v for v in self.beyond.get(name, ()) if v not in values)
            for name, values in self.space.items()
        }
        for changes in self.variants:
            for name, value in changes.items():
                values = grid.get(name) or (getattr(self.recipe, name, value),)
                grid[name] = values if value in values else (*values, value)
        return grid

    @property
    def rest(self) -> dict:
        """The recipe's own values of what only variants change."""
        return {name: getattr(self.recipe, name) for name in self.grid if name not in self.space}

    @property
    def draw_seed(self) -> int:
        """A seed of the method's own, so that two methods with the same space do not draw the same candidates."""
        return int(provenance.digest(self.name, self.seed)[:8], 16)

    @property
    def id(self) -> str:
        """The name and a digest: equal ids mean equal candidates, rows, code and libraries, so equal results."""
        basis = [_basis(self.recipe.module, ROOT), _data_revision(self.data)]
        if self.rank_by == "score":
            basis.append(provenance.code(*provenance.SCORING, root=ROOT))
        return f"{self.name}-{provenance.digest(self.to_json(), *basis)[:10]}"

    def to_json(self) -> str:
        """The sweep as text, from which `from_json` makes it again on another machine."""
        recipe = type(self.recipe)
        facts = dataclasses.asdict(self) | {"recipe_class": f"{recipe.__module__}.{recipe.__qualname__}"}
        return json.dumps(facts)  # in the space's own order, in which values are drawn

    @classmethod
    def from_json(cls, text: str) -> "Sweep":
        """The sweep that `to_json` wrote. Raises UserError for a recipe of a class that is none of this code's."""
        facts = json.loads(text)
        recipe = _recipe_class(str(facts.pop("recipe_class", f"{Recipe.__module__}.{Recipe.__qualname__}")))
        stages = tuple(Stage(**stage) for stage in facts["stages"])
        return cls(**facts | {"recipe": recipe().with_values(facts["recipe"]), "stages": stages})

    def candidate_id(self, stage: int, ordinal: int) -> str:
        """A trial's id, the same whenever and wherever it is trained: `sft-lora-s1-00`."""
        return f"{self.name}-s{stage}-{ordinal:02}"

    def objective_value(self, outcome: "Outcome") -> float:
        """What the search minimises: the loss, or the score with its sign turned; infinity for a trial without it."""
        value = outcome.loss if self.rank_by == "loss" else -(math.nan if outcome.score is None else outcome.score)
        return value if math.isfinite(value) and not outcome.note else math.inf


@dataclass(frozen=True)
class Candidate:
    """What an objective trains: a recipe on a stage's rows, in a folder of its own.

    base_digest: the weights that earlier trials of the sweep started from, "" before there were any. should_stop:
    whether another worker has taken the trial over, so that nobody wants its outcome any more.
    """

    id: str
    stage: int
    rows: Stage
    recipe: Recipe
    folder: Path
    base_digest: str
    should_stop: Callable[[], bool] = field(default=lambda: False, compare=False, repr=False)


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    loss: the validation loss, lower is better; infinity where there is none. train_rows and valid_rows: rows trained
    and validated on; `dropped_rows` more were too long, or validation rows too. tokens: trained on, padding excluded.
    seconds: of training and evaluation. base_digest: hash of the weights that the trial started from. curve: step,
    loss, eval_loss, … as dicts. score: the mean score of the answers, None where none were given. note: why there is no
    loss: DIVERGED, NO_MOVE or NO_FIT; else "". skipped_steps: optimiser steps that float16's overflow took out.
    """

    loss: float
    train_rows: int
    valid_rows: int
    tokens: int
    seconds: float
    base_digest: str
    curve: list[dict] = field(default_factory=list)
    score: float | None = None
    dropped_rows: int = 0
    note: str = ""
    skipped_steps: int = 0

    def __post_init__(self):
        if not math.isfinite(self.loss) or self.note:
            object.__setattr__(self, "loss", math.inf)
            object.__setattr__(self, "note", self.note or DIVERGED)


Objective = Callable[[Sweep, Candidate], Outcome]


def sweep_of(name: str, method: str, profile: Profile, *, seed: int) -> Sweep:
    """The search for a supervised method's recipe at a profile. Its candidates take one pass, or their stage's steps.

    seed: of the draws and of what is trained; the rows are the same for every seed.
    """
    return Sweep(
        name,
        default_recipe(method, profile, seed=seed).with_values({"epochs": 1}),
        space(method, profile),
        profile.stages,
        model_id=profile.model_id,
        precision=profile.precision,
        data=profile.data,
        seed=seed,
        first=first(method, profile),
        beyond=beyond(method, profile),
        variants=variants(method, profile),
    )


def _recipe_class(name: str) -> type[Recipe]:
    """The class by its full name. Only recipes of `common.training` count: other workers write the text it is from."""
    module, _, title = name.rpartition(".")
    if re.fullmatch(r"common\.training(\.[A-Za-z_]\w*)+", module):
        with suppress(ImportError, AttributeError):
            recipe = getattr(importlib.import_module(module), title)
            if isinstance(recipe, type) and issubclass(recipe, Recipe) and recipe.__module__ == module:
                return recipe
    raise UserError(
        f"a sweep has a recipe of the class '{name[:80]}', which this code does not have; check out its commit"
    )


def _tuples(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


@cache
def _basis(trainer: str, root: Path) -> str:
    """Digest of the code that draws, trains and ranks, and of the packages under it."""
    modules = (trainer, "common.sweeps.searching")
    parts = {"without": provenance.SCORING, "root": root}
    return provenance.digest(provenance.code(*modules, **parts), provenance.packages(*modules, **parts))


@cache
def _data_revision(source: str) -> str:
    return revision(source)
