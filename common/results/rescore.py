"""Recorded completions judged again with today's scorer, without a model; their rows have to be those of the record.

Rewrites verdicts, metrics, slices and what says which scorer gave them. Trains and answers nothing.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from common.data import Example, ids_hash, load_examples, revision
from common.inputs import check_columns
from common.paths import is_own_file
from common.prompts import extract_sql
from common.results.ledger import load, read_predictions, write_record
from common.results.sections import prompt_hash, scorer_digest, scoring
from common.settings import UserError
from common.statistics import figures, of_split, splits_of

_VERDICT = ("match", "robust_match", "outcome")
_OTHER_ROWS = "{}: the data of today are not its rows; check out the commit in its 'code', or run its notebook again"


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
    examples = examples_of(record, rows, source)
    databases, generator, generator_seed = (record["scoring"][key] for key in ("databases", "generator", "seed"))
    with Scorer(workers=cores(), databases=databases, generator=generator, seed=generator_seed) as scorer:
        pairs = [(example, row["completion"]) for example, row in zip(examples, rows, strict=True)]
        verdicts = scorer.score_batch(pairs, progress=True)
    news = [
        {**row, "sql": extract_sql(row["completion"]), **asdict(verdict)}
        for row, verdict in zip(rows, verdicts, strict=True)
    ]
    changes = sum(any(old[key] != new[key] for key in _VERDICT) for old, new in zip(rows, news, strict=True))
    record |= figures(of_split(news, data["split"]))
    for split, facts in record.get("splits", {}).items():
        facts |= figures(of_split(news, split))
    versions = scoring(databases)
    record["scoring"] |= {"sqlite": versions.sqlite, "sqlglot": versions.sqlglot}
    record["code"] |= {"scorer_digest": scorer_digest()}
    write_record(path.parent, record, news)
    return f"{name}: {changes} of {len(news)} verdicts changed"


def examples_of(record: dict, rows: Sequence[dict], source: str = "") -> list[Example]:
    """The examples that a record's predictions rows answer, in their order.

    source: as of `rescore`. Raises UserError where they cannot be loaded as they were.
    """
    data = record["data"]
    sections, source = {data["split"]: data, **record.get("splits", {})}, source or _source(data)
    examples = []
    if is_own_file(source):
        check_columns(source)
    for split in splits_of(rows):
        facts = sections[split]
        part = load_examples(source, split, limit=facts["n"], seed=data.get("seed", record["seed"]))
        if ids_hash(part) != facts["ids_hash"] or prompt_hash(part) != facts["prompt_hash"]:
            raise UserError(_OTHER_ROWS.format(f"{record['method']}.json"))
        examples += part
    if [row["id"] for row in rows] != [example.id for example in examples]:
        raise UserError(_OTHER_ROWS.format(f"{record['method']}.json"))
    # References are in no prompt: only the revision says that those of a file are the same.
    if data["source"] not in ("embedded", "gretel") and revision(source) != data["revision"]:
        raise UserError(f"{source} is not the file that {record['method']}.json was made from, or has another name")
    return examples


def _source(data: dict) -> str:
    """What `load_examples` takes for a record's rows. Raises UserError where only the user knows where they are."""
    if data["source"] == "embedded":
        return "embedded"
    if data["source"] == "gretel":
        return f"gretel@{data['revision']}"
    raise UserError(f"a record of '{data['source']}' does not say where its rows are; give them as --data")


def cores() -> int:
    """Cores that this process may use, as far as the scorer does: in a container fewer than the machine has."""
    from common.scoring.arguments import MOST_WORKERS

    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, MOST_WORKERS)
