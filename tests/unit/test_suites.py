"""Generated databases: what they part, what they keep, and what they look like. On disk: test_suite_store.py."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from common.data import load_examples
from common.mutations.neighbours import neighbours
from common.scoring import Scorer, suites
from common.scoring.scorer import EVALUATION_SEED, REWARD_SEED
from common.scoring.suites import store

SHOP = """
CREATE TABLE customer (id INT, name TEXT, city TEXT, joined DATE);
INSERT INTO customer VALUES (1, 'Ann', 'Oslo', '2021-03-01'), (2, 'Bob', 'Rome', '2022-07-15'), (3, 'Cy', 'Oslo', '2023-01-31');
CREATE TABLE sale (sale_id INT, customer_id INT, price REAL, n INT, note TEXT);
INSERT INTO sale VALUES (1, 1, 20.0, 2, 'gift'), (2, 2, 30.0, 1, NULL), (3, 2, 10.0, 5, 'old gift');
"""
# Reference, and a wrong answer that agrees with it on the rows above by luck.
LUCKY = [
    ("SELECT n FROM sale WHERE price > 20", "SELECT n FROM sale WHERE price > 25"),
    ("SELECT n FROM sale WHERE price >= 20", "SELECT n FROM sale WHERE price > 10"),
    ("SELECT n FROM sale WHERE n < 5", "SELECT n FROM sale WHERE n <> 5"),
    ("SELECT name FROM customer WHERE city = 'Oslo'", "SELECT name FROM customer WHERE id <> 2"),
    ("SELECT name FROM customer WHERE city = 'Oslo' AND id > 1", "SELECT name FROM customer WHERE id > 2"),
    ("SELECT name FROM customer WHERE city = 'Oslo' OR id = 2", "SELECT name FROM customer"),
    ("SELECT name FROM customer WHERE joined >= '2022-01-01'", "SELECT name FROM customer WHERE id >= 2"),
    ("SELECT name FROM customer WHERE joined BETWEEN '2022-01-01' AND '2022-12-31'", "SELECT name FROM customer WHERE joined BETWEEN '2021-06-01' AND '2022-12-31'"),
    ("SELECT name FROM customer WHERE strftime('%Y', joined) = '2022'", "SELECT name FROM customer WHERE strftime('%m', joined) = '07'"),
    ("SELECT count(*) FROM sale WHERE note LIKE '%gift'", "SELECT count(*) FROM sale WHERE note LIKE '%gift%'"),
    ("SELECT count(*) FROM sale", "SELECT 3"),
    ("SELECT count(note) FROM sale", "SELECT count(*) - 1 FROM sale"),
    ("SELECT count(DISTINCT city) FROM customer", "SELECT 2"),
    ("SELECT max(price) FROM sale", "SELECT price FROM sale WHERE sale_id = 2"),
    ("SELECT max(n) FROM sale WHERE price < 20", "SELECT sum(n) FROM sale WHERE price < 20"),
    ("SELECT avg(price) FROM sale", "SELECT price FROM sale WHERE sale_id = 1"),
    ("SELECT city, count(*) FROM customer GROUP BY city", "SELECT city, count(DISTINCT joined) FROM customer WHERE id < 4 GROUP BY city"),
    ("SELECT city FROM customer GROUP BY city HAVING count(*) > 1", "SELECT 'Oslo'"),
    ("SELECT city FROM customer GROUP BY city HAVING count(*) >= 2", "SELECT city FROM customer GROUP BY city HAVING count(*) = 2"),
    ("SELECT name FROM customer JOIN sale ON customer_id = id WHERE price > 25", "SELECT name FROM customer WHERE id = 2"),
    ("SELECT name, price FROM customer JOIN sale ON customer_id = id WHERE n > 1", "SELECT name, price FROM customer LEFT JOIN sale ON customer_id = id WHERE coalesce(n, 1) > 1 AND price < 25"),
    ("SELECT DISTINCT city FROM customer JOIN sale ON customer_id = id", "SELECT DISTINCT city FROM customer"),
    ("SELECT name FROM customer LEFT JOIN sale ON customer_id = id WHERE sale_id IS NULL", "SELECT name FROM customer WHERE id = 3"),
    ("SELECT name FROM customer WHERE id IN (SELECT customer_id FROM sale WHERE n > 4)", "SELECT name FROM customer WHERE id IN (SELECT customer_id FROM sale WHERE price > 20)"),
    ("SELECT name FROM customer WHERE NOT EXISTS (SELECT 1 FROM sale WHERE customer_id = id)", "SELECT name FROM customer WHERE joined > '2023-01-01'"),
    ("SELECT name FROM customer ORDER BY joined DESC LIMIT 1", "SELECT name FROM customer ORDER BY id DESC LIMIT 1"),
    ("SELECT name FROM customer ORDER BY name", "SELECT name FROM customer ORDER BY id"),
    ("SELECT price FROM sale ORDER BY price DESC LIMIT 2", "SELECT price FROM sale WHERE price >= 20 ORDER BY price DESC"),
    ("SELECT sale_id FROM sale WHERE price > (SELECT avg(price) FROM sale)", "SELECT sale_id FROM sale WHERE price > 20"),
    ("SELECT city FROM customer WHERE id < 3 UNION SELECT note FROM sale WHERE note = 'gift'", "SELECT city FROM customer WHERE id < 3 UNION ALL SELECT note FROM sale WHERE note = 'gift'"),
    ("SELECT sale_id, rank() OVER (ORDER BY price) FROM sale", "SELECT sale_id, row_number() OVER (ORDER BY price) FROM sale"),
    ("SELECT CASE WHEN price > 20 THEN 'high' ELSE 'low' END FROM sale", "SELECT CASE WHEN price >= 30 THEN 'high' ELSE 'low' END FROM sale"),
    ("SELECT price * n FROM sale WHERE sale_id = 1", "SELECT price + price FROM sale WHERE sale_id = 1"),
    ("DELETE FROM sale WHERE price > 20", "DELETE FROM sale WHERE sale_id = 2"),
    ("UPDATE sale SET n = n + 1 WHERE price < 20", "UPDATE sale SET n = 6 WHERE price < 20"),
    ("INSERT INTO sale SELECT 9, id, 1.0, 1, 'new' FROM customer WHERE city = 'Rome'", "INSERT INTO sale VALUES (9, 2, 1.0, 1, 'new')"),
    ("CREATE VIEW rich AS SELECT name FROM customer WHERE id > 1", "CREATE VIEW rich AS SELECT name FROM customer WHERE city = 'Rome' OR id = 3"),
]  # fmt: skip
# Reference, and another way to say the same.
SAME = [
    ("SELECT n FROM sale WHERE price > 20", "SELECT s.n FROM sale AS s WHERE NOT s.price <= 20"),
    ("SELECT sum(price) FROM sale", "SELECT sum(price) FROM (SELECT * FROM sale ORDER BY price DESC)"),
    ("SELECT city, sum(price) FROM customer JOIN sale ON customer_id = id GROUP BY city", "SELECT city, sum(price) FROM sale, customer WHERE id = customer_id GROUP BY 1 ORDER BY 2"),
    ("SELECT name FROM customer ORDER BY city", "SELECT name FROM customer ORDER BY city, name DESC"),
    ("SELECT name FROM customer ORDER BY city LIMIT 2", "SELECT name FROM customer ORDER BY city, id DESC LIMIT 2"),
    ("SELECT avg(price) FROM sale", "SELECT sum(price) / count(price) FROM sale"),
    ("SELECT name FROM customer WHERE id IN (SELECT customer_id FROM sale)", "SELECT name FROM customer WHERE EXISTS (SELECT 1 FROM sale WHERE customer_id = customer.id)"),
    ("SELECT max(n) FROM sale", "SELECT n FROM sale ORDER BY n DESC LIMIT 1"),
    ("DELETE FROM sale WHERE price > 20", "DELETE FROM sale WHERE sale_id IN (SELECT sale_id FROM sale WHERE price > 20)"),
    ("UPDATE sale SET n = n + 1", "UPDATE sale SET n = 1 + n WHERE 1"),
    # Right as long as data is natural: names and numbers of rows are unique, what was never NULL is not, keys lead somewhere.
    ("SELECT count(*) FROM customer", "SELECT count(id) FROM customer"),
    ("SELECT count(*) FROM customer", "SELECT count(DISTINCT name) FROM customer"),
    ("SELECT name, count(*) FROM customer JOIN sale ON customer_id = id GROUP BY customer.id", "SELECT name, count(*) FROM customer JOIN sale ON customer_id = id GROUP BY name"),
    ("SELECT price FROM sale", "SELECT price FROM sale JOIN customer ON id = customer_id"),
    ("SELECT price FROM sale", "SELECT price FROM sale LEFT JOIN customer ON id = customer_id"),
    ("SELECT sum(n) FROM sale", "SELECT sum(abs(n)) FROM sale"),
]  # fmt: skip


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=2, databases=4) as scorer:
        yield scorer


def row(reference: str, prediction: str, schema: str = SHOP) -> dict[str, str]:
    return {"schema": schema, "reference": reference, "prediction": prediction}


def databases(reference: str, schema: str = SHOP, *, number: int = 4, generator: str = "conservative", seed: int = 0):
    """The suite of a reference, as connections."""
    with Scorer(workers=1, databases=number, generator=generator, seed=seed) as scorer:
        scorer.score(**row(reference, reference + " ", schema))
    key = store.key(schema, "", reference, number=number, generator=generator, seed=seed)
    connections = []
    for text in store.read([key])[key]:
        connection = sqlite3.connect(":memory:")
        connection.deserialize(suites.unpack(text))
        connections.append(connection)
    return connections


def test_a_lucky_answer_matches_on_the_given_database_and_on_no_suite(scorer):
    verdicts = scorer.score_batch([row(*pair) for pair in LUCKY])
    assert [v.outcome for v in verdicts] == ["match"] * len(LUCKY), "each case has to be lucky"
    assert [pair for pair, v in zip(LUCKY, verdicts, strict=True) if v.robust_match] == []
    for verdict in verdicts:
        assert verdict.match is True and verdict.robust_match is False
        assert verdict.score == pytest.approx(0.7 * verdict.rouge_l) and verdict.score < 1
        assert verdict.detail.startswith("on generated database ")


def test_another_way_to_say_it_matches_on_every_suite(scorer):
    verdicts = scorer.score_batch([row(*pair) for pair in SAME])
    assert [(pair, v.detail) for pair, v in zip(SAME, verdicts, strict=True) if not v.robust_match] == []
    assert {v.score for v in verdicts} == {1.0}


def test_robust_is_false_for_a_mismatch_and_none_where_nothing_can_be_said(scorer):
    wrong, bad, empty = scorer.score_batch(
        [row("SELECT 1", "SELECT 2"), row("SELECT nothing FROM nowhere", "SELECT 1"), row("SELECT 1", "")]
    )
    assert (wrong.match, wrong.robust_match) == (False, False)
    assert (bad.match, bad.robust_match, bad.score) == (None, None, 0.0)
    assert (empty.outcome, empty.robust_match) == ("empty_prediction", False)
    with Scorer(workers=1) as strict:
        assert strict.score(**row(*LUCKY[0])).robust_match is None


def test_robust_implies_match_and_the_score_follows(scorer):
    examples = load_examples("embedded", "validation", limit=25)
    pairs = [(example, near.sql) for example in examples for near in neighbours(example.sql)]
    verdicts = scorer.score_batch(pairs)
    with Scorer(workers=2) as other:
        strict = other.score_batch(pairs)
    assert len({v.robust_match for v in verdicts}) == 2
    for verdict, same in zip(verdicts, strict, strict=True):
        assert (verdict.match, verdict.outcome, verdict.published_score) == (
            same.match,
            same.outcome,
            same.published_score,
        )
        assert verdict.match or not verdict.robust_match
        assert verdict.score == (1.0 if verdict.robust_match else 0.7 * verdict.rouge_l)


def test_the_aggressive_generator_refuses_what_rests_on_unwritten_rules():
    pairs = SAME[-6:-1]
    with Scorer(workers=2, databases=24, generator="aggressive") as scorer:
        verdicts = scorer.score_batch([row(*pair) for pair in pairs])
    assert [v.match for v in verdicts] == [True] * 5
    assert [v.robust_match for v in verdicts] == [False] * 5


def test_conservative_rows_are_like_the_given_ones(cold):
    connections = databases("SELECT name, price FROM customer JOIN sale ON customer_id = id WHERE n > 2", number=12)
    assert len(connections) == 12
    for connection in connections:
        ask = connection.execute
        for table, column in (("customer", "id"), ("customer", "name"), ("sale", "sale_id")):
            assert ask(f"SELECT count(*) - count(DISTINCT {column}) FROM {table}").fetchone() == (0,), column
        for column in ("customer.name", "customer.city", "customer.joined", "sale.customer_id", "sale.price", "sale.n"):
            table, _, name = column.partition(".")
            assert ask(f"SELECT count(*) FROM {table} WHERE {name} IS NULL").fetchone() == (0,), column
        assert ask("SELECT count(*) FROM sale WHERE customer_id NOT IN (SELECT id FROM customer)").fetchone() == (0,)
        assert ask("SELECT count(*) FROM sale WHERE price < 0 OR n < 0").fetchone() == (0,)
        assert ask("SELECT count(*) FROM customer WHERE date(joined) IS NOT joined").fetchone() == (0,)
    # The constant and both of its neighbours are among the values, and so is NULL where the given rows have it.
    values = {n for connection in connections for (n,) in connection.execute("SELECT n FROM sale")}
    assert {1, 2, 3} <= values
    assert any(connection.execute("SELECT 1 FROM sale WHERE note IS NULL").fetchone() for connection in connections)
    assert any(
        connection.execute("SELECT 1 FROM customer WHERE id NOT IN (SELECT customer_id FROM sale)").fetchone()
        for connection in connections
    )


def test_a_suite_depends_on_reference_seed_and_generator_alone(tmp_path, monkeypatch):
    texts = {}
    for name, folder, seed, generator in (
        ("one", "first", EVALUATION_SEED, "conservative"),
        ("again", "second", EVALUATION_SEED, "conservative"),
        ("reward", "first", REWARD_SEED, "conservative"),
        ("aggressive", "first", EVALUATION_SEED, "aggressive"),
    ):
        monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path / folder))
        connections = databases(LUCKY[0][0], seed=seed, generator=generator)
        texts[name] = ["\n".join(connection.iterdump()) for connection in connections]
    assert texts["one"] == texts["again"]
    assert not set(texts["one"]) & set(texts["reward"])
    assert not set(texts["one"]) & set(texts["aggressive"])
    assert [len(text) for text in texts.values()] == [4] * 4


def test_a_join_shows_which_keys_lead_where(cold):
    """Neither a name nor a declaration says that sale.buyer means person.tag; the reference's join does."""
    schema = (
        "CREATE TABLE person (tag INT, town TEXT); INSERT INTO person VALUES (11, 'Oslo'), (12, 'Rome'), (13, 'Bern');"
        "CREATE TABLE sale (buyer INT, n INT); INSERT INTO sale VALUES (11, 1), (11, 2), (12, 5);"
    )
    connections = databases("SELECT town FROM person JOIN sale ON buyer = tag WHERE n > 1", schema, number=8)
    assert len(connections) == 8
    for connection in connections:
        orphans = "SELECT count(*) FROM sale WHERE buyer NOT IN (SELECT tag FROM person)"
        assert connection.execute(orphans).fetchone() == (0,)


