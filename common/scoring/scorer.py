"""The one way in to scoring: `Scorer` asks the sandbox's workers and puts a `Verdict` together."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.prompts import extract_sql
from common.sandbox import Job, Pool
from common.scoring.rouge import rouge_l
from common.settings import UserError

ROUGE_WEIGHT = 0.7
LONGEST_COMPLETION = 4_000_000  # characters; a longer one is not looked at
_TASK = "common.scoring.judge"


@dataclass(frozen=True)
class Verdict:
    """How one completion did; see `common.scoring` for what a match means.

    match: None where the reference cannot be scored; the row belongs in no mean, its `score` of 0.0 is no reward.
    robust_match: None, as no generated databases are asked for.
    rouge_l: of the extracted SQL against the reference. score: 1.0 if matched, else 0.7 × rouge_l.
    outcome: match, mismatch, empty_prediction, syntax_error, schema_error, runtime_error, forbidden, budget, too_large,
    timeout, reference_error, reference_nondeterministic or schema_invalid. detail: one line for a person.
    both_empty: matched, and both sides returned no rows.
    """

    published_match: bool
    published_score: float
    match: bool | None
    robust_match: bool | None
    rouge_l: float
    score: float
    outcome: str
    detail: str
    both_empty: bool


@dataclass(frozen=True)
class _Row:
    schema: str
    reference: str
    prediction: str
    database: Path | None


class Scorer:
    """Scores completions in worker processes; a context manager. Threads may share one, they take turns."""

    def __init__(self, workers: int = 2, databases: int = 0):
        """workers: processes. databases: generated databases for `robust_match`; 0 is all there is so far.

        Raises UserError for another number of databases, or fewer than one worker.
        """
        if databases != 0:
            raise UserError(f"databases={databases} is not available yet; use databases=0, the strict match")
        if workers < 1:
            raise UserError(f"workers={workers} leaves nobody to score; give at least 1")
        self._pool = Pool(_TASK, workers=workers)

    def score(self, *, schema: str, reference: str, prediction: str, database: Path | None = None) -> Verdict:
        """The verdict on one raw completion.

        schema: statements that make the database. database: a SQLite file to use a private copy of instead; `schema`
        is then not run. Raises UserError where that file cannot be read, SandboxError where our machinery fails; never
        for anything in the texts.
        """
        row = {"schema": schema, "reference": reference, "prediction": prediction, "database": database}
        return self.score_batch([row])[0]

    def score_batch(self, rows: Iterable[Any], progress: bool = False) -> list[Verdict]:
        """Verdicts in the order of rows: dicts with `score`'s arguments, or (Example, completion) pairs.

        Equal rows are scored once. progress: a bar on stderr. Raises as `score` does.
        """
        asked = [_row(row) for row in rows]
        # Completions of one reference travel together, whatever their place in the batch.
        groups: dict[tuple[str, str, Path | None], dict[_Row, None]] = defaultdict(dict)
        for row in asked:
            groups[row.schema, row.reference, row.database][row] = None
        jobs, members = [], []
        for (schema, reference, database), distinct in groups.items():
            _check_readable(database)
            extracted = {row: _extract(row.prediction) for row in distinct}
            short = [row for row in distinct if extracted[row] is not None]
            items = [[row.prediction, extracted[row]] for row in short]
            jobs.append(Job({"schema": schema, "reference": reference}, items, database))
            members.append((short, extracted))
        results = self._run(jobs, progress)
        verdicts: dict[_Row, Verdict] = {}
        for (short, extracted), parts in zip(members, results, strict=True):
            for row, part in zip(short, parts, strict=True):
                verdicts[row] = _verdict(row, extracted[row], part)
            for row in extracted.keys() - set(short):
                part = {
                    "match": False,
                    "outcome": "too_large",
                    "detail": "a completion of more than 4,000,000 characters",
                }
                verdicts[row] = _verdict(row, "", part)
        return [verdicts[row] for row in asked]

    def close(self) -> None:
        """End the workers. Safe to call again; they end by themselves with the process or the scorer."""
        self._pool.close()

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, jobs: list[Job], progress: bool) -> list[list[dict[str, Any]]]:
        if not progress:
            return self._pool.run(jobs)
        from tqdm import tqdm

        with tqdm(total=sum(len(job.items) for job in jobs), desc="scoring", unit="row") as bar:
            return self._pool.run(jobs, done=bar.update)


def _row(given: Any) -> _Row:
    if isinstance(given, Mapping):
        unknown = given.keys() - {"schema", "reference", "prediction", "database"}
        if unknown:
            raise TypeError(f"unknown keys in a row: {', '.join(sorted(map(str, unknown)))}")
        texts = (given["schema"], given["reference"], given["prediction"])
        database = given.get("database")
    else:
        example, completion = given
        texts, database = (example.schema, example.sql, completion), example.database
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("schema, reference and prediction are strings")
    return _Row(*texts, None if database is None else Path(database))


def _check_readable(database: Path | None) -> None:
    if database is None:
        return
    try:
        with database.open("rb"):
            pass
    except OSError as error:
        raise UserError(f"cannot read the database {database}: {error.strerror}; check the path") from error


def _extract(completion: str) -> str | None:
    return extract_sql(completion) if len(completion) <= LONGEST_COMPLETION else None


def _verdict(row: _Row, sql: str, parts: Mapping[str, Any]) -> Verdict:
    match, outcome, detail = parts.get("match"), parts.get("outcome", ""), parts.get("detail", "")
    killed = parts.get("killed")
    if killed == "schema":
        match, outcome, detail = None, "schema_invalid", "the schema was stopped for its running time"
    elif killed == "reference":
        match, outcome, detail = None, "reference_error", "the reference was stopped for its running time"
    elif killed == "prediction":
        match, outcome, detail = False, "timeout", "stopped for its running time"
    elif killed == "ties":
        match, outcome, detail = (
            False,
            "mismatch",
            "rows in another order; ties of the reference took too long to follow",
        )
    published = bool(parts.get("published_match", False))
    rouge = rouge_l(row.reference, sql)
    raw_rouge = rouge if row.prediction == sql else rouge_l(row.reference, row.prediction)
    return Verdict(
        published_match=published,
        published_score=1.0 if published else ROUGE_WEIGHT * raw_rouge,
        match=match,
        robust_match=None,
        rouge_l=rouge,
        score=0.0 if match is None else 1.0 if match else ROUGE_WEIGHT * rouge,
        outcome=outcome,
        detail=detail,
        both_empty=bool(parts.get("both_empty", False)),
    )
