"""The shape of a run's record, in this one place: its sections, their keys, and which of them every record has.

On disk a record is the JSON of `Record`; in memory it is that JSON's dict. Fields without a default are the contract's
keys, which every record has; a field with a default came later, so an older record may lack it. More keys are welcome.
Where the values come from is `sections`', reading and writing files is `ledger`'s.
"""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args, get_origin

METRICS = ("match", "right", "score", "published_score", "published_match", "robust_match", "rouge_l", "scorable")
SLICES = ("complexity", "task_type")
Figure = Mapping[str, float | None]  # value, bounds and n


@dataclass(frozen=True)
class Code:
    """What made the record. training_modules: roots of the closure that `training_digest` is of; both are empty where
    nothing was trained, and "" where the code did not say yet. answers_module: the root of the closure that
    `answers_digest` is of."""

    commit: str
    dirty: bool
    notebook_digest: str
    scorer_digest: str
    training_digest: str = ""
    training_modules: Sequence[str] = ()
    answers_digest: str = ""
    answers_module: str = ""


@dataclass(frozen=True)
class Data:
    """The rows of `split` that were answered; `source` names them without any folder. seed: of the rows, not of the
    run; in a record without it they are the same."""

    source: str
    revision: str
    split: str
    n: int
    ids_hash: str
    prompt_hash: str
    seed: int = 42


@dataclass(frozen=True)
class Model:
    """The base model, `id` without any folder, and what was trained of it. merged: an adapter was added to the base
    weights before it answered."""

    id: str
    revision: str
    adapter: str
    trainable_parameters: int
    total_parameters: int
    precision: str = ""
    quantisation: str = ""
    weights_digest: str = ""
    merged: bool = False


@dataclass(frozen=True)
class Scoring:
    """Which databases a robust match was judged on: they depend on the versions of SQLite and sqlglot too."""

    databases: int
    generator: str
    seed: int
    sqlite: str = ""
    sqlglot: str = ""


@dataclass(frozen=True)
class Decoding:
    """How answers were decoded."""

    max_new_tokens: int
    do_sample: bool


@dataclass(frozen=True)
class Environment:
    """What the costs depend on; nothing names the machine or its user."""

    python: str
    packages: Mapping[str, str]
    device: str
    processes: int = 1


@dataclass(frozen=True)
class Cost:
    """Seconds, rates and bytes; 0 for what the run did not do. Training is without its evaluations."""

    train_seconds: float
    eval_seconds: float
    train_rows_per_second: float
    train_tokens_per_second: float
    peak_memory_bytes: int
    eval_rows_per_second: float = 0.0
    eval_tokens_per_second: float = 0.0
    validation_seconds: float = 0.0
    search_seconds: float = 0.0
    search_tokens: int = 0
    activations_recomputed: bool = False


@dataclass(frozen=True)
class Record:
    """One run. status: complete, partial or failed. metrics and slices: of `common.statistics`. curve, trials: names of
    files beside the record, "" where there is none. column_order_refusals, strict_only_matches: of `common.statistics`.
    splits: n, hashes and figures of each further split that was answered, by its name; data, metrics, slices, outcomes
    and the two counts are of `test`. predictions_digest: of the predictions file, "" where there is none. A record
    older than these keys has none of them."""

    method: str
    profile: str
    status: str
    notebook: str
    seed: int
    parameters: Mapping[str, object]
    code: Code
    data: Data
    model: Model
    scoring: Scoring
    decoding: Decoding
    environment: Environment
    stages: Sequence[dict]
    metrics: Mapping[str, Figure]
    slices: Mapping[str, Mapping[str, Mapping[str, Figure]]]
    cost: Cost
    curve: str
    trials: str = ""
    outcomes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    column_order_refusals: int | None = None
    strict_only_matches: int | None = None
    splits: Mapping[str, dict] = dataclasses.field(default_factory=dict)
    search: Mapping[str, object] = dataclasses.field(default_factory=dict)
    predictions_digest: str = ""

    def as_dict(self) -> dict:
        """What is written; a tuple becomes JSON's list."""
        return dataclasses.asdict(self)


SECTIONS = {
    "code": Code,
    "data": Data,
    "model": Model,
    "scoring": Scoring,
    "decoding": Decoding,
    "environment": Environment,
    "cost": Cost,
}


def missing_keys(record: dict) -> list[str]:
    """The contract's keys that a record lacks, as `data.n`."""
    nested = {name: _required(section) for name, section in SECTIONS.items()} | {"metrics": METRICS, "slices": SLICES}
    missing = [key for key in _required(Record) if key not in record]
    pairs = (
        (section, key) for section, keys in nested.items() if isinstance(record.get(section), dict) for key in keys
    )
    return missing + [f"{section}.{key}" for section, key in pairs if key not in record[section]]


def faults(record: object) -> list[str]:
    """What of the contract is missing in a file's JSON, or is there as another kind of value, as `data.n`; [] for a
    record. Figures themselves are `verify`'s."""
    if not isinstance(record, dict):
        return ["everything"]
    names = missing_keys(record) + _misfits(record, Record)
    for section, kind in SECTIONS.items():
        if isinstance(record.get(section), dict):
            names += [f"{section}.{name}" for name in _misfits(record[section], kind)]
    splits = record.get("splits")
    for split, values in splits.items() if isinstance(splits, dict) else ():
        keys = _split_keys(values) if isinstance(values, dict) else []
        names += [f"splits.{split}.{name}" for name in keys]
    return names


def _split_keys(values: dict) -> list[str]:
    """What a further split's section lacks, or has as another kind than a record has it of `test`."""
    missing = [key for key in ("n", "ids_hash", "prompt_hash") if key not in values]
    return missing + _misfits(values, Data) + _misfits(values, Record)


def _misfits(values: dict, of: type) -> list[str]:
    return [name for name, kind in _kinds(of).items() if name in values and not _fits(values[name], kind)]


def _kinds(of: type) -> dict[str, object]:
    return {field.name: field.type for field in dataclasses.fields(of)}


def _fits(value: object, kind: object) -> bool:
    """Whether a value of JSON is of a field's kind; a section is looked into by `faults`."""
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin is types.UnionType:
        return any(_fits(value, argument) for argument in arguments)
    if origin is Mapping:
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    if origin is Sequence:
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value)
    if origin in SECTIONS.values():
        return isinstance(value, dict)
    if origin in (int, float):  # a whole number of seconds has no point in JSON; a yes or no is no number
        return isinstance(value, int | origin) and not isinstance(value, bool)
    return isinstance(value, origin)


def _required(section: type) -> list[str]:
    absent = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(section) if f.default is absent and f.default_factory is absent]
