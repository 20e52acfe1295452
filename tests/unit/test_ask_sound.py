"""A file that SQLite can read is sound, whatever rules its rows break; one that it cannot is refused."""

import sqlite3
from contextlib import closing

import pytest

from common.ask.copies import open_copy
from tests.unit.ask_files import database, refuse

BY_HAND = "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql ="
BROKEN = {
    "check": "CREATE TABLE t (x CHECK (x > 0)); PRAGMA ignore_check_constraints=ON; INSERT INTO t VALUES (-1);",
    "null": f"CREATE TABLE t (x); INSERT INTO t VALUES (NULL); {BY_HAND} 'CREATE TABLE t (x NOT NULL)';",
    "type": f"CREATE TABLE t (x INT) STRICT; INSERT INTO t VALUES (1); {BY_HAND} 'CREATE TABLE t (x TEXT) STRICT';",
    "number": f"CREATE TABLE t (x); INSERT INTO t VALUES ('1'); {BY_HAND} 'CREATE TABLE t (x INT)';",
    "function": "CREATE TABLE t (x CHECK (of_app(x) = 1)); INSERT INTO t VALUES (1);",
    "index": "CREATE TABLE t (x); INSERT INTO t VALUES (1); CREATE INDEX i ON t (of_app(x)) WHERE of_app(x) = 1;",
    "collation": "CREATE TABLE t (x COLLATE OF_APP); INSERT INTO t VALUES ('a'); CREATE INDEX i ON t (x);",
    "trigger": "CREATE TABLE t (x); INSERT INTO t VALUES (1); CREATE TRIGGER r DELETE ON t BEGIN SELECT of_app(1); END",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_rows_that_break_a_rule_can_be_asked(tmp_path, kind):
    with open_copy(database(tmp_path / "rules.sqlite", BROKEN[kind])) as copy:
        (table,) = copy.tables
    assert table.columns == ("x",) and len(table.rows) == 1


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE t (x, y AS (of_app(x)) NOT NULL); INSERT INTO t VALUES (1);",
        "CREATE TABLE t (x COLLATE OF_APP PRIMARY KEY, y) WITHOUT ROWID; INSERT INTO t VALUES ('a', 1);",
    ],
)
def test_a_table_that_only_its_application_reads_has_its_columns(tmp_path, script):
    with open_copy(database(tmp_path / "app.sqlite", script)) as copy:
        (table,) = copy.tables
    assert (table.columns, table.rows) == (("x", "y"), [])


@pytest.mark.parametrize("rule", ["", " NOT NULL"])
def test_damage_behind_broken_rules_is_seen(tmp_path, rule):
    script = f"""
    CREATE TABLE a (x); CREATE TABLE b (x);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO a SELECT NULL FROM n;
    INSERT INTO b SELECT hex(randomblob(50)) FROM a;
    PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = 'CREATE TABLE a (x{rule})' WHERE name = 'a';
    """
    file = database(tmp_path / "damaged.sqlite", script)
    with closing(sqlite3.connect(file)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'b'").fetchone()
    with open_copy(file) as copy:
        assert len(copy.tables) == 2
    content = bytearray(file.read_bytes())
    content[(root + 20) * size : (root + 21) * size] = b"\xff" * size
    file.write_bytes(content)
    refuse("cannot be read as a SQLite database", file)
