"""Shares over rows that come in groups: the mutants of one reference pass or fail together more than strangers do.

The interval resamples references, not rows; a share of 0 or 1 gets Wilson's interval over references instead, of which
none, or each, is then an exception.
"""

from collections.abc import Sequence

import pandas

from common.statistics import grouped_interval


def shares(table: pandas.DataFrame, columns: Sequence[str], *, by: str) -> pandas.DataFrame:
    """The share of true values in each column, one line a value of `by` and one for all, the largest group first.

    table: has a column `id` that names the reference. Columns of the result: n, and `<column>`, `<column>_low`,
    `<column>_high` for each. Rows where a column has no value (None) are left out of its share.
    """
    parts = {"all": table, **{str(name): part for name, part in table.groupby(by, sort=True)}}
    order = sorted(parts, key=lambda name: (name != "all", -len(parts[name]), name))
    lines = {}
    for name in order:
        lines[name] = {"n": len(parts[name])}
        for column in columns:
            rows = parts[name][parts[name][column].notna()]
            share = grouped_interval(rows[column].to_numpy(bool), rows["id"].to_numpy())
            lines[name] |= {column: share.value, f"{column}_low": share.low, f"{column}_high": share.high}
    return pandas.DataFrame.from_dict(lines, orient="index")
