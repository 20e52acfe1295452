"""`evaluators.md` beside the records: tables, and the sentences that follow from them, made from committed files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.evaluators import EVALUATORS
from common.results.entries import Entry, select, splits
from common.results.evaluators.kinds import LENIENT, STRICT, count_kinds, disagreements
from common.results.evaluators.ranking import REFERENCE, Flip, Pairs, Panel, compare_pairs, panel, ranks, scores, taus
from common.results.evaluators.store import FILE, tables
from common.results.formats import interval, number, p_value
from common.results.sections import staleness
from common.results.tables import STALE, pipes
from common.settings import UserError, replace_text, writable, writing
from common.statistics import TEST, Interval

if TYPE_CHECKING:
    import pandas

REPORT = "evaluators.md"
COMMAND = "python -m common.results evaluators"
FEW = 5  # pairs that a sentence still names
# What makes an answer right; `common.evaluators` says after whom, and what differs from the original.
RULES = {
    "robust": "the study's: strict, and on every generated database too",
    "strict": "the study's: bags of rows within a tolerance, in order only where the reference's outermost statement "
    "orders, ties free; writes by the database they leave",
    "published": "the published study's: the raw completion returns the same list of rows",
    "bag": "as in Spider's execution match (Zhong, Yu and Klein 2020): bags of rows with the columns in any order, in "
    "order where the reference has ORDER BY anywhere",
    "set": "as in BIRD (Li et al. 2023): sets of rows, without duplicates and order",
    "clauses": "the parse trees hold the same operations, as component match asks of clauses",
    "text": "the same text but for case, white space, comments and the last semicolon, as logical-form accuracy asks",
}


def markdown(place: Path) -> str:
    """The text of evaluators.md for the records of a folder. Raises UserError as `select` does."""
    entries = [entry for entry in select(place) if entry.rows]
    by_method = tables(place, entries)
    absent = [entry.method for entry in entries if entry.method not in by_method]
    notes = [f"Not judged yet, and in no table: {_names(absent)}. `{COMMAND}` does it."] if absent else []
    head = ["# The same answers by other evaluators"]
    if not by_method:
        return "\n\n".join([*head, *notes])
    entries = [entry for entry in entries if entry.method in by_method]
    schemas = {row["id"]: row.get("schema") for row in entries[0].predictions}
    panels = {split: panel(by_method, split, schemas) for split in (TEST, *splits(entries))}
    marks = {entry.method: f"`{entry.method}`{' †' if staleness(entry.record) else ''}" for entry in entries}
    parts = [*notes, _introduction(entries, panels), _rules()]
    parts += ["## Scores", _scores_sentence(panels[TEST]), _scores_table(panels[TEST], marks)]
    parts += [STALE] if any(mark.endswith("†") for mark in marks.values()) else []
    if len(entries) > 1:
        parts += [*_orders(panels), _fences(entries)]
    return "\n\n".join([*head, *parts, *_disagreements(by_method)])


def save(place: Path) -> Path:
    """Write the folder's evaluators.md; returns its path."""
    text, path = markdown(place), writable(place) / REPORT
    with writing(path):
        replace_text(path, text + "\n")
    return path


def follow(place: Path) -> None:
    """Write evaluators.md anew where answers of the folder have been judged: it goes with the records."""
    if (place / FILE).exists():
        save(place)


def is_current(place: Path) -> bool:
    """Whether the folder's evaluators.md is what its records give; so is a folder that nothing was judged in."""
    if not (place / FILE).exists():
        return not (place / REPORT).exists()
    path = place / REPORT
    return path.is_file() and path.read_text(encoding="utf-8", errors="replace") == markdown(place) + "\n"


def check(place: Path) -> None:
    """Raises UserError where the folder's evaluators.md is not what its records give."""
    if not is_current(place):
        raise UserError(f"{place.name}/{REPORT} differs from the records; `{COMMAND}` writes it anew")


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _rules() -> str:
    return "\n".join(f"- `{name}`: {RULES[name]}." for name in EVALUATORS)


