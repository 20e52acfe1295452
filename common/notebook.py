"""What a notebook needs around its method: one start at the top, one record at the end.

`start_run` checks, seeds and says what the run stands on; `Run.save` puts together the ledger's record. Neither
computes a figure: those come from the modules below.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import platform
import random
import re
import sqlite3
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas

from common import distributed, results
from common.data import Example, digest_of, ids_hash, revision
from common.evaluation import Report
from common.models import LoadedModel, parameter_counts, weights_digest
from common.profiles import Profile, resolve
from common.prompts import messages
from common.scoring.scorer import EVALUATION_SEED, GENERATORS
from common.settings import ROOT, UserError, outputs, writable
from common.statistics import metrics, outcomes, slices
from common.sweeps.result import SearchResult as Found
from common.tracking import log_run
from common.training.sft import Trained

PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "accelerate", "rapidfuzz", "numpy")


@dataclass(frozen=True)
class Run:
    """One execution of a notebook: its profile after overrides, its seed, and the folder of what it keeps."""

    name: str
    notebook: str
    profile: Profile
    seed: int
    parameters: dict
    folder: Path

    def needed(self, method: str) -> tuple[dict, list[dict]]:
        """Record and predictions rows of a run that this one is compared with."""
        return results.read_record(self.profile.name, method), results.read_predictions(self.profile.name, method)

    def save(
        self,
        report: Report,
        examples: Sequence[Example],
        loaded: LoadedModel,
        *,
        method: str = "",
        trained: Trained | None = None,
        found: Found | None = None,
        adapter: str = "",
        recipe: object = None,
        split: str = "test",
    ) -> Path:
        """Write the ledger's record (with predictions and curve) and print its path."""
        method = method or self.name
        trainable, total = (
            (trained.trainable_parameters, trained.total_parameters)
            if trained
            else (0, parameter_counts(loaded.model)[1])
        )
        commit, dirty = results.commit(self.notebook)
        record = {
            "method": method,
            "profile": self.profile.name,
            "status": "complete",
            "notebook": self.notebook,
            "seed": self.seed,
            "parameters": self.parameters | ({"recipe": dataclasses.asdict(recipe)} if recipe else {}),
            "code": {
                "commit": commit,
                "dirty": dirty,
                "notebook_digest": results.notebook_digest(ROOT / self.notebook),
                "scorer_digest": results.scorer_digest(),
                "code_digest": code_digest(),
            },
            "data": {
                "source": self.profile.data,
                "revision": revision(self.profile.data),
                "split": split,
                "n": len(examples),
                "ids_hash": ids_hash(examples),
                "prompt_hash": prompt_hash(examples),
            },
            "model": {
                "id": loaded.id,
                "revision": loaded.revision,
                "precision": self.profile.precision,
                "quantisation": loaded.quantisation,
                "adapter": adapter,
                "weights_digest": weights_digest(trained.weights) if trained else "",
                "trainable_parameters": trainable,
                "total_parameters": total,
            },
            "scoring": {"databases": self.profile.databases, "generator": GENERATORS[0], "seed": EVALUATION_SEED},
            "decoding": {"max_new_tokens": self.profile.max_new_tokens, "do_sample": False},
            "environment": environment(),
            "stages": _stages(found, trained),
            "search": found.to_record() if found else {},
            "metrics": metrics(report.rows),
            "slices": slices(report.rows),
            "outcomes": outcomes(report.rows),
            "cost": _cost(report, trained, found),
            "curve": f"{method}.curve.csv" if trained else "",
            "trials": f"{method}.trials.csv" if found else "",
        }
        curve, trials = (trained.curve if trained else None), (found.trials if found else None)
        path = results.write_record(record, report.rows, curve, trials)
        if trained:
            _track(record, trained, group=found.id if found else method)
        print(f"record: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")
        return path


def _track(record: dict, trained: Trained, *, group: str) -> None:
    """The training as a run in Weights & Biases, beside the trials of its search."""
    method = record["method"]
    log_run(
        f"{method}-{record['profile']}-{record['model']['weights_digest']}",
        name=method,
        group=group,
        config=record["parameters"],
        curve=trained.curve.to_dict("records"),
        summary={name: found["value"] for name, found in record["metrics"].items()},
    )


