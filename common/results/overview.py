"""All runs of a profile as tables of text: what each brought against where it started, and how each was trained.

Made of records and predictions alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.results.comparable import same_environment
from common.results.entries import Entry, select, splits
from common.results.formats import interval, is_absent, number, p_value
from common.results.ledger import BASELINE, folder
from common.results.published import METHODS, SCORES
from common.statistics import difference, holm, of_split

if TYPE_CHECKING:
    import pandas

NF4, TUNED = "baseline-nf4", "sft-lora"
_FROM_TUNED = ("sft-dpo", "sft-continued", "sft-more", "grpo-sft")  # these names, and those that go on from them


def records_of(place: Path, profile: str) -> Path:
    """The folder of the records to compare: `place` where it has some, else the committed ones of the profile."""
    return place if any(place.glob("*.json")) else folder(profile)


def start_of(record: dict) -> str:
    """The record of what a run started from: the model as it comes, in NF4 where that is what was trained beside, or
    the fine-tuned one; "" for what trains nothing."""
    method = record["method"]
    if not record["model"]["trainable_parameters"]:
        return ""
    if any(method == name or method.startswith(f"{name}-") for name in _FROM_TUNED):
        return TUNED
    return NF4 if record["model"].get("quantisation") == "nf4" else BASELINE


def final_table(place: Path) -> "pandas.DataFrame":
    """One line a run, by kind and the best first: parameters trained, memory of the training, robust match with its
    interval on each split, the paired difference to its starting point with Holm's p over this table, and minutes of
    search and training, those of the trained run that it started from after a plus. Costs are of one device; others
    have a dash."""
    import pandas

    entries = [entry for entry in select(place) if entry.rows]
    names, runs = splits(entries), {entry.method: entry for entry in entries}
    pairs = {
        entry.method: difference(*(of_split(runs[name].predictions) for name in (start, entry.method)))
        for entry in entries
        if (start := start_of(entry.record)) in runs
    }
    p_values = dict(zip(pairs, holm([pair.p for pair in pairs.values()]), strict=True))
    lines = {}
    for entry in entries:
        method = entry.method
        is_alike = same_environment(entry.record, entries[0].record)
        memory = entry.record["cost"]["peak_memory_bytes"] if is_alike else 0
        minutes = _minutes(entry.record) if is_alike else 0.0
        before = runs.get(start_of(entry.record))
        is_known = before and same_environment(before.record, entries[0].record)
        earlier = _minutes(before.record) if is_known and minutes else 0.0
        line = {
            "parameters trained": f"{entry.record['model']['trainable_parameters']:,}",
            "memory, GB": f"{memory / 1e9:.1f}" if memory else "–",
            "robust match [95 %]": interval(entry.right("test")),
        }
        line |= {f"{name} [95 %]": interval(entry.right(name)) for name in names}
        line["started from"] = start_of(entry.record) or "–"
        line["− start [95 %]"] = interval(pairs[method].as_dict(), "+") if method in pairs else "–"
        line["p (Holm)"] = p_value(p_values.get(method))
        texts = [f"{value:,.1f}" for value in (minutes, earlier) if value]
        line["search and training, min (+ its start's)"] = " + ".join(texts) or "–"
        lines[method] = line
    return pandas.DataFrame.from_dict(lines, orient="index").rename_axis("method")


def stage_table(place: Path) -> "pandas.DataFrame":
    """How each run was trained, one line a stage: rows, candidates, and where a stage has them, of the weights that it
    handed on, the loss on validation rows, held-out match and, after a training by rewards, the divergence from its
    start instead of a loss."""
    import pandas

    lines = []
    for entry in select(place):
        for stage in entry.record["stages"]:
            best = stage.get("best", {})
            recipe = entry.record["parameters"].get("recipe") or {}
            by_rewards = "reward" in recipe  # there `valid_rows` and the loss are those of the divergence
            lines.append(
                {
                    "method": entry.method,
                    "stage": stage["stage"],
                    "training rows": f"{stage['train_rows']:,}",
                    "validation rows": f"{recipe['score_rows'] if by_rewards else stage['valid_rows']:,}",
                    "candidates": stage["trials"],
                    "validation loss": number(None if by_rewards else best.get("loss")),
                    "divergence, nats": number(best.get("loss") if by_rewards else None),
                    "held-out match": number(best.get("match")),
                }
            )
    return pandas.DataFrame(lines).set_index(["method", "stage"]) if lines else pandas.DataFrame()


def published_table(place: Path) -> "pandas.DataFrame":
    """The published study's scores beside this profile's, run by run. They are of another model and other data: what
    can be compared is which way a method went from its own baseline."""
    import pandas

    runs = {entry.method: entry.record["metrics"] for entry in select(place) if entry.rows}
    lines = {}
    for name, score in SCORES.items():
        metrics = runs.get(METHODS[name], {})
        values = [metrics.get(key, {}).get("value") for key in ("published_score", "right")]
        lines[name] = {"published": number(score), "our record": METHODS[name]}
        lines[name] |= dict(
            zip(("its published score here", "its robust match here"), map(number, values), strict=True)
        )
    return pandas.DataFrame.from_dict(lines, orient="index").rename_axis("published run")


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the points (cost, score) that no other one beats: none costs at most as much and scores more, or
    costs less and scores as much; by cost."""
    front = [
        i
        for i, (cost, score) in enumerate(points)
        if not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)
    ]
    return sorted(front, key=lambda i: points[i])


def costs(entries: Sequence[Entry]) -> "pandas.DataFrame":
    """score, memory in GB and minutes of search and training of each run that trained on the device of the first run,
    as in the tables, with those of the trained run that it started from. Not counted: sampling pairs, and training a
    reward model."""
    import pandas

    answered = [entry for entry in entries if entry.rows]
    trained = [entry for entry in answered if entry.record["cost"]["train_seconds"]]
    records = {entry.method: entry.record for entry in trained if same_environment(entry.record, answered[0].record)}
    lines = {}
    for entry in trained:
        score, start = entry.right("test").get("value"), start_of(entry.record)
        steps = [records[name] for name in (start, entry.method) if name in records]
        if entry.method in records and not is_absent(score) and (start != TUNED or start in records):
            lines[entry.method] = {
                "score": score,
                "memory": max(record["cost"]["peak_memory_bytes"] for record in steps) / 1e9,
                "minutes": sum(map(_minutes, steps)),
            }
    return pandas.DataFrame.from_dict(lines, orient="index", columns=["score", "memory", "minutes"])


def _minutes(record: dict) -> float:
    """Of a run's search and training."""
    return (record["cost"].get("search_seconds", 0) + record["cost"]["train_seconds"]) / 60
