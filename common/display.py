"""Tables and plots of the notebooks, in one style: what a reader sees of examples, verdicts, scores and curves.

Shows only; whatever it shows is computed by the modules below it. Tables are pandas frames.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas

from common.data import Example
from common.scoring import Scorer
from common.statistics import is_right, metrics, outcomes, paired_difference, paired_rows, slices


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
    """Predictions rows by method → one line a method: intervals, and the paired difference to the first method, of the
    robust match where databases were generated."""
    lines, first = [], next(iter(reports.values()))
    for name, rows in reports.items():
        values = metrics(rows)
        line = {"method": name, "n": values["match"]["n"]}
        line |= {key: _interval(values[key]) for key in ("match", "robust_match", "score", "published_score")}
        if rows is not first:
            a, b = paired_rows(first, rows)
            pairs = [(is_right(x), is_right(y)) for x, y in zip(a, b, strict=True)]
            both = [pair for pair in pairs if None not in pair]
            line["right − first"] = _interval(paired_difference(*zip(*both, strict=True)), sign="+")
        lines.append(line)
    return pandas.DataFrame(lines).set_index("method").fillna("")


def slice_table(reports: Mapping[str, Sequence[dict]], by: str | Sequence[str] = "complexity") -> pandas.DataFrame:
    """Robust match (strict where no databases were generated) by slice, one column a method, and the slice's n.

    by: "complexity", "task_type", or both, one below the other.
    """
    if not isinstance(by, str):
        return pandas.concat({name: slice_table(reports, name) for name in by})
    table = pandas.DataFrame(
        {
            name: {key: values["right"]["value"] for key, values in slices(rows)[by].items()}
            for name, rows in reports.items()
        }
    )
    counts = {key: values["match"]["n"] for key, values in slices(next(iter(reports.values())))[by].items()}
    return table.assign(n=pandas.Series(counts)).sort_values("n", ascending=False).round(3)


def outcome_table(reports: Mapping[str, Sequence[dict]]) -> pandas.DataFrame:
    """How often each outcome came, one column a method."""
    return pandas.DataFrame({name: outcomes(rows) for name, rows in reports.items()}).fillna(0).astype(int)


def reading_table(examples: Sequence[Example], rows: Sequence[dict], ids: Sequence[int]) -> pandas.DataFrame:
    """Predictions beside their references, by position, with the scorer's reason; positions beyond the last row are
    left out."""
    ids = _within(ids, examples)
    return pandas.DataFrame(
        [
            {
                "question": examples[i].question,
                "reference": examples[i].sql,
                "completion": rows[i]["completion"],
                "outcome": rows[i]["outcome"],
                "detail": rows[i]["detail"],
            }
            for i in ids
        ],
        index=[examples[i].id for i in ids],
    )


def share_table(table: pandas.DataFrame, columns: Sequence[str]) -> pandas.DataFrame:
    """A table with `<column>`, `<column>_low` and `<column>_high` as one text a column, the others as they are."""
    ends = {f"{column}_{end}" for column in columns for end in ("low", "high")}
    columns_as_text = {
        column: [
            _interval({"value": None if pandas.isna(value) else value, "low": low, "high": high})
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
    """The trials of one stage of a search, the best first; a value that all of them share is left out."""
    table = trials[trials["stage"] == stage].sort_values(["loss", "trial"]).set_index("trial")
    always = ("train_rows", "valid_rows", "loss")
    same = [name for name in table if name not in always and len(table) > 1 and table[name].astype(str).nunique() == 1]
    table = table.drop(columns=[*same, *(name for name in ("stage", "seconds") if name in table and name not in same)])
    return table.assign(loss=table["loss"].round(4))


def plot_trials(trials: pandas.DataFrame) -> None:
    """Validation loss of every trial of a search, by stage and by learning rate; promoted trials are filled."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
    for stage, lines in trials.groupby("stage"):
        for axes, place in zip(panels, (lines["stage"], lines["learning_rate"]), strict=True):
            faces = [f"C{stage - 1}" if promoted else "none" for promoted in lines["promoted"]]
            axes.scatter(place, lines["loss"], facecolors=faces, edgecolors=f"C{stage - 1}", label=f"stage {stage}")
    stages = sorted(trials["stage"].unique())
    panels[0].set(xticks=stages, xlim=(stages[0] - 0.5, stages[-1] + 0.5), xlabel="stage (filled: promoted)")
    panels[0].set_ylabel("validation loss, nats")
    panels[1].set(xscale="log", xlabel="learning rate")
    panels[1].legend(frameon=False)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    plt.show()
    plt.close(figure)


def plot_curve(curve: pandas.DataFrame) -> None:
    """Training and validation loss by step; the loss is a mean over completion tokens, in nats."""
    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    for key, style in (("loss", {"alpha": 0.6}), ("eval_loss", {"marker": "o"})):
        points = curve[["step", key]].dropna()
        axes.plot(points["step"], points[key], label={"loss": "training", "eval_loss": "validation"}[key], **style)
    axes.set(xlabel="step", ylabel="loss a completion token, nats", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    plt.show()
    plt.close(figure)


def _interval(metric: object, sign: str = "") -> str:
    values = metric if isinstance(metric, dict) else dataclasses.asdict(metric)
    if values["value"] is None:
        return "–"
    return f"{values['value']:{sign}.3f} [{values['low']:{sign}.3f}, {values['high']:{sign}.3f}]"
