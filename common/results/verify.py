"""Whether committed records are what they say: files whole, figures those of the answers, code and data today's.

Needs no model and executes no SQL. Covers records of runs; audits, pairs and benches have tests of their own.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from common.data import ids_hash, load_examples
from common.data import revision as data_revision
from common.provenance import notebook_digest
from common.results.ledger import load, read_predictions, six_digits
from common.results.sections import prompt_hash, scorer_digest, staleness
from common.settings import ROOT, UserError
from common.statistics import figures, of_split, splits_of

TOLERANCE = 1e-5  # of a figure: records keep six digits
MOST_LINES = 5  # on the figures of a split
_ABSENT = "absent"
_CODE = {"training": "what trained it has changed", "answers": "what answered has changed"}
_CODE["unknown"] = "it does not say which code made it"


def verify(path: Path) -> list[str]:
    """What is wrong with the record in a file and with what lies beside it, a line each; [] for a sound one.

    Rows are compared where they can be made here: those of the embedded data. Raises UserError for what is no record.
    """
    record = load(path)
    faults = [] if record["status"] == "complete" else [f"status {record['status']}: it is no whole run"]
    faults += ["made from code that was in no commit"] if record["code"].get("dirty") else []
    faults += [f"older code: {_CODE[why]}"] if (why := staleness(record)) else []
    faults += [] if record["code"]["scorer_digest"] == scorer_digest() else ["judged by an older scorer; rescore it"]
    notebook = ROOT / record["notebook"]
    if not notebook.is_file():
        faults.append(f"its notebook {record['notebook']} is not there")
    elif record["code"]["notebook_digest"] not in ("", notebook_digest(notebook)):
        faults.append(f"{record['notebook']} was changed since")
    faults += [f"{record[name]} is missing" for name in ("curve", "trials") if _lacks(path, record.get(name))]
    try:
        rows = read_predictions(path.parent, record["method"])
    except UserError as error:
        return [*faults, str(error)]
    return [*faults, *_figures(record, rows), *_data(record)]


def _lacks(path: Path, name: str | None) -> bool:
    return bool(name) and not (path.parent / name).is_file()


def _sections(record: dict) -> dict[str, dict]:
    return {record["data"]["split"]: record | record["data"], **record.get("splits", {})}


def _figures(record: dict, rows: list[dict]) -> Iterator[str]:
    sections = _sections(record)
    for split in splits_of(rows):
        if split not in sections:
            yield f"{split}: {len(of_split(rows, split))} answers, of which the record says nothing"
    for split, section in sections.items():
        part = of_split(rows, split)
        if len(part) != section["n"]:
            yield f"{split}: {len(part)} answers, the record says {section['n']}"
            continue
        try:
            today = six_digits(figures(part))
        except (KeyError, TypeError, ValueError) as error:
            yield f"{split}: its answers give no figures ({type(error).__name__}: {error})"
            continue
        if split == record["data"]["split"]:  # a figure of the first one may be younger than the record
            today = {name: value for name, value in today.items() if name in section}
        lines = list(_differences(today, {name: section.get(name) for name in today}))
        yield from (f"{split}: {line}" for line in lines[:MOST_LINES])
        if len(lines) > MOST_LINES:
            yield f"{split}: {len(lines) - MOST_LINES} more figures are not those of the answers"


def _differences(today: dict, recorded: dict) -> Iterator[str]:
    """A line a figure that is not what the record says of it, bounds of intervals, counts and slices among them."""
    one, other = _flat(today), _flat(recorded)
    for path in [*one, *(path for path in other if path not in one)]:
        value, text = one.get(path, _ABSENT), other.get(path, _ABSENT)
        if not _agree(value, text):
            name = " ".join(part for part in path if part not in ("metrics", "value"))
            yield f"{name} of the answers is {value}, the record says {text}"


def _flat(value: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], object]:
    """The leaves of nested dicts by their paths; an empty dict is a leaf."""
    if not isinstance(value, dict) or (path and not value):
        return {path: value}
    return {name: leaf for key, inner in value.items() for name, leaf in _flat(inner, (*path, key)).items()}


def _agree(value: object, recorded: object) -> bool:
    """Whether a figure is what a record holds of it: a number with a point to six digits, all else to the letter."""
    if isinstance(value, float) and isinstance(recorded, float):
        return math.isclose(value, recorded, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(value) is type(recorded) and value == recorded


def _data(record: dict) -> Iterator[str]:
    data = record["data"]
    if data["source"] != "embedded":
        return
    if data["revision"] != data_revision("embedded"):
        yield "the embedded data are made by other code today"
        return
    for split, section in _sections(record).items():
        if section["n"] > 0:
            examples = load_examples("embedded", split, limit=section["n"], seed=data.get("seed", record["seed"]))
            if (ids_hash(examples), prompt_hash(examples)) != (section["ids_hash"], section["prompt_hash"]):
                yield f"{split}: the rows of today are not those that it answered"
