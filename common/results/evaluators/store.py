"""Other evaluators' verdicts on disk, `evaluators.jsonl` beside the records, so that tables need execute nothing.

One line a run: digests of the predictions and of the code that judged them, and for each column of
`verdicts.restated` a text with one character a row of the predictions file (1 right, 0 wrong, - no verdict, or a
letter of its own). A line of other predictions or of older code counts as absent.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common import provenance
from common.evaluators import RESTATED
from common.evaluators.verdicts import IMMATERIAL, MODULES, judged, restated
from common.results.entries import Entry, select
from common.results.rescore import cores, examples_of
from common.results.sections import scoring
from common.settings import UserError, replace_text, writable, writing

if TYPE_CHECKING:
    import pandas

FILE = "evaluators.jsonl"
_LETTERS = {True: "1", False: "0", None: "-"}
_VALUES = {letter: value for value, letter in _LETTERS.items()}
_FACTS = ("relation", "order")


def judge(place: Path, source: str = "") -> list[str]:
    """Judge the runs of a folder that have no line of their predictions and of today's code, and write the file anew;
    returns a line of text a run.

    source: where the rows are, for records of Spider or of a file. Raises UserError where the rows cannot be loaded as
    they were, or where runs of the folder are not comparable.
    """
    entries = [entry for entry in select(place) if entry.rows]
    lines, news = _current(place, entries), {}
    examples = None  # the same for all: `select` refuses others
    for entry in entries:
        if entry.method in lines:
            news[entry.method] = f"{entry.method}: judged before"
            continue
        examples = examples or examples_of(entry.record, entry.predictions, source)
        lines[entry.method] = line(entry, restated(entry.predictions, examples, workers=cores()))
        news[entry.method] = f"{entry.method}: {len(entry.predictions):,} answers judged"
    write(place, [lines[method] for method in sorted(news)])
    return list(news.values())


def line(entry: Entry, table: "pandas.DataFrame") -> dict[str, object]:
    """What the file says of a run. table: of `verdicts.restated`, a line a row of its predictions."""
    versions = scoring(entry.record["scoring"]["databases"])
    columns = {name: "".join(_LETTERS[value] for value in table[name]) for name in RESTATED}
    return {
        "method": entry.method,
        "predictions_digest": _predictions_digest(entry),
        "evaluators_digest": evaluators_digest(),
        "sqlite": versions.sqlite,
        "sqlglot": versions.sqlglot,
        **columns,
        **{name: "".join(table[name]) for name in _FACTS},
    }


def write(place: Path, lines: Sequence[dict]) -> Path:
    """The file anew, one line a run."""
    path = writable(place) / FILE
    with writing(path):
        replace_text(path, "".join(json.dumps(line) + "\n" for line in lines))
    return path


def tables(place: Path, entries: Sequence[Entry]) -> "dict[str, pandas.DataFrame]":
    """The verdicts of `verdicts.judged` for each of the runs that has a line, by method, in the runs' order."""
    lines = _current(place, entries)
    try:
        return {entry.method: _table(entry, lines[entry.method]) for entry in entries if entry.method in lines}
    except (KeyError, TypeError, ValueError) as error:
        raise _damage(place, error) from None


def _table(entry: Entry, line: dict) -> "pandas.DataFrame":
    import pandas

    rows = entry.predictions
    columns = {name: [_VALUES[letter] for letter in line[name]] for name in RESTATED}
    columns |= {name: list(line[name]) for name in _FACTS}
    index = pandas.MultiIndex.from_tuples([(row["split"], row["id"]) for row in rows], names=["split", "id"])
    return judged(rows, pandas.DataFrame(columns, index=index, dtype=object))


def _current(place: Path, entries: Sequence[Entry]) -> dict[str, dict]:
    """The file's lines on these runs' predictions by today's code, by method. Raises UserError for a damaged file."""
    path = place / FILE
    if not path.exists():
        return {}
    try:
        lines = {line["method"]: line for line in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
        return {
            entry.method: line
            for entry in entries
            if (line := lines.get(entry.method))
            and (line["predictions_digest"], line["evaluators_digest"])
            == (_predictions_digest(entry), evaluators_digest())
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damage(place, error) from None


def _damage(place: Path, error: Exception) -> UserError:
    kind = type(error).__name__
    return UserError(f"{place / FILE} is damaged ({kind}); delete it and call python -m common.results evaluators")


def _predictions_digest(entry: Entry) -> str:
    return provenance.files_digest([entry.place / f"{entry.method}.predictions.jsonl"])


def evaluators_digest() -> str:
    """Digest of everything in this repository that these verdicts depend on."""
    return provenance.code(*MODULES, without=IMMATERIAL)
