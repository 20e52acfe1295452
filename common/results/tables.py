"""A folder's comparison as text: Markdown for a README, a plain table for a terminal. All of it from the records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.results.comparison import Entry, by_complexity, compare, select
from common.results.formats import interval, is_absent, number

if TYPE_CHECKING:
    import pandas

STALE = (
    "† trained or answered by code older than today's, or made before records said by which: run again, its figures "
    "may differ."
)
COUNTS = {  # said below a table of the runs that have some, by the key of their record
    "column_order_refusals": "Refused by strict match for the order of the columns alone, which many evaluators "
    "ignore, of scorable rows:",
    "strict_only_matches": "Robust matches that rest on the given database alone, since none could be generated, of "
    "scorable rows:",
}
COMMITTED = "The baseline is the committed one, from `results/`."


def markdown(place: Path, methods: Sequence[str] | None = None) -> str:
    """The folder's sentence and its two tables."""
    entries = select(place, methods)
    table, slices = compare(place, methods), by_complexity(place, methods)
    lines = [
        [
            _name(method, row, "`"),
            _interval(row, "right"),
            _interval(row, "difference", sign="+"),
            _interval(row, "match"),
            number(row["score"]),
            number(row["published_score"]),
            f"{row['scorable']:,}",
            f"{row['trainable_parameters']:,}",
            _minutes(row["train_seconds"]),
            _rate(row["train_rows_per_second"]),
            _minutes(row["eval_seconds"]),
            _rate(row["eval_rows_per_second"]),
        ]
        for method, row in table.iterrows()
    ]
    heads = ["method", "robust match [95 %]", "robust match − baseline [95 %]", "strict match [95 %]"]
    heads += ["score", "published score", "scorable"]
    heads += ["trained parameters", "training, min", "rows/s", "answering, min", "rows/s"]
    parts = [_sentence(entries), pipes(heads, lines), *_remarks(table)]
    if len(slices.columns):
        cells = [
            [f"`{method}`", *map(number, row)] for method, row in zip(slices.index, slices.to_numpy(), strict=True)
        ]
        parts += ["Robust match by complexity (scorable rows):", pipes(["method", *slices.columns], cells)]
    return "\n\n".join(parts)


def plain(place: Path, methods: Sequence[str] | None = None) -> str:
    """The comparison in short, for a terminal."""
    import pandas

    table = compare(place, methods)
    lines = {
        _name(method, row): {
            "robust match [95 %]": _interval(row, "right"),
            "robust match − baseline [95 %]": _interval(row, "difference", sign="+"),
            "strict match [95 %]": _interval(row, "match"),
            "score": number(row["score"]),
            "published score": number(row["published_score"]),
            "scorable": f"{row['scorable']:,}",
        }
        for method, row in table.iterrows()
    }
    return "\n".join([pandas.DataFrame.from_dict(lines, orient="index").to_string(), *_remarks(table)])


def _name(method: str, row: "pandas.Series", quote: str = "") -> str:
    status = "" if row["status"] == "complete" else f" ({row['status']})"
    return f"{quote}{method}{quote}{status}{' †' if row['stale'] else ''}"


def _remarks(table: "pandas.DataFrame") -> list[str]:
    remarks = [*([STALE] if table["stale"].any() else []), *([COMMITTED] if table["committed"].any() else [])]
    for column, words in COUNTS.items():
        numbers = table[column].where(table["scorable"] > 0).dropna()  # older records have none
        counts = [(method, number, table.loc[method, "scorable"]) for method, number in numbers.items() if number]
        if counts:
            shares = ", ".join(f"{method} {number:.0f} of {rows:,}" for method, number, rows in counts)
            remarks.append(f"{words} {shares}{'; the others none' if len(counts) < len(numbers) else ''}.")
    return remarks


def _sentence(entries: Sequence[Entry]) -> str:
    def values(section: str, key: str) -> str:
        texts = [str(entry.record[section][key]) for entry in entries if entry.record[section][key]]
        return " and ".join(dict.fromkeys(texts))

    first = next((entry.record for entry in entries if entry.rows), entries[0].record)
    data, tokens = first["data"], first["decoding"]["max_new_tokens"]
    return (
        f"Profile `{first['profile']}`: {values('model', 'id')} on {data['source']} data, split {data['split']}, "
        f"{data['n']:,} rows, greedy decoding of at most {tokens} tokens; {values('environment', 'device')}."
    )


def pipes(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column of words, the others of figures."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rule, *lines))


def _interval(row: "pandas.Series", name: str, sign: str = "") -> str:
    return interval({"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}, sign)


def _minutes(seconds: float | None) -> str:
    return f"{seconds / 60:,.1f}" if seconds and not is_absent(seconds) else "–"


def _rate(rate: float | None) -> str:
    return f"{rate:,.2f}" if rate and not is_absent(rate) else "–"
