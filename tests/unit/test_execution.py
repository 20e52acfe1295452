"""What statements return and change, as texts: cut, marked by kind, and run in the sandbox."""

import math
import sqlite3
from contextlib import closing

import pytest

from common.execution import Batch, Change, Execution, Table, execute, execute_one
from common.execution.cells import MOST_CHARACTERS, MOST_COLUMNS, MOST_ROWS, cell, table, text, value
from common.execution.executions import words
from common.scoring import suites
from tests.unit.cases import LONG_STEP

SCHEMA = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, NULL), (2, NULL);"
SERIES = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 300) SELECT x FROM c"
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


@pytest.fixture(scope="module")
def results() -> dict:
    """Results of all statements here by their SQL, and of no statement the tables themselves."""
    statements = [
        "SELECT a AS n, b, 1.5 * 2, x'00ff' FROM t",
        *(
            "SELECT a FROM t; SELECT b FROM t",
            SERIES,
            ENDLESS,
            "SELEC",
            "",
            "ATTACH 'x' AS y",
            "SELECT a FROM elsewhere",
        ),
        *("DELETE FROM t WHERE a = 1", "UPDATE t SET a = a + 1 WHERE a = 2 RETURNING a", "CREATE INDEX i ON t (a)"),
        *("DROP TABLE t", "ALTER TABLE t ADD COLUMN z INT", "UPDATE t SET a = a", "SELECT random(), date('now')"),
        *("CREATE VIEW w AS SELECT b FROM t", "SELECT cast(x'ff41' AS TEXT)", f"SELECT {', '.join('1' * 40)}"),
    ]
    [(given, parts)] = execute([Batch(SCHEMA, statements)], workers=1)
    return {None: given, **dict(zip(statements, parts, strict=True))}


def test_a_databases_tables_have_names_and_rows(results):
    rows = [[["1"], "x"], [["2"], None], [["2"], None]]
    assert results[None] == {"tables": [{"name": "t", "columns": ["a", "b"], "rows": rows, "total": 3, "width": 2}]}


def test_a_query_has_columns_and_rows_by_their_kind(results):
    [rows] = results["SELECT a AS n, b, 1.5 * 2, x'00ff' FROM t"]["tables"]
    assert rows["columns"] == ["n", "b", "1.5 * 2", "x'00ff'"]
    assert rows["rows"][:2] == [[["1"], "x", ["3.0"], ["X'00ff'"]], [["2"], None, ["3.0"], ["X'00ff'"]]]


def test_each_statement_of_a_text_has_its_table(results):
    tables = results["SELECT a FROM t; SELECT b FROM t"]["tables"]
    assert [each["columns"] for each in tables] == [["a"], ["b"]]


def test_a_long_result_is_cut_and_says_so(results):
    [rows] = results[SERIES]["tables"]
    assert (len(rows["rows"]), rows["total"]) == (MOST_ROWS, 300)
    [rows] = results[f"SELECT {', '.join('1' * 40)}"]["tables"]
    assert (len(rows["rows"][0]), len(rows["columns"]), rows["width"]) == (MOST_COLUMNS, MOST_COLUMNS, 40)


@pytest.mark.parametrize(
    ("sql", "outcome"),
    [
        ("SELEC", "syntax_error"),
        ("", "empty_prediction"),
        (ENDLESS, "budget"),
        ("ATTACH 'x' AS y", "forbidden"),
        ("SELECT a FROM elsewhere", "schema_error"),
    ],
)
def test_what_does_not_end_has_a_reason_and_no_rows(results, sql, outcome):
    assert results[sql]["outcome"] == outcome and results[sql]["detail"]
    assert results[sql].keys() == {"outcome", "detail"}


def change(results: dict, sql: str) -> tuple:
    [part] = results[sql]["changes"]
    sides = [part[side]["rows"] for side in ("removed", "added")] if "removed" in part else []
    return (part["name"], part["change"], *sides, part.get("stay"))


def test_a_write_says_what_it_changed(results):
    old, new = [[["2"], None]] * 2, [[["3"], None]] * 2
    assert change(results, "DELETE FROM t WHERE a = 1") == ("t", "rows", [[["1"], "x"]], [], 2)
    update = "UPDATE t SET a = a + 1 WHERE a = 2 RETURNING a"
    assert change(results, update) == ("t", "rows", old, new, 1)
    assert results[update]["tables"][0]["rows"] == [[["3"]], [["3"]]]
    assert change(results, "CREATE INDEX i ON t (a)") == ("index i", "new", None)
    assert change(results, "DROP TABLE t") == ("t", "gone", [[["1"], "x"], *old], [], 0)
    assert change(results, "ALTER TABLE t ADD COLUMN z INT")[:2] == ("t", "changed")
    assert change(results, "CREATE VIEW w AS SELECT b FROM t")[:4] == ("view w", "new", [], [["x"], [None], [None]])
    assert results["UPDATE t SET a = a"] == {"tables": [], "changes": []}


def test_each_statement_has_the_database_as_it_was(results):
    """Else the DROP before it would have left nothing to alter."""
    [part] = results["ALTER TABLE t ADD COLUMN z INT"]["changes"]
    assert part["removed"]["columns"] == ["a", "b"] and part["added"]["columns"] == ["a", "b", "z"]
    assert part["added"]["rows"][0] == [["1"], "x", None]


def test_clock_and_random_numbers_are_those_of_the_scorer(results):
    sql = "SELECT random(), date('now')"
    [(_, [again])] = execute([Batch(SCHEMA, [sql])], workers=1)
    assert again == results[sql] and again["tables"][0]["rows"][0][1] == "2024-01-15"


