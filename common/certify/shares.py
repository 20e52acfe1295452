"""Shares over rows that come in groups: the mutants of one reference pass or fail together more than strangers do.

The interval resamples references, not rows; a share of 0 or 1 gets Wilson's interval over references instead, of which
none, or each, is then an exception.
"""

from collections.abc import Sequence

import numpy
import pandas

from common.statistics import Interval, mean_interval


def grouped_share(values: Sequence[bool], groups: Sequence[str], *, seed: int = 0, resamples: int = 2_000) -> Interval:
    """The share of true values with its 95 % interval; n counts the values."""
    if not len(values):
        return Interval(None, None, None, 0)
    table = pandas.DataFrame({"value": numpy.asarray(values, bool), "group": groups})
    by_group = table.groupby("group", sort=True)["value"].agg(["sum", "count"])
    accepted, sizes = by_group["sum"].to_numpy(), by_group["count"].to_numpy()
    share, n = float(accepted.sum() / sizes.sum()), int(sizes.sum())
    if share in (0.0, 1.0):
        wilson = mean_interval([bool(share)] * len(sizes))
        return Interval(share, wilson.low, wilson.high, n)
    rng = numpy.random.default_rng(seed)
    drawn = rng.multinomial(len(sizes), numpy.full(len(sizes), 1 / len(sizes)), size=resamples)
    low, high = numpy.quantile(drawn @ accepted / (drawn @ sizes), [0.025, 0.975])
    return Interval(share, float(low), float(high), n)


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
            known = parts[name][parts[name][column].notna()]
            found = grouped_share(known[column].to_numpy(bool), known["id"].to_numpy())
            lines[name] |= {column: found.value, f"{column}_low": found.low, f"{column}_high": found.high}
    return pandas.DataFrame.from_dict(lines, orient="index")
