"""Making a suite: candidates from each mode, those that can be relied on, and of these the ones that part most.

Runs in the worker, on a reference that ran on its own database. Everything is bounded by counts and steps.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache

from common.mutations.neighbours import neighbours
from common.sandbox.worker import privileges
from common.scoring.running import Reference
from common.scoring.suites.filling import MODES, WRITING, fill
from common.scoring.suites.links import equate, link, note_shares, order_again
from common.scoring.suites.mentions import Mentions, Place, read_mentions
from common.scoring.suites.misses import sums_for_counts, superfluous_conditions, written_out
from common.scoring.suites.survey import Column, Survey, read_survey
from common.scoring.suites.values import ValuePool, value_pool
from common.scoring.suites.workshop import MOST_TICKS, Workshop

MOST_CANDIDATES = 24
MOST_ATTEMPTS = 3  # for each of these; where the given rows leave no tie at the cut of LIMIT, those that do are no use
MOST_NEIGHBOURS = 30
MOST_WRITING_NEIGHBOURS = 10
MOST_OF_AN_OPERATOR = 10  # of which the sample takes some
LONGEST_TEXT = 6_000  # characters; of a longer reference no near misses are made, so that time stays bounded


def build(reference: Reference, *, number: int, generator: str, seed: int, renew: Callable[[], None]) -> list[bytes]:
    """The images of a suite, best first, at most `number`; fewer where no more can be relied on.

    renew: called before foreign text runs, so that each run gets CPU time of its own.
    """
    survey = read_survey(reference.database.reader)
    if survey is None or reference.run.uses_random:
        return []
    link(survey)
    with privileges():
        _warm_up()
    renew()
    mentions = read_mentions(reference.statements, survey)
    pools = _pools(survey, mentions, aggressive=generator == "aggressive")
    key = f"{seed}/{generator}/{';'.join(reference.statements)}"
    renew()
    writes = reference.run.state is not None
    text = "; ".join(reference.statements)
    mutants = neighbours(text, most=MOST_OF_AN_OPERATOR) if len(text) <= LONGEST_TEXT else []
    near_misses = sample(mutants, key, writes)
    if generator == "conservative" and not writes and text:
        near_misses += written_out(reference.run.results)
        with suppress(Exception):  # a text in a form that sqlglot does not know
            near_misses += sums_for_counts(text, survey)
            near_misses += superfluous_conditions(text, survey)
    modes = [mode for mode in MODES if not writes or mode.name in WRITING]
    works = Workshop(survey, mentions, reference, near_misses, renew)
    goal = max(number + 2, len(modes))
    most = max(MOST_CANDIDATES, 4 * number)
    for attempt in range(MOST_ATTEMPTS * most):
        if (
            len(works.candidates) >= most
            or works.ticks >= MOST_TICKS
            or (len(works.candidates) >= goal and works.is_complete())
        ):
            break
        rng = random.Random(f"{attempt}/{key}")
        mode = modes[attempt % len(modes)]
        works.try_one(mode, fill(survey, pools, mentions, mode, rng))
    return [candidate.image for candidate in works.choose(number)]


def _pools(survey: Survey, mentions: Mentions, *, aggressive: bool) -> dict[Place, ValuePool]:
    """What each column's values are drawn from, once the survey knows what the reference shows of keys and repeats."""
    for left, right in mentions.joins:
        equate(survey, left, right)
    order_again(survey)
    for column in mentions.repeats:
        column.names_rows = False
    if not aggressive:
        note_shares(survey, groups=bool(mentions.groups or mentions.counts))
        _note_running(survey, mentions)
    partners: dict[Place, list[Column]] = {}
    for left, right in [*mentions.joins, *mentions.comparisons]:
        partners.setdefault(left.place, []).append(right)
        partners.setdefault(right.place, []).append(left)
    for column in survey.columns():  # what a child's key is compared with has to be among its parent's
        if column.parent is not None and column.place in mentions.constants:
            partners.setdefault(column.parent.place, []).append(column)
    pools = {
        column.place: value_pool(column, mentions, aggressive=aggressive, partners=partners.get(column.place, ()))
        for column in survey.columns()
    }
    if aggressive:
        for column in survey.columns():
            column.parent = column.parent if column.parent_in_schema else None
    return pools


def _note_running(survey: Survey, mentions: Mentions) -> None:
    """Rows that a running aggregate takes in turn stay apart where the given ones are."""
    for columns in mentions.tie_breaking_sets:
        names = tuple(column.name for column in columns)
        if len({column.table for column in columns}) == 1 and survey.table(columns[0]).is_distinct(names):
            if len(columns) == 1:
                mentions.tie_breakers += columns
            else:
                survey.table(columns[0]).distinct_sets.append(names)
        elif columns[-1].distinct:
            mentions.tie_breakers.append(columns[-1])


@cache
def _warm_up() -> None:
    """Whatever the parser imports when it is first used."""
    neighbours("SELECT count(*) FROM t WHERE a > 1 AND b LIKE 'x%' ORDER BY a LIMIT 1")


def sample(mutants: Sequence, key: str, writes: bool) -> list[str]:
    """The near misses that databases are chosen by: some of each operator, in a seeded order."""
    rng = random.Random(f"neighbours/{key}")
    by_operator: dict[str, list[str]] = {}
    for neighbour in mutants:
        by_operator.setdefault(neighbour.operator, []).append(neighbour.sql)
    for texts in by_operator.values():
        rng.shuffle(texts)
    choice: list[str] = []
    most = MOST_WRITING_NEIGHBOURS if writes else MOST_NEIGHBOURS
    while by_operator and len(choice) < most:  # in turn, so that no operator crowds out another
        for operator in sorted(by_operator):
            if len(choice) < most:
                choice.append(by_operator[operator].pop())
            if not by_operator[operator]:
                del by_operator[operator]
    return choice
