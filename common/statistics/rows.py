"""A run's figures from its predictions rows: of one split at a time, and of two runs row by row.

Rows that share a schema pass and fail together, so intervals are over schemas where any two rows have one in common.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from common.scoring import COLUMN_ORDER, STRICT_ONLY
from common.settings import UserError
from common.statistics.intervals import Interval, PairedDifference, mean_interval, paired_difference

METRICS = ("match", "right", "score", "published_score", "published_match", "robust_match", "rouge_l", "scorable")
TEST = "test"  # the split that a headline is of


def of_split(rows: Iterable[dict], split: str = TEST) -> list[dict]:
    """The rows of one split, in their order."""
    return [row for row in rows if row["split"] == split]


def splits_of(rows: Iterable[dict]) -> list[str]:
    """The splits that rows are of, in the order in which they come."""
    return list(dict.fromkeys(row["split"] for row in rows))


def schemas_of(rows: Sequence[dict]) -> list[str] | None:
    """Each row's schema, by which rows belong together; None for rows from before they said so."""
    names = [row.get("schema") for row in rows]
    return None if None in names else names


def metrics(rows: Sequence[dict]) -> dict[str, dict]:
    """A record's metrics from its predictions rows of one split.

    `match`, `score` and `right` (the headline: robust where databases were generated, else strict) are means over the
    scorable rows (those whose match is not None), `robust_match` over the rows that have it, the published figures,
    `rouge_l` and the share `scorable` over all rows. Raises ValueError for rows of several splits.
    """
    _check_one_split(rows)
    values, groups = [_metric_values(row) for row in rows], schemas_of(rows)

    def interval(name: str) -> Interval:
        places = [place for place, line in enumerate(values) if line[name] is not None]
        names = None if groups is None else [groups[place] for place in places]
        return mean_interval([values[place][name] for place in places], groups=names)

    return {name: interval(name).as_dict() for name in METRICS}


def _metric_values(row: dict) -> dict[str, bool | float | None]:
    """What a row adds to each metric; None where it is left out of it."""
    scorable = row["match"] is not None
    return {
        "match": row["match"],
        "right": is_right(row) if scorable else None,
        "score": float(row["score"]) if scorable else None,
        "published_score": float(row["published_score"]),
        "published_match": row["published_match"],
        "robust_match": row["robust_match"],
        "rouge_l": float(row["rouge_l"]),
        "scorable": scorable,
    }


def is_right(row: dict) -> bool | None:
    """A row's headline verdict: robust where databases were generated, else strict; None where it has none."""
    return row["match"] if row["robust_match"] is None else row["robust_match"]


def slices(rows: Sequence[dict]) -> dict[str, dict[str, dict]]:
    """match, the headline verdict and score by complexity and by task type, over the scorable rows; rows without a name
    are in no slice. Raises ValueError for rows of several splits."""
    _check_one_split(rows)
    shares = {}
    for column in ("complexity", "task_type"):
        names = sorted({row[column] for row in rows if row[column]})
        shares[column] = {name: _slice([row for row in rows if row[column] == name]) for name in names}
    return shares


def _slice(rows: list[dict]) -> dict[str, dict]:
    scorable = [row for row in rows if row["match"] is not None]
    groups = schemas_of(scorable)
    values = {
        "match": [row["match"] for row in scorable],
        "right": [is_right(row) for row in scorable],
        "score": [float(row["score"]) for row in scorable],
    }
    return {name: mean_interval(numbers, groups=groups).as_dict() for name, numbers in values.items()}


def outcomes(rows: Iterable[dict]) -> dict[str, int]:
    """How many rows came to each outcome, by name."""
    return dict(sorted(Counter(row["outcome"] for row in rows).items()))


def column_order_refusals(rows: Iterable[dict]) -> int:
    """How many rows strict match refused for the order of their columns alone, which many evaluators ignore."""
    return sum(row["match"] is False and row["detail"] == COLUMN_ORDER for row in rows)


def strict_only_matches(rows: Iterable[dict]) -> int:
    """How many robust matches rest on the given database alone, because none could be generated."""
    return sum(row["robust_match"] is True and row["detail"] == STRICT_ONLY for row in rows)


def figures(rows: Sequence[dict]) -> dict[str, object]:
    """What a record says of one split's rows, by its keys."""
    return {
        "metrics": metrics(rows),
        "slices": slices(rows),
        "outcomes": outcomes(rows),
        "column_order_refusals": column_order_refusals(rows),
        "strict_only_matches": strict_only_matches(rows),
    }


def _check_one_split(rows: Sequence[dict]) -> None:
    if len(splits := {row.get("split", TEST) for row in rows}) > 1:
        raise ValueError(f"figures are of one split, these rows are of {', '.join(sorted(splits))}; take `of_split`")


def difference(a_rows: Sequence[dict], b_rows: Sequence[dict]) -> PairedDifference:
    """How much more often `b` is right than `a`, over the rows of one split that both have a verdict for; whole schemas
    are resampled, and tested, where rows share one. Raises UserError unless both answered the same rows."""
    a_rows, b_rows = paired_rows(a_rows, b_rows)
    pairs = [(is_right(a), is_right(b), a) for a, b in zip(a_rows, b_rows, strict=True)]
    both = [pair for pair in pairs if None not in pair[:2]]
    groups = schemas_of([row for *_, row in both])
    return paired_difference([a for a, *_ in both], [b for _, b, _ in both], groups=groups)


def paired_rows(a_rows: Sequence[dict], b_rows: Sequence[dict]) -> tuple[list[dict], list[dict]]:
    """Both runs' rows aligned by id, in the first run's order. Raises UserError unless both have the same ids."""
    other = {row["id"]: row for row in b_rows}
    alone = {row["id"] for row in a_rows} ^ other.keys()
    if alone or len(a_rows) != len(b_rows) or len(other) != len(b_rows):
        example = f", '{min(alone)}' among them" if alone else ""
        raise UserError(
            f"the two runs did not answer the same rows ({len(alone)} are in one of them only{example}); "
            "run both with the same data, split, size and seed"
        )
    return list(a_rows), [other[row["id"]] for row in a_rows]
