"""Intervals, paired tests and corrections (`intervals`), and a run's figures from its predictions rows (`rows`)."""

from common.statistics.intervals import (
    Interval,
    PairedDifference,
    grouped_interval,
    holm,
    mean_interval,
    paired_difference,
)
from common.statistics.rows import (
    METRICS,
    TEST,
    column_order_refusals,
    difference,
    figures,
    is_right,
    metrics,
    of_split,
    outcomes,
    paired_rows,
    schemas_of,
    slices,
    splits_of,
    strict_only_matches,
)

__all__ = [
    "METRICS",
    "TEST",
    "Interval",
    "PairedDifference",
    "column_order_refusals",
    "difference",
    "figures",
    "grouped_interval",
    "holm",
    "is_right",
    "mean_interval",
    "metrics",
    "of_split",
    "outcomes",
    "paired_difference",
    "paired_rows",
    "schemas_of",
    "slices",
    "splits_of",
    "strict_only_matches",
]
