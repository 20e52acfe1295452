"""Runs of one folder side by side, as a table of numbers. Runs that are not comparable are refused, never mixed.

A difference is a run's robust match minus the baseline's (strict where no databases were generated) over the rows that
both have a verdict for, with a paired bootstrap interval; its p is McNemar's exact test, adjusted (Holm) for all runs
in the table. It is taken between runs of the same base model only. Text and figure are `tables`' and `figure`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.results.comparable import disagreement, same_base, same_environment
from common.results.ledger import BASELINE, folder, read_predictions, read_record, read_records
from common.results.sections import answered_rows, staleness
from common.settings import UserError, relative
from common.statistics import PairedDifference, difference, holm, of_split

if TYPE_CHECKING:
    import pandas

_COSTS = ("train_seconds", "train_rows_per_second", "eval_seconds", "eval_rows_per_second")


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
        """Scorable rows; 0 for a run that failed."""
        return self.record["metrics"]["match"].get("n", 0)


def select(place: Path, methods: Sequence[str] | None = None) -> list[Entry]:
    """The runs of a folder, the baseline first: its own, or the committed one where that is comparable.

    Raises UserError where one is missing or two are not comparable.
    """
    records = [read_record(place, method) for method in methods] if methods else read_records(place)
    if not records:
        raise UserError(f"there are no records in {relative(place)}; run a notebook first")
    entries = [Entry(record, place) for record in records]
    runs = [entry for entry in entries if entry.rows]
    for entry in runs[1:]:
        if pair := disagreement(runs[0].record, entry.record):
            names = " and ".join(f"{place.name}/{each.method}" for each in (runs[0], entry))
            raise UserError(f"{names} differ in {pair[0]} and cannot share a table: {pair[1]}")
    if methods or not runs or BASELINE in [entry.method for entry in entries]:
        return entries
    return [*_committed_baseline(runs[0]), *entries]


def _committed_baseline(entry: Entry) -> list[Entry]:
    place = folder(entry.record["profile"])
    if not (place / f"{BASELINE}.json").exists():
        return []
    record = read_record(place, BASELINE)
    fits = same_base(record, entry.record) and disagreement(record, entry.record) is None
    return [Entry(record, place)] if fits and record["metrics"]["match"].get("n") else []


def compare(place: Path, methods: Sequence[str] | None = None) -> "pandas.DataFrame":
    """One line a run of the folder, indexed by method: intervals as three columns each, n, parameters, cost, difference
    to the baseline, `stale` ("" for a run of today's code) and `committed` (a baseline of results/, not of the folder).

    Costs are those of runs in the first one's environment, others have none. Raises UserError where a record is
    missing, damaged, or not comparable with the others.
    """
    import pandas  # in the functions that make tables, so that a bench does without it

    entries = select(place, methods)
    runs = [entry for entry in entries if entry.rows]
    base = next((entry for entry in runs if entry.method == BASELINE), None)
    lines = []
    for entry in entries:
        record, metrics = entry.record, entry.record["metrics"]
        line = {"method": entry.method, "status": record["status"], "committed": entry.place != place}
        for name in ("right", "match", "score", "published_score"):
            metric = metrics[name]
            line |= {name: metric.get("value"), f"{name}_low": metric.get("low"), f"{name}_high": metric.get("high")}
        line |= {
            "scorable": entry.rows,
            "rows": record["data"]["n"],
            "column_order_refusals": record.get("column_order_refusals"),
            "strict_only_matches": record.get("strict_only_matches"),
            "trainable_parameters": record["model"]["trainable_parameters"],
            "stale": staleness(record) if entry.rows else "",
        }
        line |= _costs(record, runs[0].record) if runs else dict.fromkeys(_COSTS)
        pair = _difference(base, entry)
        fields = {"difference": "value", "difference_low": "low", "difference_high": "high", "p": "p"}
        line |= {name: getattr(pair, field, None) for name, field in fields.items()}
        lines.append(line)
    table = pandas.DataFrame(lines).set_index("method")
    p = table["p"].dropna().astype(float)
    return table.assign(p_holm=pandas.Series(holm(list(p)), index=p.index, dtype=float))


def _costs(record: dict, first: dict) -> dict:
    if not same_environment(record, first):
        return dict.fromkeys(_COSTS)
    cost, n = record["cost"], answered_rows(record)
    rate = n / cost["eval_seconds"] if cost["eval_seconds"] else None
    return {name: cost[name] for name in _COSTS[:3]} | {"eval_rows_per_second": rate}


def _difference(base: Entry | None, entry: Entry) -> PairedDifference | None:
    if base is None or entry is base or not entry.rows or not same_base(base.record, entry.record):
        return None
    return difference(*(of_split(read_predictions(each.place, each.method)) for each in (base, entry)))


def by_complexity(place: Path, methods: Sequence[str] | None = None) -> "pandas.DataFrame":
    """The headline verdict, one line a method and one column a complexity, `name (n)`; the commonest first."""
    import pandas

    slices = {entry.method: entry.record["slices"]["complexity"] for entry in select(place, methods)}
    slices = {method: by_name for method, by_name in slices.items() if by_name}
    sizes = {name: metrics["match"]["n"] for by_name in slices.values() for name, metrics in by_name.items()}
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    lines = {
        method: {f"{name} ({sizes[name]})": by_name.get(name, {}).get("right", {}).get("value") for name in names}
        for method, by_name in slices.items()
    }
    return pandas.DataFrame.from_dict(lines, orient="index")
