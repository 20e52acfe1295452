"""A folder's comparison as text: Markdown for a README, a plain table for a terminal. All of it from the records."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.results.comparison import by_complexity, table
from common.results.entries import Entry, select, splits
from common.results.formats import interval, is_absent, number, p_value, share
from common.results.planned import planned
from common.results.seeds import over_seeds
from common.statistics import FEWEST_GROUPS, TEST

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
ONE_SEED = "Every row is of one seed: how far another draw of the training would move it is not measured."
SEVERAL_SEEDS = (
    "The same training at other seeds (what is drawn in it, the order of rows) on the same data; every other row is of "
    "one seed:"
)
_GGUF = re.compile(r"\b(I?Q\d\w*)\.gguf dequantised$", re.IGNORECASE)
COMMITTED = "The baseline is the committed one, from `results/`."


def markdown(place: Path, methods: Sequence[str] | None = None) -> str:
    """The folder's sentence and all its tables."""
    entries = select(place, methods)
    pairs = planned(entries)
    runs, slices = table(entries, pairs, place), by_complexity(entries)
    names = splits(entries)
    lines = [
        [
            *_headline(method, row, names),
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
        for method, row in runs.iterrows()
    ]
    heads = [*_heads(names), "strict match [95 %]", "score", "published score", "scorable"]
    heads += ["trained parameters", "training, min", "rows/s", "answering, min", "rows/s"]
    parts = [_sentence(entries), pipes(heads, lines), *_remarks(runs)]
    if len(pairs):
        parts += [_pairs_sentence(pairs), _pairs_table(pairs, names)]
    if len(slices.columns):
        cells = [[f"`{method}`", *map(share, row)] for method, row in zip(slices.index, slices.to_numpy(), strict=True)]
        parts += ["Robust match by complexity (scorable rows of `test`), of few rows as a count:"]
        parts += [pipes(["method", *slices.columns], cells)]
    return "\n\n".join([*parts, *_seeds(entries, place)])


def short(place: Path) -> str:
    """What a README shows of a folder: the headline of every run, what its rows can show, and the seeds in a line. The
    planned pairs stand in `findings`, in words."""
    entries = select(place)
    pairs = planned(entries)
    runs, names = table(entries, pairs, place), splits(entries)
    lines = [
        [*_headline(method, row, names), f"{row['trainable_parameters']:,}", _minutes(row["train_seconds"])]
        for method, row in runs.iterrows()
    ]
    parts = [_sentence(entries), pipes([*_heads(names), "trained parameters", "last training alone, min"], lines)]
    parts += _remarks(runs[["stale", "committed"]])
    last = [*([_power(pairs)] if len(pairs) else []), _seeds_line(over_seeds(entries, place))]
    return "\n\n".join([*parts, " ".join(last)])


def plain(place: Path, methods: Sequence[str] | None = None) -> str:
    """The comparison in short, for a terminal."""
    import pandas

    entries = select(place, methods)
    runs, names = table(entries, planned(entries), place), splits(entries)
    lines = {}
    for method, row in runs.iterrows():
        head, *cells = _headline(method, row, names, quote="")
        cells += [_interval(row, "match"), number(row["score"]), f"{row['scorable']:,}"]
        lines[head] = dict(zip([*_heads(names)[1:], "strict match [95 %]", "score", "scorable"], cells, strict=True))
    return "\n".join([pandas.DataFrame.from_dict(lines, orient="index").to_string(), *_remarks(runs)])


# A run's line


def _heads(names: Sequence[str]) -> list[str]:
    first = ["method", "robust match [95 %]", "robust match − baseline [95 %]", "p (Holm)"]
    return [*first, *(f"{name} [95 %]" for name in names)]


def _headline(method: str, row: "pandas.Series", names: Sequence[str], quote: str = "`") -> list[str]:
    cells = [_name(method, row, quote), _interval(row, "right"), _interval(row, "difference", sign="+")]
    return [*cells, p_value(row["p_holm"]), *(_interval(row, name) for name in names)]


def _name(method: str, row: "pandas.Series", quote: str = "") -> str:
    status = "" if row["status"] == "complete" else f" ({row['status']})"
    return f"{quote}{method}{quote}{status}{' †' if row['stale'] else ''}"


def _remarks(table: "pandas.DataFrame") -> list[str]:
    remarks = [*([STALE] if table["stale"].any() else []), *([COMMITTED] if table["committed"].any() else [])]
    for column, words in COUNTS.items():
        if column not in table:
            continue
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
        f"Profile `{first['profile']}`: {values('model', 'id')}{_rounded(entries)} on {data['source']} data, "
        f"{_rows(first, entries)}, greedy decoding of at most {tokens} tokens; {values('environment', 'device')}."
    )


