"""Audits of a data set, `results/<profile>/audit/<source>.json`, as Markdown; `baseline/data_audit.ipynb` makes them.

An audit holds aggregates only, never a row of the data. Covers the record's shape and its summary; how its tables are
measured is `common.certify`'s.
"""

import json
import platform
import sqlite3
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pandas

from common.data import digest_of
from common.profiles import PROFILES
from common.results.comparison import pipes
from common.results.ledger import commit, folder, notebook_digest, scorer_digest
from common.settings import ROOT, UserError, replace_text, results, writable, writing

FOLDER = "audit"
KEYS = ("source", "profile", "notebook", "seed", "parameters", "code", "environment", "data", "tables")
TABLES = ("references", "floor", "mutants", "mutants_like_given", "rewrites", "duplicates")
_SCRATCH = "smoke"
_VERDICTS = {"published": "published_match", "strict": "match", "robust": "robust_match"}


def source_name(source: str) -> str:
    """What an audit of a source is called, without folders and revisions: embedded, gretel, spider, a file's stem."""
    if source.startswith("spider:"):
        return "spider"
    return source.partition("@")[0] if source.startswith("gretel") else Path(source).stem


def save_audit(
    *,
    profile: str,
    source: str,
    notebook: str,
    seed: int,
    parameters: Mapping[str, object],
    data: Mapping[str, object],
    tables: Mapping[str, pandas.DataFrame],
) -> Path:
    """Write an audit's record and print its path.

    tables: by name, those of TABLES; numbers keep six digits. data: revision, split, n, ids_hash, train_rows. Raises
    UserError for a disk that refuses, ValueError for a table that is missing.
    """
    if missing := set(TABLES) - tables.keys():
        raise ValueError(f"an audit has the tables {', '.join(TABLES)}; {', '.join(sorted(missing))} is missing")
    name = source_name(source)
    revision, dirty = commit(notebook)
    record = {
        "source": name,
        "profile": profile,
        "notebook": notebook,
        "seed": seed,
        "parameters": {**parameters, "data": name},  # a folder's or file's path is nobody's business
        "code": {
            "commit": revision,
            "dirty": dirty,
            "notebook_digest": notebook_digest(ROOT / notebook),
            "scorer_digest": scorer_digest(),
            "certify_digest": certify_digest(),
        },
        "environment": {
            "python": platform.python_version(),
            "packages": {"sqlite": sqlite3.sqlite_version}
            | {package: version(package) for package in ("sqlglot", "datasketch", "numpy")},
        },
        "data": {"source": name, **data},
        "tables": {table: _plain(frame) for table, frame in tables.items()},
    }
    path = writable(folder(profile) / FOLDER) / f"{name}.json"
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)  # tables keep the order of their lines
    with writing(path):
        replace_text(path, text + "\n")
    print(f"record: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")
    return path


def certify_digest() -> str:
    """Digest of the code that measures."""
    return digest_of((ROOT / "common" / "certify").rglob("*.py"))


def audit_paths() -> list[Path]:
    """The audits that are there, by profile and source."""
    return sorted(path for name in PROFILES for path in (results() / name / FOLDER).glob("*.json"))


def load(path: Path) -> dict:
    """An audit's record. Raises UserError for a file that is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}); run its notebook again") from None
    if missing := [key for key in KEYS if key not in record]:
        raise UserError(f"{path} lacks {', '.join(missing)}; run its notebook again")
    return record


def markdown() -> str:
    """What the audits say in short: for each a sentence on its references, and a line a verdict."""
    records = [load(path) for path in audit_paths() if path.parents[1].name != _SCRATCH]
    if not records:
        return "No data set is audited yet; `make run` does it."
    return "\n\n".join(part for record in records for part in (_sentence(record), _table(record)))


def _sentence(record: dict) -> str:
    data, flags = record["data"], record["tables"]["references"]
    counts = ", ".join(f"{words} {flag['n']:,}" for words, flag in flags.items() if flag["n"])
    equal = record["tables"]["duplicates"]["question, schema and sql"]["equal or near"]
    return (
        f"`{record['source']}`, split {data['split']}, {data['n']:,} references, of these: {counts or 'no remark'}. "
        f"Rows that are, or nearly are, among {data['train_rows']:,} training rows: {equal:.1%}."
    )


def _table(record: dict) -> str:
    tables = record["tables"]
    floors = [(answer, line) for answer, line in tables["floor"].items()]
    heads = ["verdict", "best constant answer", "wrong queries accepted", "of these, like the given data"]
    heads += ["with two changes", "right queries kept"]
    lines = []
    for verdict, field in _VERDICTS.items():
        answer, best = max(floors, key=lambda found: found[1][field] or 0.0)
        cells = [f"{_share(best[field])} `{answer}`" if best[field] else _share(best[field])]
        for table, row in (("mutants", "all"), ("mutants_like_given", "all"), ("mutants", "two changes")):
            cells.append(_interval(tables[table].get(row), verdict))
        lines.append([verdict, *cells, _interval(tables["rewrites"].get("all"), verdict)])
    counted = " · ".join(
        f"{words} n = {tables[table]['all']['n']:,}"
        for words, table in (
            ("wrong", "mutants"),
            ("like the given data", "mutants_like_given"),
            ("right", "rewrites"),
        )
    )
    return f"{pipes(heads, lines)}\n\n{counted}"


def _interval(line: dict | None, name: str) -> str:
    if line is None or line[name] is None:
        return "–"
    return f"{_share(line[name])} [{_share(line[f'{name}_low'])}, {_share(line[f'{name}_high'])}]"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _plain(frame: pandas.DataFrame) -> dict:
    lines = frame.astype(object).where(frame.notna(), None).to_dict("index")
    return {
        str(name): {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in line.items()}
        for name, line in lines.items()
    }
