"""Readings by hand: each form on a small schema, what is debatable, and which of them the given rows make right."""

import sqlite3
from contextlib import closing

import pytest

from common.certify.readings import GROUPS, labels, readings
from common.certify.readings.tables import tables
from common.certify.rewrites import rewrites

SCHEMA = """
CREATE TABLE town (town_id INTEGER PRIMARY KEY, name TEXT, people INT, area REAL, founded DATE);
INSERT INTO town VALUES (1, 'Rome', 90, 1.5, '2015-02-01'), (2, 'Oslo', 70, 2.5, '2015-12-31'),
  (3, 'Bonn', 30, 0.5, '2016-01-01'), (4, 'Nice', 10, 4.5, '2017-05-05');
CREATE TABLE visit (id INTEGER PRIMARY KEY, town_id INT REFERENCES town(town_id), guest TEXT, cost INT, pay TEXT);
INSERT INTO visit VALUES (1, 1, 'Ann', 5, '10'), (2, 1, 'Bob', 6, '9'), (3, 2, 'Ann', 7, '8'), (4, 1, 'Cid', 9, '30');
"""
JOIN = "FROM visit AS v JOIN town AS t ON v.town_id = t.town_id"


def by_form(sql: str, **options) -> dict[str, list[str]]:
    forms: dict[str, list[str]] = {}
    for reading in readings(sql, SCHEMA, **options):
        forms.setdefault(reading.form, []).append(reading.sql)
    return forms


def run(sql: str) -> list[tuple]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        return connection.execute(sql).fetchall()


