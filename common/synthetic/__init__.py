"""The embedded text-to-SQL data set, second edition: made on the spot, every reference executed.

Covers: small invented databases of one to four tables with columns of near names, of which a question needs one to
three; the query forms that the families of `mix.FAMILIES` make; English questions in several phrasings. Does not cover:
real data, spelling mistakes, questions whose answer needs knowledge from outside, dialects other than SQLite. Questions
are made from patterns, so they are more regular than people's.

The data is a pure function of split, size and seed: `generate(split, n)[:k] == generate(split, k)`, in every
process. A question, and a `sql_context`, can occur in one split only, whatever the seed and the sizes, because a
stable hash of the text decides the split. `test_unseen` has domains (and tables) of its own, `test_forms` query forms
of its own (one form in five), and a fifth of the ways to ask occur in the test splits only. `post` is for preference
training, reward model and GRPO: more rows like those of `train`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate
from random import Random
from zlib import crc32

from common.synthetic import mix
from common.synthetic.check import holds
from common.synthetic.conditions import say
from common.synthetic.plan import Draft
from common.synthetic.render import form, is_held_out, sql
from common.synthetic.scene import draw
from common.synthetic.tables import Misfit, Scene

SPLITS = ("train", "validation", "test", "test_unseen", "test_forms", "post")
FRESH = {"test": 0.45, "test_unseen": 0.45, "test_forms": 0.45}  # share of the rows whose phrasing is in no other split
POLITE = (("Please {}.", 6), ("Can you {}?", 4), ("Could you {}?", 3), ("I would like you to {}.", 1))
MOST_CHARACTERS = 330  # of a reference
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
COMMANDS = frozenset(
    [
        "Show",
        "List",
        "Give",
        "Return",
        "Display",
        "Find",
        "Get",
        "Count",
        "Compute",
        "Calculate",
        "Report",
        "Add",
        "Delete",
        "Remove",
    ]
)
ATTEMPTS = 20  # scenes for one row before another family is chosen
DRAFTS = 8  # queries to try on one scene


def generate(split: str, n: int, *, seed: int = 42) -> list[dict]:
    """The first n rows of a split, dicts of gretel's columns, all text; ids such as `train-00017` are unique over all
    splits.

    Raises ValueError for an unknown split or a negative n.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
    if n < 0:
        raise ValueError(f"cannot generate {n} rows")
    return [origin.row for origin in draw_rows(split, n, seed=seed)]


@dataclass(frozen=True)
class Origin:
    """A row with what it was made from: its scene and draft, and whether its phrasing is for test splits only."""

    row: dict
    scene: Scene
    draft: Draft
    is_fresh: bool

    @property
    def form(self) -> str:
        """The query form, see `render.form`."""
        return form(self.row["sql"].removesuffix(";"), self.scene.relations)


def draw_rows(split: str, n: int, *, seed: int = 42) -> Iterator[Origin]:
    """The first n rows of a split as `generate` has them, one after the other."""
    keys: set[tuple[str, str, str]] = set()
    for number in range(n):
        yield _origin(split, number, Random(f"{seed}/{split}/{number}"), keys)


def _origin(split: str, number: int, rng: Random, keys: set[tuple[str, str, str]]) -> Origin:
    complexity = rng.choices(tuple(mix.SHARES), tuple(mix.SHARES.values()))[0]
    is_fresh = rng.random() < FRESH.get(split, 0)
    families, weights = _weights(complexity)
    while True:
        family = rng.choices(families, cum_weights=weights)[0]
        for _ in range(ATTEMPTS):
            attempt = _attempt(split, rng, family, is_fresh)
            if attempt is None:
                continue
            scene, draft, statement, question = attempt
            key = (question, scene.context, statement)
            if key not in keys:
                keys.add(key)
                row = _columns(split, number, family, scene, question, statement)
                return Origin(row, scene, draft, is_fresh)


@cache
def _weights(complexity: str) -> tuple[tuple[mix.Family, ...], tuple[float, ...]]:
    families = tuple(family for family in mix.FAMILIES if family.complexity == complexity)
    return families, tuple(accumulate(family.weight for family in families))


def _attempt(split: str, rng: Random, family: mix.Family, is_fresh: bool) -> tuple[Scene, Draft, str, str] | None:
    accept, unseen = partial(_belongs, split), split == "test_unseen"
    try:
        scene = draw(rng, family.needs, chain=family.chain, unseen=unseen, nulls=family.nulls, accept=accept)
    except Misfit:
        return None
    for _ in range(DRAFTS):
        try:
            draft = family.write(rng, scene)
        except Misfit:
            continue
        statement = sql(draft.plan) if draft.plan else draft.statement
        is_own = is_held_out(form(statement, scene.relations)) == (split == "test_forms")
        if is_own and len(statement) <= MOST_CHARACTERS and holds(draft, scene.context):
            question = _question(split, rng, draft.fresh if is_fresh else draft.frames)
            if question:
                return scene, draft, f"{statement};", question
    return None


def _question(split: str, rng: Random, frames: tuple[str, ...]) -> str | None:
    """One of the phrasings that hash into this split, if any does."""
    patterns = list(frames) * (1 + 8 // len(frames))
    rng.shuffle(patterns)
    for pattern in patterns:
        question = _polite(rng, re.sub(r",(?=[?.])", "", " ".join(say(rng, pattern).split())))
        if _belongs(split, question):
            return question
    return None


def _polite(rng: Random, question: str) -> str:
    """The question, some of its commands as a request."""
    is_command = question.endswith(".") and question.count(".") == 1 and question.split()[0] in COMMANDS
    if not is_command or rng.random() > 0.3:
        return question
    pattern = rng.choices([text for text, _ in POLITE], [weight for _, weight in POLITE])[0]
    return pattern.format(question[0].lower() + question[1:-1])


def _belongs(split: str, text: str) -> bool:
    return crc32(text.lower().encode()) % len(SPLITS) == SPLITS.index(split)


def _columns(split: str, number: int, family: mix.Family, scene: Scene, question: str, statement: str) -> dict:
    return {
        "id": f"{split}-{number:05}",
        "domain": scene.domain.name,
        "domain_description": scene.domain.about,
        "sql_complexity": family.complexity,
        "sql_complexity_description": COMPLEXITIES[family.complexity],
        "sql_task_type": family.task_type,
        "sql_task_type_description": TASK_TYPES[family.task_type],
        "sql_prompt": question,
        "sql_context": scene.context,
        "sql": statement,
        "sql_explanation": family.explanation,
    }
