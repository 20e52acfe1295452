"""The embedded text-to-SQL data set: made on the spot, every reference executed.

Covers: small invented databases of one to three tables, the query forms listed in `mix.QUERIES`, English questions in
several phrasings. Does not cover: real data, spelling mistakes, questions whose answer needs knowledge from outside,
schemas of more than three tables, dialects other than SQLite. Questions are made from patterns, so they are more
regular than people's; a score here says how well a method learns, not how well a model would serve people.

The data is a pure function of split, size and seed: `generate(split, n)[:k] == generate(split, k)`, in every
process. A question, and a `sql_context`, can occur in one split only, whatever the seed and the sizes, because a
stable hash of the text decides the split. `test_unseen` has domains (and tables) of its own.
"""

from functools import cache, partial
from itertools import accumulate
from random import Random
from zlib import crc32

from common.synthetic import mix
from common.synthetic.budget import MOST_TOKENS, most_tokens
from common.synthetic.check import Draft, holds
from common.synthetic.conditions import say
from common.synthetic.scene import Misfit, Scene, draw

SPLITS = ("train", "validation", "test", "test_unseen")
COMPLEXITIES = {
    "basic SQL": "one table, filters, sorting and single changes",
    "aggregation": "counts, sums and averages, with or without groups",
    "single join": "two tables joined",
    "multiple_joins": "three tables joined",
    "subqueries": "a query that uses the result of another",
    "window functions": "ranks, running totals and values over a window of rows",
    "set operations": "UNION, INTERSECT or EXCEPT",
    "CTEs": "a named intermediate result, WITH ... AS",
}
TASK_TYPES = {
    "data retrieval": "finding and showing rows",
    "analytics and reporting": "summing up, comparing and ranking",
    "data manipulation": "inserting, changing and deleting rows",
    "data definition": "creating, altering and dropping tables, views and indexes",
}
ATTEMPTS = 400  # draws for one row before another query is chosen


def generate(split: str, n: int, *, seed: int = 42) -> list[dict]:
    """The first n rows of a split, dicts of gretel's columns, all text; ids such as `train-00017` are unique over all
    splits.

    Raises ValueError for an unknown split or a negative n.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
    if n < 0:
        raise ValueError(f"cannot generate {n} rows")
    rows, keys = [], set()
    for number in range(n):
        rows.append(_row(split, number, Random(f"{seed}/{split}/{number}"), keys))
    return rows


def _row(split: str, number: int, rng: Random, keys: set) -> dict:
    while True:
        query = _choose(rng)
        for _ in range(ATTEMPTS):
            attempt = _attempt(split, rng, query)
            if attempt and (key := (attempt[1], attempt[0].context, attempt[2])) not in keys:
                keys.add(key)
                return _columns(split, number, query, *attempt)


def _choose(rng: Random) -> mix.Query:
    complexity = rng.choices(tuple(mix.SHARES), tuple(mix.SHARES.values()))[0]
    queries, weights = _weights(complexity)
    return rng.choices(queries, cum_weights=weights)[0]


@cache
def _weights(complexity: str) -> tuple[tuple[mix.Query, ...], tuple[float, ...]]:
    queries = tuple(q for q in mix.QUERIES if q.complexity == complexity)
    return queries, tuple(accumulate(q.weight for q in queries))


def _attempt(split: str, rng: Random, query: mix.Query) -> tuple[Scene, str, str] | None:
    try:
        unseen = split == "test_unseen"
        scene = draw(rng, query.needs, unseen=unseen, nulls=query.nulls, accept=partial(_belongs, split))
        draft = query.write(rng, scene)
    except Misfit:
        return None
    question = _question(split, rng, draft)
    if not question or most_tokens(draft.sql) > MOST_TOKENS or not holds(draft, scene.context):
        return None
    return scene, question, draft.sql


def _question(split: str, rng: Random, draft: Draft) -> str | None:
    """One of the phrasings that hash into this split, if any does."""
    patterns = list(draft.questions)
    rng.shuffle(patterns)
    for pattern in patterns:
        question = " ".join(say(rng, pattern).split())
        if _belongs(split, question):
            return question
    return None


def _belongs(split: str, text: str) -> bool:
    return crc32(text.lower().encode()) % len(SPLITS) == SPLITS.index(split)


def _columns(split: str, number: int, query: mix.Query, scene: Scene, question: str, sql: str) -> dict:
    return {
        "id": f"{split}-{number:05}",
        "domain": scene.domain.name,
        "domain_description": scene.domain.about,
        "sql_complexity": query.complexity,
        "sql_complexity_description": COMPLEXITIES[query.complexity],
        "sql_task_type": query.task_type,
        "sql_task_type_description": TASK_TYPES[query.task_type],
        "sql_prompt": question,
        "sql_context": scene.context,
        "sql": sql,
        "sql_explanation": query.explanation,
    }
