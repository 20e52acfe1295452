"""What a record says, section by section, from the run that it is of; and whether it still holds.

Each function gives one section of `record.Record`. Digests and versions come from `common.provenance`; paths and names
of this machine are left out.
"""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from common import provenance
from common.data import DATA_SEED, Example, ids_hash, revision
from common.paths import model_name, source_name
from common.prompts import messages
from common.results.record import Code, Cost, Data, Environment, Model, Scoring
from common.scoring.arguments import GENERATORS
from common.scoring.scorer import EVALUATION_SEED
from common.settings import ROOT, UserError
from common.statistics import TEST, figures, of_split

if TYPE_CHECKING:
    import pandas

    from common.evaluation import Report
    from common.models import LoadedModel
    from common.sweeps import SearchResult
    from common.training.sft import Trained

SCORER = "common.scoring.scorer"
ANSWERS = "common.generation"  # of records that do not say whose code answered
EVALUATION = "common.evaluation"
CURVE_POINTS = 500
# What only shows, records or finds files: a change in it changes no result.
_IMMATERIAL = [[name] for name in ("display", "notebook", "run", "results", "settings", "study")]


def computing_modules(notebook: str) -> list[str]:
    """The modules that a notebook or script imports itself and that have a say in its results. Raises UserError where
    there is no such file."""
    path = ROOT / notebook
    if not path.is_file():
        raise UserError(f"start_run was given notebook='{notebook}', which is no file; give its path from {ROOT.name}/")
    names = [name for name in provenance.imports(path) if name.split(".")[1:2] not in _IMMATERIAL]
    # What loads a model has it answer, which `run` does for it.
    return sorted({*names, EVALUATION}) if loads_a_model(names) else names


def loads_a_model(modules: Sequence[str]) -> bool:
    """Whether a notebook that imports these modules loads a model."""
    return bool({"common.models", "common.starts"}.intersection(modules))


def code(notebook: str, report: "Report", trained: "Trained | None" = None) -> Code:
    """The section of a run of `notebook`, a path from the repository's root."""
    commit, dirty = provenance.commit(notebook)
    return Code(
        commit=commit,
        dirty=dirty,
        notebook_digest=provenance.notebook_digest(ROOT / notebook),
        scorer_digest=scorer_digest(),
        training_digest=trained.code_digest if trained else "",
        training_modules=trained.code_modules if trained else (),
        answers_digest=report.code_digest,
        answers_module=report.code_module,
    )


def scorer_digest() -> str:
    """Digest of everything in this repository that a verdict depends on."""
    return provenance.code(SCORER)


def staleness(record: dict) -> str:
    """Why a record's figures may not be those of today's code: "training" or "answers" for what has changed since,
    "unknown" for a record that does not say what made it; "" for one of today's code."""
    section = record["code"]
    digest, modules = section.get("training_digest", ""), section.get("training_modules", ())
    if not section.get("answers_digest") or (record["model"]["trainable_parameters"] and not digest):
        return "unknown"
    if digest and digest != _today(modules):
        return "training"
    return "" if section["answers_digest"] == _today([section.get("answers_module") or ANSWERS]) else "answers"


def _today(modules: Sequence[str]) -> str:
    try:
        return provenance.code(*modules, without=provenance.SCORING)
    except KeyError:  # a module that is no more
        return ""


def data(source: str, examples: Sequence[Example]) -> Data:
    """The section of the test rows that were answered."""
    facts = split_data(examples)
    return Data(source_name(source), revision(source), TEST, **facts, seed=DATA_SEED)


def split_data(examples: Sequence[Example]) -> dict[str, object]:
    """What says which rows of a split were answered, and to which prompts."""
    return {"n": len(examples), "ids_hash": ids_hash(examples), "prompt_hash": prompt_hash(examples)}


def splits(tests: Mapping[str, Sequence[Example]], rows: Sequence[dict]) -> dict[str, dict]:
    """The section of the splits beside `test`: their rows, and a record's figures of each."""
    return {
        split: split_data(examples) | figures(of_split(rows, split))
        for split, examples in tests.items()
        if split != TEST
    }


