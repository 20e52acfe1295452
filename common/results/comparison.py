"""Runs of one folder side by side, as a table of numbers; text and figure are `tables`' and `figure`'s.

A run's difference to the baseline is the planned one, see `planned`: between runs of the same base model only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.results.comparable import same_environment
from common.results.entries import Entry, select, splits
from common.results.ledger import BASELINE
from common.results.planned import planned
from common.results.sections import answered_rows, staleness
from common.statistics import METRICS

if TYPE_CHECKING:
    import pandas

_COSTS = ("train_seconds", "train_rows_per_second", "eval_seconds", "eval_rows_per_second")


def compare(place: Path, methods: Sequence[str] | None = None) -> "pandas.DataFrame":
    """One line a run of the folder, indexed by method: its kind, intervals as three columns each (of the headline on
    each other split too), n, parameters, cost, difference to the baseline with its p and Holm's p over all planned
    pairs, `stale` ("" for a run of today's code) and `committed` (a baseline of results/, not of the folder).

    Costs are those of runs in the first one's environment, others have none. Raises UserError where a record is
    missing, damaged, or not comparable with the others.
    """
    entries = select(place, methods)
    return table(entries, planned(entries), place)


def table(entries: Sequence[Entry], pairs: "pandas.DataFrame", place: Path) -> "pandas.DataFrame":
    """The same for runs that are selected already and for their planned pairs."""
    import pandas  # in the functions that make tables, so that a bench does without it

    runs = [entry for entry in entries if entry.rows]
    differences = pairs.to_dict("index")
    lines = []
    for entry in entries:
        record = entry.record
        line = {"method": entry.method, "status": record["status"], "committed": entry.place != place}
        line |= {"kind": entry.kind}
        metrics = {name: record["metrics"][name] for name in METRICS[:4]}
        for name, metric in (metrics | {split: entry.right(split) for split in splits(entries)}).items():
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
        pair = differences.get((entry.method, BASELINE), {})
        fields = {"difference": "value", "difference_low": "low", "difference_high": "high", "p": "p"}
        line |= {name: pair.get(field) for name, field in (fields | {"p_holm": "p_holm"}).items()}
        lines.append(line)
    return pandas.DataFrame(lines).set_index("method")


def _costs(record: dict, first: dict) -> dict:
    if not same_environment(record, first):
        return dict.fromkeys(_COSTS)
    cost, n = record["cost"], answered_rows(record)
    rate = n / cost["eval_seconds"] if cost["eval_seconds"] else None
    return {name: cost[name] for name in _COSTS[:3]} | {"eval_rows_per_second": rate}


def by_complexity(entries: Sequence[Entry]) -> "pandas.DataFrame":
    """The headline metric of each run (a line) on each complexity (a column, the commonest first), as a record's metric
    with its n; {} where it has none."""
    import pandas

    slices = {entry.method: entry.record["slices"]["complexity"] for entry in entries}
    slices = {method: by_name for method, by_name in slices.items() if by_name}
    sizes = {name: metrics["match"]["n"] for by_name in slices.values() for name, metrics in by_name.items()}
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    lines = [[by_name.get(name, {}).get("right", {}) for name in names] for by_name in slices.values()]
    return pandas.DataFrame(lines, index=list(slices), columns=[f"{name} ({sizes[name]})" for name in names])
