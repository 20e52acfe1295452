"""Runs of several seeds on the same rows: how far a result depends on the draw of a training.

`<folder>/seeds/<seed>/` holds the records of other seeds; the folder's own are of the usual one.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.results.comparable import disagreement, same_base
from common.results.entries import Entry, splits
from common.results.ledger import read_records, seed_folders
from common.results.sections import staleness
from common.statistics import TEST

if TYPE_CHECKING:
    import pandas


def over_seeds(entries: Sequence[Entry], place: Path) -> "pandas.DataFrame":
    """One line a method of the entries that other seeds were run of, comparable with it: `seeds` as a text, `values` of
    the headline metric in their order, its mean and standard deviation on `test` and on each other split
    (`<split>`, `<split>_sd`), and `stale` where any of the runs is."""
    import pandas

    others: dict[str, list[Entry]] = {}
    for folder in seed_folders(place):
        for record in read_records(folder):
            others.setdefault(record["method"], []).append(Entry(record, folder))
    lines = {}
    for entry in entries:
        fair = [each for each in others.get(entry.method, []) if each.rows and _agrees(each.record, entry.record)]
        runs = sorted([entry, *fair], key=lambda each: each.record["seed"])
        if not entry.rows or len(runs) < 2:
            continue
        line = {"seeds": ", ".join(str(each.record["seed"]) for each in runs)}
        line |= {"values": [each.right(TEST)["value"] for each in runs]}
        for split in [TEST, *splits(entries)]:
            values = [value for each in runs if (value := each.right(split).get("value")) is not None]
            if len(values) > 1:
                line |= {split: statistics.mean(values), f"{split}_sd": statistics.stdev(values)}
        lines[entry.method] = line | {"stale": any(staleness(each.record) for each in runs)}
    return pandas.DataFrame.from_dict(lines, orient="index")


def _agrees(record: dict, other: dict) -> bool:
    return disagreement(record, other) is None and same_base(record, other) and record["seed"] != other["seed"]
