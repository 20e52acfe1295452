"""The bench of robust match: contexts and conditions by hand, and a small run of the whole."""

import json
import sqlite3
import sys
from contextlib import closing

import pandas
import pytest

from bench import robust
from bench.conditions import conditions
from bench.contexts import context
from common.data import Example
from common.scoring import Scorer

SCHEMA = (
    "CREATE TABLE town (id INT PRIMARY KEY, name TEXT); CREATE TABLE other (id INT); "
    "CREATE TABLE visit (id INT PRIMARY KEY, town_id INT REFERENCES town(id), note TEXT);"
)
ITEMS = (
    "CREATE TABLE item (id INT, name TEXT, price INT, weight REAL, day DATE, size INT); "
    "INSERT INTO item VALUES (1, 'a', 10, 1.5, '2023-02-01', NULL), (2, 'b', 30, 2.5, '2022-02-01', 4);"
)


@pytest.fixture
def town(tmp_path) -> Example:
    path = tmp_path / "towns.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO town VALUES (?, ?)", [(n, f"town {n}'s") for n in range(100)])
        connection.executemany("INSERT INTO visit VALUES (?, ?, ?)", [(n, n % 90, None) for n in range(500)])
    sql = "SELECT t.name FROM town AS t JOIN visit AS v ON v.town_id = t.id WHERE v.id = 77"
    return Example(id="1", question="", schema=SCHEMA, sql=sql, database=path)


def test_a_context_is_drawn_along_the_keys(town):
    small = context(town, 0, telling=False)
    assert small == context(town, 0, telling=False) and small.database is None and small.sql == town.sql
    assert small.schema != context(town, 1, telling=False).schema
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(small.schema)
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        counts = [connection.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in ("town", "visit")]
        orphans = connection.execute("SELECT COUNT(*) FROM visit WHERE town_id NOT IN (SELECT id FROM town)").fetchone()
    assert tables == {"town", "visit"} and orphans == (0,)
    assert all(3 <= count <= 8 for count in counts)


def test_a_telling_context_holds_what_the_reference_names(town):
    with Scorer(workers=1) as scorer:
        verdicts = [scorer.score_batch([(context(town, n, telling=True), town.sql)])[0] for n in range(4)]
    assert not all(verdict.both_empty for verdict in verdicts)  # of 500 visits it asks for one


def test_conditions_by_hand():
    forms = conditions(Example(id="1", question="", schema=ITEMS, sql="SELECT name FROM item WHERE id > 0 ORDER BY id"))
    start, end = "SELECT name FROM item WHERE id > 0 AND", "ORDER BY id"
    assert forms == {
        "IN (all texts)": f"{start} name IN ('a', 'b') {end}",
        "int > min - 1": f"{start} price > 9 {end}",
        "int > min / 2": f"{start} price > 5 {end}",
        "int < max + 1": f"{start} price < 31 {end}",
        "int >= min": f"{start} price >= 10 {end}",
        "IN (all ints)": f"{start} price IN (10, 30) {end}",
        "real >= min": f"{start} weight >= 1.5 {end}",
        "real > min / 2": f"{start} weight > 0.75 {end}",
        "date >= min": f"{start} day >= '2022-02-01' {end}",
    }


@pytest.mark.parametrize(
    "sql", ["DELETE FROM item", "SELECT 1", "SELECT a FROM", "SELECT a.id FROM item a JOIN item b"]
)
def test_no_conditions_for_other_references(sql):
    assert conditions(Example(id="1", question="", schema=ITEMS, sql=sql)) == {}


def test_share_is_in_per_cent_with_its_interval_over_references():
    table = pandas.DataFrame({"id": list("aabb"), "value": [True, True, False, False]})
    share = robust.share(table)
    assert (share.median, share.low, share.high, share.repetitions) == (50.0, 0.0, 100.0, 4)
    assert robust.share(table.head(0)) is None


def test_a_small_run(shared_data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "robust.json"
    sizes = ["--dev", "6", "--train", "2", "--contexts", "6", "--mutants", "2", "--embedded", "10"]
    monkeypatch.setattr(sys, "argv", ["robust", "--spider", str(shared_data / "spider"), *sizes, "--out", str(out)])
    robust.main()
    record = json.loads(out.read_text())
    values = {line["name"]: line["value"] for line in record["measurements"]}
    assert values["rewrites"] == 100.0 and values["mutants"] <= values["mutants-strict"]
    assert {"refused", "condition int > min - 1", "written embedded", "written contexts"} <= values.keys()
    assert record["data"]["readings"]["references"] == 8 and record["data"]["mutants"]["contexts"] == 6
    assert "tie-break" in (text := capsys.readouterr().out) or "COUNT" in text