# Reference, form, and one of its texts.
CASES = [
    (
        "SELECT name FROM town ORDER BY people DESC LIMIT 1",
        "LIMIT 1 as = (SELECT MAX)",
        "SELECT name FROM town WHERE people = (SELECT MAX(people) FROM town)",
    ),
    (
        "SELECT name FROM town ORDER BY people LIMIT 2",
        "LIMIT n as RANK",
        "SELECT name FROM (SELECT name, RANK() OVER (ORDER BY people) AS place FROM town) AS ranks WHERE place <= 2"
        " ORDER BY place",
    ),
    (
        "SELECT name, people FROM town ORDER BY people DESC LIMIT 1",
        "LIMIT 1 as bare MAX",
        "SELECT name, MAX(people) FROM town",
    ),
    (
        "SELECT name FROM town WHERE people = (SELECT MIN(people) FROM town)",
        "= (SELECT MAX) as LIMIT 1",
        "SELECT name FROM town ORDER BY people LIMIT 1",
    ),
    (
        "SELECT town_id FROM visit GROUP BY town_id ORDER BY COUNT(*) DESC LIMIT 1",
        "top group as HAVING = (SELECT MAX)",
        "SELECT town_id FROM visit GROUP BY town_id HAVING COUNT(*) = (SELECT MAX(total) FROM "
        "(SELECT COUNT(*) AS total FROM visit GROUP BY town_id))",
    ),
    (
        "SELECT town_id FROM visit GROUP BY town_id ORDER BY COUNT(*) DESC LIMIT 1",
        "top 1 groups as RANK",
        "SELECT town_id FROM (SELECT town_id, RANK() OVER (ORDER BY COUNT(*) DESC) AS place FROM visit "
        "GROUP BY town_id) AS ranks WHERE place = 1",
    ),
    (
        "SELECT name FROM town ORDER BY people",
        "tie-break added to ORDER BY",
        "SELECT name FROM town ORDER BY people, name",
    ),
    ("SELECT COUNT(*) FROM town", "COUNT(*) as COUNT(key)", "SELECT COUNT(town_id) FROM town"),
    (f"SELECT COUNT(*) {JOIN}", "COUNT(*) as COUNT(child key)", f"SELECT COUNT(v.town_id) {JOIN}"),
    (f"SELECT COUNT(*) {JOIN}", "COUNT(*) as COUNT(DISTINCT key)", f"SELECT COUNT(DISTINCT v.id) {JOIN}"),
    (
        f"SELECT t.name, COUNT(*) {JOIN} GROUP BY t.town_id",
        "GROUP BY key as GROUP BY label",
        f"SELECT t.name, COUNT(*) {JOIN} GROUP BY t.name",
    ),
    (
        f"SELECT t.name, COUNT(*) {JOIN} GROUP BY t.name",
        "GROUP BY label as GROUP BY key",
        f"SELECT t.name, COUNT(*) {JOIN} GROUP BY t.town_id",
    ),
    (
        f"SELECT t.name, COUNT(*) {JOIN} GROUP BY t.town_id",
        "GROUP BY key as GROUP BY child key",
        f"SELECT t.name, COUNT(*) {JOIN} GROUP BY v.town_id",
    ),
    (
        "SELECT name FROM town WHERE town_id IN (SELECT town_id FROM visit WHERE cost > 5)",
        "IN as JOIN with DISTINCT",
        "SELECT DISTINCT town.name FROM town JOIN visit ON visit.town_id = town.town_id WHERE visit.cost > 5",
    ),
    (
        "SELECT name FROM town WHERE town_id NOT IN (SELECT town_id FROM visit)",
        "NOT IN as EXCEPT",
        "SELECT town.name FROM town EXCEPT SELECT town.name FROM town JOIN visit ON visit.town_id = town.town_id",
    ),
    (
        "SELECT name FROM town WHERE town_id NOT IN (SELECT town_id FROM visit)",
        "NOT IN as LEFT JOIN … IS NULL",
        "SELECT town.name FROM town LEFT JOIN visit ON visit.town_id = town.town_id WHERE visit.town_id IS NULL",
    ),
    (
        "SELECT name FROM town WHERE town_id NOT IN (SELECT town_id FROM visit)",
        "NOT IN as NOT EXISTS",
        "SELECT town.name FROM town WHERE NOT EXISTS (SELECT 1 FROM visit WHERE visit.town_id = town.town_id)",
    ),
    (
        f"SELECT name FROM town EXCEPT SELECT t.name {JOIN}",
        "EXCEPT on labels as NOT IN on keys",
        "SELECT name FROM town WHERE town_id NOT IN (SELECT v.town_id FROM visit AS v)",
    ),
    (
        "SELECT name FROM town WHERE people > 20 INTERSECT SELECT name FROM town WHERE area > 1",
        "INTERSECT as AND",
        "SELECT name FROM town WHERE people > 20 AND area > 1",
    ),
    (
        "SELECT name FROM town WHERE people < 20 UNION SELECT name FROM town WHERE area > 2",
        "UNION as OR",
        "SELECT name FROM town WHERE (people < 20 OR area > 2)",
    ),
    ("SELECT DISTINCT name FROM town", "DISTINCT dropped", "SELECT name FROM town"),
    ("SELECT name FROM town", "DISTINCT added", "SELECT DISTINCT name FROM town"),
    (f"SELECT v.guest, t.town_id {JOIN}", "join with the parent left out", "SELECT v.guest, v.town_id FROM visit AS v"),
    (
        "SELECT guest FROM visit",
        "join with the parent added",
        "SELECT visit.guest FROM visit JOIN town ON visit.town_id = town.town_id",
    ),
    (
        f"SELECT v.guest {JOIN} WHERE t.name = 'Rome'",
        "JOIN as = (SELECT)",
        "SELECT v.guest FROM visit AS v WHERE v.town_id = (SELECT t.town_id FROM town AS t WHERE t.name = 'Rome')",
    ),
    (
        "SELECT name FROM town WHERE founded LIKE '2015%'",
        "date's LIKE as BETWEEN",
        "SELECT name FROM town WHERE founded BETWEEN '2015-01-01' AND '2015-12-31'",
    ),
    (
        "SELECT name FROM town WHERE founded LIKE '2015-12%'",
        "date's LIKE as >= AND <",
        "SELECT name FROM town WHERE (founded >= '2015-12-01' AND founded < '2016-01-01')",
    ),
    (
        "SELECT name FROM town WHERE strftime('%Y', founded) = '2015'",
        "date's strftime as LIKE",
        "SELECT name FROM town WHERE founded LIKE '2015%'",
    ),
    ("SELECT guest FROM visit WHERE pay > 8", "text column cast to a number", None),
    (
        "SELECT name FROM town WHERE name = 'Rome'",
        "= text as LOWER",
        "SELECT name FROM town WHERE LOWER(name) = 'rome'",
    ),
    ('SELECT people FROM town WHERE name = "Rome"', "= text as LIKE", "SELECT people FROM town WHERE name LIKE 'Rome'"),
    ("SELECT name FROM town WHERE people > 30", "bound moved by one", "SELECT name FROM town WHERE people >= 31"),
    (
        "SELECT name FROM town WHERE people BETWEEN 30 AND 80",
        "BETWEEN as bounds moved by one",
        "SELECT name FROM town WHERE (people > 29 AND people < 81)",
    ),
    ("SELECT AVG(people) FROM town", "AVG as SUM / COUNT(*)", "SELECT SUM(people) * 1.0 / COUNT(*) FROM town"),
    (
        "SELECT name, SUM(people) OVER (ORDER BY people) FROM town",
        "default frame as ROWS",
        "SELECT name, SUM(people) OVER (ORDER BY people ROWS UNBOUNDED PRECEDING) FROM town",
    ),
    (
        "SELECT name, SUM(people) OVER (ORDER BY people) FROM town",
        "running total as subquery",
        "SELECT name, (SELECT SUM(other.people) FROM town AS other WHERE other.people <= town.people) FROM town",
    ),
    (
        "SELECT town_id FROM visit GROUP BY town_id HAVING COUNT(*) > 1",
        "HAVING as WHERE around the groups",
        "SELECT town_id FROM (SELECT town_id, COUNT(*) AS total FROM visit GROUP BY town_id) AS totals WHERE total > 1",
    ),
    (
        "WITH g AS (SELECT town_id, SUM(cost) AS v FROM visit GROUP BY town_id) SELECT town_id FROM g "
        "WHERE v = (SELECT MAX(v) FROM g)",
        "CTE of groups as LIMIT 1",
        "SELECT town_id FROM visit GROUP BY town_id ORDER BY SUM(cost) DESC LIMIT 1",
    ),
]


