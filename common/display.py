"""Tables and plots of the notebooks, in one style: what a reader sees of examples, verdicts, scores and curves.

Shows only; whatever it shows is computed by the modules below it. Tables are pandas frames.
"""

from collections.abc import Mapping, Sequence
from random import Random

import matplotlib.pyplot as plt
import pandas

from common.data import Example
from common.results.formats import OUTCOMES, interval, p_value, share
from common.scoring import Scorer
from common.statistics import TEST, difference, holm, is_right, metrics, of_split, outcomes, slices, splits_of

_OTHER_METRICS = {"match": "strict match", "score": "score", "published_score": "published score"}


def data_table(examples: Sequence[Example], ids: Sequence[int] = (0, 1)) -> pandas.DataFrame:
    """Some rows as a table, by position; positions beyond the last row are left out."""
    fields = ("complexity", "question", "schema", "sql")
    return pandas.DataFrame([{field: getattr(examples[i], field) for field in fields} for i in _within(ids, examples)])


def _within(ids: Sequence[int], examples: Sequence[Example]) -> list[int]:
    """Data of one's own may have fewer rows than a notebook reads."""
    return [i for i in ids if i < len(examples)]


def verdict_table(example: Example, completions: Sequence[str], *, databases: int = 0) -> pandas.DataFrame:
    """How the scorer judges some completions of one example."""
    with Scorer(workers=1, databases=databases) as scorer:
        verdicts = scorer.score_batch([(example, completion) for completion in completions])
    columns = ("outcome", "match", "robust_match", "score", "published_score", "detail")
    return pandas.DataFrame(
        [
            {"completion": completion, **{column: getattr(verdict, column) for column in columns}}
            for completion, verdict in zip(completions, verdicts, strict=True)
        ]
    )


def score_table(reports: Mapping[str, Sequence[dict]]) -> pandas.DataFrame:
    """Predictions rows by method → one line a method, of the split `test`: its metrics, the paired difference of the
    headline (robust match; strict where no databases were generated) to the first method, McNemar's p of it, adjusted
    by Holm for all lines, and the headline on each other split."""
    first, *others = reports
    tests = {name: of_split(rows) for name, rows in reports.items()}
    pairs = {name: difference(tests[first], tests[name]) for name in others}
    holm_p = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
    lines = {}
    for name, rows in reports.items():
        values = metrics(tests[name])
        line = {"n": values["match"]["n"], "robust match [95 %]": interval(values["right"])}
        if others:
            line[f"robust match − {first} [95 %]"] = interval(pairs[name].as_dict(), "+") if name in pairs else "–"
            line["p (Holm)"] = p_value(holm_p.get(name))
        line |= {f"{words} [95 %]": interval(values[key]) for key, words in _OTHER_METRICS.items()}
        for split in splits_of(rows):
            if split != TEST:
                right = metrics(of_split(rows, split))["right"]
                line[f"{split}, n = {right['n']} [95 %]"] = interval(right)
        lines[name] = line
    return pandas.DataFrame.from_dict(lines, orient="index").rename_axis("method").fillna("–")


def slice_table(reports: Mapping[str, Sequence[dict]], by: str | Sequence[str] = "complexity") -> pandas.DataFrame:
    """Robust match (strict where no databases were generated) on the split `test` by slice, one column a method, and
    the slice's n; a slice of few rows as a count.

    by: "complexity", "task_type", or both, one below the other.
    """
    if not isinstance(by, str):
        return pandas.concat({name: slice_table(reports, name) for name in by})
    parts = {name: slices(of_split(rows))[by] for name, rows in reports.items()}
    counts = {key: values["match"]["n"] for key, values in next(iter(parts.values())).items()}
    names = sorted(counts, key=lambda key: (-counts[key], key))
    columns = {name: [share(part.get(key, {}).get("right", {})) for key in names] for name, part in parts.items()}
    return pandas.DataFrame({**columns, "n": [counts[key] for key in names]}, index=names)


def outcome_table(reports: Mapping[str, Sequence[dict]]) -> pandas.DataFrame:
    """How often each outcome came on the split `test`, one column a method, and what the outcome means."""
    counts = {name: outcomes(of_split(rows)) for name, rows in reports.items()}
    table = pandas.DataFrame(counts).fillna(0).astype(int)
    return table.assign(meaning=[OUTCOMES[outcome] for outcome in table.index])


def reading_table(examples: Sequence[Example], rows: Sequence[dict], ids: Sequence[int]) -> pandas.DataFrame:
    """Predictions beside their references, by the examples' position, with the scorer's reason; positions beyond the
    last row are left out."""
    answers = {row["id"]: row for row in rows}
    examples = [examples[i] for i in _within(ids, examples)]
    return pandas.DataFrame(
        [
            {
                "question": example.question,
                "reference": example.sql,
                **{key: answers[example.id][key] for key in ("completion", "outcome", "detail")},
            }
            for example in examples
        ],
        index=[example.id for example in examples],
    )


def read_some(examples: Sequence[Example], rows: Sequence[dict], *, seed: str) -> list[int]:
    """Positions of six examples that are worth reading: two right answers, two that run and are wrong, one that fails,
    and one that the given database takes for right and a generated one does not; fewer where a kind is missing. seed: a
    method's name, so that not every notebook shows the same rows."""
    answers = {row["id"]: row for row in rows}
    positions = [i for i, example in enumerate(examples) if answers[example.id]["match"] is not None]
    Random(seed).shuffle(positions)
    chosen = []
    for kind, count in (("right", 2), ("wrong", 2), ("failed", 1), ("strict alone", 1)):
        chosen += [i for i in positions if _kind(answers[examples[i].id]) == kind][:count]
    return chosen


