"""Records and predictions on disk, and the digests that tie them to the code that made them.

Layout: `results/<profile>/<method>.json`, `.predictions.jsonl`, `.curve.csv`, `.trials.csv`. A record is written last
and by a rename, so where there is one, its predictions are there too. Folders of other names (`results/bench`) and
folders within a profile's (`results/<profile>/audit`) hold other things and are not read here.
"""

import hashlib
import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.data import digest_of
from common.profiles import PROFILES
from common.settings import ROOT, UserError, replace_text, results, writable, writing

if TYPE_CHECKING:
    import pandas

# A record's keys; a dict lists the keys its value must have. More are welcome.
KEYS: dict[str, Any] = {
    **dict.fromkeys(("method", "profile", "status", "notebook", "seed", "parameters", "stages", "curve"), {}),
    "code": ("commit", "dirty", "notebook_digest", "scorer_digest"),
    "data": ("source", "revision", "split", "n", "ids_hash", "prompt_hash"),
    "model": ("id", "revision", "adapter", "trainable_parameters", "total_parameters"),
    "scoring": ("databases", "generator", "seed"),
    "decoding": ("max_new_tokens", "do_sample"),
    "environment": ("python", "packages", "device"),
    "metrics": ("match", "right", "score", "published_score", "published_match", "robust_match", "rouge_l", "scorable"),
    "slices": ("complexity", "task_type"),
    "cost": ("train_seconds", "eval_seconds", "train_rows_per_second", "train_tokens_per_second", "peak_memory_bytes"),
}
_ROUNDED = ("metrics", "slices", "cost")  # six digits; parameters keep every digit, a run is repeated from them
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_HINT = "`make run` writes it"


def folder(profile: str) -> Path:
    """Where a profile's records lie."""
    return results() / profile


def write_record(
    record: dict,
    rows: Iterable[dict],
    curve: "pandas.DataFrame | None" = None,
    trials: "pandas.DataFrame | None" = None,
) -> Path:
    """Write a run's predictions rows, its curve and its search's trials where there are any, and last its record;
    returns the record's path.

    Raises UserError for a method name that is no file name and for a disk that refuses, KeyError for a record that
    lacks a key, ValueError for a number that JSON does not know (nan, infinity).
    """
    if missing := missing_keys(record):
        raise KeyError(f"the record of '{record.get('method')}' lacks {', '.join(missing)}")
    method, place = record["method"], folder(record["profile"])
    if not _NAME.fullmatch(method):
        raise UserError(f"'{method}' names a file: use small letters, digits, dots and hyphens")
    record = {**record, **{key: _six_digits(record[key]) for key in _ROUNDED}}
    text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    path = writable(place) / f"{method}.json"
    with writing(path):
        if lines:
            replace_text(place / f"{method}.predictions.jsonl", "\n".join(lines) + "\n")
        for name, table in (("curve", curve), ("trials", trials)):
            if table is not None:
                replace_text(place / f"{method}.{name}.csv", table.to_csv(index=False, float_format="%.6g"))
        replace_text(path, text + "\n")
    return path


def missing_keys(record: dict) -> list[str]:
    """The contract's keys that a record lacks, as `data.n`."""
    missing = [key for key in KEYS if key not in record]
    nested = ((key, name) for key, names in KEYS.items() for name in names if key in record)
    return missing + [f"{key}.{name}" for key, name in nested if name not in record[key]]


def read_record(profile: str, method: str) -> dict:
    """One run's record. Raises UserError where there is none or where it is no record."""
    return load(folder(profile) / f"{method}.json")


def read_records(profile: str | None = None) -> list[dict]:
    """All records of a profile, or of every profile, the baseline first, then by name."""
    records = [load(path) for path in record_paths(profile)]
    return sorted(records, key=lambda r: (r["profile"], r["method"] != "baseline", r["method"]))


def record_paths(profile: str | None = None) -> list[Path]:
    """Where the records of runs lie, of one profile or of all; a folder counts where it has a profile's name."""
    return sorted(path for name in PROFILES if profile in (None, name) for path in (results() / name).glob("*.json"))


def load(path: Path) -> dict:
    """The record in a file. Raises UserError as `read_record`."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no record '{path.stem}' for profile {path.parent.name}; {_HINT}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no record ({type(error).__name__}); delete it, {_HINT} again") from None
    if not isinstance(record, dict) or missing_keys(record):
        raise UserError(f"{path} is no record or lacks a key; delete it, {_HINT} again")
    return record


def read_predictions(profile: str, method: str) -> list[dict]:
    """A run's predictions rows, in the examples' order; [] for a run that answers nothing. Raises UserError."""
    path = folder(profile) / f"{method}.predictions.jsonl"
    if not path.exists() and read_record(profile, method)["data"]["n"] == 0:
        return []
    try:
        with path.open(encoding="utf-8") as lines:  # never splitlines(): a completion may hold U+2028
            return [json.loads(line) for line in lines]
    except FileNotFoundError:
        raise UserError(f"there are no predictions of '{method}' for profile {profile}; {_HINT}") from None
    except ValueError:
        raise UserError(f"{path} is damaged; delete it, {_HINT} again") from None


def scorer_digest() -> str:
    """Digest of everything a verdict depends on in this repository: scoring, sandbox, and the extraction of SQL."""
    package = ROOT / "common"
    sources = [
        p for name in ("scoring", "sandbox") for p in (*package.glob(f"{name}*.py"), *package.glob(f"{name}/**/*.py"))
    ]
    return digest_of([*sources, package / "prompts.py"])


def notebook_digest(path: Path) -> str:
    """First 16 hex digits of the SHA-256 over the sources of a notebook's code cells, injected parameters left out, or
    over a script."""
    if path.suffix == ".py":
        return digest_of([path])
    # Plain JSON: nbformat takes seconds to import, and the ledger is imported everywhere.
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = [
        "".join(cell["source"])  # a text, or a list of lines
        for cell in cells
        if cell["cell_type"] == "code" and "injected-parameters" not in cell["metadata"].get("tags", [])
    ]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def commit(notebook: str | Path = "") -> tuple[str, bool]:
    """The repository's commit, and whether common/, requirements.txt or the notebook differ from it.

    ("", True) where there is no git or no commit.
    """
    paths = ["common", "requirements.txt", *([str(notebook)] if str(notebook) else [])]
    try:
        sha = _git("rev-parse", "--verify", "HEAD")
        return sha, bool(_git("status", "--porcelain", "--", *paths))
    except (OSError, subprocess.CalledProcessError):
        return "", True


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _six_digits(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _six_digits(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