@pytest.mark.parametrize("sql, form, text", CASES, ids=[f"{form}-{n}" for n, (_, form, _) in enumerate(CASES)])
def test_a_form_by_hand(sql, form, text):
    forms = by_form(sql)
    assert form in forms and (text is None or text in forms[form]), forms
    if text is not None:  # and on these rows each is right
        assert sorted(run(text)) == sorted(run(sql))


LAYOUTS = [
    ("SELECT town_id, SUM(cost) FROM visit GROUP BY town_id", "aggregate first", [(7, 2), (20, 1)]),
    ("SELECT SUM(cost), town_id FROM visit GROUP BY town_id", "aggregate first", [(1, 20), (2, 7)]),
    ("SELECT town_id, COUNT(*) FROM visit GROUP BY town_id", "aggregate alone", [(1,), (3,)]),
    ("SELECT strftime('%Y', founded) FROM town WHERE people > 80", "year as a number", [(2015,)]),
    ("SELECT name, people FROM town WHERE people > 80", "columns in another order", [(90, "Rome")]),
]


@pytest.mark.parametrize("sql, form, rows", LAYOUTS)
def test_the_same_facts_laid_out_otherwise(sql, form, rows):
    by_name = {reading.form: reading for reading in readings(sql, SCHEMA)}
    assert by_name[form].group == "layout"
    assert sorted(run(by_name[form].sql)) == rows


def test_luck_is_called_debatable():
    groups = {
        (sql, r.form): r.group
        for sql in ("SELECT name FROM town", "SELECT area FROM town")
        for r in readings(sql, SCHEMA)
    }
    assert groups["SELECT name FROM town", "DISTINCT added"] == "clear"  # a name is meant to name one row
    assert groups["SELECT area FROM town", "DISTINCT added"] == "debatable"
    repeats = frozenset({("town", "name")})
    assert [r.group for r in readings("SELECT name FROM town", SCHEMA, repeats) if r.form == "DISTINCT added"] == [
        "debatable"
    ]
    assert {reading.group for sql, *_ in CASES for reading in readings(sql, SCHEMA)} == set(GROUPS)


def test_readings_are_none_of_the_reference_and_of_its_rewrites():
    for sql, *_ in CASES:
        texts = [reading.sql for reading in readings(sql, SCHEMA)]
        assert len(texts) == len(set(texts)) and sql not in texts
        assert not {rewrite.sql for rewrite in rewrites(sql, SCHEMA)} & set(texts)
        assert texts == [reading.sql for reading in readings(sql, SCHEMA)]


@pytest.mark.parametrize(
    "sql", ["", "SELECT", "DELETE FROM town", "SELECT a FROM nowhere", "SELECT 1", "x" * 30_000, "SELECT " + "(" * 3000]
)
def test_no_readings_of_what_cannot_be_read(sql):
    assert readings(sql, SCHEMA) == []


def test_a_table_by_hand():
    town, visit = tables(SCHEMA)["town"], tables(SCHEMA)["visit"]
    assert (town.key, town.labels, dict(town.parents)) == ("town_id", {"name"}, {})
    assert (
        dict(visit.parents) == {"town_id": ("town", "town_id")} and visit.is_text("guest") and visit.is_integer("cost")
    )
    assert labels(SCHEMA) == [("town", "name"), ("visit", "guest")]
    bugs = tables("CREATE TABLE bugs (project_id INT, status TEXT); CREATE TABLE saws (saw_id INT, model TEXT)")
    assert bugs["bugs"].key is None and bugs["saws"].key == "saw_id" and bugs["saws"].labels == {"model"}
    keys = tables(
        "CREATE TABLE a (x INT, y INT, PRIMARY KEY (x, y), FOREIGN KEY (x) REFERENCES b); CREATE TABLE b (id INT)"
    )
    assert keys["a"].key is None and dict(keys["a"].parents) == {"x": ("b", "id")}
    assert tables("CREATE TABEL t (a INT)") == {}
