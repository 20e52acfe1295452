"""Runs of one profile side by side: one table, one figure. Runs that are not comparable are refused, never mixed.

A difference is a run's robust match minus the baseline's (strict where no databases were generated) over the rows that
both have a verdict for, with a paired bootstrap interval; its p is McNemar's exact test, adjusted (Holm) for all runs
in the table.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.results.ledger import folder, read_predictions, read_record, read_records
from common.settings import UserError, replace_text, writable, writing
from common.statistics import holm, is_right, paired_difference, paired_rows

if TYPE_CHECKING:
    import pandas

BASELINE = "baseline"
# What must agree within a table, and what to do where it does not.
_MUST_AGREE = {
    ("data", "ids_hash"): "run both on the same rows",
    ("data", "prompt_hash"): "run both again with today's prompt",
    ("decoding",): "run both with the same decoding",
    ("scoring",): "score both on the same generated databases",
    ("code", "scorer_digest"): "`python -m common.results rescore` gives both today's verdicts without a model",
}


def select(profile: str, methods: Sequence[str] | None = None) -> list[dict]:
    """The records to compare, the baseline first. Raises UserError where one is missing or two are not comparable."""
    records = [read_record(profile, method) for method in methods] if methods else read_records(profile)
    if not records:
        raise UserError(f"there are no records for profile {profile}; `make run PROFILE={profile}` writes them")
    measured = [record for record in records if record["metrics"]["match"].get("n")]
    for record in measured[1:]:
        for path, advice in _MUST_AGREE.items():
            if _at(record, path) != _at(measured[0], path):
                first, second = (f"{r['profile']}/{r['method']}" for r in (measured[0], record))
                raise UserError(f"{first} and {second} differ in {'.'.join(path)} and cannot share a table: {advice}")
    return records


def _at(record: dict, path: Sequence[str]) -> object:
    for key in path:
        record = record[key]
    return record


def compare(profile: str, methods: Sequence[str] | None = None) -> "pandas.DataFrame":
    """One line a run, indexed by method: intervals as three columns each, n, parameters, cost, difference to baseline.

    Raises UserError where a record is missing, damaged, or not comparable with the others.
    """
    import pandas  # in the functions that make tables, so that a bench does without it

    records = select(profile, methods)
    measured = [record["method"] for record in records if record["metrics"]["match"].get("n")]
    base = read_predictions(profile, BASELINE) if BASELINE in measured else None
    lines = []
    for record in records:
        method, cost, data = record["method"], record["cost"], record["data"]
        line = {"method": method, "status": record["status"]}
        for name in ("right", "match", "score", "published_score"):
            found = record["metrics"][name]
            line |= {name: found.get("value"), f"{name}_low": found.get("low"), f"{name}_high": found.get("high")}
        line |= {
            "scorable": record["metrics"]["match"].get("n", 0),
            "rows": data["n"],
            "trainable_parameters": record["model"]["trainable_parameters"],
            "train_seconds": cost["train_seconds"],
            "train_rows_per_second": cost["train_rows_per_second"],
            "eval_seconds": cost["eval_seconds"],
            "eval_rows_per_second": data["n"] / cost["eval_seconds"] if cost["eval_seconds"] else None,
        }
        found = None
        if base is not None and method in measured and method != BASELINE:
            found = paired_difference(*_both_scorable(base, read_predictions(profile, method)))
        for name, field in (
            ("difference", "value"),
            ("difference_low", "low"),
            ("difference_high", "high"),
            ("p", "p"),
        ):
            line[name] = getattr(found, field, None)
        lines.append(line)
    table = pandas.DataFrame(lines).set_index("method")
    tested = table["p"].dropna().astype(float)
    return table.assign(p_holm=pandas.Series(holm(list(tested)), index=tested.index, dtype=float))


def _both_scorable(a_rows: list[dict], b_rows: list[dict]) -> tuple[list[bool], list[bool]]:
    pairs = zip(*paired_rows(a_rows, b_rows), strict=True)
    both = [pair for a, b in pairs if None not in (pair := (is_right(a), is_right(b)))]
    return [a for a, _ in both], [b for _, b in both]


def by_complexity(profile: str, methods: Sequence[str] | None = None) -> "pandas.DataFrame":
    """The headline verdict, one line a method and one column a complexity, `name (n)`; the commonest first."""
    import pandas

    found = {r["method"]: r["slices"]["complexity"] for r in select(profile, methods) if r["slices"]["complexity"]}
    sizes = {name: found["match"]["n"] for slices in found.values() for name, found in slices.items()}
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    lines = {
        method: {f"{name} ({sizes[name]})": slices.get(name, {}).get("right", {}).get("value") for name in names}
        for method, slices in found.items()
    }
    return pandas.DataFrame.from_dict(lines, orient="index")


def markdown(profile: str, methods: Sequence[str] | None = None) -> str:
    """The profile's sentence and its two tables, all of it from the records."""
    records = select(profile, methods)
    table, slices = compare(profile, methods), by_complexity(profile, methods)
    lines = [
        [
            f"`{method}`" if row["status"] == "complete" else f"`{method}` ({row['status']})",
            _interval(row, "right"),
            _interval(row, "difference", sign="+"),
            _interval(row, "match"),
            _number(row["score"]),
            _number(row["published_score"]),
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
    parts = [_sentence(records), pipes(heads, lines)]
    if len(slices.columns):
        cells = [
            [f"`{method}`", *map(_number, row)] for method, row in zip(slices.index, slices.to_numpy(), strict=True)
        ]
        parts += ["Robust match by complexity (scorable rows):", pipes(["method", *slices.columns], cells)]
    return "\n\n".join(parts)


def plain(profile: str, methods: Sequence[str] | None = None) -> str:
    """The comparison in short, for a terminal."""
    import pandas

    lines = {
        method: {
            "robust match [95 %]": _interval(row, "right"),
            "robust match − baseline [95 %]": _interval(row, "difference", sign="+"),
            "strict match [95 %]": _interval(row, "match"),
            "score": _number(row["score"]),
            "published score": _number(row["published_score"]),
            "scorable": f"{row['scorable']:,}",
        }
        for method, row in compare(profile, methods).iterrows()
    }
    return pandas.DataFrame.from_dict(lines, orient="index").to_string()


def _sentence(records: list[dict]) -> str:
    def values(section: str, key: str) -> str:
        return " and ".join(dict.fromkeys(str(record[section][key]) for record in records if record[section][key]))

    measured = [record for record in records if record["metrics"]["match"].get("n")] or records
    data, tokens = measured[0]["data"], measured[0]["decoding"]["max_new_tokens"]
    return (
        f"Profile `{records[0]['profile']}`: {values('model', 'id')} on {data['source']} data, split {data['split']}, "
        f"{data['n']:,} rows, greedy decoding of at most {tokens} tokens; {values('environment', 'device')}."
    )


def pipes(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first column of words, the others of figures."""
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heads, rule, *lines))


def _absent(value: float | None) -> bool:
    return value is None or value != value  # a table has nan for what a record has not


def _number(value: float | None, sign: str = "") -> str:
    return "–" if _absent(value) else f"{value:{sign}.3f}"


def _interval(row: "pandas.Series", name: str, sign: str = "") -> str:
    if _absent(row[name]):
        return "–"
    low, high = (_number(row[f"{name}_{end}"], sign) for end in ("low", "high"))
    return f"{_number(row[name], sign)} [{low}, {high}]"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.1f}" if seconds else "–"


def _rate(rate: float | None) -> str:
    return f"{rate:,.2f}" if rate and not _absent(rate) else "–"


def save_comparison(profile: str) -> list[Path]:
    """Write the profile's comparison.md and comparison.png beside its records; returns both paths."""
    text, figure = markdown(profile), _figure(profile)
    paths = [writable(folder(profile)) / "comparison.md", folder(profile) / "comparison.png"]
    with writing(paths[0]):
        replace_text(paths[0], text + "\n")
        figure.savefig(paths[1], dpi=130, metadata={"Software": None})  # no version inside: equal records, equal bytes
    return paths


def _figure(profile: str):
    from matplotlib.figure import Figure  # the object interface: no backend, nothing shown

    table, slices = compare(profile).dropna(subset=["match"]), by_complexity(profile)
    figure = Figure(figsize=(11, 1.6 + 0.45 * max(len(table), len(slices.columns))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.2])
    colours = [f"C{i % 10}" for i in range(len(table))]
    for place, (method, row) in enumerate(table.iterrows()):
        error = [[row["right"] - row["right_low"]], [row["right_high"] - row["right"]]]
        left.errorbar(row["right"], place, xerr=error, fmt="o", capsize=4, color=colours[place])
        left.annotate(f"{row['right']:.3f}", (row["right"], place), (0, 7), textcoords="offset points", ha="center")
        if method in slices.index:
            right.plot(
                slices.loc[method], range(len(slices.columns)), "o", color=colours[place], label=method, alpha=0.8
            )
    left.set_yticks(range(len(table)), table.index)
    right.set_yticks(range(len(slices.columns)), slices.columns)
    for axes, title in ((left, "robust execution match, 95 % interval"), (right, "by complexity (scorable rows)")):
        axes.set(xlim=(-0.02, 1.02), xlabel="share of scorable rows", title=title)
        axes.margins(y=0.12)
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    if len(slices.columns):
        right.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1.08), ncols=min(4, len(table)))
    figure.suptitle(f"profile {profile}", x=0.01, ha="left")
    return figure
