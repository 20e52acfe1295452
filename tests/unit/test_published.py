"""The published metric against a naive restatement, bit for bit: on embedded rows, and where a shortcut would show.

Not covered: what the original would wait for or do to a file, which is no match here (test_hostile.py).
"""

import random
import sqlite3
from contextlib import closing

import pytest
from rouge_score.rouge_scorer import RougeScorer

from common.data import load_examples
from common.scoring import Scorer

THEIRS = RougeScorer(["rougeL"], use_stemmer=False)


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=2) as scorer:
        yield scorer


def row(schema: str, reference: str, prediction: str) -> dict[str, str]:
    return {"schema": schema, "reference": reference, "prediction": prediction}


def published(schema: str, reference: str, prediction: str) -> tuple[bool, float]:
    """The published metric, restated from its description: no sandbox, no limits, nothing of ours."""
    with closing(sqlite3.connect(":memory:")) as connection:
        cursor = connection.cursor()
        try:
            cursor.executescript(schema)
            expected = cursor.execute(reference).fetchall()
            matches = cursor.execute(prediction).fetchall() == expected
        except Exception:
            matches = False
    if matches:
        return True, 1.0
    return False, 0.7 * THEIRS.score(reference, prediction)["rougeL"].fmeasure


def test_published_is_the_same_to_the_last_bit(scorer):
    examples = load_examples("embedded", "train", limit=1000)
    draw = random.Random(7)
    requests = []
    for number, example in enumerate(examples):
        words = example.sql.split(" ")
        variants = draw.choice(
            [
                f"```sql\n{example.sql}\n```",
                f"<think>\nso\n</think>\n{example.sql}",
                " ".join(words[:-1]),
                " ".join(word for word in words if draw.random() > 0.1),
                example.sql.replace("=", "<>"),
                example.sql + "; " + example.sql,
                example.sql.rstrip("; ") + " LIMIT 1",
                example.sql.replace("DESC", "ASC").replace("MAX(", "MIN("),
            ]
        )
        other = examples[(number + 1 + draw.randrange(998)) % 1000].sql
        requests += [row(example.schema, example.sql, text) for text in (example.sql, other, variants)]
    verdicts = scorer.score_batch(requests)
    matches = 0
    for texts, verdict in zip(requests, verdicts, strict=True):
        expected = published(**texts)
        assert (verdict.published_match, verdict.published_score) == expected, texts
        matches += expected[0]
    assert 1000 < matches < 2000  # the reference is not always equal to itself: some write


THREE = "CREATE TABLE t (a, d DEFAULT CURRENT_DATE, PRIMARY KEY (a)); INSERT INTO t (a) VALUES (1), (2), (5);"
# Where an image of the schema, or a connection that others used, would not do.
STATEFUL = [
    ("SELECT 3", "SELECT total_changes()"),
    ("SELECT 3", "SELECT changes()"),
    ("SELECT last_insert_rowid()", "SELECT 3"),
    ("SELECT count(*) FROM t", "SELECT total_changes() FROM t LIMIT 1"),
    ("SELECT d FROM t WHERE a = 1", "SELECT date('now')"),
    ("SELECT CURRENT_DATE", "SELECT d FROM t LIMIT 1"),
    ("DELETE FROM t WHERE a = 1", "DELETE FROM t"),
    ("SELECT a FROM t", "DELETE FROM t RETURNING a"),
    ("SELECT a FROM t", "SELECT a FROM t WHERE a < 9"),
    ("SELECT 0", "SELECT count(*) FROM t WHERE a = 7"),
    ("INSERT INTO t (a) VALUES (7)", "SELECT 1 WHERE 0"),
    ("INSERT INTO t (a) VALUES (7)", "INSERT INTO t (a) VALUES (7)"),
    ("SELECT 7", "SELECT max(a) FROM t"),
    ("SELECT count(*) FROM sqlite_master", "SELECT 2"),
    ("SELECT name, rootpage FROM sqlite_master", "SELECT 't', 2 UNION ALL SELECT 'sqlite_autoindex_t_1', 3"),
    ("PRAGMA user_version", "SELECT 0"),
    ("SELECT 1", "PRAGMA user_version = 4"),
    ("SELECT 4", "PRAGMA user_version"),
    ("CREATE TEMP TABLE u (x)", "SELECT 1 WHERE 0"),
    ("SELECT 1 WHERE 0", "SELECT x FROM u"),
    ("SELECT 1", "BEGIN"),
    ("SELECT 1", "ROLLBACK"),
]


PLAIN = "CREATE TABLE t (a, d, PRIMARY KEY (a)); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (5, 'z');"


@pytest.mark.parametrize("schema", [PLAIN, THREE, PLAIN + " PRAGMA user_version = 0;"])
def test_published_is_the_same_where_a_shared_connection_would_show(scorer, schema):
    requests = [row(schema, *pair) for pair in STATEFUL]
    groups = [row(schema, "SELECT a FROM t", prediction) for _, prediction in STATEFUL]  # one reference, in this order
    for texts, verdict in zip(requests + groups, scorer.score_batch(requests + groups), strict=True):
        assert (verdict.published_match, verdict.published_score) == published(**texts), texts


BEGINNINGS = (
    *(
        "SELECT a FROM t",
        " \t\r\n\fSELECT a FROM t",
        "\ufeffSELECT a FROM t",
        "-- c\nSELECT a FROM t",
        "/* c */ SELECT a FROM t",
    ),
    *(
        "; SELECT a FROM t",
        "\x0bSELECT a FROM t",
        "\xa0SELECT a FROM t",
        "with x as (select 1) SELECT a FROM t",
        "SELECT_ a FROM t",
    ),
    *(
        "",
        " ",
        ";",
        "-- SELECT",
        "(SELECT a FROM t)",
        "```sql\nSELECT a FROM t\n```",
        "`a`",
        "'a'",
        '"a"',
        "[a]",
        "1",
        "# a",
    ),
    *(
        "*",
        "<think>x</think>SELECT a FROM t",
        "The answer is SELECT a FROM t",
        "SQL: SELECT a FROM t",
        "élan",
        "End",
        "COMMIT",
    ),
    *(
        "EXPLAIN SELECT a FROM t",
        "VALUES (1)",
        "Replace INTO t VALUES (3)",
        "pragma user_version",
        "reindex",
        "release x",
        "ANALYZE",
    ),
)


def test_published_is_the_same_however_a_text_begins(scorer):
    requests = [
        row(schema, reference, prediction)
        for schema in (PLAIN, THREE, "no schema;")
        for reference in ("SELECT a FROM t", "DELETE FROM t", "SELECT a FROM t WHERE 0")
        for prediction in BEGINNINGS
    ]
    answers = [published(**texts) for texts in requests]
    for texts, answer, verdict in zip(requests, answers, scorer.score_batch(requests), strict=True):
        assert (verdict.published_match, verdict.published_score) == answer, texts
    assert 50 < sum(match for match, _ in answers) < len(answers) - 100


def test_counters_of_a_connection_do_not_tell_what_was_there_before(scorer):
    rows = [
        row(f"{schema} -- {i}", "SELECT 0", "SELECT total_changes() + last_insert_rowid()")
        for i in range(12)
        for schema in (THREE, PLAIN)
    ]
    assert {verdict.outcome for verdict in scorer.score_batch(rows)} == {"match"}
