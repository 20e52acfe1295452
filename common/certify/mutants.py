"""Wrong queries that pass: near misses of each reference, and which verdict takes them for right.

The denominator is the mutants that are **truly different**: some database at hand parts them from the reference. Which
database that is says how different they are:

- `like given`: the given database, the suite of the robust verdict, or a larger suite of the same kind from another
  seed: data that keep to what the given rows suggest. A verdict that accepts one of these was lucky.
- `any`: only data that keep to nothing but the schema, such as a NULL where no row has one, or two people of one name.
  To refuse such a mutant is to refuse every answer that rests on an unwritten rule.
- `none`: no database parts it (undecided). Most mean the same; some would be parted by data that nobody made.

Mutants that are no valid SQL for the schema are left out, since every verdict refuses them. All this counts only what
`common.mutations.neighbours` makes; a model's mistakes are others.

The databases of the robust verdict were chosen by a sample of near misses of the same reference, so its share on single
changes flatters it. Mutants with two changes are near misses of near misses, which that choice never saw; they have a
line of their own.
"""

import random
from collections.abc import Sequence

import pandas

from common.certify.shares import shares
from common.data import Example
from common.mutations.neighbours import neighbours
from common.scoring import Scorer

TWO_CHANGES = "two changes"
ACCEPTED = ("published", "strict", "robust")
SEPARATORS = ("like given", "any", "none")
_NOT_SQL = ("syntax_error", "schema_error", "forbidden")


def mutants(
    examples: Sequence[Example],
    scorer: Scorer,
    *,
    like_given: Scorer,
    free: Scorer,
    two_changes: int = 4,
    seed: int = 0,
) -> pandas.DataFrame:
    """One line a mutant that is valid SQL: id, operator, sql, published, strict, robust, parted_by.

    scorer: its verdicts are studied; it has generated databases. like_given, free: scorers of other seeds with the
    conservative and the aggressive generator, which only say which mutants are different. two_changes: mutants with two
    changes a reference. References that cannot be scored have no line.
    """
    rows = [
        (example, operator, sql)
        for example in examples
        for operator, sql in [
            *((neighbour.operator, neighbour.sql) for neighbour in neighbours(example.sql)),
            *((TWO_CHANGES, sql) for sql in _double_changes(example.sql, two_changes, seed)),
        ]
    ]
    verdicts = scorer.score_batch([(example, sql) for example, _, sql in rows])
    parted_by = _separators(rows, verdicts, like_given, free)
    return pandas.DataFrame(
        [
            {
                "id": example.id,
                "operator": operator,
                "sql": sql,
                "published": verdict.published_match,
                "strict": verdict.match,
                "robust": verdict.robust_match,
                "parted_by": separator,
            }
            for (example, operator, sql), verdict, separator in zip(rows, verdicts, parted_by, strict=True)
            if verdict.match is not None and verdict.outcome not in _NOT_SQL
        ],
        columns=["id", "operator", "sql", *ACCEPTED, "parted_by"],
    )


def acceptance(table: pandas.DataFrame, parted_by: Sequence[str] = ("like given", "any")) -> pandas.DataFrame:
    """Shares of mutants accepted under each verdict, by operator; those with two changes apart from all others.

    parted_by: which mutants count. Columns as of `shares`, with `undecided`: how many no database parts, in no share.
    """
    subset = table[table["parted_by"].isin(parted_by)]
    is_double = subset["operator"] == TWO_CHANGES
    lines = shares(subset[~is_double], ACCEPTED, by="operator")
    if is_double.any():
        lines = pandas.concat([lines, shares(subset[is_double], ACCEPTED, by="operator").loc[[TWO_CHANGES]]])
    none = table[table["parted_by"] == "none"]
    undecided = none.groupby("operator").size().to_dict() | {"all": int((none["operator"] != TWO_CHANGES).sum())}
    return lines.assign(undecided=[undecided.get(name, 0) for name in lines.index])


def _separators(rows: list[tuple], verdicts: list, like_given: Scorer, free: Scorer) -> list[str]:
    separators = ["like given" if not verdict.robust_match else "none" for verdict in verdicts]
    for scorer, name in ((like_given, "like given"), (free, "any")):
        places = [place for place, separator in enumerate(separators) if separator == "none"]
        answers = scorer.score_batch([(rows[place][0], rows[place][2]) for place in places])
        for place, verdict in zip(places, answers, strict=True):
            if not verdict.robust_match:
                separators[place] = name
    return separators


def _double_changes(sql: str, count: int, seed: int) -> list[str]:
    """Near misses of near misses that are none of the reference itself."""
    once = [neighbour.sql for neighbour in neighbours(sql)]
    exclusions = {sql.strip().rstrip("; \n"), *once}
    rng = random.Random(f"{seed}/{sql}")
    doubles: dict[str, None] = {}
    for first in rng.sample(once, min(count, len(once))):
        further = [neighbour.sql for neighbour in neighbours(first) if neighbour.sql not in exclusions]
        if further:
            doubles[rng.choice(further)] = None
    return list(doubles)
