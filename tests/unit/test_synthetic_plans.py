"""Whether a question of the embedded data set determines its answer: two readings of our own against plan and SQL.

`plan_reader` works out a plan's answer without SQL; `question_reader` works out what a sentence asks without its plan.
A question that reads in two ways, or not as its plan says, fails here.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import islice

import pytest

from common.synthetic import SPLITS, Origin, draw_rows
from common.synthetic.plan import Compound, Condition, Select, Steps, Term
from tests.unit.lookups import answer
from tests.unit.plan_reader import read
from tests.unit.question_reader import ask, is_covered, meaning_of, meant, plurals
from tests.unit.question_words import DISTINCT, FIGURES, ORDINALS, Asked, Meaning, number_of, take_conditions

PLANS = 200  # per split


@cache
def plans(split: str) -> list[Origin]:
    """The first rows that have a plan."""
    return list(islice((origin for origin in draw_rows(split, 10**6) if origin.draft.plan), PLANS))


def said(origin: Origin) -> str:
    return f"{origin.row['id']}: {origin.row['sql_prompt']}\n  {origin.row['sql']}"


def selects(plan) -> list[Select]:
    match plan:
        case Compound():
            return [plan.left, plan.right]
        case Steps():
            return [plan.inner, *([plan.second] if plan.second else [])]
    return [plan]


def conditions(some: tuple[Condition, ...]) -> Iterator[Condition]:
    for condition in some:
        yield condition
        yield from conditions(condition.inner)


def of_plan(plan) -> list[Condition]:
    return [condition for select in selects(plan) for condition in conditions(select.where)]


# Plans


@pytest.mark.parametrize("split", SPLITS)
def test_a_reading_without_sql_gives_the_answer_of_the_reference(split):
    faults = []
    for origin in plans(split):
        reading, rows = read(origin.draft.plan, origin.scene), answer(origin.row["sql_context"], origin.row["sql"])
        if not reading.agrees(rows):
            faults.append(f"{said(origin)}\n  {rows}\n  {reading.rows}")
    assert not faults, f"{len(faults)} of {PLANS}\n" + "\n".join(faults[:5])


@pytest.mark.parametrize("split", SPLITS)
def test_no_limit_cuts_through_equal_rows(split):
    assert not [said(origin) for origin in plans(split) if read(origin.draft.plan, origin.scene).is_open]


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (lambda plan: replace(plan, where=plan.where[1:]) if plan.where else None, 0.75),
        (lambda plan: replace(plan, terms=plan.terms[::-1]) if len(plan.terms) > 1 else None, 0.95),
        (lambda plan: replace(plan, any_of=True) if len(plan.where) > 1 and not plan.any_of else None, 0.5),
        (lambda plan: replace(plan, order=tuple((t, not d) for t, d in plan.order)) if plan.order else None, 0.7),
        (lambda plan: replace(plan, limit=0, offset=0) if plan.limit else None, 0.8),
    ],
    ids=["a condition less", "columns turned round", "any for all", "order turned round", "no limit"],
)
def test_the_reading_sees_a_wrong_plan(change, share):
    """A plan that differs has, mostly, another answer; the given rows leave the others open."""
    seen = []
    for origin in (origin for split in ("train", "test") for origin in plans(split)):
        wrong = change(origin.draft.plan) if isinstance(origin.draft.plan, Select) else None
        if wrong:
            rows = answer(origin.row["sql_context"], origin.row["sql"])
            seen.append(not rows or not read(wrong, origin.scene).agrees(rows))
    assert len(seen) > 10
    assert sum(seen) >= share * len(seen)


# Questions


def covered(split: str) -> Iterator[tuple[Origin, Asked, Asked]]:
    """Rows whose question can be read whole, with that reading and what the plan means."""
    for origin in plans(split):
        plan = origin.draft.plan
        if is_covered(plan):
            tables = (plan.source, *(link.relation for link in plan.links))
            yield origin, ask(origin.row["sql_prompt"], tables), meant(plan)


@pytest.mark.parametrize("split", SPLITS)
def test_a_question_alone_tells_columns_conditions_order_and_limit(split):
    readings = list(covered(split))
    assert len(readings) >= 0.55 * PLANS
    faults = [f"{said(origin)}\n  read {asked}\n  plan {plan}" for origin, asked, plan in readings if asked != plan]
    assert not faults, f"{len(faults)} of {len(readings)}\n" + "\n".join(faults[:5])


def test_a_question_that_says_something_else_is_read_so():
    """Sentences origin here, about a drawn table, with readings worked out by hand."""
    fits = lambda f: f.kind in ("group", "rate", "sum") and None not in f.values  # noqa: E731
    for origin in plans("train")[:40]:
        table = origin.draft.plan.source if isinstance(origin.draft.plan, Select) else origin.scene.relations[0]
        fields = [f for f in table.fields if fits(f)]
        if len(fields) < 2 or fields[-1].kind == "group":
            continue
        one, other = fields[0], fields[-1]
        columns = [("column", one.full), ("column", other.full)]
        many = table.many
        assert ask(f"List the {one.noun} and the {other.noun} of all {many}.", (table,)) == Asked(columns)
        assert ask(f"List the {other.noun} and the {one.noun} of all {many}.", (table,)) == Asked(columns[::-1])
        kept = ask(f"How many {many} whose {other.noun} is above 3 are there?", (table,))
        assert kept == Asked([("count",)], {(other.full, ">", "3")})
        assert ask(f"How many {many} whose {other.noun} is purple are there?", (table,)).left == ["purple"]
        turned = ask(f"List the {one.noun} of all {many}, sorted by {other.noun} in descending order.", (table,))
        assert turned == Asked(columns[:1], order=[(columns[1], True)])


def plain_conditions(plan) -> set[Meaning]:
    """What the question must say of a row's own columns, at any depth."""
    above = [
        (t.field.full, ">", number_of(t.number)) for s in selects(plan) for t in s.terms if t.function == "count_above"
    ]
    return {meaning_of(c) for c in of_plan(plan) if not c.nested and c.field.kind != "ref"} | set(above)


