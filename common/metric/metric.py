"""Text-to-SQL execution match as a module for Hugging Face `evaluate`, over the same `common.scoring.Scorer`.

    import evaluate

    metric = evaluate.load("common/metric")  # from the repository's root, or the folder's absolute path from anywhere
    metric.compute(predictions=completions, references=sql, schemas=schemas)

Needs no network; `common` must be importable, which `pip install -r requirements.txt` sees to. `evaluate` copies this
file into its own cache and runs the copy, so it imports the package by name and nothing beside itself.
Not covered: ids, slices and intervals, which the ledger has (`common.results`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import evaluate

from common.scoring import Scorer
from common.settings import UserError
from common.statistics import metrics

_COLUMNS = ("predictions", "references", "schemas")
_DESCRIPTION = (
    "Whether the SQL in a completion gives the same result as the reference, each run on its own copy of the database "
    "in a sandbox; see common.scoring for what a match means and what not."
)
_INPUTS = """
Args:
    predictions: raw completions; the SQL is extracted from them (the published figures use them as they are).
    references: the reference statements.
    schemas: for each row the statements that make its database, CREATE TABLE and INSERT.
    databases: for each row a SQLite file to use a private copy of instead of running its schema, or None.
    robust_databases: on how many generated databases a match must hold as well; 0 for none.
    workers: processes that score.
    rows: also return every row's verdict.

Returns a dict:
    match, score: means over the rows whose reference can be scored; None where there is none.
    right: the headline, robust_match where it was asked for, else match.
    robust_match: the same over the generated databases; None unless they were asked for.
    published_score, published_match, rouge_l: means over all rows.
    scorable: share of rows whose reference can be scored. n: all rows.
    rows: with rows=True one dict a row, with the fields of common.scoring.Verdict.

Raises common.settings.UserError, one line, for inputs that are wrong.
"""


class TextToSql(evaluate.Metric):
    """The module that `evaluate.load` finds."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(dict.fromkeys(_COLUMNS, datasets.Value("string"))),
        )

    def compute(
        self,
        *,
        predictions: Iterable[str] | None = None,
        references: Iterable[str] | None = None,
        schemas: Iterable[str] | None = None,
        databases: Iterable[str | Path | None] | None = None,
        robust_databases: int = 0,
        workers: int = 2,
        rows: bool = False,
    ) -> dict[str, Any] | None:
        """Score the rows given, or those added before; None in a process other than the first."""
        for name, value in (("robust_databases", robust_databases), ("workers", workers)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise UserError(f"{name}={value!r} is no whole number")
        texts = {"predictions": predictions, "references": references, "schemas": schemas}
        if any(column is not None for column in texts.values()):
            texts = _columns(texts)
            # Here as well as below: evaluate cannot take rows back once it has them.
            databases = _databases(databases, len(texts["predictions"]))
        elif databases is not None:
            databases = list(databases)
        try:
            scorer = Scorer(workers=workers, databases=robust_databases)
        except UserError as error:  # it calls robust_databases databases, which are files here
            raise UserError(str(error).replace("databases=", "robust_databases=")) from None
        with scorer:
            return super().compute(**texts, databases=databases, scorer=scorer, rows=rows)

    def add_batch(
        self,
        *,
        predictions: Iterable[str] | None = None,
        references: Iterable[str] | None = None,
        schemas: Iterable[str] | None = None,
    ) -> None:
        """Add rows; `compute()` scores them."""
        texts = {"predictions": predictions, "references": references, "schemas": schemas}
        super().add_batch(**_columns(texts))

    def add(self, *, prediction: str | None = None, reference: str | None = None, schema: str | None = None) -> None:
        """Add one row; `compute()` scores it."""
        self.add_batch(predictions=[prediction], references=[reference], schemas=[schema])

    def _compute(
        self,
        *,
        predictions: Sequence[str],
        references: Sequence[str],
        schemas: Sequence[str],
        databases: Sequence[str | Path | None] | None,
        scorer: Scorer,
        rows: bool,
    ) -> dict[str, Any]:
        files = _databases(databases, len(predictions))
        scorer_rows = [
            {"schema": schema, "reference": reference, "prediction": prediction, "database": file}
            for schema, reference, prediction, file in zip(schemas, references, predictions, files, strict=True)
        ]
        verdicts = [asdict(verdict) for verdict in scorer.score_batch(scorer_rows)]
        means: dict[str, Any] = {name: interval["value"] for name, interval in metrics(verdicts).items()}
        return means | {"n": len(verdicts)} | ({"rows": verdicts} if rows else {})


def _columns(texts: dict[str, Iterable[str] | None]) -> dict[str, list[str]]:
    """The columns as lists of texts, all of one length. Raises UserError."""
    columns = {}
    for name, column in texts.items():
        if column is None:
            raise UserError(f"{name} is missing; give one text for each row")
        if isinstance(column, str) or not isinstance(column, Iterable):
            raise UserError(f"{name} is a {type(column).__name__}; give a list with one text for each row")
        columns[name] = [_text(name, row, value) for row, value in enumerate(column)]
    sizes = {name: len(column) for name, column in columns.items()}
    if len(set(sizes.values())) > 1:
        raise UserError(f"each row needs one of each, got {', '.join(f'{n} {name}' for name, n in sizes.items())}")
    if not sizes["predictions"]:
        raise UserError("there are no rows to score; predictions is empty")
    return columns


def _text(name: str, row: int, value: object) -> str:
    if not isinstance(value, str):
        raise UserError(f"{name}[{row}] is a {type(value).__name__}, not a text")
    try:
        value.encode()
    except UnicodeEncodeError:  # evaluate's files are UTF-8
        raise UserError(f"{name}[{row}] holds half a character (a lone surrogate); decode it again") from None
    return str(value)


def _databases(databases: Iterable[str | Path | None] | None, rows: int) -> list[str | Path | None]:
    """One file or None a row. Raises UserError."""
    if databases is None:
        return [None] * rows
    if isinstance(databases, (str, Path)) or not isinstance(databases, Iterable):
        raise UserError("databases is one path; give a list with a path or None for each row")
    files = list(databases)
    if len(files) != rows:
        raise UserError(f"databases needs a path or None for each row, got {len(files)} for {rows} rows")
    if wrong := [file for file in files if not (file is None or isinstance(file, (str, Path)))]:
        raise UserError(f"databases holds a {type(wrong[0]).__name__}; give a path or None for each row")
    return files
