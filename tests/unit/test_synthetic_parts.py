"""The parts that the embedded data set is made and judged by: its domains, its check, and the lookup it withstands."""

from collections import Counter

import pytest

from common.synthetic import generate
from common.synthetic.check import Draft, holds
from common.synthetic.content import domains
from common.synthetic.scene import KINDS
from tests.unit.lookups import same, transfer


@pytest.mark.parametrize(("split", "n"), [("dev", 1), ("", 1), ("train", -1)])
def test_unknown_split_or_size_is_refused(split, n):
    with pytest.raises(ValueError):
        generate(split, n)


def test_domains_have_three_schemas_and_sound_columns():
    assert len(domains()) >= 30
    names = Counter(t for domain in domains() for t in domain.tables)
    assert names.most_common(1)[0][1] == 1
    for domain in domains():
        assert len(domain.schemas) >= 3
        for table in domain.tables.values():
            nouns = [noun for column in table.columns for noun in column.nouns]
            assert len(nouns) == len(set(nouns)), f"{table.name}: one noun for two columns"
            for column in table.columns:
                assert column.kind in {"name", "ref", *KINDS["number"], *KINDS["any"]}
                assert len(set(column.values)) == len(column.values)
                assert column.kind != "name" or len(column.values) >= 8
                assert column.kind != "ref" or column.target in domain.tables


def test_the_check_sees_what_is_wrong():
    context = "CREATE TABLE t (n TEXT, x INT); INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 2);"
    everything, filter_ = "SELECT n FROM t", "SELECT n FROM t WHERE x > 1;"
    good = [
        Draft((), filter_, (everything,)),
        Draft((), "SELECT n FROM t ORDER BY n LIMIT 1;", keys="SELECT n FROM t"),
        Draft((), "DELETE FROM t WHERE x > 1;", target="t"),
        Draft((), "UPDATE t SET x = 5 WHERE n = 'a';", target="t"),
        Draft((), "INSERT INTO t VALUES ('d', 4);", target="t"),
        Draft((), "CREATE VIEW v AS SELECT n FROM t;"),
    ]
    bad = [
        Draft((), "SELECT n FROM t WHERE x > 0;", (everything,)),  # keeps all
        Draft((), "SELECT n FROM t WHERE x > 2;", (everything,)),  # keeps none
        Draft((), "SELECT nothing FROM t;"),
        Draft((), "SELECT MAX(x) FROM t WHERE x > 9;"),  # NULL only
        Draft((), "SELECT n FROM t ORDER BY x DESC LIMIT 1;", keys="SELECT x FROM t"),  # a tie
        Draft((), "SELECT AVG(x) FROM t WHERE x < 2;", enough="SELECT COUNT(*) FROM t WHERE x < 2"),  # of one row
        Draft((), "DELETE FROM t;", target="t"),
        Draft((), "DELETE FROM t WHERE x > 9;", target="t"),
        Draft((), "UPDATE t SET x = 5;", target="t"),
        Draft((), "CREATE VIEW v AS SELECT n FROM t WHERE x > 0;", (everything,), probe="SELECT n FROM t WHERE x > 0"),
    ]
    assert [holds(draft, context) for draft in good] == [True] * len(good)
    assert [holds(draft, context) for draft in bad] == [False] * len(bad)
    assert holds(good[0], context)  # and nothing was left behind


def test_moving_names_finds_the_place_in_the_other_schema():
    row = {"sql_context": "CREATE TABLE a (x INT, y TEXT);", "sql": "SELECT y FROM a WHERE x = 1 AND y = 'a';"}
    target = {"sql_context": "CREATE TABLE b (v INT, w TEXT);"}
    assert transfer(row, target) == "SELECT w FROM b WHERE v = 1 AND w = 'a';"
    context = "CREATE TABLE a (x INT); INSERT INTO a VALUES (1), (2);"
    assert same(context, "SELECT x FROM a;", "SELECT x FROM a ORDER BY x DESC")
    assert not same(context, "SELECT x FROM a ORDER BY x;", "SELECT x FROM a ORDER BY x DESC")
    assert not same(context, "DELETE FROM a WHERE x = 1;", "DELETE FROM a WHERE x = 2;")
    assert not same(context, "SELECT x FROM a;", "SELECT y FROM a;")
