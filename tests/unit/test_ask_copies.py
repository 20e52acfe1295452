"""A private copy of one's own SQLite file, the schema that a prompt shows of it, and the words where there is none."""

import sqlite3
from contextlib import closing

import pytest

from common.ask import copies
from common.ask.copies import open_copy
from common.ask.prompting import prompt_schema, relevant, words
from common.settings import UserError
from tests.unit.ask_files import contents, database, refuse, tokens

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, country TEXT);
CREATE TABLE "order lines" (id INTEGER PRIMARY KEY, customer INT REFERENCES customers(id), product INT, note TEXT,
  photo BLOB, FOREIGN KEY (product) REFERENCES products(id));
CREATE TABLE products (id INTEGER PRIMARY KEY, label TEXT, price REAL);
CREATE TABLE staff (id INTEGER PRIMARY KEY, surname TEXT);
CREATE VIEW dear AS SELECT * FROM products WHERE price > 10;
INSERT INTO customers VALUES (1, 'Ada', 'France'), (2, 'Bo', 'Norway'), (3, 'Cy', 'France'), (4, 'Di', 'Peru');
INSERT INTO products VALUES (1, 'lamp', 20.5), (2, 'it''s a mug', 4);
INSERT INTO "order lines" VALUES (1, 1, 1, NULL, x'00'), (2, 2, 2,
  'a note that goes on for more than forty characters', NULL);
