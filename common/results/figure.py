"""A folder's comparison as a figure, and both of its forms on disk beside the records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.results.comparison import by_complexity, table
from common.results.entries import KINDS, Entry, select, splits
from common.results.formats import share
from common.results.planned import planned
from common.results.tables import markdown
from common.settings import replace_text, writable, writing
from common.statistics import TEST

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One mark a split: shape and lightness tell them apart without colour.
_MARKS = {
    TEST: {"marker": "o", "color": "#08306b", "ms": 6},
    "test_unseen": {"marker": "s", "color": "#d9822b", "ms": 5, "mfc": "white"},
    "test_forms": {"marker": "^", "color": "#7aa874", "ms": 6},
}
_DASHES = ("-", "--", ":", "-.", (0, (6, 2, 1, 2, 1, 2)), (0, (1, 4)))  # of the baselines' lines
_GAP = 0.6  # between two kinds of runs, in lines


def save_comparison(place: Path) -> list[Path]:
    """Write the folder's comparison.md and comparison.png; returns both paths."""
    text, figure = markdown(place), plot(place)
    paths = [writable(place) / "comparison.md", place / "comparison.png"]
    with writing(paths[0]):
        replace_text(paths[0], text + "\n")
        figure.savefig(paths[1], dpi=130, metadata={"Software": None})  # no version inside: equal records, equal bytes
    return paths


def plot(place: Path) -> "Figure":
    """Robust match of each run with its interval, on every split, the baselines' as lines through all of them; beside
    it the same by complexity as a heat map, with counts where rows are few."""
    from matplotlib.figure import Figure  # the object interface: no backend, nothing on a screen

    entries = [entry for entry in select(place) if entry.rows]
    runs, slices = table(entries, planned(entries), place), by_complexity(entries)
    heights = _heights(entries)
    bottom = max(heights.values(), default=0.0)
    figure = Figure(figsize=(13, 2.2 + 0.42 * bottom), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.1])
    _draw_runs(left, runs, heights, splits(entries))
    _draw_slices(right, slices, heights)
    for axes in (left, right):
        axes.set_ylim(bottom + 0.6, -0.8)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yticks(list(heights.values()), list(heights))
    right.set_yticks([])
    figure.suptitle(f"profile {place.name}", x=0.01, ha="left")
    return figure


def _heights(entries: Sequence[Entry]) -> dict[str, float]:
    """Where each run's line is: kinds one below the other, with a gap between them."""
    heights, height = {}, 0.0
    for kind in KINDS:
        names = [entry.method for entry in entries if entry.kind == kind]
        heights |= {name: height + line for line, name in enumerate(names)}
        height += len(names) + (_GAP if names else 0.0)
    return heights


def _draw_runs(axes: "Axes", runs: "pandas.DataFrame", heights: dict[str, float], others: Sequence[str]) -> None:
    names = [TEST, *others]
    offsets = [0.22 * (place - (len(names) - 1) / 2) for place in range(len(names))]
    for name, offset in zip(names, offsets, strict=True):
        column = "right" if name == TEST else name
        lines = runs.dropna(subset=[column])
        values = lines[column].astype(float)
        errors = [values - lines[f"{column}_low"].astype(float), lines[f"{column}_high"].astype(float) - values]
        places = [heights[method] + offset for method in lines.index]
        axes.errorbar(values, places, xerr=errors, fmt="none", ecolor=_MARKS[name]["color"], elinewidth=1, capsize=2)
        axes.plot(values, places, ls="none", label=name, **_MARKS[name])
    baselines = runs[runs["kind"] == KINDS[0]]
    for (method, row), dashes in zip(baselines.iterrows(), _DASHES, strict=False):
        top, bottom = heights[method], max(heights.values())
        axes.plot([row["right"]] * 2, [top, bottom + 0.5], ls=dashes, color="0.45", lw=1, zorder=0)
    for kind, lines in runs.groupby("kind"):
        first = min(heights[method] for method in lines.index)
        axes.text(0.0, first - 0.5, kind, va="center", fontsize=9, style="italic", color="0.35")
    axes.set(xlim=(-0.02, 1.02), xlabel="share of scorable rows", title="robust execution match, 95 % interval")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=len(names) + 1)


def _draw_slices(axes: "Axes", slices: "pandas.DataFrame", heights: dict[str, float]) -> None:
    """A cell a run and complexity: the darker, the more is right."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    shades = colormaps["Blues"]
    for method, row in slices.iterrows():
        for place, metric in enumerate(row):
            if not metric or metric["value"] is None:
                continue
            corner = (place - 0.5, heights[method] - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=shades(0.9 * metric["value"]), edgecolor="white"))
            colour = "white" if metric["value"] > 0.68 else "black"
            axes.text(place, heights[method], share(metric), ha="center", va="center", fontsize=8, color=colour)
    heads = [name.replace(" (", "\n(") for name in slices.columns]
    axes.set_xticks(range(len(heads)), heads, fontsize=8, rotation=30, ha="right")
    axes.set(xlim=(-0.5, max(0.5, len(heads) - 0.5)), title="by complexity on test, share or count (scorable rows)")
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
