"""Cases of test_scoring.py: what is written, attacks, and references and schemas that cannot be scored."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

from pathlib import Path

from tests.unit.cases import ALL, LONG_STEP, Case, cases

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
SCRIPT_FILE = Path("/tmp/common-scoring-test-must-not-exist")
WRITES = cases(
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
HOSTILE = cases(
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
    ("a megabyte of comment", ALL, ALL + " /*" + "x" * 1_000_000 + "*/", "too_large"),
    ("deep nesting", "SELECT 1", "SELECT " + "(" * 5000 + "1" + ")" * 5000, "too_large"),
    ("deep expression", "SELECT 1", "SELECT " + "1+" * 1200 + "1", "too_large"),
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