"""


def test_the_whole_schema_with_a_few_rows(tmp_path):
    with open_copy(database(tmp_path / "shop.sqlite", SHOP), rows=2) as copy:
        text = prompt_schema(copy, "Who ordered?", most=10_000, count=tokens, rows=2)
        assert [table.name for table in copy.tables] == ["customers", "order lines", "products", "staff", "dear"]
    assert text.startswith("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, country TEXT);")
    assert "INSERT INTO customers (id, name, country) VALUES (1, 'Ada', 'France'), (2, 'Bo', 'Norway');" in text
    assert "INSERT INTO products (id, label, price) VALUES (1, 'lamp', 20.5), (2, 'it''s a mug', 4.0);" in text
    assert """INSERT INTO "order lines" (id, customer, product, note, photo) VALUES (1, 1, 1, NULL, NULL), """ in text
    assert "'a note that goes on for more than forty…'" in text
    assert "CREATE VIEW dear" in text and "INSERT INTO dear" not in text and "INSERT INTO staff" not in text
    assert not copy.path.exists()


@pytest.mark.parametrize("rows", [2, 1, 0])
def test_rows_go_before_tables_do(tmp_path, rows):
    with open_copy(database(tmp_path / "shop.sqlite", SHOP)) as copy:
        sizes = [tokens(prompt_schema(copy, "?", most=10_000, count=tokens, rows=n)) for n in range(4)]
        text = prompt_schema(copy, "?", most=sizes[rows], count=tokens)
    assert tokens(text) == sizes[rows] and text.count("CREATE TABLE") == 4


def test_few_tokens_keep_what_the_question_is_about_and_what_links_it(tmp_path):
    file = database(tmp_path / "shop.sqlite", SHOP)
    with open_copy(file) as copy:
        names = [table.name for table in relevant(copy, "Which product did the customer from Norway buy?")]
        assert names[:2] == ["customers", "products"] and names[2] == "order lines"
        text = prompt_schema(copy, "What is the surname of the staff?", most=12, count=tokens)
        assert text == "CREATE TABLE staff (id INTEGER PRIMARY KEY, surname TEXT);"
        by_value = [table.name for table in relevant(copy, "Anything about Peru?")]
        assert by_value[0] == "customers"


def test_words_of_names_and_plurals():
    assert words("orderLines total_prices HTTPServer companies class") == {
        *("order", "line", "total", "price", "http", "server", "company", "class"),
    }


def test_nothing_is_written_beside_the_file_and_its_log_is_read(tmp_path):
    file = tmp_path / "live.sqlite"
    with closing(sqlite3.connect(file)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE t (x TEXT)")
        writer.execute("INSERT INTO t VALUES ('in the log')")
        writer.commit()
        before = contents(tmp_path)
        with open_copy(file) as copy:
            assert copy.texts("t", "x") == ["in the log"]
        assert contents(tmp_path) == before and len(before) == 3
    before = contents(tmp_path)  # closed, the log is in the file
    with open_copy(file) as copy:
        assert copy.texts("t", "x") == ["in the log"]
    assert contents(tmp_path) == before and list(before) == ["live.sqlite"]


def test_views_without_an_end_are_not_run(tmp_path):
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) AS n, 'abc' AS t FROM c"
    script = f"CREATE TABLE t (x TEXT); INSERT INTO t VALUES ('abcd'); CREATE VIEW v AS {endless};"
    with open_copy(database(tmp_path / "views.sqlite", script)) as copy:
        assert [(table.name, table.columns) for table in copy.tables] == [("t", ("x",)), ("v", ("n", "t"))]
        assert prompt_schema(copy, "v t abc", most=4, count=tokens) and relevant(copy, "abc")


def test_a_query_of_the_copy_ends_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "MOST_SECONDS", 0.0)
    script = f"BEGIN; CREATE TABLE t (x TEXT); {'INSERT INTO t VALUES (hex(randomblob(9)));' * 3000} COMMIT;"
    with (
        pytest.raises(UserError, match="cannot be read .*interrupted"),
        open_copy(database(tmp_path / "l.db", script)) as copy,
    ):
        assert copy.texts("t", "x") == []
        raise UserError("cannot be read (interrupted)")


def test_a_collation_of_another_application_is_no_obstacle(tmp_path):
    script = "CREATE TABLE t (name TEXT COLLATE OF_APP); INSERT INTO t VALUES ('b'), ('a'), ('a');"
    with open_copy(database(tmp_path / "phone.sqlite", script)) as copy:
        assert copy.texts("t", "name") == ["a", "b"] and copy.holds("t", "name", "a")
        assert not copy.holds("t", "name", "c") and not copy.holds("t", "none", "a")


def test_virtual_tables_and_their_shadows_are_left_out(tmp_path):
    script = "CREATE TABLE t (x); CREATE VIRTUAL TABLE search USING fts5(body); CREATE TABLE sqlite (y);"
    with open_copy(database(tmp_path / "fts.sqlite", script)) as copy:
        assert [table.name for table in copy.tables] == ["t", "sqlite"]


def test_odd_names_values_and_keys(tmp_path):
    script = """
    CREATE TABLE "select" ("a ""b"" c" TEXT, [group] INT, `é` TEXT, FOREIGN KEY ([group]) REFERENCES gone(id));
    INSERT INTO "select" VALUES ('x', 1, 'ä'), (x'ff', 9223372036854775807, NULL), (9e999, -1, '');
    CREATE VIEW broken AS SELECT * FROM gone;
    """
    with open_copy(database(tmp_path / "odd.sqlite", script)) as copy:
        text = prompt_schema(copy, "group?", most=10_000, count=tokens)
        assert relevant(copy, "group")[0].name == "select"
    assert """INSERT INTO "select" ("a ""b"" c", "group", é) VALUES ('x', 1, 'ä')""" in text
    assert "9223372036854775807" in text and "CREATE VIEW broken" in text


def test_what_is_no_database_ends_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.sqlite").write_bytes(b"")
    (tmp_path / "cut.sqlite").write_bytes(database(tmp_path / "whole.sqlite", SHOP).read_bytes()[:3000])
    refuse("there is no file .*gone.sqlite", tmp_path / "gone.sqlite")
    refuse("is a folder", tmp_path)
    refuse("is no SQLite database.*import --csv", tmp_path / "rows.csv")
    refuse("has no tables", tmp_path / "empty.sqlite")
    refuse("cannot be read as a SQLite database", tmp_path / "cut.sqlite")
    monkeypatch.setattr(copies, "LARGEST_FILE", 2**20 // 1024)
    refuse("the sandbox holds", tmp_path / "whole.sqlite")
