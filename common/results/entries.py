"""The runs of one folder that may stand side by side. Runs that are not comparable are refused, never mixed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

from common.data.splits import TESTS
from common.results.comparable import disagreement, same_base
from common.results.ledger import BASELINE, folder, read_predictions, read_record, read_records
from common.settings import UserError, relative

KINDS = ("baselines", "one run", "searched")


@dataclass(frozen=True)
class Entry:
    """A record and the folder that it, and its predictions, lie in."""

    record: dict
    place: Path

    @property
    def method(self) -> str:
        return self.record["method"]

    @property
    def rows(self) -> int:
        """Scorable test rows; 0 for a run that failed."""
        return self.record["metrics"]["match"].get("n", 0)

    @property
    def kind(self) -> str:
        """Which of KINDS it is: nothing trained, trained at given values, or at those of a search."""
        if not self.record["model"]["trainable_parameters"]:
            return KINDS[0]
        return KINDS[2] if self.record.get("trials") else KINDS[1]

    @cached_property
    def predictions(self) -> list[dict]:
        """Its predictions rows, of all splits."""
        return read_predictions(self.place, self.method)

    def right(self, split: str) -> dict:
        """The headline metric on a split; {} where it was not answered."""
        if split == self.record["data"]["split"]:
            return self.record["metrics"]["right"]
        return self.record.get("splits", {}).get(split, {}).get("metrics", {}).get("right", {})


def select(place: Path, methods: Sequence[str] | None = None) -> list[Entry]:
    """The runs of a folder by kind, in each the best first; the baseline before all: its own, or the committed one
    where that is comparable.

    Raises UserError where one is missing or two are not comparable.
    """
    records = [read_record(place, method) for method in methods] if methods else read_records(place)
    if not records:
        raise UserError(f"there are no records in {relative(place)}; run a notebook first")
    entries = [Entry(record, place) for record in records]
    runs = [entry for entry in entries if entry.rows]
    for one, other in combinations(runs, 2):  # all: what an old record does not say agrees with anything
        if pair := disagreement(one.record, other.record):
            names = " and ".join(f"{place.name}/{each.method}" for each in (one, other))
            raise UserError(f"{names} differ in {pair[0]} and cannot share a table: {pair[1]}")
    if not methods and runs and BASELINE not in [entry.method for entry in entries]:
        entries += _committed_baseline(runs)
    return sorted(entries, key=_rank)


def _rank(entry: Entry) -> tuple:
    value = entry.record["metrics"]["right"].get("value") or 0.0
    return entry.method != BASELINE, KINDS.index(entry.kind), -value, entry.method


def _committed_baseline(runs: Sequence[Entry]) -> list[Entry]:
    place = folder(runs[0].record["profile"])
    if not (place / f"{BASELINE}.json").exists():
        return []
    record = read_record(place, BASELINE)
    fits = same_base(record, runs[0].record) and all(disagreement(record, run.record) is None for run in runs)
    return [Entry(record, place)] if fits and record["metrics"]["match"].get("n") else []


def splits(entries: Sequence[Entry]) -> list[str]:
    """The splits beside `test` that any of the runs answered, in the study's order."""
    names = {name for entry in entries for name in entry.record.get("splits", {})}
    return [name for name in TESTS if name in names]
