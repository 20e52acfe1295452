"""The scorer's verdicts: a table of cases through `score` and `score_batch`, the published metric, ROUGE-L, files."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

import random
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from common.scoring import Scorer, Verdict
from common.scoring.compare import contained, same_bag, same_value
from common.scoring.rouge import rouge_l
from common.settings import UserError

STAFF = """
CREATE TABLE staff (id INTEGER PRIMARY KEY, name TEXT, team TEXT, pay REAL);
INSERT INTO staff VALUES (1, 'Ann', 'red', 10.0), (2, 'Bob', 'red', 20.0), (3, 'Cy', 'blue', 20.0), (4, 'Di', NULL, NULL);
CREATE TABLE item (code TEXT, n INT, CHECK (n < 1000));
INSERT INTO item VALUES ('a', 1), ('a', 1), ('b', 2);
"""
KEYS = """
CREATE TABLE parent (id INT PRIMARY KEY);
INSERT INTO parent VALUES (1), (2);
CREATE TABLE child (id INT PRIMARY KEY, parent_id INT REFERENCES parent (id));
INSERT INTO child VALUES (1, 1);
"""
TIMBER_SCHEMA = (
    "CREATE TABLE salesperson (salesperson_id INT, name TEXT, region TEXT); INSERT INTO salesperson (salesperson_id, "
    "name, region) VALUES (1, 'John Doe', 'North'), (2, 'Jane Smith', 'South'); CREATE TABLE timber_sales (sales_id "
    "INT, salesperson_id INT, volume REAL, sale_date DATE); INSERT INTO timber_sales (sales_id, salesperson_id, "
    "volume, sale_date) VALUES (1, 1, 120, '2021-01-01'), (2, 1, 150, '2021-02-01'), (3, 2, 180, '2021-01-01');"
)
TIMBER = (
    "SELECT salesperson_id, name, SUM(volume) as total_volume FROM timber_sales JOIN salesperson ON "
    "timber_sales.salesperson_id = salesperson.salesperson_id GROUP BY salesperson_id, name ORDER BY total_volume DESC;"
)
ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
MANY = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 20000) "
PATIENCE = 30.0  # seconds for one row; the promise is 3 on a machine that does nothing else
# One opcode that takes some 15 seconds under every limit of SQLite: only a kill ends it.
LONG_STEP = "SELECT printf('%.*c', 2000000000, 'x')"
SCRIPT_FILE = Path("/tmp/common-scoring-test-must-not-exist")


@dataclass(frozen=True)
class Case:
    name: str
    reference: str
    prediction: str
    outcome: str
    schema: str = STAFF
    both_empty: bool = False

    @property
    def match(self) -> bool | None:
        if self.outcome in ("reference_error", "reference_nondeterministic", "schema_invalid"):
            return None
        return self.outcome == "match"


def queries(*cases: tuple[str, str, str, str]) -> list[Case]:
    return [Case(*case) for case in cases]


ALL_STAFF = "SELECT name FROM staff"
BY_PAY = "SELECT name FROM staff WHERE pay IS NOT NULL ORDER BY pay"  # Ann 10, then Bob and Cy with 20
TOP = "SELECT name FROM staff ORDER BY pay DESC LIMIT 1"  # Bob or Cy
QUERIES = queries(
    ("identical", ALL_STAFF, ALL_STAFF, "match"),
    ("row order is free", ALL_STAFF, "SELECT name FROM staff ORDER BY id DESC", "match"),
    ("names are ignored", ALL_STAFF, "SELECT name AS who FROM staff", "match"),
    ("keyword case, semicolon, comment", ALL_STAFF, "select name from staff ;; -- done", "match"),
    ("comments around", ALL_STAFF, "/* a */ -- b\nSELECT name FROM staff /* ; */", "match"),
    (
        "double-quoted string",
        "SELECT id FROM staff WHERE name = 'Bob'",
        'SELECT id FROM staff WHERE name = "Bob"',
        "match",
    ),
    ("a row is missing", ALL_STAFF, "SELECT name FROM staff WHERE id < 4", "mismatch"),
    ("a row too many", "SELECT name FROM staff WHERE id < 4", ALL_STAFF, "mismatch"),
    ("column order counts", "SELECT id, name FROM staff", "SELECT name, id FROM staff", "mismatch"),
    ("a column too many", ALL_STAFF, "SELECT name, id FROM staff", "mismatch"),
    (
        "columns are not sorted by themselves",
        "SELECT 1, 2 UNION SELECT 3, 4",
        "SELECT 1, 4 UNION SELECT 3, 2",
        "mismatch",
    ),
    ("duplicates count", "SELECT code FROM item", "SELECT DISTINCT code FROM item", "mismatch"),
    (
        "multiplicities count",
        "SELECT code FROM item",
        "SELECT 'a' UNION ALL SELECT 'b' UNION ALL SELECT 'b'",
        "mismatch",
    ),
    ("3 equals 3.0", "SELECT 3", "SELECT 3.0", "match"),
    ("'3' is not 3", "SELECT 3", "SELECT '3'", "mismatch"),
    ("0.1 + 0.2 is 0.3", "SELECT 0.3", "SELECT 0.1 + 0.2", "match"),
    ("float within 1e-9", "SELECT 1000000.0", "SELECT 1000000.0009", "match"),
    ("float beyond 1e-9", "SELECT 1000000.0", "SELECT 1000000.002", "mismatch"),
    ("tiny floats within 1e-12", "SELECT 0.0", "SELECT 9e-13", "match"),
    ("tiny floats beyond 1e-12", "SELECT 0.0", "SELECT 2e-12", "mismatch"),
    ("integers exactly", "SELECT 9007199254740993", "SELECT 9007199254740992", "mismatch"),
    ("large integers exactly", "SELECT 1000000000000", "SELECT 1000000000001", "mismatch"),
    ("floats in a bag", "SELECT 0.3 UNION ALL SELECT 1", "SELECT 1 UNION ALL SELECT 0.1 + 0.2", "match"),
    ("NULL equals NULL", "SELECT NULL", "SELECT NULL", "match"),
    ("NULL is not 0", "SELECT NULL", "SELECT 0", "mismatch"),
    ("NULL is not empty text", "SELECT NULL", "SELECT ''", "mismatch"),
    ("a blob is no text", "SELECT 'ab'", "SELECT x'6162'", "mismatch"),
    ("invalid UTF-8 equals itself", "SELECT CAST(x'ff' AS TEXT)", "SELECT CAST(x'ff' AS TEXT) AS b", "match"),
    ("invalid UTF-8 equals no other", "SELECT CAST(x'ff' AS TEXT)", "SELECT CAST(x'fe' AS TEXT)", "mismatch"),
    ("text case counts", "SELECT 'Ann'", "SELECT 'ann'", "mismatch"),
    ("ORDER BY in another order", BY_PAY, BY_PAY + " DESC", "mismatch"),
    ("ties in any order", BY_PAY, BY_PAY + ", name DESC", "match"),
    ("ties only within their block", BY_PAY, "SELECT name FROM staff WHERE id < 4 ORDER BY name DESC", "mismatch"),
    (
        "ORDER BY inside only",
        "SELECT name FROM (SELECT * FROM staff ORDER BY id)",
        "SELECT name FROM staff ORDER BY name DESC",
        "match",
    ),
    (
        "ORDER BY in a string only",
        "SELECT name, ' order by ' FROM staff",
        "SELECT name, ' order by ' FROM staff ORDER BY id DESC",
        "match",
    ),
    ("LIMIT cuts a tie: the other one", TOP, "SELECT 'Cy'", "match"),
    ("LIMIT cuts a tie: neither", TOP, "SELECT 'Ann'", "mismatch"),
    (
        "LIMIT cuts a tie: one row each",
        TOP.replace("1", "3"),
        "SELECT 'Cy' UNION ALL SELECT 'Bob' UNION ALL SELECT 'Bob'",
        "mismatch",
    ),
    ("OFFSET into a tie", TOP + " OFFSET 1", "SELECT 'Bob'", "match"),
    ("OFFSET past a tie", TOP + " OFFSET 2", "SELECT 'Bob'", "mismatch"),
    (
        "a tie behind rows that OFFSET skips",
        "SELECT name FROM staff ORDER BY pay LIMIT 2 OFFSET 2",
        "SELECT 'Cy' UNION ALL SELECT 'Bob'",
        "match",
    ),
    ("LIMIT a, b", "SELECT name FROM staff ORDER BY pay DESC LIMIT 1, 1", "SELECT 'Bob'", "match"),
    (
        "ties by alias",
        "SELECT team, count(*) AS c FROM staff WHERE id IN (1, 3) GROUP BY team ORDER BY c",
        "SELECT team, 1 FROM staff WHERE id IN (1, 3) ORDER BY id",
        "match",
    ),
    (
        "ties by an expression of an alias",
        "SELECT name, pay * 2 AS p FROM staff WHERE id < 4 ORDER BY p + 1",
        "SELECT name, pay * 2 FROM staff WHERE id < 4 ORDER BY pay, id DESC",
        "match",
    ),
    (
        "ties by ordinal in a compound",
        "SELECT name, pay FROM staff WHERE id = 2 UNION ALL SELECT name, pay FROM staff WHERE id = 3 ORDER BY 2",
        "SELECT name, pay FROM staff WHERE id IN (2, 3) ORDER BY id DESC",
        "match",
    ),
    (
        "ties by collation",
        "SELECT v FROM (SELECT 'a' AS v UNION ALL SELECT 'A') ORDER BY v COLLATE NOCASE",
        "SELECT 'A' UNION ALL SELECT 'a'",
        "match",
    ),
    (
        "no ties without that collation",
        "SELECT v FROM (SELECT 'a' AS v UNION ALL SELECT 'A') ORDER BY v",
        "SELECT 'a' UNION ALL SELECT 'A'",
        "mismatch",
    ),
    (
        "ties by a key that is not shown, grouped",
        "SELECT team FROM staff WHERE team IS NOT NULL GROUP BY team ORDER BY max(pay)",
        "SELECT 'red' UNION ALL SELECT 'blue'",
        "match",
    ),
    (
        "ties that LIMIT cuts out of 20,000 rows",
        MANY + "SELECT x FROM c ORDER BY x / 2 LIMIT 3",
        "SELECT 0 UNION ALL SELECT 1 UNION ALL SELECT 2 ORDER BY 1",
        "mismatch",
    ),
    (
        "ties that LIMIT cuts, the other order",
        MANY + "SELECT x FROM c ORDER BY x / 2 LIMIT 3",
        "VALUES (1), (3), (2)",
        "match",
    ),
    (
        "ties by a DISTINCT column",
        "SELECT DISTINCT name, pay FROM staff WHERE id < 4 ORDER BY pay",
        "SELECT name, pay FROM staff WHERE id < 4 ORDER BY pay, name DESC",
        "match",
    ),
    ("ties behind *", "SELECT * FROM item ORDER BY n % 1", "SELECT * FROM item ORDER BY n DESC", "match"),
    (
        "no LIMIT, another bag, ORDER BY",
        BY_PAY,
        "SELECT 'Ann' UNION ALL SELECT 'Bob' UNION ALL SELECT 'Bob'",
        "mismatch",
    ),
    (
        "NULL first, then another order",
        "SELECT name FROM staff ORDER BY pay",
        "SELECT name FROM staff ORDER BY pay DESC",
        "mismatch",
    ),
    (
        "the clock stands still",
        "SELECT date('now'), CURRENT_TIMESTAMP",
        "SELECT '2024-01-15', '2024-01-15 12:00:00'",
        "match",
    ),
    ("the clock without argument", "SELECT date(), strftime('%Y')", "SELECT '2024-01-15', '2024'", "match"),
    (
        "the clock with a modifier",
        "SELECT julianday('now', '-1 day')",
        "SELECT julianday('2024-01-14 12:00:00')",
        "match",
    ),
    ("dates that are given", "SELECT date('2020-02-28', '+1 day')", "SELECT '2020-02-29'", "match"),
    ("random() with a seed", "SELECT 1 WHERE random() IS NOT NULL", "SELECT random() IS NOT NULL", "match"),
    ("random() decides", "SELECT random()", "SELECT random()", "reference_nondeterministic"),
    ("random() chooses", "SELECT id FROM staff ORDER BY random() LIMIT 1", "SELECT 1", "reference_nondeterministic"),
    ("WITH", ALL_STAFF, "WITH s AS (SELECT * FROM staff) SELECT name FROM s", "match"),
    ("VALUES", "VALUES (1), (2)", "SELECT 2 UNION ALL SELECT 1", "match"),
    ("json_each reads", "SELECT value FROM json_each('[1, 2]')", "SELECT 1 UNION SELECT 2", "match"),
    ("as many statements as the reference", "SELECT 1; SELECT 2", "SELECT 1; SELECT 2;", "match"),
    ("as many statements, swapped", "SELECT 1; SELECT 2", "SELECT 2; SELECT 1", "mismatch"),
)
COMPLETIONS = queries(
    ("fenced", ALL_STAFF, "```sql\nSELECT name FROM staff;\n```", "match"),
    ("think block", ALL_STAFF, "<think>\nDROP TABLE staff?\n</think>\n\nSELECT name FROM staff", "match"),
    ("prose before", ALL_STAFF, "Here is the query:\nSELECT name FROM staff;", "match"),
    ("empty", ALL_STAFF, "", "empty_prediction"),
    ("spaces", ALL_STAFF, " \n\t ", "empty_prediction"),
    ("only a comment", ALL_STAFF, "-- SELECT name FROM staff", "empty_prediction"),
    ("only semicolons", ALL_STAFF, ";;", "empty_prediction"),
    ("only a think block", ALL_STAFF, "<think>SELECT name FROM staff</think>", "empty_prediction"),
    ("syntax error", ALL_STAFF, "SELECT name FORM staff WHERE", "syntax_error"),
    ("unclosed string", ALL_STAFF, "SELECT 'name FROM staff", "syntax_error"),
    ("unknown table", ALL_STAFF, "SELECT name FROM people", "schema_error"),
    ("unknown column", ALL_STAFF, "SELECT nam FROM staff", "schema_error"),
    ("unknown function", ALL_STAFF, "SELECT concat_all(name, 1) FROM staff", "schema_error"),
    ("NUL", ALL_STAFF, "SELECT name FROM staff\0 WHERE 0", "syntax_error"),
    ("lone surrogate", ALL_STAFF, "SELECT '\udc80' FROM staff", "syntax_error"),
    ("overflow", "SELECT 1", "SELECT sum(9223372036854775807) FROM item", "runtime_error"),
)
WRITES = queries(
    ("DELETE, same rows", "DELETE FROM staff WHERE id = 2", "DELETE FROM staff WHERE name = 'Bob'", "match"),
    ("DELETE, other rows", "DELETE FROM staff WHERE id = 2", "DELETE FROM staff WHERE id = 3", "mismatch"),
    ("DELETE everything", "DELETE FROM staff WHERE id = 2", "DELETE FROM staff", "mismatch"),
    ("a query is no write", "DELETE FROM staff WHERE id = 9", "SELECT 1 WHERE 0", "mismatch"),
    ("a write is no query", "SELECT 1 WHERE 0", "DELETE FROM staff WHERE id = 9", "mismatch"),
    ("two writes that change nothing", "DELETE FROM staff WHERE id = 9", "DELETE FROM staff WHERE 0", "match"),
    ("a write behind WITH", "DELETE FROM staff WHERE id = 2", "WITH x AS (SELECT 2 AS i) DELETE FROM staff WHERE id IN (SELECT i FROM x)", "match"),
    ("DROP for a DELETE", "DELETE FROM item", "DROP TABLE item", "mismatch"),
    ("UPDATE, same", "UPDATE item SET n = 5 WHERE code = 'b'", "UPDATE item SET n = n + 3 WHERE n = 2", "match"),
    ("UPDATE, type differs", "UPDATE staff SET name = '5' WHERE id = 1", "UPDATE staff SET name = x'35' WHERE id = 1", "mismatch"),
    ("INSERT with a primary key", "INSERT INTO staff VALUES (5, 'Ed', 'red', 1)", "INSERT INTO staff (name, team, pay, id) VALUES ('Ed', 'red', 1.0, 5)", "match"),
    ("INSERT, primary key given by SQLite", "INSERT INTO staff VALUES (5, 'Ed', NULL, NULL)", "INSERT INTO staff (name) VALUES ('Ed')", "match"),
    ("INSERT twice the same key", "INSERT INTO staff (id) VALUES (9)", "INSERT INTO staff (id) VALUES (1)", "runtime_error"),
    ("CHECK fails", "UPDATE item SET n = 5", "UPDATE item SET n = 5000", "runtime_error"),
    ("RETURNING counts", "DELETE FROM item WHERE n = 2 RETURNING n", "DELETE FROM item WHERE n = 2", "mismatch"),
    ("RETURNING is no query", "DELETE FROM item WHERE n = 2 RETURNING n", "SELECT 2", "mismatch"),
    ("a query is no RETURNING", "SELECT 2", "DELETE FROM item WHERE n = 2 RETURNING n", "mismatch"),
    ("RETURNING, same", "DELETE FROM item RETURNING n", "DELETE FROM item WHERE 1 RETURNING n * 1", "match"),
    ("the clock in an INSERT", "INSERT INTO item VALUES (date('now'), 1)", "INSERT INTO item VALUES ('2024-01-15', 1)", "match"),
    ("random() in an INSERT", "INSERT INTO item VALUES (hex(randomblob(8)), 1)", "INSERT INTO item VALUES ('x', 1)", "reference_nondeterministic"),
    ("CREATE TABLE, names and types by affinity", "CREATE TABLE t (a INT, b VARCHAR(9))", "CREATE TABLE T (A INTEGER, B TEXT)", "match"),
    ("CREATE TABLE, other affinity", "CREATE TABLE t (a INT)", "CREATE TABLE t (a TEXT)", "mismatch"),
    ("CREATE TABLE, NOT NULL", "CREATE TABLE t (a INT)", "CREATE TABLE t (a INT NOT NULL)", "mismatch"),
    ("CREATE TABLE, default", "CREATE TABLE t (a INT DEFAULT 1)", "CREATE TABLE t (a INT DEFAULT 2)", "mismatch"),
    ("CREATE TABLE, primary key", "CREATE TABLE t (a INT PRIMARY KEY)", "CREATE TABLE t (a INT)", "mismatch"),
    ("CREATE TABLE, key written elsewhere", "CREATE TABLE t (a INT PRIMARY KEY)", "CREATE TABLE t (a INT, PRIMARY KEY (a))", "match"),
    ("CREATE TABLE, unique key", "CREATE TABLE t (a INT UNIQUE)", "CREATE TABLE t (a INT)", "mismatch"),
    ("CREATE TABLE, foreign key", "CREATE TABLE t (a INT REFERENCES staff (id))", "CREATE TABLE t (a INT)", "mismatch"),
    ("CREATE TABLE, foreign key by its default", "CREATE TABLE t (a INT REFERENCES staff (id))", "CREATE TABLE t (a INT REFERENCES staff)", "match"),
    ("CREATE TABLE, other name", "CREATE TABLE t (a INT)", "CREATE TABLE u (a INT)", "mismatch"),
    ("CREATE TABLE, temporary", "CREATE TABLE t (a INT)", "CREATE TEMP TABLE t (a INT)", "mismatch"),
    ("CREATE TABLE AS", "CREATE TABLE t AS SELECT name FROM staff", "CREATE TABLE t AS SELECT name FROM staff ORDER BY id DESC", "match"),
    ("CREATE TABLE that is there", "CREATE TABLE t (a INT)", "CREATE TABLE staff (a INT)", "runtime_error"),
    ("CREATE VIEW by its rows", "CREATE VIEW v AS SELECT name FROM staff WHERE id < 4", "CREATE VIEW V AS SELECT name FROM staff WHERE NOT id >= 4", "match"),
    ("CREATE VIEW, other rows", "CREATE VIEW v AS SELECT name FROM staff", "CREATE VIEW v AS SELECT name FROM staff WHERE 0", "mismatch"),
    ("CREATE INDEX", "CREATE INDEX i ON staff (name)", "create index if not exists I on Staff(Name)", "match"),
    ("CREATE INDEX, other column", "CREATE INDEX i ON staff (name)", "CREATE INDEX i ON staff (team)", "mismatch"),
    ("CREATE INDEX, unique", "CREATE INDEX i ON staff (name)", "CREATE UNIQUE INDEX i ON staff (name)", "mismatch"),
    ("CREATE TRIGGER", "CREATE TRIGGER g AFTER DELETE ON staff BEGIN DELETE FROM item; DELETE FROM item; END", "```\ncreate trigger g after delete on staff begin delete from item; /* x */ delete from item; end;\n```", "match"),
    ("CREATE TRIGGER, other text", "CREATE TRIGGER g AFTER DELETE ON staff BEGIN DELETE FROM item; END", "```\nCREATE TRIGGER g AFTER INSERT ON staff BEGIN DELETE FROM item; END\n```", "mismatch"),
    ("ALTER TABLE", "ALTER TABLE item ADD COLUMN z INT", "ALTER TABLE item ADD z INTEGER", "match"),
    ("ALTER TABLE, other column", "ALTER TABLE item ADD COLUMN z INT", "ALTER TABLE item ADD COLUMN y INT", "mismatch"),
    ("DROP TABLE", "DROP TABLE item", "DROP TABLE IF EXISTS item", "match"),
    ("a statement that does nothing is no query", "DROP TABLE IF EXISTS nowhere", "SELECT 1 WHERE 0", "mismatch"),
    ("several writes", "DELETE FROM item; INSERT INTO item VALUES ('c', 3)", "DELETE FROM item; INSERT INTO item (n, code) VALUES (3, 'c')", "match"),
    ("several writes in one", "DELETE FROM item; DELETE FROM item", "DELETE FROM item", "match"),
)  # fmt: skip
HOSTILE = queries(
    ("endless recursion", "SELECT 1", ENDLESS + "SELECT count(*) FROM c", "budget"),
    ("endless rows", "SELECT 1", ENDLESS + "SELECT x FROM c", "too_large"),
    ("cartesian product", "SELECT 1", "SELECT count(*) FROM " + ", ".join(f"staff s{i}" for i in range(16)), "budget"),
    ("zeroblob", "SELECT 1", "SELECT zeroblob(1000000000)", "too_large"),
    ("randomblob", "SELECT 1", "SELECT randomblob(1000000000)", "too_large"),
    ("group_concat", "SELECT 1", ENDLESS + "SELECT length(group_concat(x)) FROM c", "budget"),
    ("group_concat of long text", "SELECT 1", "SELECT length(group_concat(hex(zeroblob(9000)))) FROM staff, item", "too_large"),
    ("large rows", "SELECT 1", ENDLESS + "SELECT zeroblob(90000) FROM c", "too_large"),
    ("large sorter", "SELECT 1", ENDLESS + "SELECT zeroblob(90000) FROM c ORDER BY 1", "too_large"),
    ("endless INSERT", "DELETE FROM item", ENDLESS + "INSERT INTO item SELECT zeroblob(90000), 1 FROM c", "too_large"),
    ("many date calls", "SELECT 1", ENDLESS + "SELECT count(date(x)) FROM c", "budget"),
    ("one long step", "SELECT 1", LONG_STEP, "timeout"),
    ("a view with a bomb", "CREATE VIEW v AS SELECT 1", "CREATE VIEW v AS " + ENDLESS + "SELECT count(*) FROM c", "budget"),
    ("a megabyte of comment", ALL_STAFF, ALL_STAFF + " /*" + "x" * 1_000_000 + "*/", "too_large"),
    ("deep nesting", "SELECT 1", "SELECT " + "(" * 5000 + "1" + ")" * 5000, "too_large"),
    ("deep expression", "SELECT 1", "SELECT " + "1+" * 300 + "1", "too_large"),
    ("many columns", "SELECT 1", "SELECT " + ", ".join("1" * 300), "too_large"),
    ("many unclosed quotes", "SELECT 1", "SELECT " + "'\"`[" * 4000, "syntax_error"),
    ("ATTACH", "SELECT 1", f"ATTACH '{SCRIPT_FILE}' AS x", "forbidden"),
    ("ATTACH by expression", "SELECT 1", f"ATTACH ('{SCRIPT_FILE}' || '') AS x", "forbidden"),
    ("VACUUM INTO", "SELECT 1", f"VACUUM INTO '{SCRIPT_FILE}'", "forbidden"),
    ("VACUUM", "DELETE FROM item", "VACUUM", "forbidden"),
    ("PRAGMA", "SELECT 1", "PRAGMA table_info(staff)", "forbidden"),
    ("PRAGMA as a table", "SELECT 1", "SELECT name FROM pragma_table_info('staff')", "forbidden"),
    ("load_extension", "SELECT 1", "SELECT load_extension('/tmp/x.so')", "forbidden"),
    ("readfile", "SELECT 1", "SELECT readfile('/etc/passwd')", "schema_error"),
    ("the reference's text", "SELECT 1", "SELECT sql FROM sqlite_stmt", "forbidden"),
    ("dbstat", "SELECT 1", "SELECT * FROM dbstat", "forbidden"),
    ("BEGIN", "DELETE FROM item", "BEGIN", "forbidden"),
    ("COMMIT", "DELETE FROM item", "COMMIT", "forbidden"),
    ("SAVEPOINT", "DELETE FROM item", "SAVEPOINT s", "forbidden"),
    ("ANALYZE", "DELETE FROM item", "ANALYZE", "forbidden"),
    ("several statements", "SELECT 1", "SELECT 1; SELECT 1", "forbidden"),
    ("several statements, the last empty", "SELECT 1", "SELECT 1; ; -- SELECT 2", "match"),
    ("a second statement in a comment", "SELECT 1", "SELECT 1 /* ; DROP TABLE staff; */", "match"),
    ("catalogue written", "DELETE FROM item", "DELETE FROM sqlite_master", "runtime_error"),
    ("temporary table left behind", "CREATE TEMP TABLE zz (a)", "CREATE TEMP TABLE zz (a)", "match"),
)  # fmt: skip
OTHERS = [
    Case("empty on both sides", "SELECT id FROM staff WHERE 0", "SELECT 1 WHERE 0", "match", both_empty=True),
    Case("empty, but other columns", "SELECT id, name FROM staff WHERE 0", "SELECT 1 WHERE 0", "mismatch"),
    Case("a foreign key is not enforced by default", "DELETE FROM parent", "DELETE FROM parent WHERE id > 0", "match", KEYS, True),
    Case("a foreign key is enforced where the schema says so", "DELETE FROM parent WHERE id = 2", "DELETE FROM parent", "runtime_error", KEYS + "PRAGMA foreign_keys=ON;"),
    Case("a dump with a transaction", "SELECT a FROM t", "SELECT 1", "match", "PRAGMA foreign_keys=OFF; BEGIN; CREATE TABLE t (a); INSERT INTO t VALUES (1); COMMIT;"),
    Case("a transaction left open", "SELECT a FROM t", "SELECT 1", "match", "BEGIN; CREATE TABLE t (a); INSERT INTO t VALUES (1);"),
    Case("a temporary table in the schema", "DELETE FROM t", "DELETE FROM t WHERE 1", "match", "CREATE TEMP TABLE t (a); INSERT INTO t VALUES (1);", True),
    Case("DEFAULT CURRENT_TIMESTAMP", "INSERT INTO t (a) VALUES (1)", "INSERT INTO t VALUES (1, '2024-01-15 12:00:00')", "match", "CREATE TABLE t (a INT, b TEXT DEFAULT CURRENT_TIMESTAMP)", True),
    Case("an empty schema", "SELECT 1", "SELECT 1", "match", ""),
    Case("an empty schema, written to", "CREATE TABLE t (a INT)", "CREATE TABLE t (a INT)", "match", "", True),
    Case("the specification's example is no valid SQLite", TIMBER, TIMBER, "reference_error", TIMBER_SCHEMA),
    Case("reference: syntax", "SELECT", "SELECT 1", "reference_error"),
    Case("reference: empty", " -- nothing", "SELECT 1", "reference_error"),
    Case("reference: endless", ENDLESS + "SELECT count(*) FROM c", "SELECT 1", "reference_error"),
    Case("reference: one long step", LONG_STEP, "SELECT 1", "reference_error"),
    Case("reference: ATTACH", f"ATTACH '{SCRIPT_FILE}' AS x", "SELECT 1", "reference_error"),
    Case("reference: NUL and surrogate", "SELECT '\0\ud800'", "SELECT 1", "reference_error"),
    Case("reference: deep nesting with ORDER BY", "SELECT 1 ORDER BY " + "(" * 90 + "1" + ")" * 90, "SELECT 1", "reference_error"),
    Case("schema: syntax", "SELECT 1", "SELECT 1", "schema_invalid", "CREATE TABEL t (a);"),
    Case("schema: fails at its end", "SELECT 1", "SELECT 1", "schema_invalid", "CREATE TABLE t (a); INSERT INTO u VALUES (1);"),
    Case("schema: ATTACH", "SELECT 1", "SELECT 1", "schema_invalid", f"ATTACH '{SCRIPT_FILE}' AS x; CREATE TABLE x.t (a);"),
    Case("schema: VACUUM INTO", "SELECT 1", "SELECT 1", "schema_invalid", f"CREATE TABLE t (a); VACUUM INTO '{SCRIPT_FILE}';"),
    Case("schema: endless", "SELECT 1", "SELECT 1", "schema_invalid", "CREATE TABLE t (a); " + ENDLESS + "INSERT INTO t SELECT x FROM c;"),
    Case("schema: bomb", "SELECT 1", "SELECT 1", "schema_invalid", "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(900000000));"),
    Case("schema: one long step", "SELECT 1", "SELECT 1", "schema_invalid", LONG_STEP + ";"),
    Case("schema: heap limit taken away", "SELECT 1", "SELECT 1", "schema_invalid", "PRAGMA hard_heap_limit=1;"),
    Case("schema: NUL and surrogate", "SELECT 1", "SELECT 1", "schema_invalid", "CREATE TABLE t (a); \0 \udfff"),
]  # fmt: skip
CASES = [*QUERIES, *COMPLETIONS, *WRITES, *HOSTILE, *OTHERS]


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=2) as scorer:
        yield scorer


@pytest.fixture(scope="module")
def batch(scorer, in_one_call) -> list[Verdict]:
    return in_one_call(scorer, CASES, seed=0)


def check(case: Case, verdict: Verdict) -> None:
    assert (verdict.outcome, verdict.match) == (case.outcome, case.match), verdict.detail
    assert verdict.robust_match is None
    assert verdict.score == {None: 0.0, True: 1.0, False: 0.7 * verdict.rouge_l}[case.match]
    writes = case in WRITES + HOSTILE and not case.reference.startswith("SELECT")
    assert verdict.both_empty == bool(case.both_empty or (case.match and writes and "RETURNING" not in case.reference))
    assert "\n" not in verdict.detail
    assert not (case.outcome == "timeout" and verdict.published_match)
    assert bool(verdict.detail) != (case.outcome == "match")


def test_names_of_cases_are_distinct():
    assert len({case.name for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_score(scorer, case):
    started = time.monotonic()
    verdict = scorer.score(schema=case.schema, reference=case.reference, prediction=case.prediction)
    assert time.monotonic() - started < PATIENCE
    check(case, verdict)


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: CASES[number].name)
def test_score_batch(batch, number):
    check(CASES[number], batch[number])


def test_no_case_left_a_file(batch):
    assert len(batch) == len(CASES)
    assert not SCRIPT_FILE.exists()


# --- the published metric -------------------------------------------------------------------------------------------


def published(schema: str, reference: str, prediction: str) -> tuple[bool, float]:
    """The published metric restated from its description, without a sandbox."""
    with closing(sqlite3.connect(":memory:")) as connection:
        cursor = connection.cursor()
        try:
            cursor.executescript(schema)
            cursor.execute(reference)
            expected = cursor.fetchall()
            cursor.execute(prediction)
            matched = cursor.fetchall() == expected
        except Exception:
            matched = False
    f1 = RougeScorer(["rougeL"], use_stemmer=False).score(reference, prediction)["rougeL"].fmeasure
    return matched, 1.0 if matched else 0.7 * f1


def test_published_equals_an_independent_restatement(batch):
    # Left out is what the original would wait for, fill the memory with, or write.
    skipped = {"budget", "too_large", "timeout"}
    compared = matched = 0
    for case, verdict in zip(CASES, batch, strict=True):
        texts = (case.schema + case.reference + case.prediction).lower()
        if case.outcome in skipped or "recursive" in texts or str(SCRIPT_FILE) in texts or "zeroblob" in texts:
            continue
        if any(word in texts for word in ("sqlite_stmt", "pragma hard", "printf", "order by random")):
            continue
        expected, score = published(case.schema, case.reference, case.prediction)
        assert verdict.published_match == expected, case.name
        assert verdict.published_score == pytest.approx(score, abs=1e-12), case.name
        compared += 1
        matched += expected
    assert compared > 120 and 30 < matched < compared - 30


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [
        ("DELETE FROM item", "SELECT 1 WHERE 0", True),
        ("DELETE FROM item", "DROP TABLE staff", True),
        ("DELETE FROM item", "PRAGMA user_version = 3", True),
        ("DELETE FROM item WHERE n = 1", "DELETE FROM item", True),
        ("INSERT INTO staff VALUES (5, 'Ed', 'red', 1)", "INSERT INTO staff VALUES (5, 'Ed', 'red', 1)", False),
        ("SELECT name FROM staff", "```sql\nSELECT name FROM staff\n```", False),
        ("SELECT name FROM staff", "SELECT name FROM staff ORDER BY id DESC", False),
        ("SELECT 0.3", "SELECT 0.1 + 0.2", False),
        ("SELECT 1", "SELECT 1; SELECT 1", False),
        ("SELECT id FROM staff WHERE 0", "ATTACH ':memory:' AS x", True),
        ("SELECT CAST(x'ff' AS TEXT)", "SELECT CAST(x'ff' AS TEXT)", False),
    ],
)
def test_published_keeps_its_faults(scorer, reference, prediction, expected):
    verdict = scorer.score(schema=STAFF, reference=reference, prediction=prediction)
    assert published(STAFF, reference, prediction)[0] == expected
    assert verdict.published_match == expected


def test_published_of_the_specifications_example_is_seven_tenths(scorer):
    verdict = scorer.score(schema=TIMBER_SCHEMA, reference=TIMBER, prediction=TIMBER)
    assert (verdict.published_match, verdict.published_score) == (False, pytest.approx(0.7))
    mended = TIMBER.replace("SELECT salesperson_id", "SELECT salesperson.salesperson_id").replace(
        "BY salesperson_id", "BY salesperson.salesperson_id"
    )
    verdict = scorer.score(schema=TIMBER_SCHEMA, reference=mended, prediction=mended)
    assert (verdict.published_score, verdict.score, verdict.outcome) == (1.0, 1.0, "match")


@pytest.mark.parametrize("prediction", [f"ATTACH '{SCRIPT_FILE}' AS x", f"VACUUM INTO '{SCRIPT_FILE}'"])
def test_published_is_held_back_too(scorer, prediction):
    verdict = scorer.score(schema="", reference="SELECT 1 WHERE 0", prediction=prediction)
    assert not verdict.published_match
    assert not SCRIPT_FILE.exists()


# --- ROUGE-L --------------------------------------------------------------------------------------------------------


def test_rouge_l_equals_rouge_score():
    theirs = RougeScorer(["rougeL"], use_stemmer=False)
    draw = random.Random(1)
    alphabet = [
        "select",
        "FROM",
        "a",
        "b",
        "İ",
        "K",
        "ß",
        "t1.x",
        "é",
        "'",
        "<",
        ">",
        "\ud800",
        "\0",
        "_",
        "42",
        "\n",
        " ",
    ]
    for _ in range(3000):
        left, right = ("".join(draw.choices(alphabet, k=draw.randrange(25))) for _ in range(2))
        expected = theirs.score(left, right)["rougeL"].fmeasure
        assert rouge_l(left, right) == pytest.approx(expected, abs=1e-9), (left, right)


def test_rouge_l_by_hand_and_in_bounded_time():
    assert rouge_l("a b c d", "a c x") == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert rouge_l("v > 20", "v < 20") == 1.0
    assert rouge_l("", "a") == rouge_l("a", "") == rouge_l("?", "!") == 0.0
    started = time.process_time()
    rouge_l("a b " * 300_000, "b c a " * 300_000)
    assert time.process_time() - started < 3


# --- comparing bags -------------------------------------------------------------------------------------------------


def test_values():
    assert same_value(3, 3.0) and same_value(None, None) and same_value(1.0, 1.0 + 9e-10)
    assert not same_value(3, "3") and not same_value(None, 0) and not same_value(1.0, 1.0 + 2e-9)
    assert not same_value(10**15, 10**15 + 1) and same_value(float(10**15), 10**15 + 1)
    assert same_value(float("inf"), float("inf")) and not same_value(float("inf"), 1e308)


def test_a_bag_needs_a_pairing_not_just_neighbours():
    step = 8e-10
    a, b, c = 1.0, 1.0 + step, 1.0 + 2 * step  # a~b, b~c, not a~c
    assert not same_value(a, c)
    assert same_bag([(a,), (b,)], [(b,), (c,)])  # though taking the exact pair b, b first would leave a and c
    assert same_bag([(b,), (a,)], [(b,), (c,)])  # here the first row must give way to the second
    assert not same_bag([(a,), (a,)], [(b,), (c,)])
    assert not same_bag([(a, "x"), (c, "y")], [(b, "y"), (a, "y")])
    assert same_bag([(a, 5), (c, 7)], [(b, 7), (b, 5)])
    assert contained([(b,)], [(a,), (c,)]) and not contained([(b,), (b,), (b,)], [(a,), (c,), (9.0,)])


def test_ten_thousand_rows_of_floats_take_no_quadratic_time():
    draw = random.Random(2)
    rows = [(draw.random(), draw.randrange(5), "x") for _ in range(10_000)]
    other = [(value * (1 + 1e-12), n, text) for value, n, text in rows]
    draw.shuffle(other)
    started = time.process_time()
    assert same_bag(rows, other)
    assert not same_bag(rows, [*other[1:], (2.0, 1, "x")])
    assert time.process_time() - started < 2


def test_a_hostile_pairing_is_given_up_in_bounded_time():
    # Four clusters of rows, each within the tolerance of its neighbours; what comes last moves all the others.
    near = [[1 + k * 0.9e-9 + i * 1e-14 for i in range(110)] for k in range(4)]
    left = [(x, 1.0) for k in (1, 2, 3, 0) for x in near[k] for _ in range(20)]
    right = [(x, 1.0) for cluster in near for x in cluster for _ in range(20)]
    # Two rows that pair crosswise keep the quick way, pairs of the sorted rows, from being taken.
    left += [(5.0, 1.0), (5.0 + 1e-9, 1.0 + 1.8e-9)]
    right += [(5.0, 1.0 + 1.8e-9), (5.0 + 1e-9, 1.0)]
    started = time.process_time()
    same_bag(left, right)
    assert time.process_time() - started < 1.5  # 0.5 with the limit, 2.1 without, and far more with more rows
    wide = [(*[1.0 + i * 1e-13] * 199, i) for i in range(440)]
    started = time.process_time()
    assert not same_bag(wide, [(*[1.0 + i * 2e-13] * 199, i % 439) for i in range(440)])
    assert time.process_time() - started < 1.5


# --- the interface --------------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path) -> Path:
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE sale (n INT); INSERT INTO sale VALUES (1), (2)")
    return path


def test_a_database_file_is_used_and_never_changed(scorer, database):
    before = database.read_bytes()
    row = {"schema": "this is not run", "reference": "SELECT sum(n) FROM sale", "database": database}
    writing = row | {"reference": "DELETE FROM sale"}
    verdicts = scorer.score_batch(
        [
            row | {"prediction": "SELECT 3"},
            writing | {"prediction": "DELETE FROM sale WHERE n > 0"},
            row | {"prediction": "SELECT 4"},
        ]
    )
    assert [v.outcome for v in verdicts] == ["match", "match", "mismatch"]
    assert [v.published_match for v in verdicts] == [True, True, False]
    assert database.read_bytes() == before
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("INSERT INTO sale VALUES (100)")
        connection.commit()
    assert scorer.score(**row, prediction="SELECT 103").match  # a changed file is read again


def test_a_large_file_a_file_with_a_log_and_no_database(scorer, tmp_path):
    large = tmp_path / "large.sqlite"
    with closing(sqlite3.connect(large)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (a INT, b BLOB)")
        connection.executemany("INSERT INTO t VALUES (?, zeroblob(50000))", ((i,) for i in range(400)))
        connection.commit()
    assert large.stat().st_size > 19_000_000
    verdict = scorer.score(schema="", reference="SELECT count(*) FROM t", prediction="SELECT 400", database=large)
    assert (verdict.outcome, verdict.published_match) == ("match", True)
    junk = tmp_path / "junk.sqlite"
    junk.write_bytes(b"no database at all" * 100)
    assert (
        scorer.score(schema="", reference="SELECT 1", prediction="SELECT 1", database=junk).outcome == "schema_invalid"
    )


def test_mistakes_of_the_user_are_named(scorer, tmp_path):
    for number in (-1, 33):
        with pytest.raises(UserError, match=f"databases={number}"):
            Scorer(databases=number)
    with pytest.raises(UserError, match="unknown generator 'bold'"):
        Scorer(databases=1, generator="bold")
    with pytest.raises(UserError, match="workers=0"):
        Scorer(workers=0)
    for path in (tmp_path / "missing.sqlite", tmp_path):
        with pytest.raises(UserError, match="cannot read the database"):
            scorer.score(schema="", reference="SELECT 1", prediction="SELECT 1", database=path)
    with pytest.raises(TypeError, match="unknown keys"):
        scorer.score_batch([{"schema": "", "reference": "", "prediction": "", "references": ""}])
    with pytest.raises(TypeError, match="strings"):
        scorer.score(schema="", reference="SELECT 1", prediction=None)


@dataclass(frozen=True)
class Question:
    """What `score_batch` needs of an example."""

    schema: str
    sql: str
    database: Path | None = None


def test_pairs_come_back_in_order_and_equal_rows_are_equal(scorer):
    question = Question("CREATE TABLE t (a INT); INSERT INTO t VALUES (7)", "SELECT a FROM t")
    completions = [f"SELECT {7 if i % 3 == 0 else i % 50 + 100}" for i in range(300)]
    verdicts = scorer.score_batch([(question, completion) for completion in completions])
    assert [v.match for v in verdicts] == [i % 3 == 0 for i in range(300)]
    assert scorer.score_batch([]) == []


def test_progress_is_shown_on_stderr(scorer, capsys):
    scorer.score_batch([{"schema": "", "reference": "SELECT 1", "prediction": "SELECT 1"}], progress=True)
    captured = capsys.readouterr()
    assert "scoring" in captured.err and captured.out == ""


def test_one_row_does_not_reach_the_next(scorer):
    schema = "CREATE TABLE t (a INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)"
    row = {"schema": schema, "reference": "SELECT count(*), (SELECT count(*) FROM sqlite_master) FROM t"}
    spoilers = ["DELETE FROM t", "CREATE TEMP TABLE t AS SELECT 5 AS a", "DROP TABLE t", "INSERT INTO t VALUES (9)"]
    rows = [row | {"prediction": p} for spoiler in spoilers for p in (spoiler, f"SELECT 1, 1 -- {spoiler}")]
    assert [v.match for v in scorer.score_batch(rows)] == [False, True] * len(spoilers)
    questions = ["SELECT changes()", "SELECT total_changes()", "SELECT last_insert_rowid()"]
    for question in questions:
        first = scorer.score(schema=schema, reference="SELECT 1", prediction=question)
        scorer.score(schema=schema, reference="SELECT 1", prediction="INSERT INTO t VALUES (2), (3)")
        assert scorer.score(schema=schema, reference="SELECT 1", prediction=question) == first