def read_outcomes(examples: Sequence[Example], rows: Sequence[dict], count: int = 3) -> list[int]:
    """Positions of the first `count` examples of each outcome, the outcomes in the order of OUTCOMES."""
    answers = {row["id"]: row["outcome"] for row in rows}
    places = {outcome: [i for i, e in enumerate(examples) if answers[e.id] == outcome] for outcome in OUTCOMES}
    return [i for positions in places.values() for i in positions[:count]]


def _kind(row: dict) -> str:
    if is_right(row):
        return "right"
    if row["match"]:
        return "strict alone"
    return "wrong" if row["outcome"] == "mismatch" else "failed"


def share_table(table: pandas.DataFrame, columns: Sequence[str]) -> pandas.DataFrame:
    """A table with `<column>`, `<column>_low` and `<column>_high` as one text a column, the others as they are."""
    ends = {f"{column}_{end}" for column in columns for end in ("low", "high")}
    columns_as_text = {
        column: [
            interval({"value": value, "low": low, "high": high})
            for value, low, high in zip(table[column], table[f"{column}_low"], table[f"{column}_high"], strict=True)
        ]
        if column in columns
        else table[column]
        for column in table.columns
        if column not in ends
    }
    return pandas.DataFrame(columns_as_text, index=table.index)


def plot_shares(table: pandas.DataFrame, columns: Sequence[str], *, xlabel: str) -> None:
    """Shares with their intervals, one line of the table a row, one colour a column; n in brackets."""
    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.3 * len(table)), layout="constrained")
    for place, column in enumerate(columns):
        value, low, high = (table[f"{column}{end}"].astype(float) for end in ("", "_low", "_high"))
        # Side by side in a row, so that intervals do not hide each other.
        heights = [row + 0.22 * (place - (len(columns) - 1) / 2) for row in range(len(table))]
        axes.errorbar(value, heights, xerr=[value - low, high - value], fmt="o", ms=4, capsize=2, label=column)
    axes.set_yticks(range(len(table)), [f"{name} ({n:,})" for name, n in zip(table.index, table["n"], strict=True)])
    axes.set(xlabel=xlabel, xlim=(-0.02, 1.02))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(columns))
    plt.show()
    plt.close(figure)


def trial_table(trials: pandas.DataFrame, stage: int) -> pandas.DataFrame:
    """The trials of one stage of a search, the best first, by their score where candidates are ranked by it; a value
    that all of them share is left out."""
    table = trials[trials["stage"] == stage].sort_values(["loss", "trial"]).set_index("trial")
    if "score" in table:
        table = table.sort_values("score", ascending=False, kind="stable").round({"score": 4})
    always = ("train_rows", "valid_rows", "loss", "score")
    same = [name for name in table if name not in always and len(table) > 1 and table[name].astype(str).nunique() == 1]
    table = table.drop(columns=[*same, *(name for name in ("stage", "seconds") if name in table and name not in same)])
    return table.assign(loss=table["loss"].round(4))


def plot_trials(trials: pandas.DataFrame) -> None:
    """Validation loss of a search's trials by learning rate, a colour a batch size: hollow in stage 1, filled later. A
    line joins the two stages of a candidate, and the best of the last searched stage is ringed."""
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    batches = sorted(trials["effective_batch_size"].unique())
    colours = {batch: f"C{i % 10}" for i, batch in enumerate(batches)}
    values = list(trials.columns[2 : trials.columns.get_loc("train_rows")])
    for _, stages in trials.groupby([trials[name].astype(str) for name in values]):
        axes.plot(stages["learning_rate"], stages["loss"], color="0.7", lw=1, zorder=1)
    for batch, lines in trials.groupby("effective_batch_size"):
        faces = [colours[batch] if stage > 1 else "none" for stage in lines["stage"]]
        axes.scatter(lines["learning_rate"], lines["loss"], facecolors=faces, edgecolors=colours[batch], zorder=2)
        axes.scatter([], [], color=colours[batch], label=f"batch {batch}")
    winner = trials[trials["promoted"] & (trials["stage"] == trials["stage"].max())]
    axes.scatter(winner["learning_rate"], winner["loss"], s=150, facecolors="none", edgecolors="black", label="best")
    axes.set(xscale="log", xlabel="learning rate", ylabel="validation loss, nats")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    plt.show()
    plt.close(figure)


def plot_curve(curve: pandas.DataFrame) -> None:
    """Training and validation loss by step, a mean over completion tokens in nats, and beside it, where validation rows
    were answered, the share of them that match."""
    answered = "eval_match" in curve and curve["eval_match"].notna().any()
    figure, panels = plt.subplots(1, 1 + answered, figsize=(6 + 3 * answered, 3), layout="constrained", squeeze=False)
    axes = panels[0, 0]
    for key, style in (("loss", {"alpha": 0.6}), ("eval_loss", {"marker": "o"})):
        points = curve[["step", key]].dropna()
        axes.plot(points["step"], points[key], label={"loss": "training", "eval_loss": "validation"}[key], **style)
    axes.set(xlabel="step", ylabel="loss a completion token, nats", ylim=(0, None))
    axes.legend(frameon=False)
    if answered:
        points = curve[["step", "eval_match"]].dropna()
        panels[0, 1].plot(points["step"], points["eval_match"], marker="o", color="C2")
        panels[0, 1].set(xlabel="step", ylabel="held-out match", ylim=(0, 1))
    for axes in panels[0]:
        axes.spines[["top", "right"]].set_visible(False)
    plt.show()
    plt.close(figure)