def _introduction(entries: Sequence[Entry], panels: Mapping[str, Panel]) -> str:
    sizes = ", ".join(f"{panel.rows:,} rows of `{split}`" for split, panel in panels.items())
    return (
        f"Profile `{entries[0].record['profile']}`: the recorded answers of {len(entries)} runs to {sizes}, judged "
        "again without a model. All evaluators but `published` are given the SQL taken out of the completion and the "
        "sandbox with its frozen clock; an answer that fails there is wrong by each of them. One run a method, of one "
        "seed. An answer is right by"
    )


# Scores and ranks


def _scores_sentence(panel: Panel) -> str:
    firsts: dict[str, list[str]] = {}
    for name in EVALUATORS:
        for method, rank in zip(panel.methods, ranks(panel, name), strict=True):
            if rank == 1:
                firsts.setdefault(method, []).append(name)
    best = next(iter(firsts))
    if len(firsts) == 1:
        leader = f"Every evaluator ranks `{best}` first"
    else:
        words = [f"`{method}` by {_names(names)}" for method, names in firsts.items()]
        leader = f"First is {'; '.join(words)}"
    return (
        f"Right answers on `{TEST}` as a share with its 95 % interval, in brackets the rank. {leader}. A rank is no "
        "test: which runs these rows can tell apart stands in comparison.md."
    )


def _scores_table(panel: Panel, marks: Mapping[str, str]) -> str:
    values = scores(panel)
    places = {name: ranks(panel, name) for name in EVALUATORS}
    lines = [
        [marks[method], *(f"{interval(values[method][name].as_dict())} ({places[name][i]})" for name in EVALUATORS)]
        for i, method in enumerate(panel.methods)
    ]
    return pipes(["method", *EVALUATORS], lines)


# Orders


def _orders(panels: Mapping[str, Panel]) -> list[str]:
    by_split = {split: taus(panel) for split, panel in panels.items()}
    pairs_by_split = {split: compare_pairs(panel) for split, panel in panels.items()}
    pairs = pairs_by_split[TEST]
    methods = len(panels[TEST].methods)
    count = methods * (methods - 1) // 2
    lines = [
        [
            f"`{name}`",
            *(interval(values[name].as_dict()) for values in by_split.values()),
            str(len(pairs[name].flips)),
            str(pairs[name].ties),
            str(pairs[name].confirmed),
        ]
        for name in pairs
    ]
    heads = ["evaluator", *(f"tau-b on {split} [95 %]" for split in by_split)]
    heads += [f"{words} on {TEST}" for words in ("the other way round", "tied by one", "significant by both")]
    parts = ["## Orders", _tau_sentence(by_split[TEST], pairs, count), pipes(heads, lines)]
    flips = [
        (split, flip) for split, values in pairs_by_split.items() for each in values.values() for flip in each.flips
    ]
    return [*parts, _flips_sentence(flips), *([_flips_table(flips)] if flips else [])]


def _tau_sentence(values: Mapping[str, Interval], pairs: Mapping[str, Pairs], count: int) -> str:
    defined = {name: value.value for name, value in values.items() if value.value is not None}
    extremes = ""
    if defined:
        near, far = max(defined, key=defined.get), min(defined, key=defined.get)
        extremes = f" Nearest to it on `{TEST}` is `{near}` ({number(defined[near])}), farthest `{far}` "
        extremes += f"({number(defined[far])})."
    significant = next(iter(pairs.values())).significant
    return (
        f"Kendall's tau-b between the order of the methods by each evaluator and that by `{REFERENCE}`, with a "
        f"bootstrap interval over rows: 1 is the same order, −1 the opposite.{extremes} Of the {count} pairs of "
        f"methods `{REFERENCE}` orders {significant} significantly (McNemar's exact test, Holm over all {count} "
        "pairs, 5 %); the last column says how many of these an evaluator orders significantly and the same way."
    )