def answered_rows(record: dict) -> int:
    """How many rows a run answered, over all splits."""
    return record["data"]["n"] + sum(split["n"] for split in record.get("splits", {}).values())


def prompt_hash(examples: Sequence[Example]) -> str:
    """First 16 hex digits of the SHA-256 over all messages: equal only where every prompt is the same text."""
    # Not `provenance.digest`, which sorts: new records have to agree with the first ones.
    text = json.dumps([messages(example) for example in examples], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def model(loaded: "LoadedModel | None", precision: str, adapter: str, trained: "Trained | None" = None) -> Model:
    """The section of what answered. precision: the dtype of its weights. Without a model all of it is empty."""
    from common.models import parameter_counts, weights_digest

    if loaded is None:
        return Model(id="", revision="", adapter=adapter, trainable_parameters=0, total_parameters=0)
    total = trained.total_parameters if trained else parameter_counts(loaded.model)[1]
    return Model(
        id=model_name(loaded.id),
        revision=loaded.revision,
        adapter=adapter,
        trainable_parameters=trained.trainable_parameters if trained else 0,
        total_parameters=total,
        precision=precision,
        quantisation=loaded.quantisation,
        weights_digest=weights_digest(trained.weights) if trained else "",
        merged=bool(trained and trained.merged),
    )


def scoring(databases: int) -> Scoring:
    """The section of the study's own evaluation on so many generated databases."""
    versions = _scorer_versions()
    return Scoring(databases, GENERATORS[0], EVALUATION_SEED, versions["sqlite"], versions["sqlglot"])


@cache
def _scorer_versions() -> dict[str, str]:
    return provenance.packages(SCORER)


def environment(modules: Sequence[str]) -> Environment:
    """Versions of what `modules` import, and the device."""
    from common import distributed

    packages = provenance.packages(*modules)
    del packages["python"]  # its full version stands beside
    return Environment(platform.python_version(), packages, provenance.device_name(), distributed.world())


def stages(search: "SearchResult | None", trained: "Trained | None") -> list[dict]:
    """The search's stages, and the training as the last one, by the protocol the third where nothing was searched."""
    if not trained:
        return []
    last = {
        "stage": len(search.stages) + 1 if search else 3,
        "train_rows": trained.train_rows,
        "valid_rows": trained.valid_rows,
        "dropped_rows": trained.dropped_rows,
        "leaked_rows": trained.leaked_rows,
        "trials": 1,
        "tokens": trained.tokens,
        "best": {name: getattr(trained, f"eval_{name}") for name in ("loss", "score", "match")}
        | {"step": trained.step},
    }
    return [*(search.stages if search else []), last]


def cost(report: "Report", trained: "Trained | None" = None, search: "SearchResult | None" = None) -> Cost:
    """The section of what a run cost, its search included."""
    return Cost(
        train_seconds=trained.seconds if trained else 0.0,
        eval_seconds=report.seconds,
        train_rows_per_second=trained.rows / trained.seconds if trained else 0.0,
        train_tokens_per_second=trained.tokens / trained.seconds if trained else 0.0,
        peak_memory_bytes=trained.peak_memory_bytes if trained else 0,
        eval_rows_per_second=len(report.rows) / report.seconds if report.seconds else 0.0,
        eval_tokens_per_second=report.new_tokens / report.seconds if report.seconds else 0.0,
        validation_seconds=trained.evaluation_seconds if trained else 0.0,
        search_seconds=float(search.trials["seconds"].sum()) if search else 0.0,
        search_tokens=int(search.trials["tokens"].sum()) if search else 0,
        activations_recomputed=bool(trained and trained.recomputed),
    )


def thin_curve(curve: "pandas.DataFrame", most: int = CURVE_POINTS) -> "pandas.DataFrame":
    """A training curve of at most so many points: the first, the last, every evaluation, and steps evenly between; more
    only where the evaluations alone are more."""
    if len(curve) <= most:
        return curve
    fixed = set(curve.index[curve["eval_loss"].notna()]) | {curve.index[0], curve.index[-1]}
    steps = [index for index in curve.index if index not in fixed]
    room = max(0, most - len(fixed))
    return curve.loc[sorted(fixed | {steps[i * len(steps) // room] for i in range(room)})]
