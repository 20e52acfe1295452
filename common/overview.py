"""Figures over all runs of a profile: score against cost, outcomes, and learning curves. One style, readable in grey.

Shows only; numbers are those of `common.results.overview`.
"""

from io import BytesIO
from pathlib import Path

import pandas
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.display import OUTCOMES
from common.pictures import shrink
from common.results.entries import Entry, select
from common.results.figure import plot
from common.results.overview import costs, pareto
from common.settings import UserError

_MARKERS = "osD^vP*Xh<>p"
_GREYS = ("#08306b", "#d9822b", "#7aa874", "#9e5b9b", "#555555", "#b0413e", "#3f90a5", "#bcae3c")
_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
COMMON = ("match", "mismatch", "syntax_error", "schema_error")  # outcomes with a part of their own


def runs_image(place: Path) -> Image:
    """Each run with its interval on every split, and by complexity: the figure of the folder's comparison."""
    return _image(plot(place))


def costs_image(place: Path) -> Image:
    """Robust match on `test` against memory and against minutes of search and training; a line joins the runs that none
    beats in both."""
    table = costs([entry for entry in select(place) if entry.rows])
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column, words in zip(panels, ("memory", "minutes"), ("peak memory, GB", "minutes"), strict=True):
        _draw_costs(axes, table, column)
        axes.set(xlabel=words, ylabel="robust match on test" if column == "memory" else "")
        axes.grid(alpha=0.25)
    if len(table):
        panels[1].legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return _image(figure)


def _image(figure: Figure) -> Image:
    """As a picture of few colours."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    content = BytesIO()
    figure.savefig(content, dpi=80, metadata={"Software": None})
    return Image(shrink(content.getvalue()), format="png")


def _draw_costs(axes: Axes, table: pandas.DataFrame, column: str) -> None:
    points = list(zip(table[column], table["score"], strict=True))
    front = [points[i] for i in pareto(points)]
    axes.plot(*zip(*front, strict=True), color="0.6", lw=1, zorder=0) if front else None
    for place, (method, point) in enumerate(zip(table.index, points, strict=True)):
        marker, colour = _MARKERS[place % len(_MARKERS)], _GREYS[place % len(_GREYS)]
        axes.plot(*point, marker=marker, color=colour, ls="none", ms=7, label=method)


def outcomes_image(place: Path) -> Image:
    """Left, what became of each run's answers on `test`; right, held-out match by share of the training."""
    entries = [entry for entry in select(place) if entry.rows]
    figure = Figure(figsize=(12, 1.4 + 0.3 * len(entries)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.2, 1])
    _draw_outcomes(left, entries)
    _draw_curves(right, entries)
    return _image(figure)


def outcome_shares(entries: list[Entry]) -> pandas.DataFrame:
    """The share of each outcome among a run's rows of `test`, the rarer ones together as `other`."""
    lines = {}
    for entry in entries:
        counts = entry.record["outcomes"]
        total = sum(counts.values()) or 1
        line = {name: counts.get(name, 0) / total for name in COMMON}
        lines[entry.method] = line | {"other": 1 - sum(line.values())}
    return pandas.DataFrame.from_dict(lines, orient="index", columns=[*COMMON, "other"])


def _draw_outcomes(axes: Axes, entries: list[Entry]) -> None:
    table = outcome_shares(entries)
    left = pandas.Series(0.0, index=table.index)
    shades = ("#08306b", "#6baed6", "#c6dbef", "#d9822b", "#dddddd")
    for place, name in enumerate(table.columns):
        label = OUTCOMES.get(name, "anything else")
        axes.barh(
            table.index, table[name], left=left, color=shades[place], edgecolor="white", hatch=_HATCHES[place],
            label=label,
        )  # fmt: skip
        left = left + table[name]
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="share of the answers on test")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=2, fontsize=8)


def _curve(path: Path) -> pandas.DataFrame:
    try:
        return pandas.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' own are of ValueError
        raise UserError(f"{path} is damaged ({type(error).__name__}); run its notebook again") from None


def _draw_curves(axes: Axes, entries: list[Entry]) -> None:
    drawn = 0
    for entry in entries:
        path = entry.place / (entry.record["curve"] or "-")
        if not path.is_file() or "eval_match" not in (curve := _curve(path)):
            continue
        points = curve[["step", "eval_match"]].dropna()
        if points.empty:
            continue
        marker, colour = _MARKERS[drawn % len(_MARKERS)], _GREYS[drawn % len(_GREYS)]
        steps = points["step"] / max(1, curve["step"].max())
        axes.plot(steps, points["eval_match"], marker=marker, color=colour, ms=5, lw=1, label=entry.method)
        drawn += 1
    axes.set(xlim=(0, 1.03), ylim=(0, 1), xlabel="share of the training", ylabel="held-out match")
    if drawn:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