def _rounded(entries: Sequence[Entry]) -> str:
    """That the weights of all models had been rounded by their maker; to what is in their files' names."""
    revisions = {str(entry.record["model"]["revision"]) for entry in entries if entry.record["model"]["id"]}
    types = [_GGUF.search(revision) for revision in sorted(revisions)]
    if not types or None in types:
        return ""
    names = dict.fromkeys(match[1].upper() for match in types)
    return f" (GGUF files of type {' and '.join(names)}, dequantised)"


def _rows(record: dict, entries: Sequence[Entry]) -> str:
    """Which splits were answered, and how many rows of each."""
    sizes = {record["data"]["split"]: record["data"]["n"]}
    sizes |= {name: record["splits"][name]["n"] for name in splits(entries)}
    return ", ".join(f"{n:,} rows of `{name}`" for name, n in sizes.items())


# Planned pairs


def _pair(method: str, other: str) -> str:
    return f"`{method}` − `{other}`"


def _difference(row: "pandas.Series") -> str:
    return interval(row.to_dict(), "+")


def _pairs_sentence(pairs: "pandas.DataFrame") -> str:
    return (
        "Planned pairs on `test`: the difference of robust match on the same rows with a paired bootstrap interval, "
        f"McNemar's exact p, and Holm's p over all {len(pairs)} pairs. {_power(pairs)}{_joint(pairs)}"
    )


def _power(pairs: "pandas.DataFrame") -> str:
    """The smallest difference that the rows can show, over the pairs at hand."""
    values = pairs["smallest"].dropna()
    if values.empty:
        return "The rows are too few to show any difference."
    low, high = (number(value) for value in (values.min(), values.max()))
    return (
        f"What {pairs['n'].max():,} rows can show: one test at the 5 % level finds a true difference of "
        f"{low if low == high else f'{low} to {high}'} four times in five, depending on how many rows have another "
        "verdict in one run than in the other; a smaller one may be there unseen."
    )


def _joint(pairs: "pandas.DataFrame") -> str:
    """What the rows share, over the pairs at hand, and what that means for their intervals."""
    texts = []
    shared = pairs[pairs["groups"] < pairs["n"]]["groups"]
    for counts, words in (
        (shared[shared >= FEWEST_GROUPS], "which are resampled and tested whole"),
        (
            shared[shared < FEWEST_GROUPS],
            "too few to stand for others: intervals and p are about further questions to the same schemas",
        ),
    ):
        if len(counts):
            low, high = counts.min(), counts.max()
            span = f"{low:,}" if low == high else f"{low:,} to {high:,}"
            texts.append(f" Rows share {span} schema{'s' * int(high > 1)}, {words}.")
    return "".join(texts)


def _pairs_table(pairs: "pandas.DataFrame", names: Sequence[str]) -> str:
    heads = [
        "pair",
        "difference [95 %]",
        "p (McNemar)",
        "p (Holm)",
        "rows with another verdict",
        "smallest difference shown",
    ]
    names = [name for name in names if name in pairs]
    lines = [
        [
            _pair(*key),
            _difference(row),
            p_value(row["p"]),
            p_value(row["p_holm"]),
            f"{row['discordant'] * row['n']:.0f} of {row['n']:,.0f}",
            number(row["smallest"]),
            *(_interval(row, name, "+") for name in names),
        ]
        for key, row in pairs.iterrows()
    ]
    return pipes([*heads, *(f"difference on {name} [95 %]" for name in names)], lines)


# Seeds


def _seeds(entries: Sequence[Entry], place: Path) -> list[str]:
    runs = over_seeds(entries, place)
    if runs.empty:
        return [ONE_SEED]
    names = [name for name in (TEST, *splits(entries)) if name in runs]
    lines = [
        [
            f"`{method}`{' †' if row['stale'] else ''}",
            row["seeds"],
            ", ".join(map(number, row["values"])),
            *(_spread(row, name) for name in names),
        ]
        for method, row in runs.iterrows()
    ]
    heads = ["method", "seeds", "robust match by seed", *(f"{name}, mean ± standard deviation" for name in names)]
    return [SEVERAL_SEEDS, pipes(heads, lines)]


def _seeds_line(runs: "pandas.DataFrame") -> str:
    if runs.empty:
        return ONE_SEED
    words = ", ".join(f"`{method}` {_spread(row, TEST)}" for method, row in runs.iterrows())
    seeds = " / ".join(dict.fromkeys(runs["seeds"]))
    return f"Robust match over the seeds {seeds}, mean ± standard deviation: {words}. Every other row is of one seed."


def _spread(row: "pandas.Series", name: str) -> str:
    return "–" if is_absent(row[name]) else f"{number(row[name])} ± {number(row[f'{name}_sd'])}"


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
