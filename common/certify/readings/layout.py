"""The same result laid out otherwise: columns in another order, the aggregate alone, a year as a number.

A reader would take such an answer, but strict match compares columns by position and values by type. These forms are
right by how they are made and not because they match, and they are counted apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from common.certify.readings.structure import Query, sql, unaliased

_YEAR = re.compile(r"STRFTIME\('%Y', .*\)", re.IGNORECASE)


def forms(query: Query) -> Iterator[tuple[str, str]]:
    """Form and text of each."""
    by_number = any(isinstance(term.this, exp.Literal) for term in [*query.order, *query.group])
    texts = list(map(sql, query.projections))
    if any(projection.is_star for projection in query.projections) or by_number:
        return
    if len(texts) > 1 and not query.distinct:
        is_aggregate = [projection.find(exp.AggFunc) is not None for projection in query.projections]
        if query.group and any(is_aggregate) and not all(is_aggregate):
            order = sorted(range(len(texts)), key=lambda place: not is_aggregate[place])
            if order == sorted(order):
                order = sorted(order, key=lambda place: is_aggregate[place])
            yield "aggregate first", query.build(select=", ".join(texts[place] for place in order))
            alone = ", ".join(text for text, aggregate in zip(texts, is_aggregate, strict=True) if aggregate)
            yield "aggregate alone", query.build(select=alone)
        else:
            yield "columns in another order", query.build(select=", ".join(texts[::-1]))
    for place, projection in enumerate(query.projections):
        if _YEAR.fullmatch(sql(unaliased(projection))):
            number = f"CAST({sql(unaliased(projection))} AS INTEGER)"
            yield "year as a number", query.build(select=", ".join([*texts[:place], number, *texts[place + 1 :]]))