def test_bytes_that_are_no_text_can_be_written(results):
    [rows] = results["SELECT cast(x'ff41' AS TEXT)"]["tables"]
    assert rows["rows"] == [["�A"]]


def test_what_kills_its_worker_is_stopped_and_the_others_go_on():
    [(given, [stopped, other])] = execute([Batch(SCHEMA, [LONG_STEP, "SELECT 1"])], workers=1)
    assert given["tables"] and other["tables"][0]["rows"] == [[["1"]]]
    assert stopped == {"outcome": "timeout", "detail": "stopped for its running time"}


def test_a_schema_that_does_not_load_is_the_reason_for_all():
    [(given, [part])] = execute([Batch("CREATE TABLEX", ["SELECT 1"])], workers=1)
    assert given == part and given["outcome"] == "schema_invalid"


def test_an_image_stands_for_the_schemas_rows():
    with sqlite3.connect(":memory:") as connection:
        connection.executescript("CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (7, 'y')")
        [image] = suites.pack([connection.serialize()])
    connection.close()
    [(given, [part])] = execute([Batch(SCHEMA, ["SELECT a FROM t"], image)], workers=1)
    assert given["tables"][0]["rows"] == [[["7"], "y"]] and part["tables"][0]["rows"] == [[["7"]]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("3", "3"), (3, ["3"]), (3.0, ["3.0"]), (0.1 + 0.2, ["0.3"]), (1e300, ["1e+300"]), (b"", ["X''"])]
    + [(2**62, [str(2**62)]), (float("inf"), ["inf"]), (1 / 3, ["0.333333333333"])],
)
def test_cells_tell_text_from_what_is_none(value, expected):
    assert cell(value) == expected


def test_a_long_text_is_cut_with_a_mark():
    assert text("x" * MOST_CHARACTERS) == "x" * MOST_CHARACTERS
    assert text("x" * (MOST_CHARACTERS + 1)) == "x" * (MOST_CHARACTERS - 1) + "…"
    assert table(["a"], [["y" * 999]], 1)["rows"][0][0][-1] == "…"


# On a file, as values


OWN_ROWS = ((1, "x"), (2, None), (3, b"\x00\xff"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "own.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a INT, b TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", OWN_ROWS)
        connection.commit()
    return path


NONE = Table(("a", "b"), (), 0)
CASES = [
    ("SELECT * FROM t", Execution((Table(("a", "b"), OWN_ROWS, 3),))),
    ("SELECT a AS one FROM t LIMIT 1; SELECT 2", Execution((Table(("one",), ((1,),), 1), Table(("2",), ((2,),), 1)))),
    ("SELECT a FROM t WHERE a > 9", Execution((Table(("a",), (), 0),))),
    ("SELECT 9e999, 1.5, -3, '7'", Execution((Table(("9e999", "1.5", "-3", "'7'"), ((math.inf, 1.5, -3, "7"),), 1),))),
    (
        "DELETE FROM t WHERE a > 1",
        Execution((), writes=True, changes=(Change("t", "rows", Table(("a", "b"), OWN_ROWS[1:], 2), NONE, 1),)),
    ),
    ("UPDATE t SET a = 0 WHERE a > 9", Execution((), writes=True)),
    ("", Execution((), "empty_prediction", "no SQL statement")),
    ("SELECT * FROM nope", Execution((), "schema_error", "no such table: nope")),
    (ENDLESS, Execution((), "budget", "more than 2000000 steps")),
    ("ATTACH 'x.sqlite' AS x", Execution((), "forbidden", "ATTACH or VACUUM is not allowed")),
]


@pytest.mark.parametrize(("sql", "expected"), CASES, ids=[sql[:30] for sql, _ in CASES])
def test_what_becomes_of_a_text_on_a_file(file, sql, expected):
    before = file.read_bytes()
    assert execute_one(file, [sql, "SELECT count(*) FROM t"]) == [
        expected,
        Execution((Table(("count(*)",), ((3,),), 1),)),
    ]
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


def test_rows_of_a_file_are_cut_and_counted(file):
    (execution,) = execute_one(file, ["SELECT a FROM t"], most_rows=2)
    assert execution.tables == (Table(("a",), ((1,), (2,)), 3),)


def test_words_of_values():
    assert words([None, 1, 2.5, "a", b"\x01"]) == ("NULL", "1", "2.5", "a", "X'01'")


@pytest.mark.parametrize("one", [None, "", "X'", "1", 0, -7, 2**62, 1.5, -2e-7, 1e300, math.inf, b"", b"\x00\xff"])
def test_a_cell_gives_its_value_back(one):
    back = value(cell(one))
    assert back == one and type(back) is type(one)


def test_a_file_s_values_come_whole(file):
    wide = ", ".join(f"{place} AS c{place}" for place in range(40))
    text = "x" * 1000
    ((row,), (long,)) = (
        each.tables[0].rows for each in execute_one(file, [f"SELECT {wide}", f"SELECT 1234567890123.45, '{text}'"])
    )
    assert row == tuple(range(40)) and long == (1234567890123.45, text)


@pytest.mark.parametrize("one", [1234567890123.45, 2460310.500011574, 0.1 + 0.2, "y" * 500, b"\x01" * 500])
def test_an_exact_cell_loses_nothing(one):
    assert value(cell(one, exact=True)) == one != value(cell(one))
