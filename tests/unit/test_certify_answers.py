"""Right answers that are no rewrites, and answers that repeat the reference's result: worked out by hand."""

import pandas
import pytest

from common.certify.equivalents import other_readings, reading_shares, strict_only
from common.certify.literals import hard_coded, written_out
from common.data import Example
from common.scoring import Scorer

SCHEMA = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (2, 'z');"


def example(sql: str, schema: str = SCHEMA) -> Example:
    return Example(id=sql, question="", schema=schema, sql=sql)


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=1, databases=4) as scorer:
        yield scorer


def test_other_readings_by_hand(scorer):
    """Two rows with a = 2: `LIMIT 1` for the first place is then no reading, and a DISTINCT on `a` does not match."""
    schema = "CREATE TABLE t (id INT, a INT, name TEXT); INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 2, 'z');"
    least, most = "SELECT name FROM t ORDER BY a LIMIT 1", "SELECT name FROM t ORDER BY a DESC LIMIT 1"
    rows = [example(sql, schema) for sql in (least, most, "SELECT a FROM t", "SELECT a, name FROM t WHERE id > 9")]
    table = other_readings(rows, scorer)
    forms = {(line.id, line.form): line for line in table.itertuples()}
    assert (least, "LIMIT 1 as = (SELECT MAX)") in forms and (most, "LIMIT 1 as = (SELECT MAX)") not in forms
    assert ("SELECT a FROM t", "DISTINCT added") not in forms
    assert table[table["group"] != "layout"]["strict"].all()
    assert not any("id > 9" in id for id in table["id"])  # no rows
    swapped = other_readings([example("SELECT a, name FROM t", schema)], scorer).set_index("form")
    line = swapped.loc["columns in another order"]
    assert (line["group"], line["strict"], line["robust"]) == ("layout", False, False)


def test_a_label_that_repeats_names_no_row(scorer):
    schema = "CREATE TABLE t (id INT, a INT, name TEXT); INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 2, '{}');"
    query = "SELECT name FROM t WHERE id < 3"
    groups = [
        other_readings([example(query, schema.format(last))], scorer).set_index("form").loc["DISTINCT added", "group"]
        for last in "zy"
    ]
    assert groups == ["clear", "debatable"]


def test_reading_shares_by_hand():
    lines = [
        ("1", "f", "clear", True),
        ("2", "f", "clear", False),
        ("2", "g", "debatable", False),
        ("3", "h", "layout", False),
    ]
    table = pandas.DataFrame(lines, columns=["id", "form", "group", "robust"]).assign(published=True, strict=True)
    share = reading_shares(table)
    assert list(share.index) == ["all", "f", "debatable", "layout"] and list(share["n"]) == [2, 2, 1, 1]
    assert list(share["robust"]) == [0.5, 0.5, 0.0, 0.0]
    assert list(reading_shares(table.head(2)).index) == ["all", "f"]


def test_strict_only_counts_references():
    first = pandas.DataFrame({"id": list("aab"), "detail": ["strict only: stopped", "strict only: stopped", ""]})
    second = pandas.DataFrame({"id": ["a", "c"], "detail": ["strict only: stopped", "strict only: it fails"]})
    assert (strict_only(first), strict_only(first, second), strict_only(first.tail(1))) == (1, 2, 0)


def test_hard_coded_by_hand(scorer):
    assert written_out([["150", "'x'"]]) == {"SELECT": "SELECT 150, 'x'", "VALUES": "VALUES (150, 'x')"}
    assert written_out([["1"], ["2"]]) == {"VALUES": "VALUES (1), (2)", "UNION ALL": "SELECT 1 UNION ALL SELECT 2"}
    queries = ["SELECT a, b FROM t WHERE a = 2", "SELECT a FROM t WHERE a = 9", "DELETE FROM t", "SELECT a FROM u"]
    queries += ["SELECT X'00', NULL, 1.5, 'it''s', a FROM t", "SELECT char(10)", "SELECT CAST(X'ff' AS TEXT)"]
    table = hard_coded([example(sql) for sql in queries], scorer)
    # No rows, nothing to repeat; a line break and bytes that are no UTF-8 are left out.
    assert set(table["id"]) == {queries[0], queries[4]} and table["strict"].all()
    assert set(table.loc[table["id"] == queries[0], "sql"]) == {
        "VALUES (2, 'y'), (2, 'z')",
        "SELECT 2, 'y' UNION ALL SELECT 2, 'z'",
    }
    assert not table["robust"].any()
    many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {}) SELECT i FROM n"
    assert [len(hard_coded([example(many.format(count))], scorer)) for count in (40, 41)] == [2, 0]
