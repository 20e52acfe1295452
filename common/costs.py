"""What a run cost on this machine, as a table."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import pandas

from common.results import sections

if TYPE_CHECKING:
    from common.evaluation import Report
    from common.sweeps import SearchResult
    from common.training.sft import Trained

# What `cost_table` shows of a record's cost: its name and unit there, and the divisor.
_COSTS = {
    "search_seconds": ("search, min", 60),
    "search_tokens": ("search, tokens", 1),
    "train_seconds": ("training, min", 60),
    "train_rows_per_second": ("training, rows/s", 1),
    "train_tokens_per_second": ("training, tokens/s", 1),
    "validation_seconds": ("validation, min", 60),
    "peak_memory_bytes": ("peak memory, GB", 1e9),
    "eval_seconds": ("answering, min", 60),
    "eval_rows_per_second": ("answering, rows/s", 1),
    "eval_tokens_per_second": ("answering, tokens/s", 1),
}


def cost_table(
    report: "Report", trained: "Trained | None" = None, search: "SearchResult | None" = None
) -> pandas.DataFrame:
    """What the run cost on this machine; compare only within one machine."""
    cost = asdict(sections.cost(report, trained, search))
    lines = {label: f"{cost[key] / unit:,.1f}" for key, (label, unit) in _COSTS.items() if cost[key]}
    return pandas.DataFrame({"value": lines})
