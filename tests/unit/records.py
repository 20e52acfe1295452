"""Records as a run would write them, and a place of their own."""

import hashlib
from pathlib import Path

import pytest

from common import results
from common.provenance import SCORING, code
from common.results.sections import ANSWERS
from common.statistics import figures, metrics, of_split, outcomes, slices, splits_of


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def predictions(right: str, split: str = "test") -> list[dict]:
    """One row a letter: y matched, n did not, ? could not be scored."""
    return [
        {
            "id": f"row-{i}" if split == "test" else f"{split}-{i}",
            "split": split,
            "complexity": ("basic SQL", "CTEs")[i % 2],
            "task_type": "data retrieval",
            "completion": f"SELECT {i};",
            "sql": f"SELECT {i}",
            "new_tokens": 4,
            "published_match": letter == "y",
            "published_score": 1.0 if letter == "y" else 0.25,
            "match": {"y": True, "n": False, "?": None}[letter],
            "robust_match": None,
            "rouge_l": 0.5,
            "score": 1.0 if letter == "y" else 0.35,
            "outcome": {"y": "match", "n": "mismatch", "?": "reference_error"}[letter],
            "detail": "",
            "both_empty": False,
        }
        for i, letter in enumerate(right)
    ]


def section(rows: list[dict]) -> dict:
    """What a record says of which rows of a split were answered."""
    ids = "\n".join(row["id"] for row in rows)
    return {"n": len(rows), "ids_hash": hashlib.sha256(ids.encode()).hexdigest()[:16], "prompt_hash": "p1"}


def record(method: str, rows: list[dict], **changes) -> dict:
    test, others = of_split(rows), [split for split in splits_of(rows) if split != "test"]
    values = {
        "method": method,
        "profile": "cpu",
        "status": "complete",
        "notebook": f"{method}/{method}.ipynb",
        "seed": 42,
        "parameters": {"learning_rate": 1.23456789e-5},
        "code": {
            "commit": "",
            "dirty": True,
            "notebook_digest": "",
            "scorer_digest": "s1",
            "training_digest": "",
            "training_modules": [],
            "answers_digest": code(ANSWERS, without=SCORING),
        },
        "data": {"source": "embedded", "revision": "r", "split": "test", **section(test)},
        "model": {"id": "m/small", "revision": "", "adapter": "", "trainable_parameters": 0, "total_parameters": 9},
        "scoring": {"databases": 0, "generator": "conservative", "seed": 0},
        "decoding": {"max_new_tokens": 96, "do_sample": False},
        "environment": {"python": "3.11", "packages": {}, "device": "CPU, 2 threads"},
        "stages": [],
        "metrics": metrics(test),
        "slices": slices(test),
        "outcomes": outcomes(test),
        "splits": {split: section(part) | figures(part) for split in others if (part := of_split(rows, split))},
        "cost": {
            "train_seconds": 0.0,
            "eval_seconds": 2.0,
            "train_rows_per_second": 0.0,
            "train_tokens_per_second": 0.0,
            "peak_memory_bytes": 0,
        },
        "curve": "",
    }
    for key, value in changes.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    return values


def trained(*modules: str, digest: str = "") -> dict:
    """The section `code` of what was trained by some modules, by their code of today where no digest is given."""
    return {"training_digest": digest or code(*modules, without=SCORING), "training_modules": list(modules)}


def write(method: str, right: str, place: Path | None = None, **changes) -> Path:
    """A run's record and predictions in a folder, the committed one of its profile where none is given."""
    rows = predictions(right)
    values = record(method, rows, **changes)
    return results.write_record(place or results.folder(values["profile"]), values, rows)
