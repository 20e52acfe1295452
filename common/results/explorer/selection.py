"""Which runs and which rows a page shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.data import Example
from common.results.entries import Entry, select
from common.results.ledger import read_records
from common.results.rescore import examples_of
from common.results.sections import scorer_digest, scoring
from common.settings import UserError, relative

SOURCE = "embedded"
# What makes one answer to a question: the same text has the same verdict, whoever gave it.
_FIELDS = ("completion", "sql", "outcome", "detail", "published_match", "match", "robust_match", "rouge_l", "score")
_FIELDS += ("published_score", "both_empty")


@dataclass(frozen=True)
class Question:
    """An example, the different answers to it, and which of them each run gave, in the runs' order."""

    example: Example
    split: str
    answers: Sequence[dict]
    given: Sequence[int]


def runs(place: Path) -> list[Entry]:
    """The runs of a folder that answered something, the baseline first, as in its tables. Raises UserError where there
    is none, where two are not comparable or of another scorer than today's, and for one of other data."""
    for record in read_records(place):
        if (source := record["data"]["source"]) != SOURCE and record["data"]["n"]:
            raise UserError(
                f"{relative(place)}/{record['method']}.json is of '{source}', whose rows no page may hold; "
                "the explorer is for runs on embedded data"
            )
    entries = [entry for entry in select(place) if entry.rows]
    if not entries:
        raise UserError(f"no run in {relative(place)} answered anything; run a notebook first")
    _check_scorer(entries[0].record, place)
    return entries


def _check_scorer(record: dict, place: Path) -> None:
    """The results beside a verdict have to be those that it was given on. Raises UserError where they are not."""
    today = scoring(record["scoring"]["databases"])
    versions = {name: record["scoring"].get(name) or getattr(today, name) for name in ("sqlite", "sqlglot")}
    if record["code"]["scorer_digest"] != scorer_digest() or any(versions[n] != getattr(today, n) for n in versions):
        raise UserError(
            f"the verdicts in {relative(place)} are of another scorer, or of other versions of SQLite or sqlglot; "
            f"`python -m common.results rescore {relative(place)}/*.json` gives them today's"
        )


def questions(entries: Sequence[Entry]) -> list[Question]:
    """Every row of the runs, which all have the same. Raises UserError where today's data have others."""
    first = entries[0].predictions
    examples = examples_of(entries[0].record, first)
    lists = [entry.predictions for entry in entries]
    if any([row["id"] for row in rows] != [row["id"] for row in first] for rows in lists):
        raise UserError("the predictions of these runs are not of the same rows; run their notebooks again")
    return [
        _question(example, rows[0]["split"], rows)
        for example, rows in zip(examples, zip(*lists, strict=True), strict=True)
    ]


def _question(example: Example, split: str, rows: Sequence[dict]) -> Question:
    places: dict[tuple, int] = {}
    given = [places.setdefault(tuple(row[field] for field in _FIELDS), len(places)) for row in rows]
    return Question(example, split, [dict(zip(_FIELDS, answer, strict=True)) for answer in places], given)
