"""Trainings by rewards as tables and figures, and what a model answers otherwise after a training than before."""

from collections.abc import Mapping, Sequence
from random import Random

import matplotlib.pyplot as plt
import pandas

from common.data import Example
from common.results.formats import p_value
from common.statistics import difference, is_right, of_split, outcomes
from common.training.held_out import FORMS, form_shares

_STEPS = {
    "reward": "reward",
    "robust": "robustly right",
    "strict_minus_robust": "strict − robust",
    "published_minus_strict": "published − strict",
    "both_empty": "right without rows",
    "length": "tokens",
    "truncated": "truncated",
    "entropy": "entropy, nats a token",
    "groups_used": "groups with spread",
}
_LOOKS = {
    "eval_loss": "divergence, nats a sequence",
    "eval_match": "held-out match",
    "eval_tokens": "tokens",
    "eval_truncated": "truncated",
    **{f"eval_{form}": form.replace("_", " ").upper() for form in FORMS},
}


def sample_table(curve: pandas.DataFrame, parts: int = 4) -> pandas.DataFrame:
    """What the samples of a training were like, as means over `parts` stretches of its steps."""
    names = [name for name in (*_STEPS, *_prefixed(curve, "part_"), *_prefixed(curve, "spread_")) if name in curve]
    steps = curve.dropna(subset=["reward"])[["step", *names]]
    size = max(1, -(-len(steps) // parts))
    lines = {
        f"{int(part['step'].iloc[0])}–{int(part['step'].iloc[-1])}": part[names].mean()
        for part in (steps.iloc[at : at + size] for at in range(0, len(steps), size))
    }
    table = pandas.DataFrame.from_dict(lines, orient="index").rename_axis("steps")
    words = {name: name.replace("_", " of ", 1).replace("part of", "mean of") for name in names if name not in _STEPS}
    return table.rename(columns=_STEPS | words).round(3)


def exploit_table(curves: Mapping[str, pandas.DataFrame]) -> pandas.DataFrame:
    """What trainings under several rewards were paid for, by reward: shares of the samples of the first and of the last
    third of the steps."""
    names = ["robust", "strict_minus_robust", "published_minus_strict", "both_empty", "length"]
    lines = {}
    for reward, curve in curves.items():
        steps = curve.dropna(subset=["reward"])[names]
        third = max(1, len(steps) // 3)
        for words, part in (("first steps", steps.iloc[:third]), ("last steps", steps.iloc[-third:])):
            lines[f"{reward}, {words}"] = part.mean()
    return pandas.DataFrame.from_dict(lines, orient="index").rename(columns=_STEPS).round(3)


def measured_table(record: Mapping[str, object], name: str, digits: int = 3) -> pandas.DataFrame:
    """A table of a record of what is no run, see `common.results.measures`."""
    return pandas.DataFrame.from_dict(record["tables"][name], orient="index").round(digits)


def _prefixed(curve: pandas.DataFrame, prefix: str) -> list[str]:
    return [name for name in curve if name.startswith(prefix)]


def look_table(curve: pandas.DataFrame, references: Sequence[str]) -> pandas.DataFrame:
    """The evaluations of a training, step 0 being its start: divergence, held-out match, and the shares of answers with
    each form beside those of the references."""
    names = [name for name in _LOOKS if name in curve]
    table = curve.dropna(subset=["eval_loss"]).set_index("step")[names]
    table.index = table.index.astype(int).astype(str)
    table.loc["references"] = pandas.Series({f"eval_{name}": value for name, value in form_shares(references).items()})
    return table.rename(columns=_LOOKS).astype(float).round(4)


def plot_rewards(curves: Mapping[str, pandas.DataFrame]) -> None:
    """Trainings by step: the mean reward of the samples, held-out match from before the first step on, and the
    divergence from the start; a colour a training."""
    figure, (reward, match, divergence) = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    panels = ((reward, "reward", ""), (match, "eval_match", "o"), (divergence, "eval_loss", "o"))
    for place, (name, curve) in enumerate(curves.items()):
        for axes, key, marker in panels:
            if key in curve:
                points = curve[["step", key]].dropna()
                axes.plot(points["step"], points[key], marker=marker, color=f"C{place}", label=name, alpha=0.8)
    for axes, words in ((reward, "reward"), (match, "held-out match"), (divergence, "divergence, nats a sequence")):
        axes.set(xlabel="step", ylabel=words)
        axes.spines[["top", "right"]].set_visible(False)
    match.set_ylim(0, 1)
    if len(curves) > 1:
        reward.legend(frameon=False)
    plt.show()
    plt.close(figure)


def phase_table(curve: pandas.DataFrame) -> pandas.DataFrame:
    """Where a step's seconds go, and completions a second, as means over the steps."""
    phases = [name for name in ("sampling_seconds", "reward_seconds", "update_seconds") if name in curve]
    steps = curve.dropna(subset=phases)
    means = steps[phases].mean()
    lines = {name.replace("_seconds", ", s a step"): round(value, 2) for name, value in means.items()}
    lines |= {"reward, share of a step": round(means["reward_seconds"] / means.sum(), 4)}
    lines |= {"completions a second": round(steps["completions"].mean() / means.sum(), 2)}
    return pandas.DataFrame({"value": lines})


def change_table(
    before: Sequence[dict], after: Sequence[dict], by: Sequence[str] = ("complexity",), *, split: str = "test"
) -> pandas.DataFrame:
    """Rows that became right, and that became wrong, by slice, with McNemar's p of each slice's difference, not
    adjusted: it says where to look."""
    lines: dict[tuple[str, str], dict] = {}
    pairs = list(zip(_ordered(before, split), _ordered(after, split), strict=True))
    for name in by:
        for value in sorted({one[name] or "unknown" for one, _ in pairs}):
            some = [pair for pair in pairs if (pair[0][name] or "unknown") == value]
            gap = difference([one for one, _ in some], [other for _, other in some])
            gained = sum(is_right(other) and not is_right(one) for one, other in some)
            lost = sum(is_right(one) and not is_right(other) for one, other in some)
            lines[(name, value)] = {
                "n": len(some),
                "became right": gained,
                "became wrong": lost,
                "difference": round(gap.value, 3),
                "p": p_value(gap.p),
            }
    return pandas.DataFrame.from_dict(lines, orient="index").sort_values("difference", ascending=False)


def outcome_changes(before: Sequence[dict], after: Sequence[dict], *, split: str = "test") -> pandas.DataFrame:
    """How often each outcome came before and after, and the difference."""
    one, other = (outcomes(of_split(rows, split)) for rows in (before, after))
    table = pandas.DataFrame({"before": one, "after": other}).fillna(0).astype(int)
    return table.assign(change=table["after"] - table["before"]).sort_values("change", ascending=False)


def before_and_after(
    examples: Sequence[Example], before: Sequence[dict], after: Sequence[dict], *, count: int = 5, seed: str = ""
) -> pandas.DataFrame:
    """Some questions that one of the two answers right, with both answers: as many gains as losses, as far as there
    are. seed: a method's name, so that not every notebook shows the same rows."""
    rows = {row["id"]: row for row in before}, {row["id"]: row for row in after}
    order = [example for example in examples if example.id in rows[0] and example.id in rows[1]]
    Random(seed).shuffle(order)
    gains, losses = ([e for e in order if _change(rows, e) == sign] for sign in (1, -1))
    lost = losses[: max(count - len(gains), count // 2)]
    chosen = gains[: count - len(lost)] + lost
    return pandas.DataFrame(
        [
            {
                "question": example.question,
                "reference": example.sql,
                "before": rows[0][example.id]["sql"],
                "after": rows[1][example.id]["sql"],
                "change": "became right" if _change(rows, example) > 0 else "became wrong",
            }
            for example in chosen
        ],
        index=[example.id for example in chosen],
    )


def _change(rows: tuple[dict, dict], example: Example) -> int:
    return is_right(rows[1][example.id]) - is_right(rows[0][example.id])


def _ordered(rows: Sequence[dict], split: str) -> list[dict]:
    return sorted((row for row in of_split(rows, split) if row["match"] is not None), key=lambda row: row["id"])
