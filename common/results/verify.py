"""Whether committed records are what they say: files whole, figures those of the answers, code and data today's.

Needs no model and executes no SQL. Covers records of runs; audits, pairs and benches have tests of their own.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from common.data import ids_hash, load_examples
from common.data import revision as data_revision
from common.provenance import notebook_digest
from common.results.ledger import load, read_predictions
from common.results.sections import prompt_hash, scorer_digest, staleness
from common.settings import ROOT, UserError
from common.statistics import figures, of_split

TOLERANCE = 1e-5  # of a figure: records keep six digits
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
    for split, section in _sections(record).items():
        part = of_split(rows, split)
        if len(part) != section["n"]:
            yield f"{split}: {len(part)} answers, the record says {section['n']}"
            continue
        for name, metric in figures(part)["metrics"].items() if part else ():
            value, recorded = metric["value"], section["metrics"].get(name, {}).get("value")
            if (value is None) != (recorded is None) or (value is not None and not _is_near(value, recorded)):
                yield f"{split}: {name} of the answers is {value}, the record says {recorded}"


def _is_near(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _data(record: dict) -> Iterator[str]:
    data = record["data"]
    if data["source"] != "embedded":
        return
    if data["revision"] != data_revision("embedded"):
        yield "the embedded data are made by other code today"
        return
    for split, section in _sections(record).items():
        if section["n"]:
            examples = load_examples("embedded", split, limit=section["n"], seed=data.get("seed", record["seed"]))
            if (ids_hash(examples), prompt_hash(examples)) != (section["ids_hash"], section["prompt_hash"]):
                yield f"{split}: the rows of today are not those that it answered"