@pytest.mark.parametrize("split", SPLITS)
def test_a_question_names_its_conditions_and_no_others(split):
    faults = []
    for origin in plans(split):
        asked, wanted = Asked(), plain_conditions(origin.draft.plan)
        take_conditions(asked, f" {origin.row['sql_prompt']} ", origin.scene.relations)
        if asked.conditions != wanted:
            faults.append(f"{said(origin)}\n  read {asked.conditions}\n  plan {wanted}")
    assert not faults, f"{len(faults)} of {PLANS}\n" + "\n".join(faults[:5])


def constants(plan) -> Iterator[str]:
    """Every constant of a plan, as a question writes it."""
    for condition in of_plan(plan):
        yield from map(str, condition.values)
    for select in selects(plan):
        yield from (number_of(having.value) for having in select.having)
        yield from (number_of(t.number) for t in select.terms if t.function in ("times", "label", "count_above"))
        yield from (str(select.limit) for _ in range(select.limit > 1))
        yield from (word for word, place in ORDINALS.items() if place == select.offset)
    if isinstance(plan, Steps) and plan.op and plan.kind == "linked":
        yield number_of(plan.number)


@pytest.mark.parametrize("split", SPLITS)
def test_every_constant_of_a_plan_stands_in_its_question(split):
    for origin in plans(split):
        for constant in constants(origin.draft.plan):
            assert re.search(rf"(?<![\w.]){re.escape(constant)}", origin.row["sql_prompt"]) or (
                f"{constant}'" in origin.row["sql_prompt"]
            ), f"{constant}\n{said(origin)}"


def nouns(term: Term) -> str:
    """An expression for the words of a column."""
    words = [word for word, function in FIGURES.items() if function == term.function]
    told = term.field is not None and term.field.kind not in ("key", "ref")
    noun = rf"(?:{'|'.join(map(re.escape, (term.field.noun, *plurals(term.field.noun))))})" if told else ""
    if words:
        return rf"(?:{'|'.join(words)}) {noun}"
    return {
        "count": r"(?:number|how many|count)",
        "year": "year",
        "label": "(?:label|mark|')",
        "all": "columns?|rows",
    }.get(term.function, noun)


@pytest.mark.parametrize("split", SPLITS)
def test_columns_stand_in_the_question_in_the_order_of_the_answer(split):
    faults = []
    for origin in plans(split):
        for select in selects(origin.draft.plan)[:1] if not isinstance(origin.draft.plan, Steps) else ():
            pattern = ".*".join(nouns(term) for term in select.terms)
            group = select.group and re.search(
                rf"\b{nouns(select.group[0])}\b.*\b(?:first|in front)\b", origin.row["sql_prompt"]
            )
            if not group and not re.search(pattern, origin.row["sql_prompt"], re.I):
                faults.append(f"{said(origin)}\n  {pattern}")
    assert not faults, f"{len(faults)} of {PLANS}\n" + "\n".join(faults[:5])


@pytest.mark.parametrize("split", SPLITS)
def test_distinct_is_worded_where_rows_come_once(split):
    for origin in plans(split):
        plan, question = origin.draft.plan, origin.row["sql_prompt"]
        once = any(select.distinct for select in selects(plan)) or isinstance(plan, Compound)
        counted = any(term.function == "distinct" for select in selects(plan) for term in select.terms)
        ids = isinstance(plan, Compound) and plan.left.terms[0].field.kind == "key"  # no id comes twice
        if not ids:
            assert bool(re.search(DISTINCT, question)) == (once or counted), said(origin)
