"""Overlap of parsed operations: which texts do the same, which differ and by how much, and that nothing stops it.

Expected operations and F1 are worked out by hand. Not covered: how much of it a reward pays (test_rewards).
"""

# ruff: noqa: E501 - a table of cases reads best with one case a line

from collections import Counter
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data import load_examples
from common.mutations.neighbours import LONGEST as LONGEST_REFERENCE
from common.mutations.neighbours import neighbours
from common.rewards.operations import DEEPEST, LONGEST, operations, overlap
from common.scoring.rouge import rouge_l
from tests.cost import cost

JOIN = (
    "SELECT u.a, COUNT(*) FROM t JOIN u ON t.i = u.i WHERE t.b < 3 AND t.c = 'X' GROUP BY u.a ORDER BY 2 DESC LIMIT 2"
)
OPERATIONS = {
    ("table", "t"): 1,
    ("table", "u"): 1,
    ("join", "inner"): 1,
    ("filter", "t.i = u.i"): 1,
    ("filter", "t.b < 3"): 1,
    ("filter", "t.c = 'X'"): 1,
    ("aggregate", "count(*)"): 1,
    ("column", "u.a"): 1,
    ("column", "count(*)"): 1,
    ("columns", "u.a, count(*)"): 1,
    ("group", "u.a"): 1,
    ("order", "1: count(*) desc"): 1,
    ("limit", "2"): 1,
}