def _flips_sentence(flips: Sequence[tuple[str, Flip]]) -> str:
    if not flips:
        return "No evaluator turns a pair of methods round on any split."
    certain = [(split, flip) for split, flip in flips if flip.is_certain]
    significant = [flip.evaluator for _, flip in flips if flip.is_significant]
    names = f" (by {_names(list(dict.fromkeys(significant)))})" if significant else ""
    lead = (
        f"Pairs that an evaluator orders the other way round than `{REFERENCE}`: {len(flips)} over all evaluators and "
        f"splits. In {len(significant)} of them{names} at least one of the two orders is significant, with Holm's p "
        f"over all pairs of a split, in {len(certain)} both"
    )
    if len(certain) > FEW:
        counts = Counter((f"`{flip.evaluator}`", f"`{split}`") for split, flip in certain)
        words = ", ".join(f"{count} by {evaluator} on {split}" for (evaluator, split), count in counts.items())
        return f"{lead}: {words}. These are in bold."
    words = "; ".join(
        f"on `{split}` `{flip.better}` above `{flip.worse}`, and below it by `{flip.evaluator}`"
        for split, flip in certain
    )
    return f"{lead}: {words}." if certain else f"{lead}."


def _fences(entries: Sequence[Entry]) -> str:
    """Whose answers stand in a Markdown fence: what turns most orders by `published` round."""
    rows = {entry.method: [row for row in entry.predictions if row["split"] == TEST] for entry in entries}
    counts = {method: sum("```" in row["completion"] for row in answers) for method, answers in rows.items()}
    words = [f"`{method}` {n:,} of {len(rows[method]):,}" for method, n in counts.items() if n]
    return (
        f"Answers to `{TEST}` in a Markdown fence, which `published` runs as it stands, so that it fails, and all "
        f"others take off: {', '.join(words) or 'none'}{'; the other runs none' if 0 < len(words) < len(rows) else ''}."
    )


def _flips_table(flips: Sequence[tuple[str, Flip]]) -> str:
    lines = [
        [
            f"**`{flip.better}` − `{flip.worse}`**" if flip.is_certain else f"`{flip.better}` − `{flip.worse}`",
            f"`{flip.evaluator}`",
            split,
            interval(flip.reference.as_dict(), "+"),
            p_value(flip.reference_p),
            interval(flip.other.as_dict(), "+"),
            p_value(flip.other_p),
        ]
        for split, flip in flips
    ]
    heads = ["pair", "evaluator", "split", f"difference by {REFERENCE} [95 %]", "p (Holm)"]
    return pipes([*heads, "difference by the evaluator [95 %]", "p (Holm)"], lines)


# Verdicts


def _disagreements(by_method: "Mapping[str, pandas.DataFrame]") -> list[str]:
    counts = disagreements(by_method)
    total = sum(len(table) for table in by_method.values())
    others = [name for name in EVALUATORS if name != REFERENCE]
    kinds = {name: count_kinds(by_method, name) for name in others}
    lines = [
        [f"`{one}`", *("–" if one == other else f"{counts[one][other]:,}" for other in EVALUATORS)]
        for one in EVALUATORS
    ]
    parts = [
        "## Verdicts",
        f"Of {total:,} answers of all runs and splits, how many the evaluator on the left accepts and the one above "
        f"refuses. {_widest(counts, others)}",
        pipes(["accepts", *(f"`{name}` refuses" for name in EVALUATORS)], lines),
    ]
    for side, (words, sentence) in enumerate(
        (
            (LENIENT, f"What the evaluator accepts and `{REFERENCE}` refuses, by what it comes from:"),
            (STRICT, f"What it refuses and `{REFERENCE}` accepts:"),
        )
    ):
        rows = [
            [text, *(f"{kinds[name][side][kind]:,}" for name in others)]
            for kind, text in words.items()
            if any(kinds[name][side][kind] for name in others)
        ]
        sums = ["all", *(f"{kinds[name][side].total():,}" for name in others)]
        parts += [sentence, pipes(["kind", *(f"`{name}`" for name in others)], [*rows, sums])]
    return parts


def _widest(counts: Mapping[str, Mapping[str, int]], others: Sequence[str]) -> str:
    """Who accepts the most that REFERENCE refuses, and who refuses the most that it accepts."""
    lenient = max(others, key=lambda name: counts[name][REFERENCE])
    strict = max(others, key=lambda name: counts[REFERENCE][name])
    return (
        f"The most that `{REFERENCE}` refuses is accepted by `{lenient}` ({counts[lenient][REFERENCE]:,}), the most "
        f"that it accepts is refused by `{strict}` ({counts[REFERENCE][strict]:,})."
    )
