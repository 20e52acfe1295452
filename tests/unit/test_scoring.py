"""The scorer's verdicts: a table of cases by `score` and `score_batch`, the published metric, files, its interface."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from common.scoring import Scorer, Verdict
from common.settings import UserError
from tests.cost import spent
from tests.unit.cases import PATIENCE, STAFF, Case
from tests.unit.scoring_attacks import HOSTILE, OTHERS, SCRIPT_FILE, TIMBER, TIMBER_SCHEMA, WRITES
from tests.unit.scoring_queries import COMPLETIONS, QUERIES

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
    before = spent(scorer._pool.pids())
    verdict = scorer.score(schema=case.schema, reference=case.reference, prediction=case.prediction)
    assert spent(scorer._pool.pids()) - before < PATIENCE
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
            matches = cursor.fetchall() == expected
        except Exception:
            matches = False
    f1 = RougeScorer(["rougeL"], use_stemmer=False).score(reference, prediction)["rougeL"].fmeasure
    return matches, 1.0 if matches else 0.7 * f1


def test_published_equals_an_independent_restatement(batch):
    # Left out is what the original would wait for, fill the memory with, or write.
    exclusions = {"budget", "too_large", "timeout"}
    comparisons = matches = 0
    for case, verdict in zip(CASES, batch, strict=True):
        texts = (case.schema + case.reference + case.prediction).lower()
        if case.outcome in exclusions or "recursive" in texts or str(SCRIPT_FILE) in texts or "zeroblob" in texts:
            continue
        if any(word in texts for word in ("sqlite_stmt", "pragma hard", "printf", "order by random")):
            continue
        expected, score = published(case.schema, case.reference, case.prediction)
        assert verdict.published_match == expected, case.name
        assert verdict.published_score == pytest.approx(score, abs=1e-12), case.name
        comparisons += 1
        matches += expected
    assert comparisons > 120 and 30 < matches < comparisons - 30


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
    output = capsys.readouterr()
    assert "scoring" in output.err and output.out == ""


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
