"""What a search is told, what a trial is given and what it returns. No torch, no storage."""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from common.data import digest_of, revision
from common.profiles import Stage
from common.settings import ROOT, UserError
from common.sweeps.space import Space, check
from common.training.recipe import Recipe

# What decides which values are drawn and what they give: a change to any of it makes another sweep.
_CODE = (
    "training/*.py",
    "data.py",
    "models.py",
    "prompts.py",
    "sweeps/draws.py",
    "sweeps/objective.py",
    "sweeps/sweep.py",
)
_PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "optuna")


@dataclass(frozen=True)
class Sweep:
    """A search over all stages but the last, which the caller trains once with the recipe found.

    name: a record's method name. recipe: what is not searched. space: parameter name → values. stages: rows and trials;
    the trials of a stage after the first are the best of the one before. first: values of the first trial, all or some;
    the others are drawn. Raises UserError for what could not be run to its end.
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

    def __post_init__(self):
        listed = {name: _tuples(values) for name, values in self.space.items()}
        space = {n: tuple(map(_tuples, v)) if isinstance(v, tuple) else v for n, v in listed.items()}
        object.__setattr__(self, "space", space)
        object.__setattr__(self, "first", {name: _tuples(value) for name, value in self.first.items()})
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise UserError(f"a sweep's name '{self.name}' is made of letters, digits, '.', '_' and '-'")
        if len(self.stages) < 2:
            raise UserError("a search needs two stages or more: the last one trains what the others have found")
        if any(min(dataclasses.astuple(stage)) < 1 for stage in self.stages):
            raise UserError("every stage of a search has at least 1 training row, 1 validation row and 1 trial")
        for number, (before, stage) in enumerate(zip(self.stages, self.stages[1:], strict=False), 2):
            if stage.trials > before.trials:
                raise UserError(f"stage {number} cannot promote {stage.trials} of {before.trials} candidates")
        check(self.space, self.recipe, self.first)

    @property
    def id(self) -> str:
        """The name and a digest: equal ids mean equal candidates, rows, code and libraries, so equal results."""
        about = f"{self.to_json()} {_code_digest()} {_data_revision(self.data)}"
        return f"{self.name}-{hashlib.sha256(about.encode()).hexdigest()[:10]}"

    def to_json(self) -> str:
        """The sweep as text, from which `from_json` makes it again on another machine."""
        return json.dumps(dataclasses.asdict(self))  # in the space's own order, in which values are drawn

    @classmethod
    def from_json(cls, text: str) -> "Sweep":
        """The sweep that `to_json` wrote."""
        told = json.loads(text)
        return cls(
            **told
            | {
                "recipe": Recipe().with_values(told["recipe"]),
                "stages": tuple(Stage(**stage) for stage in told["stages"]),
            }
        )

    def candidate_id(self, stage: int, ordinal: int) -> str:
        """A trial's id, the same whenever and wherever it is trained: `sft-lora-s1-00`."""
        return f"{self.name}-s{stage}-{ordinal:02}"


@dataclass(frozen=True)
class Candidate:
    """What an objective trains: a recipe on a stage's rows, in a folder of its own.

    base_digest: the weights that earlier trials of the sweep started from, "" before there were any.
    """

    id: str
    stage: int
    rows: Stage
    recipe: Recipe
    folder: Path
    base_digest: str


@dataclass(frozen=True)
class Outcome:
    """What a trial found. A training that diverged has the loss infinity.

    loss: what candidates are ranked by, the validation loss over completion tokens, lower is better. train_rows and
    valid_rows: rows trained and validated on; `dropped_rows` more were too long. tokens: trained on, padding excluded.
    seconds: of training and evaluation. base_digest: hash of the weights that the trial started from. curve: step,
    loss, eval_loss, … as dicts.
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

    def __post_init__(self):
        if not math.isfinite(self.loss):
            object.__setattr__(self, "loss", math.inf)


Objective = Callable[[Sweep, Candidate], Outcome]


def _tuples(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


@cache
def _code_digest() -> str:
    files = [path for pattern in _CODE for path in (ROOT / "common").glob(pattern)]
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            versions.append("")
    return f"{digest_of(files)} {versions}"


@cache
def _data_revision(source: str) -> str:
    return revision(source)
