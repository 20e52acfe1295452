"""Pairs and preference trainings as tables and figures, in the study's one style."""

from collections import Counter
from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas

from common.preferences.pairs import Pair


def pair_table(pairs: Sequence[Pair], numbers: Sequence[int] = (0, 1)) -> pandas.DataFrame:
    """Some pairs: the question, both answers, and what is wrong with the second."""
    lines = [
        {"question": p.example.question, "chosen": p.chosen, "rejected": p.rejected, "error": p.error}
        for p in (pairs[number] for number in numbers if number < len(pairs))
    ]
    return pandas.DataFrame(lines)


def count_table(pairs: Sequence[Pair]) -> pandas.DataFrame:
    """How many pairs there are of each error, by complexity."""
    frame = pandas.DataFrame([{"complexity": p.example.complexity or "unknown", "error": p.error} for p in pairs])
    table = pandas.crosstab(frame["complexity"], frame["error"])
    table.columns.name = None
    table.index.name = None
    return table.assign(all=table.sum(axis=1)).sort_values("all", ascending=False)


def source_table(pairs: Sequence[Pair]) -> pandas.DataFrame:
    """How many pairs have which source of the right and of the wrong answer, and their mean lengths in characters."""
    lines = {}
    for (chosen, rejected), count in sorted(Counter((p.chosen_source, p.rejected_source) for p in pairs).items()):
        some = [p for p in pairs if (p.chosen_source, p.rejected_source) == (chosen, rejected)]
        lines[f"{chosen} above {rejected}"] = {
            "pairs": count,
            "chosen, characters": sum(len(p.chosen) for p in some) / count,
            "rejected, characters": sum(len(p.rejected) for p in some) / count,
        }
    return pandas.DataFrame.from_dict(lines, orient="index").round(0).astype(int)


def drop_table(*counters: Counter) -> pandas.DataFrame:
    """What was left out, and why."""
    total: Counter = sum(counters, Counter())
    lines = {": ".join(r) if isinstance(r, tuple) else r: count for r, count in total.most_common() if count}
    return pandas.DataFrame({"number": lines}).astype(int)


def plot_preferences(curve: pandas.DataFrame) -> None:
    """A preference training by step: the loss, how the log-probabilities of right and wrong validation answers change
    against the reference, in nats a token, and held-out match, from before the first step on."""
    figure, (loss, change, match) = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for key, style in (("loss", {"alpha": 0.6}), ("eval_loss", {"marker": "o"})):
        points = curve[["step", key]].dropna()
        loss.plot(points["step"], points[key], label={"loss": "training", "eval_loss": "validation"}[key], **style)
    loss.set(xlabel="step", ylabel="loss a pair")
    for side, style in (("chosen", "-"), ("rejected", "--")):
        points = curve[["step", f"eval_{side}_change"]].dropna()
        change.plot(points["step"], points[f"eval_{side}_change"], style, marker="o", label=side)
    change.axhline(0, color="0.7", lw=1)
    change.set(xlabel="step", ylabel="change of log p, nats a token")
    if "eval_match" in curve:
        points = curve[["step", "eval_match"]].dropna()
        match.plot(points["step"], points["eval_match"], marker="o", color="C2")
    match.set(xlabel="step", ylabel="held-out match", ylim=(0, 1))
    for axes in (loss, change):
        axes.legend(frameon=False)
    for axes in (loss, change, match):
        axes.spines[["top", "right"]].set_visible(False)
    plt.show()
    plt.close(figure)


def evaluation_table(curve: pandas.DataFrame) -> pandas.DataFrame:
    """The evaluations of a preference training: margin, accuracy, log-probabilities a token, held-out match."""
    names = {
        "eval_margin": "margin",
        "eval_accuracy": "accuracy",
        "eval_chosen_token": "log p(chosen), nats a token",
        "eval_chosen_change": "its change",
        "eval_rejected_token": "log p(rejected), nats a token",
        "eval_rejected_change": "its change ",
        "eval_match": "held-out match",
    }
    columns = [name for name in names if name in curve]
    table = curve.dropna(subset=columns, how="all").set_index("step")[columns]
    return table.rename(columns=names).round(3)


def length_table(reports: dict[str, Sequence[dict]]) -> pandas.DataFrame:
    """Mean length of each run's answers on `test`, in new tokens, and the longest."""
    lines = {}
    for name, rows in reports.items():
        some = [row for row in rows if row["split"] == "test"]
        longest = max(row["new_tokens"] for row in some)
        lines[name] = {"new tokens": sum(row["new_tokens"] for row in some) / len(some), "most": longest}
    return pandas.DataFrame.from_dict(lines, orient="index").round(1)