def test_every_reference_of_the_embedded_data_gets_its_databases(cold):
    examples = load_examples("embedded", "test", limit=80)
    with Scorer(workers=2, databases=4) as scorer:
        verdicts = scorer.score_batch([(example, f" {example.sql} ;") for example in examples])
    assert all(v.robust_match for v in verdicts)
    with closing(sqlite3.connect(cold / "cache" / "suites.sqlite")) as connection:
        sizes = Counter(size for (size,) in connection.execute("SELECT json_array_length(suite) FROM suites"))
    assert sizes == {4: 80}


@pytest.mark.parametrize("seed", range(6))
def test_a_database_where_the_rows_order_decides_is_no_part_of_a_suite(cold, seed):
    """Which rows come first without ORDER BY, which row a bare column is of: nobody can be blamed for either."""
    pairs = [
        ("SELECT note FROM sale WHERE note IS NOT NULL LIMIT 1", "SELECT note FROM sale WHERE note IS NOT NULL ORDER BY sale_id LIMIT 1"),
        ("SELECT city, name FROM customer WHERE id > 1 GROUP BY city", "SELECT city, min(name) FROM customer WHERE id > 1 GROUP BY city"),
        ("SELECT max(n) FROM (SELECT n FROM sale WHERE n < 5 LIMIT 9)", "SELECT max(n) FROM (SELECT n FROM sale WHERE n < 5 ORDER BY n LIMIT 9)"),
    ]  # fmt: skip
    with Scorer(workers=1, databases=4, seed=seed) as scorer:
        verdicts = scorer.score_batch([row(*pair) for pair in pairs])
    assert [(v.match, v.robust_match) for v in verdicts] == [(True, True)] * 3


