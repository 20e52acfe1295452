"""What of a file's schema is shown: SQLite's own tables are not, nor those of modules; no comment hides any."""

import sqlite3
from contextlib import closing

import pytest

from common.ask import copies
from common.ask.copies import open_copy
from common.ask.hints import hint
from common.ask.prompting import prompt_schema
from common.execution import Execution
from tests.unit.ask_files import database, tokens

COUNTED = """
CREATE TABLE "users" (
  id INTEGER PRIMARY KEY AUTOINCREMENT, -- the user's id
  name TEXT DEFAULT 'a -- b  c', /* a name,
  maybe */ "x -- y" INT, [z /* q */] INT
);
CREATE TABLE pairs (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID; -- the rest
CREATE TABLE sums (x INT, y INT AS (x + 1) STORED);
CREATE VIEW names AS SELECT name -- all
  FROM users;
CREATE INDEX by_name ON users (name);
CREATE TABLE SQLITEX (y);
INSERT INTO users (name) VALUES ('Ada'), ('Bo');
INSERT INTO pairs VALUES (1, 2);
ANALYZE;
"""
SHOWN = (
    "CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT DEFAULT 'a -- b  c', \"x -- y\" INT, "
    "[z /* q */] INT); CREATE TABLE pairs (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID; "
    "CREATE TABLE sums (x INT, y INT AS (x + 1) STORED); CREATE TABLE SQLITEX (y); "
    "CREATE VIEW names AS SELECT name FROM users;"
)
NAMES = ["users", "pairs", "sums", "SQLITEX", "names"]


def test_sqlites_own_tables_are_none_of_the_users(tmp_path):
    with open_copy(database(tmp_path / "own.sqlite", COUNTED)) as copy:
        assert [table.name for table in copy.tables] == NAMES
        text = prompt_schema(copy, "How many users?", most=10_000, count=tokens, rows=0)
        with_rows = prompt_schema(copy, "How many users?", most=10_000, count=tokens)
        line = hint(copy, "SELECT * FROM zzz", Execution((), "schema_error", "no such table: zzz"))
    assert text == SHOWN
    assert "INSERT INTO users" in with_rows and "sqlite_" not in with_rows + line


def test_a_file_with_none_but_sqlites_own_tables(tmp_path):
    script = "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES (1); DROP TABLE t;"
    file = database(tmp_path / "own.sqlite", script)
    with pytest.raises(copies.UserError, match="has no tables"), open_copy(file):
        pass


def test_a_statement_that_sqlite_does_not_take_here_loses_its_comments_alone(tmp_path):
    script = """
    CREATE TABLE t ( -- of the application
      a INT CHECK (of_app(a) <> 2 || 3), -- the first
      "b  /* b" TEXT DEFAULT 'x  -- y', /* the
      second */ [c -- c] INT);
    CREATE TABLE u (id INTEGER PRIMARY KEY AUTOINCREMENT);
    """
    with open_copy(database(tmp_path / "app.sqlite", script)) as copy:
        text = prompt_schema(copy, "?", most=10_000, count=tokens)
    first = """CREATE TABLE t (a INT CHECK (of_app(a) <> 2 || 3), "b  /* b" TEXT DEFAULT 'x  -- y', [c -- c] INT);"""
    assert text == f"{first} CREATE TABLE u (id INTEGER PRIMARY KEY AUTOINCREMENT);"


def test_tables_of_modules_are_told_without_the_list_that_older_sqlite_lacks(tmp_path, monkeypatch):
    script = """
    CREATE TABLE notes (body);
    CREATE VIRTUAL TABLE notes_index USING /* the fifth */ FTS5(body, content=notes);
    CREATE VIRTUAL TABLE "old using" USING "fts4"(body);
    CREATE VIRTUAL TABLE [places] USING rtree(id, low, high);
    CREATE TABLE notes_index_tags (tag); CREATE TABLE places_stat (x); CREATE TABLE rest_content (x);
    CREATE VIEW notes_view AS SELECT * FROM notes;
    """
    file = database(tmp_path / "modules.sqlite", script)
    with closing(sqlite3.connect(file)) as connection:
        listed = {name: kind for _, name, kind, *_ in connection.execute("PRAGMA table_list")}
    plain, lists = copies._connect, []

    def connect(path):
        connection = plain(path)

        def authorize(_, name, *__):
            lists.append(name == "table_list")
            return sqlite3.SQLITE_DENY if lists[-1] else sqlite3.SQLITE_OK

        connection.set_authorizer(authorize)
        return connection

    monkeypatch.setattr(copies, "_connect", connect)
    with open_copy(file) as copy:
        names = [table.name for table in copy.tables]
    assert names == ["notes", "notes_index_tags", "places_stat", "rest_content", "notes_view"]
    assert lists and not any(lists)
    if listed:
        ordinary = {name for name, kind in listed.items() if kind in ("table", "view") and name[:7] != "sqlite_"}
        assert set(names) == ordinary


def test_a_module_that_is_not_here_hides_its_table_alone(tmp_path):
    script = """CREATE TABLE t (x); PRAGMA writable_schema=ON;
    INSERT INTO sqlite_master VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING vec0(a)');"""
    with open_copy(database(tmp_path / "module.sqlite", script)) as copy:
        assert [table.name for table in copy.tables] == ["t"]


def test_a_name_in_another_encoding_hides_no_table(tmp_path):
    path = tmp_path / "latin.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE people (name TEXT, groesse INT)")
        connection.execute("INSERT INTO people VALUES ('Ada', 170)")
        connection.commit()
    path.write_bytes(path.read_bytes().replace(b"groesse", b"gr\xf6\xdfe  "))  # as an old application writes it
    with open_copy(path) as copy:
        (table,) = copy.tables
        assert (table.name, len(table.columns)) == ("people", 2) and table.columns[0] == "name"
        assert "CREATE TABLE people" in prompt_schema(copy, "Who?", most=10_000, count=tokens)


@pytest.mark.parametrize("rows", [10**20, 10**9, 7, 3])
def test_as_many_rows_as_fit_in_few_tries(tmp_path, rows):
    script = "CREATE TABLE t (a); " + "".join(f"INSERT INTO t VALUES ({value});" for value in range(10, 60))
    sizes = []

    def count(text):
        sizes.append(tokens(text))
        return sizes[-1]

    with open_copy(database(tmp_path / "rows.sqlite", script), rows=rows) as copy:
        five = prompt_schema(copy, "?", most=10_000, count=tokens, rows=5)
        text = prompt_schema(copy, "?", most=tokens(five), count=count, rows=rows)
        assert text.count("(") == prompt_schema(copy, "?", most=10_000, count=tokens, rows=min(rows, 5)).count("(")
    assert len(sizes) <= 8
