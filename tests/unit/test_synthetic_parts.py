"""The parts that the embedded data set is made and judged by: its domains, its check, and the lookup it withstands."""

from collections import Counter

import pytest

from common.synthetic import generate
from common.synthetic.check import holds
from common.synthetic.content import Column, Table, domains
from common.synthetic.plan import Compound, Condition, Draft, Select, Term
from common.synthetic.render import form
from common.synthetic.tables import KINDS, Field, Relation, Scene
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


def scene() -> tuple[Scene, str]:
    """A table t of a name and a number, two rows alike in it."""
    columns = (Column("n", "name", ("name",)), Column("x", "sum", ("size",)))
    values = (("a", "b", "c"), (1, 2, 2))
    fields = tuple(Field(c, "t", c.nouns[0], v) for c, v in zip(columns, values, strict=True))
    relation = Relation(Table("t", (("thing", "things"),), columns), "thing", "things", fields, 3)
    context = "CREATE TABLE t (n TEXT, x INT); INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 2);"
    return Scene(domains()[0], (relation,), context), context


def test_the_check_sees_what_is_wrong():
    table, context = scene()[0].relations[0], scene()[1]
    name, size = table.fields
    n, x = Term("column", name), Term("column", size)

    def above(limit: int) -> tuple[Condition, ...]:
        return (Condition("compare", size, "", ">", (limit,)),)

    good = [
        Draft((), (), Select(table, (n,), above(1))),
        Draft((), (), Select(table, (n,), order=((n, True),), limit=1)),
        Draft((), (), Select(table, (Term("avg", size),), above(1))),
        Draft((), (), Compound("except", Select(table, (n,)), Select(table, (n,), above(1)))),
        Draft((), (), statement="DELETE FROM t WHERE x > 1", target="t"),
        Draft((), (), statement="UPDATE t SET x = 5 WHERE n = 'a'", target="t"),
        Draft((), (), statement="INSERT INTO t VALUES ('d', 4)", target="t"),
        Draft((), (), statement="CREATE VIEW v AS SELECT n FROM t"),
    ]
    bad = [
        Draft((), (), Select(table, (n,), above(0))),  # keeps all
        Draft((), (), Select(table, (n,), above(2))),  # keeps none
        Draft((), (), Select(table, (n,), order=((x, True),), limit=1)),  # a tie
        Draft((), (), Select(table, (Term("max", size),), above(9))),  # NULL only
        Draft((), (), Select(table, (Term("avg", size),), (Condition("compare", size, "", "<", (2,)),))),  # of one row
        Draft((), (), Compound("except", Select(table, (n,)), Select(table, (n,), above(9)))),  # takes nothing away
        Draft((), (), statement="DELETE FROM t", target="t"),
        Draft((), (), statement="DELETE FROM t WHERE x > 9", target="t"),
        Draft((), (), statement="UPDATE t SET x = 5", target="t"),
        Draft(
            (),
            (),
            statement="CREATE VIEW v AS SELECT n FROM t WHERE x > 0",
            probe="SELECT n FROM t WHERE x > 0",
            weaker="SELECT n FROM t",
        ),
    ]
    assert [holds(draft, context) for draft in good] == [True] * len(good)
    assert [holds(draft, context) for draft in bad] == [False] * len(bad)
    assert holds(good[0], context)  # and nothing was left behind


def test_a_form_is_what_names_and_constants_leave():
    relations = scene()[0].relations
    one, same_form = "SELECT n FROM t WHERE x > 5", "SELECT x FROM t WHERE n <= 'b'"
    assert form(one, relations) == form(same_form, relations)
    assert form(one, relations) != form("SELECT n FROM t WHERE x = 5", relations)
    assert form("SELECT SUM(x) FROM t", relations) == form("SELECT AVG(x) FROM t", relations)
    assert form("SELECT n FROM t ORDER BY x DESC", relations) == form("SELECT n FROM t ORDER BY x", relations)


def test_moving_names_finds_the_place_in_the_other_schema():
    row = {"sql_context": "CREATE TABLE a (x INT, y TEXT);", "sql": "SELECT y FROM a WHERE x = 1 AND y = 'a';"}
    target = {"sql_context": "CREATE TABLE b (v INT, w TEXT);"}
    assert transfer(row, target) == "SELECT w FROM b WHERE v = 1 AND w = 'a';"
    context = "CREATE TABLE a (x INT); INSERT INTO a VALUES (1), (2);"
    assert same(context, "SELECT x FROM a;", "SELECT x FROM a ORDER BY x DESC")
    assert not same(context, "SELECT x FROM a ORDER BY x;", "SELECT x FROM a ORDER BY x DESC")
    assert not same(context, "DELETE FROM a WHERE x = 1;", "DELETE FROM a WHERE x = 2;")
    assert not same(context, "SELECT x FROM a;", "SELECT y FROM a;")