SAME = [
    (JOIN, "select U.A, count( * ) as n from T inner join U on U.I = T.I where 'X' = C and 3 > B group by 1 order by n desc limit 2"),
    (JOIN, JOIN.replace("FROM t JOIN u", "FROM t AS x JOIN u AS y").replace("t.", "x.").replace("u.", "y.")),
    (JOIN, JOIN.replace("JOIN u ON t.i = u.i WHERE", ", u WHERE t.i = u.i AND")),
    ("SELECT a FROM t", "SELECT t.a AS b FROM t -- all of them\n;"),
    ("SELECT a FROM t WHERE b BETWEEN 1 AND 5", "SELECT a FROM t WHERE b <= 5 AND b >= 1"),
    ("SELECT a FROM t WHERE NOT b = 1", "SELECT a FROM t WHERE (b <> 1)"),
    ("SELECT a FROM t WHERE NOT (b < 1)", "SELECT a FROM t WHERE b >= 1"),
    ("SELECT a FROM t WHERE b IS NOT NULL", "SELECT a FROM t WHERE NOT b IS NULL"),
    ("SELECT a FROM t WHERE b IN (1, 2)", "SELECT a FROM t WHERE b IN (2, 1)"),
    ("SELECT a FROM t WHERE b = 1 OR c = 2", "SELECT a FROM t WHERE c = 2 OR b = 1"),
    ("SELECT a + b FROM t", "SELECT (b + a) FROM t"),
    ("SELECT SUM(a) AS s FROM t HAVING s > 1", "SELECT SUM(a) FROM t HAVING SUM(a) > 1"),
    ("SELECT a FROM t ORDER BY a", "SELECT a FROM t ORDER BY 1 ASC NULLS FIRST"),
    ("WITH q AS (SELECT a FROM t) SELECT a FROM q", "SELECT r.a FROM (SELECT a FROM t) AS r"),
    ("REPLACE INTO t VALUES (1)", "INSERT OR REPLACE INTO t VALUES (1)"),
    ("SELECT 1; SELECT 2", "SELECT 2;; SELECT 1"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_other_words_for_the_same_operations_overlap_in_full(one, other):
    assert overlap(one, other) == overlap(other, one) == 1.0


DIFFERENT = [
    (JOIN, JOIN.replace("b < 3", "b > 3")),
    (JOIN, JOIN.replace("b < 3", "b <= 3")),
    (JOIN, JOIN.replace("b < 3", "b < 4")),
    (JOIN, JOIN.replace("t.b < 3", "t.d < 3")),
    (JOIN, JOIN.replace("t.b < 3", "u.b < 3")),
    (JOIN, JOIN.replace("'X'", "'x'")),
    (JOIN, JOIN.replace(" AND ", " OR ")),
    (JOIN, JOIN.replace("JOIN u", "LEFT JOIN u")),
    (JOIN, JOIN.replace("t.i = u.i", "t.i = u.a")),
    (JOIN, JOIN.replace("COUNT(*)", "SUM(t.b)")),
    (JOIN, JOIN.replace("u.a, COUNT(*)", "COUNT(*), u.a").replace("BY 2", "BY 1")),
    (JOIN, JOIN.replace("GROUP BY u.a", "GROUP BY u.b")),
    (JOIN, JOIN.replace("DESC", "ASC")),
    (JOIN, JOIN.replace("LIMIT 2", "LIMIT 3")),
    (JOIN, JOIN.replace("LIMIT 2", "LIMIT 2 OFFSET 1")),
    (JOIN, JOIN.replace("SELECT", "SELECT DISTINCT")),
    (JOIN, JOIN.replace("ORDER", "HAVING COUNT(*) > 1 ORDER")),
    ("SELECT a FROM t LEFT JOIN u ON t.i = u.i", "SELECT a FROM u LEFT JOIN t ON t.i = u.i"),
    ("SELECT COUNT(a) FROM t", "SELECT COUNT(DISTINCT a) FROM t"),
    ("SELECT a FROM t ORDER BY a, b", "SELECT a FROM t ORDER BY b, a"),
    ("SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY a DESC NULLS FIRST"),
    ("SELECT a FROM t UNION SELECT a FROM u", "SELECT a FROM t UNION ALL SELECT a FROM u"),
    ("SELECT a FROM t EXCEPT SELECT a FROM u", "SELECT a FROM u EXCEPT SELECT a FROM t"),
    ("SELECT a FROM t WHERE b IN (SELECT b FROM u)", "SELECT a FROM t WHERE NOT b IN (SELECT b FROM u)"),
    ("SELECT a FROM t WHERE (a = 1 OR b = 2) AND c = 3", "SELECT a FROM t WHERE a = 1 OR (b = 2 AND c = 3)"),
    ("SELECT x.a FROM t x JOIN t y ON x.i = y.j WHERE x.b > y.b", "SELECT x.a FROM t x JOIN t y ON x.i = y.j WHERE x.b < y.b"),
    ("SELECT a - b FROM t", "SELECT b - a FROM t"),
    ("SELECT RANK() OVER (PARTITION BY a ORDER BY b) FROM t", "SELECT RANK() OVER (PARTITION BY c ORDER BY b) FROM t"),
    ("SELECT RANK() OVER (PARTITION BY a ORDER BY b) FROM t", "SELECT RANK() OVER (PARTITION BY a ORDER BY b DESC) FROM t"),
    ("SELECT SUM(a) OVER (ORDER BY b) FROM t", "SELECT SUM(a) OVER (ORDER BY b ROWS 1 PRECEDING) FROM t"),
    ("UPDATE t SET a = b WHERE c = 1", "UPDATE t SET b = a WHERE c = 1"),
    ("UPDATE t SET a = 1 WHERE c = 1", "UPDATE t SET a = 1 WHERE c = 2"),
    ("INSERT INTO t (a, b) VALUES (1, 2)", "INSERT INTO t (b, a) VALUES (1, 2)"),
    ("CREATE TABLE n (a INT, b TEXT)", "CREATE TABLE n (a INT, b INT)"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_another_operation_lowers_the_overlap_and_leaves_some(one, other):
    assert 0.0 < overlap(one, other) == overlap(other, one) < 1.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT a FROM t", "SELECT b FROM u"),
        ("DELETE FROM t WHERE a = 1", "DELETE FROM u WHERE a = 2"),
        ("SELECT a FROM t", "DROP TABLE t"),
    ],
)
def test_nothing_in_common_is_zero(one, other):
    assert overlap(one, other) == 0.0


def test_operations_and_f1_of_one_query():
    assert operations(JOIN) == Counter(OPERATIONS)
    # 13 operations each; another sign changes one of them.
    assert overlap(JOIN, JOIN.replace("b < 3", "b > 3")) == pytest.approx(12 / 13)
    # Without the limit 12, all of them in the 13: precision 1, recall 12/13.
    assert overlap(JOIN, JOIN.replace(" LIMIT 2", "")) == pytest.approx(24 / 25)


def test_an_operation_that_comes_twice_counts_twice():
    one, other = "SELECT a FROM t", "SELECT a FROM t UNION ALL SELECT a FROM t"
    assert operations(other) == Counter({("table", "t"): 2, ("column", "t.a"): 2, ("set operation", "union all"): 1})
    assert overlap(one, other) == pytest.approx(2 * 2 / (2 + 5))


def test_rouge_takes_two_signs_for_one_and_overlap_does_not():
    less, more = JOIN, JOIN.replace("b < 3", "b > 3")
    assert rouge_l(less, more) == 1.0
    assert overlap(less, more) < 1.0


def test_a_column_that_one_side_qualifies_is_the_same_column():
    one = "SELECT name FROM t JOIN u ON t.i = u.i WHERE t.b = 1"
    assert overlap(one, one.replace("name", "u.name")) == 1.0
    # Two tables that are both named stay two.
    assert overlap(one.replace("name", "t.name"), one.replace("name", "u.name")) < 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ;; ",
        "Hello",
        "I do not know.",
        "SELECT a FROM (",
        "SELECT 'a",
        "\x00",
        "\ud800",
        "SELECT " + "(" * (DEEPEST + 1) + "1" + ")" * (DEEPEST + 1),
        "SELECT " + "CASE WHEN 1 THEN " * 1_000 + "1" + " END" * 1_000,
        "SELECT " + "NOT " * 4_000 + "1",
        "SELECT 1" + " UNION SELECT 1" * 1_200,
        "SELECT 1 -- " + "x" * LONGEST,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_statement_or_goes_too_far_has_no_overlap(text):
    assert operations(text) == Counter()
    assert overlap(text, text) == overlap(text, JOIN) == overlap(JOIN, text) == 0.0


def nest(depth: int) -> str:
    return "date(" * depth + "'now'" + ")" * depth


@pytest.mark.parametrize("text", [f"SELECT {nest(40)}", f"REPLACE INTO t VALUES ({nest(40)})"])
def test_nested_calls_that_the_parser_reads_again_and_again_cost_nothing(text):
    # sqlglot would take 2 ** 20 seconds for these.
    assert cost(lambda: overlap(text, JOIN), below=0.5) < 0.5


def test_the_deepest_call_that_is_read_costs_little():
    numbers = count()  # a text that has been read is not read again
    assert cost(lambda: overlap(f"SELECT {nest(DEEPEST)}, {next(numbers)}", JOIN), below=2.0) < 2.0


def test_a_long_statement_within_the_limits_is_read():
    for text in (f"SELECT {nest(DEEPEST)}", "SELECT a FROM t WHERE " + "b = 1 OR " * 1_500 + "c = 2"):
        assert overlap(text, text) == 1.0


WORDS = "SELECT a b FROM t u JOIN ON WHERE AND OR NOT ( ) , . = < > 1 'x' * GROUP BY ORDER LIMIT IN"
TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(WORDS.split()), max_size=16).map(" ".join)


@given(TEXTS, TEXTS)
def test_any_two_texts_have_an_overlap(one, other):
    value = overlap(one, other)
    assert 0.0 <= value <= 1.0
    assert value == overlap(other, one)
    assert overlap(one, one) == (1.0 if operations(one) else 0.0)


EXAMPLES = load_examples("embedded", "post", limit=80)


@given(st.sampled_from(EXAMPLES), st.sampled_from(EXAMPLES))
def test_references_overlap_in_full_with_themselves_alone(one, other):
    value = overlap(one.sql, other.sql)
    assert overlap(one.sql, one.sql) == 1.0
    assert 0.0 <= value <= 1.0
    assert value < 1.0 or operations(one.sql) == operations(other.sql)


def test_near_misses_of_references_share_most_operations_and_never_all():
    overlaps = [overlap(e.sql, miss.sql) for e in EXAMPLES for miss in neighbours(e.sql)]
    assert len(overlaps) > 500
    assert max(overlaps) < 1.0
    assert sum(value > 0.0 for value in overlaps) > 0.98 * len(overlaps)
    assert 0.7 < sum(overlaps) / len(overlaps) < 0.9


def test_the_longest_text_is_the_longest_that_has_near_misses():
    assert LONGEST == LONGEST_REFERENCE