def start_run(
    name: str,
    *,
    notebook: str,
    profile: str = "auto",
    seed: int = 42,
    model_id: str = "",
    data: str = "",
    test_rows: int = 0,
    needs: Sequence[str] = (),
    **parameters: object,
) -> Run:
    """Check what the run needs, set the seeds, print one line, and return the run.

    `model_id`, `data` and `test_rows` override the profile where given; `parameters` are the notebook's own and are
    recorded. `needs` names methods whose records must exist. Raises UserError with what to do.
    """
    import transformers

    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise UserError(f"RUN_NAME '{name}' names a file: use small letters, digits, dots and hyphens")
    chosen = resolve(profile)
    if test_rows < 0:
        raise UserError(f"TEST_ROWS is {test_rows}; give 0 for the profile's {chosen.test_rows}, or a number of rows")
    overrides = {"model_id": model_id, "data": data, "test_rows": test_rows}
    chosen = dataclasses.replace(chosen, **{key: value for key, value in overrides.items() if value})
    for method in needs:
        results.read_record(chosen.name, method)  # raises with what to run first
    _quiet()
    random.seed(seed)
    transformers.set_seed(seed)
    writable(results.folder(chosen.name))
    facts = json.dumps([name, dataclasses.asdict(chosen), seed, parameters, code_digest()], sort_keys=True, default=str)
    folder = outputs() / "runs" / chosen.name / f"{name}-{hashlib.sha256(facts.encode()).hexdigest()[:10]}"
    print(
        f"{name} · profile {chosen.name} · seed {seed} · {_device_name()} · Python {platform.python_version()} · "
        + " · ".join(f"{p} {importlib.metadata.version(p)}" for p in ("torch", "transformers"))
        + f" · SQLite {sqlite3.sqlite_version}"
    )
    return Run(name, notebook, chosen, seed, {"profile": profile, **overrides, **parameters}, writable(folder))


@cache
def code_digest() -> str:
    """Digest of the code that answers depend on: what an earlier sitting kept is used only by the same code."""
    names = ("profiles", "data", "prompts", "models", "generation", "evaluation")
    package = ROOT / "common"
    folders = [path for name in ("synthetic/**/*.[pt]*", "training/*.py", "sweeps/*.py") for path in package.glob(name)]
    return digest_of([*(package / f"{name}.py" for name in names), *folders])


def prompt_hash(examples: Sequence[Example]) -> str:
    """First 16 hex digits of the SHA-256 over all messages: equal only where every prompt is the same text."""
    text = json.dumps([messages(example) for example in examples], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def environment() -> dict:
    """What the numbers may depend on: versions and the device's name, nothing that names the machine or its user."""
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "python": platform.python_version(),
        "packages": packages | {"sqlite": sqlite3.sqlite_version},
        "device": _device_name(),
        "processes": distributed.world(),
    }


def _device_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"


def cost_table(report: Report, trained: Trained | None = None, found: Found | None = None) -> pandas.DataFrame:
    """What the run cost on this machine; compare only within one machine."""
    cost = {key: f"{value:,.1f}" for key, value in _cost(report, trained, found).items() if value}
    return pandas.DataFrame({"value": cost})


def _stages(found: Found | None, trained: Trained | None) -> list[dict]:
    """The search's stages, and the training as the last one, by the protocol the third where nothing was searched."""
    if not trained:
        return []
    last = {
        "stage": len(found.stages) + 1 if found else 3,
        "train_rows": trained.train_rows,
        "valid_rows": trained.valid_rows,
        "dropped_rows": trained.dropped_rows,
        "trials": 1,
        "tokens": trained.tokens,
        "best": {"loss": trained.eval_loss, "score": trained.eval_score, "step": trained.step},
    }
    return [*(found.stages if found else []), last]


def _cost(report: Report, trained: Trained | None, found: Found | None = None) -> dict:
    cost = {"train_seconds": 0.0, "train_rows_per_second": 0.0, "train_tokens_per_second": 0.0, "peak_memory_bytes": 0}
    if found:
        sums = found.trials[["seconds", "tokens"]].sum()
        cost |= {"search_seconds": float(sums["seconds"]), "search_tokens": int(sums["tokens"])}
    if trained:
        cost |= {
            "train_seconds": trained.seconds,
            "train_rows_per_second": trained.rows / trained.seconds,
            "train_tokens_per_second": trained.tokens / trained.seconds,
            "validation_seconds": trained.evaluation_seconds,
            "peak_memory_bytes": trained.peak_memory_bytes,
            "activations_recomputed": trained.recomputed,
        }
    return cost | {
        "eval_seconds": report.seconds,
        "eval_rows_per_second": len(report.rows) / report.seconds,
        "eval_tokens_per_second": report.new_tokens / report.seconds,
    }


def _quiet() -> None:
    """Libraries' advice is not the study's output; their errors still are."""
    import datasets
    import transformers

    warnings.filterwarnings("ignore")
    for name in ("torch.distributed", "bitsandbytes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    pandas.set_option("display.max_colwidth", None)