def test_a_file_and_its_suite(scorer, tmp_path):
    path = tmp_path / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SHOP)
    lucky, same = (scorer.score(**row(*pair, schema="not run"), database=path) for pair in (LUCKY[0], SAME[0]))
    assert (lucky.match, lucky.robust_match) == (True, False)
    assert (same.match, same.robust_match) == (True, True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("DELETE FROM sale; INSERT INTO sale VALUES (1, 1, 50.0, 2, 'gift')")
        connection.commit()
    assert scorer.score(**row(*SAME[0], schema="not run"), database=path).robust_match  # other content, another suite


ODD_SCHEMAS = {
    "no table": ("", "SELECT 1", "SELECT 1 "),
    "no rows": ("CREATE TABLE t (a INT, b DATE, c)", "SELECT a FROM t WHERE b > '2020-01-01'", "SELECT a FROM t WHERE b > '2020-01-02'"),
    "temporary": ("CREATE TEMP TABLE t (a); INSERT INTO t VALUES (1)", "SELECT a FROM t", "SELECT a FROM t WHERE a = 1"),
    "strict": ("CREATE TABLE t (a INTEGER, b ANY) STRICT; INSERT INTO t VALUES (1, 'x'), (2, 3)", "SELECT a FROM t WHERE a > 1", "SELECT a FROM t WHERE a = 2"),
    "generated column": ("CREATE TABLE t (a INT, b INT AS (a * 2)); INSERT INTO t (a) VALUES (1), (2)", "SELECT b FROM t WHERE b > 2", "SELECT b FROM t WHERE b = 4"),
    "check": ("CREATE TABLE t (a INT CHECK (a IN (1, 2, 5))); INSERT INTO t VALUES (1), (5)", "SELECT a FROM t WHERE a > 2", "SELECT a FROM t WHERE a > 1"),
    "without rowid": ("CREATE TABLE t (a TEXT PRIMARY KEY, n INT) WITHOUT ROWID; INSERT INTO t VALUES ('x', 1), ('y', 2)", "SELECT a FROM t WHERE n > 1", "SELECT 'y'"),
    "into itself": ("CREATE TABLE t (a INT PRIMARY KEY, up INT REFERENCES t (a)); INSERT INTO t VALUES (1, NULL), (2, 1)", "SELECT x.a FROM t x JOIN t y ON x.up = y.a", "SELECT 2"),
    "circle": ("CREATE TABLE a (id INT, b INT REFERENCES b (id)); CREATE TABLE b (id INT, a INT REFERENCES a (id)); INSERT INTO a VALUES (1, 1), (2, 1); INSERT INTO b VALUES (1, 2)", "SELECT count(*) FROM a JOIN b ON a.b = b.id", "SELECT 2"),
    "names": ('CREATE TABLE "my ""t" ("a b" INT, [select] TEXT); INSERT INTO "my ""t" VALUES (1, \'x\'), (2, \'y\')', 'SELECT "select" FROM "my ""t" WHERE "a b" > 1', "SELECT 'y'"),
    "values of every kind": ("CREATE TABLE t (a); INSERT INTO t VALUES (9223372036854775807), (9e999), (-1e308), (x'ff'), ('é'), (CAST(x'ff' AS TEXT)), (NULL)", "SELECT count(*) FROM t WHERE a > 5", "SELECT count(*) - 1 FROM t WHERE a IS NOT NULL AND a <> 1"),
    "trigger": ("CREATE TABLE t (a INT, b INT); CREATE TABLE log (a INT); CREATE TRIGGER g AFTER DELETE ON t BEGIN INSERT INTO log VALUES (old.a); END; INSERT INTO t VALUES (1, 2), (2, 3)", "DELETE FROM t WHERE b > 2", "DELETE FROM t WHERE b = 3"),
    "keys enforced": ("PRAGMA foreign_keys = ON; CREATE TABLE p (id INTEGER PRIMARY KEY); INSERT INTO p VALUES (1), (2); CREATE TABLE c (p_id INT REFERENCES p (id) ON DELETE CASCADE); INSERT INTO c VALUES (1)", "DELETE FROM p WHERE id < 2", "DELETE FROM p WHERE id <> 2"),
    "UTF-16": ("PRAGMA encoding = 'UTF-16'; CREATE TABLE t (a TEXT, n INT); INSERT INTO t VALUES ('é', 1), ('b', 2)", "SELECT a FROM t WHERE n > 1", "SELECT 'b'"),
    "150 columns": (f"CREATE TABLE t ({', '.join(f'c{i} INT' for i in range(150))}); INSERT INTO t VALUES ({', '.join('1' * 150)})", "SELECT c1 FROM t WHERE c2 = 1", "SELECT 1"),
    "long list": ("CREATE TABLE t (a INT); INSERT INTO t VALUES (1)", f"SELECT a FROM t WHERE a IN ({', '.join(map(str, range(2000)))})", "SELECT 1"),
    "deep": ("CREATE TABLE t (a INT); INSERT INTO t VALUES (1)", f"SELECT a FROM t WHERE {'(' * 90}a = 1{')' * 90}", "SELECT 1"),
    "not parsed by sqlglot": ("CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2)", "SELECT a FROM t NOT INDEXED WHERE +a > 1 COLLATE binary", "SELECT 2"),
}  # fmt: skip
WITHOUT_DATABASES = {"no table", "temporary"}


@pytest.mark.parametrize("name", ODD_SCHEMAS)
def test_odd_schemas(scorer, name):
    schema, reference, lucky = ODD_SCHEMAS[name]
    same, other = scorer.score_batch([row(reference, reference, schema), row(reference, lucky, schema)])
    assert (same.match, same.robust_match) == (True, True)
    assert (other.match, other.robust_match) == (True, name in WITHOUT_DATABASES)


def test_a_completion_that_has_to_be_stopped_on_a_generated_database(cold):
    """It matches on the one given row, and takes some 15 seconds in one step where there are more."""
    schema = "CREATE TABLE t (n INT); INSERT INTO t VALUES (1);"
    more = "(SELECT count(*) FROM t) > 1"
    bomb = f"SELECT CASE WHEN {more} THEN length(printf('%.*c', 2000000000, 'x')) ELSE 1 END"
    rows = [row("SELECT count(*) FROM t", text, schema) for text in (bomb, f"```sql\n{bomb}\n```", "SELECT 1")]
    rows.append(row("SELECT count(*) FROM t", "SELECT sum(1) FROM t", schema))
    with Scorer(workers=1, databases=4) as scorer:
        first, second = scorer.score_batch(rows), scorer.score_batch(rows)
    assert first == second  # the suite made after the strict match, and the one from the store
    assert [v.match for v in first] == [True] * 4
    assert [v.robust_match for v in first] == [False, False, False, True]
    assert [v.published_match for v in first] == [True, False, True, True]
    assert {v.detail for v in first[:2]} == {"stopped for its running time on a generated database"}


def test_a_reference_that_defeats_the_generator_is_told_and_keeps_its_strict_match(scorer, caplog):
    """sqlglot takes exponential time for nested calls of some functions; SQLite does not mind."""
    reference = f"SELECT {'date(' * 24}'2020-01-01'{')' * 24} FROM sale"
    assert scorer.score(**row(reference, "SELECT '2020-01-01' FROM sale")).robust_match is True
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(
        "no databases could be generated for 1 references, a match there is strict only; the first ("
    )
