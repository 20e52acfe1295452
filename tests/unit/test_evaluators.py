"""Other evaluators' verdicts: expected ones are worked out by hand, answers run in the real sandbox."""

from collections import Counter
from dataclasses import asdict
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data import Example
from common.evaluators import EVALUATORS, RESTATED, results
from common.evaluators.results import RELATIONS, is_same_bag, is_same_set, relation
from common.evaluators.texts import ORDERS, is_same_text, order_of
from common.evaluators.verdicts import verdicts
from common.prompts import extract_sql
from common.sandbox.statements import Result
from common.scoring import Scorer
from common.settings import UserError
from tests.unit.evaluator_cases import CASES, ONE, SCHEMA

LETTERS = {"s": "strict", "p": "published", "b": "bag", "e": "set", "c": "clauses", "t": "text"}


def recorded(cases, databases=0):
    """Examples and predictions rows of (reference, completion), as a run records them."""
    examples = [Example(f"row-{i}", "?", SCHEMA, reference) for i, (reference, _) in enumerate(cases)]
    completions = [completion for _, completion in cases]
    with Scorer(workers=1, databases=databases) as scorer:
        verdicts = scorer.score_batch(zip(examples, completions, strict=True))
    rows = [
        {"id": example.id, "split": "test", "completion": text, "sql": extract_sql(text), **asdict(verdict)}
        for example, text, verdict in zip(examples, completions, verdicts, strict=True)
    ]
    return rows, examples


@pytest.fixture(scope="module")
def table():
    rows, examples = recorded([(case.reference, case.completion) for case in CASES])
    return verdicts(rows, examples, workers=1)


@pytest.mark.parametrize("place", range(len(CASES)), ids=[case.name for case in CASES])
def test_each_evaluator_says_what_is_worked_out_by_hand(table, place):
    case, line = CASES[place], table.iloc[place]
    if case.relation == "?":
        assert all(line[name] is None for name in EVALUATORS)
    else:
        expected = {name: letter in case.right for letter, name in LETTERS.items()}
        assert {name: line[name] for name in LETTERS.values()} == expected
        assert line["robust"] is line["strict"]  # no database was generated
    assert (line["relation"], line["order"]) == (case.relation, case.order)


def test_a_completion_is_bare_where_it_is_its_statement(table):
    bare = {case.name: bool(flag) for case, flag in zip(CASES, table["bare"], strict=True)}
    assert bare["duplicates"] and bare["rows that tie"]
    assert not bare["a fence"] and not bare["prose"]


def test_every_letter_has_its_case():
    assert {case.relation for case in CASES} == set(RELATIONS)
    assert {case.order for case in CASES} == set(ORDERS)


def test_an_answer_that_is_right_by_luck_is_right_by_all_who_look_at_one_database():
    rows, examples = recorded([(ONE, "SELECT 'x'"), (ONE, ONE)], databases=4)
    lucky, right = verdicts(rows, examples, workers=1)[list(EVALUATORS)].to_dict("records")
    assert [name for name in EVALUATORS if lucky[name]] == ["strict", "published", "bag", "set"]
    assert all(right.values())


def test_a_verdict_that_was_recorded_of_an_answer_that_runs_no_more_is_refused():
    rows, examples = recorded([(ONE, "SELECT name FROM t")])
    rows[0]["outcome"] = "mismatch"
    with pytest.raises(UserError, match=r"row-0 ran when it was recorded and does not now \(no such column: name\)"):
        verdicts(rows, examples, workers=1)
    with pytest.raises(ValueError, match="not those of the rows"):
        verdicts(rows, [], workers=1)


# Rows beside rows

CELLS = st.sampled_from([0, 1, 1.0, None, "1"])
TABLES = st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), max_size=5))


def by_all_orders(rows, others, in_order):
    """Every order of the columns tried, one by one."""
    if len(rows) != len(others) or not rows:
        return len(rows) == len(others)
    views = [[tuple(row[i] for i in order) for row in rows] for order in permutations(range(len(rows[0])))]
    return any(view == others if in_order else Counter(view) == Counter(others) for view in views)


@given(TABLES, TABLES, st.booleans())
def test_the_search_for_an_order_of_columns_is_that_through_all_of_them(rows, others, in_order):
    assert is_same_bag(rows, others, in_order=in_order) == by_all_orders(rows, others, in_order)


@given(TABLES, st.randoms(use_true_random=False), st.booleans())
def test_shuffled_rows_and_columns_are_the_same_bag_and_shuffled_rows_the_same_set(rows, random, in_order):
    width = len(rows[0]) if rows else 1
    order = random.sample(range(width), width)
    turned = [tuple(row[i] for i in order) for row in rows]
    assert is_same_bag(rows, turned, in_order=in_order)
    mixed = random.sample(turned, len(turned))
    assert is_same_bag(rows, mixed, in_order=False)
    assert is_same_set(mixed, turned) and is_same_set(turned + mixed, turned)


@given(TABLES, TABLES)
def test_equal_bags_with_the_columns_as_they_stand_are_equal_sets(rows, others):
    if relation(Result(rows, 1), Result(others, 1)) in "=o":
        assert is_same_bag(rows, others, in_order=False) and is_same_set(rows, others)


def test_a_search_for_an_order_of_columns_ends_where_it_takes_too_long(monkeypatch):
    rows = [tuple(int(i == j) for j in range(6)) for i in range(6)]
    assert is_same_bag(rows, rows[::-1], in_order=False)
    monkeypatch.setattr(results, "MOST_STEPS", 6)  # six columns take seven steps
    assert not is_same_bag(rows, rows[::-1], in_order=False)


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("SELECT a FROM t", "select  A\nfrom T;", True),
        ("SELECT a FROM t WHERE b='x'", "SELECT a FROM t WHERE b = 'x' /* all */ ;;", True),
        ('SELECT "a b" FROM t', 'SELECT "a  b" FROM t', False),
        ("SELECT 'X'", "SELECT 'x'", False),
        ("SELECT ab", "SELECT a b", False),
        ("SELECT a, b", "SELECT b, a", False),
        ("SELECT 1; SELECT 2", "SELECT 1 SELECT 2", False),
    ],
)
def test_texts(one, other, same):
    assert is_same_text(one, other) is is_same_text(other, one) is same


def test_words_in_strings_and_comments_order_nothing():
    assert order_of("SELECT 'order by' FROM t -- order by a") == "-"
    assert order_of('SELECT "order", by FROM t') == "-"


def test_the_restated_evaluators_are_among_all():
    assert set(RESTATED) == set(EVALUATORS) - {"robust", "strict", "published"}
