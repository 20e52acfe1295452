"""Records and predictions on disk: a folder holds `<method>.json`, `.predictions.jsonl`, `.curve.csv`, `.trials.csv`.

A record is written last and by a rename, and names the digest of its predictions: a pair that a kill has parted is
refused when it is read. The committed ledger is `results/<profile>`, folders of other names (`results/bench`) and
deeper ones (`audit`) hold other things; where a run's own records go is `places`'.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.profiles import PROFILES
from common.provenance import files_digest
from common.results.record import faults, missing_keys
from common.settings import UserError, replace_text, results, writable, writing

if TYPE_CHECKING:
    import pandas

BASELINE = "baseline"
SEEDS = "seeds"  # below a folder of records, a folder a seed
_ROUNDED = (
    "metrics",
    "slices",
    "splits",
    "cost",
)  # six digits; parameters keep all: a run is repeated from them
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_AGAIN = "delete it and run its notebook again"


def folder(profile: str) -> Path:
    """Where a profile's committed records lie."""
    return results() / profile


def check_name(name: str) -> None:
    """Raises UserError for a method's name that is no file name."""
    if not _NAME.fullmatch(name):
        raise UserError(f"'{name}' names a file: use small letters, digits, dots and hyphens")


def write_record(
    place: Path,
    record: dict,
    rows: Iterable[dict],
    curve: "pandas.DataFrame | None" = None,
    trials: "pandas.DataFrame | None" = None,
) -> Path:
    """Write a run's predictions rows into the folder `place`, its curve and its search's trials where there are any,
    and last its record; returns the record's path.

    Raises UserError for a method name that is no file name and for a disk that refuses, KeyError for a record that
    lacks a key, ValueError for a number that JSON does not know (nan, infinity).
    """
    if missing := missing_keys(record):
        raise KeyError(f"the record of '{record.get('method')}' lacks {', '.join(missing)}")
    method = record["method"]
    check_name(method)
    rounded = {key: six_digits(record[key]) for key in _ROUNDED if key in record}
    record = {**record, **rounded, "predictions_digest": ""}
    _json(record)  # refuses what JSON does not know before anything is written
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    path, predictions = writable(place) / f"{method}.json", place / f"{method}.predictions.jsonl"
    with writing(path):
        if lines:
            replace_text(predictions, "\n".join(lines) + "\n")
            record["predictions_digest"] = files_digest([predictions])  # of the file: a key in a row is not written
        else:
            predictions.unlink(missing_ok=True)
        for name, table in (("curve", curve), ("trials", trials)):
            if table is not None:
                replace_text(place / f"{method}.{name}.csv", table.to_csv(index=False, float_format="%.6g"))
        replace_text(path, _json(record) + "\n")
    return path


def _json(record: dict) -> str:
    return json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)


def read_record(place: Path, method: str) -> dict:
    """One run's record. Raises UserError where there is none or where it is no record."""
    return load(place / f"{method}.json")


def read_records(place: Path) -> list[dict]:
    """All records of a folder, the baseline first, then by name."""
    records = [load(path) for path in sorted(place.glob("*.json"))]
    return sorted(records, key=lambda record: (record["method"] != BASELINE, record["method"]))


def record_paths() -> list[Path]:
    """Where the committed records lie; a folder counts where it has a profile's name."""
    return sorted(path for profile in PROFILES for path in folder(profile).glob("*.json"))


def seed_folders(place: Path) -> list[Path]:
    """The folders of a folder's runs at other seeds, by seed."""
    return sorted((path for path in place.glob(f"{SEEDS}/*") if path.name.isdigit()), key=lambda path: int(path.name))


def seed_paths() -> list[Path]:
    """Where the committed records of other seeds lie."""
    folders = [place for profile in PROFILES for place in seed_folders(folder(profile))]
    return [path for place in folders for path in sorted(place.glob("*.json"))]


def load(path: Path) -> dict:
    """The record in a file. Raises UserError as `read_record`."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"there is no record '{path.stem}' in {path.absolute().parent.name}; run its notebook"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no record ({type(error).__name__}); {_AGAIN}") from None
    if isinstance(record, dict) and "tables" in record:
        raise UserError(f"{path} is a record of tables, not of a run; name a run, such as {BASELINE}")
    if names := faults(record):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise UserError(f"{path} is no record: {', '.join(names[:3])}{more} missing or of another kind; {_AGAIN}")
    return record


def read_object(path: Path, advice: str = "run its notebook again") -> dict:
    """The JSON object in a file beside the records. Raises UserError, with what to do, where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; give the path of a record, or {advice}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}); {advice}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no object; {advice}")
    return content


def read_predictions(place: Path, method: str) -> list[dict]:
    """A run's predictions rows, split by split in the examples' order; [] for a run that answers nothing. Rows from
    before there were several splits are of the record's. Raises UserError where they are absent, damaged, or not those
    that the record was written with."""
    record, path = read_record(place, method), place / f"{method}.predictions.jsonl"
    if not path.exists() and record["data"]["n"] == 0:
        return []
    try:
        with path.open(encoding="utf-8") as lines:  # never splitlines(): a completion may hold U+2028
            rows = [json.loads(line) for line in lines]
    except FileNotFoundError:
        raise UserError(f"there are no predictions of '{method}' in {place.name}; run its notebook again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}); {_AGAIN}") from None
    if not all(isinstance(row, dict) and "id" in row for row in rows):
        raise UserError(f"{path} is damaged (a line is no answer); {_AGAIN}")
    digest = record.get("predictions_digest")  # the first records have none
    if digest and digest != files_digest([path]):
        raise UserError(f"{path} is damaged or of another run than {method}.json; run its notebook again")
    return [row if "split" in row else {"id": row["id"], "split": record["data"]["split"], **row} for row in rows]


def six_digits(value: Any) -> Any:
    """Figures as a record holds them, nested in dicts or alone."""
    if isinstance(value, dict):
        return {key: six_digits(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
