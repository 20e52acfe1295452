"""Recorded completions judged again with today's scorer, without a model; their rows have to be those of the record.

Rewrites verdicts, metrics, slices and what says which scorer gave them. Trains and answers nothing.
"""

import os
from dataclasses import asdict
from pathlib import Path

from common.data import ids_hash, load_examples
from common.prompts import extract_sql
from common.results.ledger import load, read_predictions, write_record
from common.results.sections import scorer_digest, scoring
from common.settings import UserError
from common.statistics import column_order_refusals, metrics, outcomes, slices, strict_only_matches

_VERDICT = ("match", "robust_match", "outcome")


def rescore(path: Path, source: str = "") -> str:
    """Judge the completions of the record in `path` again and write both anew; returns one line on what changed.

    source: where the rows are, for a record of Spider or of a file, which names its source without the folder. Raises
    UserError where the record's rows cannot be loaded as they were.
    """
    from common.scoring import Scorer

    record = load(path)
    data, name = record["data"], f"{record['profile']}/{record['method']}"
    rows = read_predictions(path.parent, record["method"])
    if not rows:
        return f"{name}: no predictions to judge"
    seed = data.get("seed", record["seed"])
    examples = load_examples(source or _source(data), data["split"], limit=data["n"], seed=seed)
    if ids_hash(examples) != data["ids_hash"] or [row["id"] for row in rows] != [example.id for example in examples]:
        raise UserError(
            f"{path.name}: the data of today are not the rows it was run on; check out the commit in its 'code', "
            "or run its notebook again"
        )
    databases, generator, generator_seed = (record["scoring"][key] for key in ("databases", "generator", "seed"))
    with Scorer(workers=_cores(), databases=databases, generator=generator, seed=generator_seed) as scorer:
        pairs = [(example, row["completion"]) for example, row in zip(examples, rows, strict=True)]
        verdicts = scorer.score_batch(pairs, progress=True)
    news = [
        {**row, "sql": extract_sql(row["completion"]), **asdict(verdict)}
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    changes = sum(any(old[key] != new[key] for key in _VERDICT) for old, new in zip(rows, news, strict=True))
    record |= {"metrics": metrics(news), "slices": slices(news), "outcomes": outcomes(news)}
    record["column_order_refusals"] = column_order_refusals(news)
    record["strict_only_matches"] = strict_only_matches(news)
    versions = scoring(databases)
    record["scoring"] |= {"sqlite": versions.sqlite, "sqlglot": versions.sqlglot}
    record["code"] |= {"scorer_digest": scorer_digest()}
    write_record(path.parent, record, news)
    return f"{name}: {changes} of {len(news)} verdicts changed"


def _source(data: dict) -> str:
    """What `load_examples` takes for a record's rows. Raises UserError where only the user knows where they are."""
    if data["source"] == "embedded":
        return "embedded"
    if data["source"] == "gretel":
        return f"gretel@{data['revision']}"
    raise UserError(f"a record of '{data['source']}' does not say where its rows are; give them as --data")


def _cores() -> int:
    """Cores that this process may use: in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
