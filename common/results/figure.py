"""A folder's comparison as a figure, and both of its forms on disk beside the records."""

from pathlib import Path
from typing import TYPE_CHECKING

from common.results.comparison import by_complexity, compare
from common.results.tables import markdown
from common.settings import replace_text, writable, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_comparison(place: Path) -> list[Path]:
    """Write the folder's comparison.md and comparison.png; returns both paths."""
    text, figure = markdown(place), plot(place)
    paths = [writable(place) / "comparison.md", place / "comparison.png"]
    with writing(paths[0]):
        replace_text(paths[0], text + "\n")
        figure.savefig(paths[1], dpi=130, metadata={"Software": None})  # no version inside: equal records, equal bytes
    return paths


def plot(place: Path) -> "Figure":
    """Robust match of each run with its interval, and by complexity."""
    from matplotlib.figure import Figure  # the object interface: no backend, nothing on a screen

    table, slices = compare(place).dropna(subset=["match"]), by_complexity(place)
    figure = Figure(figsize=(11, 1.6 + 0.45 * max(len(table), len(slices.columns))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.2])
    colours = [f"C{i % 10}" for i in range(len(table))]
    for line, (method, row) in enumerate(table.iterrows()):
        error = [[row["right"] - row["right_low"]], [row["right_high"] - row["right"]]]
        left.errorbar(row["right"], line, xerr=error, fmt="o", capsize=4, color=colours[line])
        left.annotate(f"{row['right']:.3f}", (row["right"], line), (0, 7), textcoords="offset points", ha="center")
        if method in slices.index:
            values = slices.loc[method]
            right.plot(values, range(len(slices.columns)), "o", color=colours[line], label=method, alpha=0.8)
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
    figure.suptitle(f"profile {place.name}", x=0.01, ha="left")
    return figure
