"""Audits of a data set, `<folder of runs>/audit/<source>.json`, as Markdown; `baseline/data_audit.ipynb` makes them.

An audit holds aggregates only, never a row of the data. Covers the record's shape and its summary; how its tables are
measured is `common.certify`'s.
"""

import json
import platform
from collections.abc import Mapping
from pathlib import Path

import pandas

from common import provenance
from common.paths import source_name
from common.profiles import PROFILES
from common.results.ledger import folder, read_object
from common.results.places import place
from common.results.sections import computing_modules, scorer_digest
from common.results.tables import pipes
from common.settings import ROOT, UserError, relative, replace_text, writable, writing

FOLDER = "audit"
KEYS = ("source", "profile", "notebook", "seed", "parameters", "code", "environment", "data", "tables")
_SECTIONS = ("parameters", "code", "environment", "data", "base", "model", "facts", "tables")  # not all are in each
TABLES = ("references", "floor", "mutants", "mutants_like_given", "rewrites", "readings", "hard_coded", "duplicates")
_SCRATCH = "smoke"
_COLUMNS = (
    *(("mutants", "all"), ("mutants_like_given", "all"), ("mutants", "two changes"), ("hard_coded", "all")),
    *(("rewrites", "all"), ("readings", "all")),
)
_VERDICTS = {"published": "published_match", "strict": "match", "robust": "robust_match"}


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
    """Write an audit's record beside the runs of the same parameters and print its path.

    tables: by name, those of TABLES; numbers keep six digits. data: revision, split, n, ids_hash, train_rows. Raises
    UserError for a disk that refuses, ValueError for a table that is missing.
    """
    if missing := set(TABLES) - tables.keys():
        raise ValueError(f"an audit has the tables {', '.join(TABLES)}; {', '.join(sorted(missing))} is missing")
    name, modules = source_name(source), computing_modules(notebook)
    commit, dirty = provenance.commit(notebook)
    record = {
        "source": name,
        "profile": profile,
        "notebook": notebook,
        "seed": seed,
        "parameters": {**parameters, "data": name},  # a folder's or file's path is nobody's business
        "code": {
            "commit": commit,
            "dirty": dirty,
            "notebook_digest": provenance.notebook_digest(ROOT / notebook),
            "scorer_digest": scorer_digest(),
            "certify_digest": provenance.code(*modules),
        },
        "environment": {"python": platform.python_version(), "packages": provenance.packages(*modules)},
        "data": {"source": name, **data},
        "tables": {table: plain(frame) for table, frame in tables.items()},
    }
    path = writable(place(notebook, profile, seed, parameters) / FOLDER) / f"{name}.json"
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)  # tables keep the order of their lines
    with writing(path):
        replace_text(path, text + "\n")
    print(f"record: {relative(path)}")
    return path


def audit_paths() -> list[Path]:
    """The committed audits, by profile and source."""
    return sorted(path for profile in PROFILES for path in (folder(profile) / FOLDER).glob("*.json"))


def load(path: Path) -> dict:
    """An audit's record. Raises UserError for a file that is none."""
    record = read_object(path)
    if missing := [key for key in KEYS if key not in record]:
        raise UserError(f"{path} lacks {', '.join(missing)}; run its notebook again")
    check_sections(record, path)
    return record


def check_sections(record: Mapping[str, object], path: Path) -> None:
    """Raises UserError for a record of tables of which a section is none."""
    if damaged := [key for key in _SECTIONS if not isinstance(record.get(key, {}), dict)]:
        raise UserError(f"{path} is damaged in {', '.join(damaged)}; run its notebook again")


def markdown() -> str:
    """What the audits say in short: for each a sentence on its references, and a line a verdict."""
    records = {path: load(path) for path in audit_paths() if path.parents[1].name != _SCRATCH}
    if not records:
        return "No data set is audited yet; `make notebooks` does it."
    return "\n\n".join(part for path, record in records.items() for part in _parts(path, record))


def _parts(path: Path, record: dict) -> tuple[str, str]:
    try:
        return _sentence(record), _table(record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); run its notebook again") from None


def _sentence(record: dict) -> str:
    data, flags = record["data"], record["tables"]["references"]
    counts = ", ".join(f"{words} {flag['n']:,}" for words, flag in flags.items() if flag["n"])
    equal = record["tables"]["duplicates"]["question, schema and sql"]["equal or near"]
    strict_only = data.get("strict_only")
    fallback = f" For {strict_only} of them no databases could be generated; robust is strict there." * bool(
        strict_only
    )
    return (
        f"`{record['source']}`, split {data['split']}, {data['n']:,} references, of these: {counts or 'no remark'}. "
        f"Rows that are, or nearly are, among {data['train_rows']:,} training rows: {equal:.1%}."
        f"{fallback}{_age(record)}"
    )


def _age(record: dict) -> str:
    return " Judged by an earlier version of the scorer." * (record["code"]["scorer_digest"] != scorer_digest())


def _table(record: dict) -> str:
    tables = record["tables"]
    floors = [(answer, line) for answer, line in tables["floor"].items()]
    heads = ["verdict", "best constant answer", "wrong queries accepted", "of these, like the given data"]
    heads += ["with two changes", "written-out results accepted", "right queries kept", "other right readings kept"]
    lines = []
    for verdict, field in _VERDICTS.items():
        answer, best = max(floors, key=lambda pair: pair[1][field] or 0.0)
        cells = [f"{_share(best[field])} `{answer}`" if best[field] else _share(best[field])]
        # An audit from before there was a table has a dash.
        cells += [_interval(tables.get(table, {}).get(row), verdict) for table, row in _COLUMNS]
        lines.append([verdict, *cells])
    counts = " · ".join(
        f"{words} n = {tables[table]['all']['n']:,}"
        for words, table in (
            ("wrong", "mutants"),
            ("like the given data", "mutants_like_given"),
            ("written out", "hard_coded"),
            ("right", "rewrites"),
            ("other readings", "readings"),
        )
        if table in tables
    )
    return f"{pipes(heads, lines)}\n\n{counts}"


def _interval(line: dict | None, name: str) -> str:
    if line is None or line[name] is None:
        return "–"
    return f"{_share(line[name])} [{_share(line[f'{name}_low'])}, {_share(line[f'{name}_high'])}]"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def plain(frame: pandas.DataFrame) -> dict:
    """A table as JSON holds it, line by line by their names: six digits, null for what is missing."""
    lines = frame.astype(object).where(frame.notna(), None).to_dict("index")
    return {
        str(name): {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in line.items()}
        for name, line in lines.items()
    }
