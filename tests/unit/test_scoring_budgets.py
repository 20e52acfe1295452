"""What a row may use: steps and date calls by the size of its database, CPU time of a stage and of a whole item."""

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from common.data import load_examples
from common.sandbox import worker
from common.sandbox.database import Database
from common.sandbox.guard import ORDINARY, budget_of
from common.scoring import Scorer

SPIDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "spider"
VISITS = (
    "CREATE TABLE visit (id INTEGER PRIMARY KEY, day TEXT, who INT); "
    "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < {rows} - 1) INSERT INTO visit "
    "SELECT i, printf('20%02d-%02d-%02d', 10 + i % 12, 1 + i % 12, 1 + i % 28), i % 500 FROM c;"
)


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=1) as scorer:
        yield scorer


def make(path: Path, script: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


@pytest.fixture(scope="module")
def visits(tmp_path_factory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("visits")
    return {rows: make(folder / f"{rows}.sqlite", VISITS.format(rows=rows)) for rows in (19_000, 25_000)}


def test_a_budget_grows_with_the_database():
    assert budget_of(0) == budget_of(64 * 2**10) == ORDINARY
    assert (ORDINARY.steps, ORDINARY.calls, ORDINARY.seconds) == (2_000_000, 40_000, 0.5)
    twice, most = budget_of(2**17), budget_of(2**30)
    assert (twice.steps, twice.calls, twice.seconds) == (4_000_000, 80_000, 1.0)
    assert (most.steps, most.calls, most.seconds) == (12_000_000, 240_000, 1.25)
    assert most.seconds < worker.ITEM_SECONDS < 3
    small, large = Database(schema="CREATE TABLE t (a)"), Database(schema=VISITS.format(rows=20_000))
    assert small.reader.guard.budget == ORDINARY and large.reader.guard.budget.steps > 2 * ORDINARY.steps
    with large.copy() as handle:
        assert handle.guard.budget == large.budget
    for database in (large, small):
        database.close()
    again = Database(schema="CREATE TABLE t (a)")  # on a connection that has served another
    assert again.reader.guard.budget == ORDINARY
    again.close()


YEAR = "SELECT count(*) FROM visit WHERE day LIKE '2015%'"


@pytest.mark.parametrize(
    ("rows", "reference", "prediction"),
    [
        (25_000, YEAR, "SELECT count(*) FROM visit WHERE strftime('%Y', day) = '2015'"),
        (25_000, "SELECT count(*) FROM visit WHERE strftime('%Y', day) = '2015'", YEAR),
        (19_000, YEAR, "SELECT count(*) FROM visit WHERE date(day) >= date('2015-01-01') AND date(day) < '2016'"),
        (
            19_000,
            "SELECT substr(day, 1, 4), substr(day, 6, 2), count(*) FROM visit GROUP BY 1, 2",
            "SELECT strftime('%Y', day), strftime('%m', day), count(*) FROM visit GROUP BY 1, 2",
        ),
    ],
)
def test_a_date_call_for_each_row_of_a_large_table_is_no_budget(scorer, visits, rows, reference, prediction):
    verdict = scorer.score(schema="", reference=reference, prediction=prediction, database=visits[rows])
    assert verdict.outcome == "match", verdict.detail
    made = scorer.score(schema=VISITS.format(rows=rows), reference=reference, prediction=prediction)
    assert made.outcome == "match", made.detail  # the same where a script makes the table


def test_a_budget_ends_on_a_large_database_too(scorer, visits):
    row = {"schema": "", "reference": YEAR, "database": visits[25_000]}
    budget = budget_of(visits[25_000].stat().st_size)
    steps = scorer.score(**row, prediction="SELECT count(*) FROM visit a, visit b")
    assert (steps.outcome, steps.detail) == ("budget", f"more than {budget.steps} steps")
    calls = scorer.score(**row, prediction="SELECT count(date(a.day)) FROM visit a, (SELECT 1 FROM visit LIMIT 11)")
    assert (calls.outcome, calls.detail) == ("budget", f"more than {budget.calls} date calls")


ANTI_JOIN = (
    "SELECT DISTINCT l.language FROM language l JOIN country c ON l.code = c.code WHERE c.form = 'Republic' AND "
    "l.language NOT IN (SELECT language FROM language WHERE code IN (SELECT code FROM country WHERE form = 'Republic' "
    "AND code <> c.code))"
)
ONE_GROUP = (
    'SELECT l.language FROM country c JOIN language l ON c.code = l.code WHERE c.form = "Republic" GROUP BY '
    "l.language HAVING count(*) = 1"
)


def test_a_right_answer_that_takes_more_steps_than_a_small_database_allows(scorer, tmp_path):
    script = (
        "CREATE TABLE country (code TEXT PRIMARY KEY, form TEXT, note TEXT); CREATE TABLE language (code TEXT, language"
        " TEXT); WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 49) INSERT INTO country "
        "SELECT 'C' || i, CASE WHEN i % 2 THEN 'Republic' ELSE 'Monarchy' END, printf('%.4000c', 'x') FROM c; "
        "WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 179) INSERT INTO language "
        "SELECT 'C' || (i % 50), 'L' || (i * 7 % 151) FROM c;"
    )
    path = make(tmp_path / "world.sqlite", script)
    small = script.replace("4000c", "1c")
    row = {"reference": ONE_GROUP, "prediction": ANTI_JOIN}
    assert scorer.score(schema=small, **row).outcome == "budget"
    verdict = scorer.score(schema="", **row, database=path)
    assert verdict.outcome == "match", verdict.detail


@pytest.mark.skipif(not (SPIDER / "databases.tar.gz").is_file(), reason="needs Spider beside the repository")
def test_a_right_answer_on_spiders_world(scorer):
    examples = load_examples(f"spider:{SPIDER}", "test")
    example = next(e for e in examples if e.database.stem == "world_1" and "HAVING COUNT(*)  =  1" in e.sql)
    prediction = (
        "SELECT DISTINCT T1.Language FROM countrylanguage AS T1 JOIN country AS T2 ON T1.CountryCode = T2.Code WHERE "
        "T2.GovernmentForm = 'Republic' AND T1.Language NOT IN (SELECT Language FROM countrylanguage WHERE CountryCode "
        "IN (SELECT Code FROM country WHERE GovernmentForm = 'Republic' AND Code <> T1.CountryCode))"
    )
    assert scorer.score_batch([(example, prediction)])[0].outcome == "match"


def test_aggregates_over_a_quarter_of_a_million_rows_are_scorable(scorer, tmp_path):
    script = (
        "CREATE TABLE ranking (day INT, place INT, player INT, points INT); WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL "
        "SELECT i + 1 FROM c WHERE i < 249999) INSERT INTO ranking SELECT 20000101 + i / 1000 * 7, 1 + i % 1000, "
        "i * 7919 % 20662, i * 31 % 9000 FROM c;"
    )
    path = make(tmp_path / "tennis.sqlite", script)
    texts = [
        ("SELECT count(*) FROM ranking WHERE points > 10", "SELECT sum(points > 10) FROM ranking"),
        ("SELECT avg(points) FROM ranking", "SELECT sum(points) * 1.0 / count(points) FROM ranking"),
        (
            "SELECT player, sum(points) FROM ranking GROUP BY player ORDER BY 2 DESC LIMIT 3",
            "SELECT player, total(points) AS t FROM ranking GROUP BY player ORDER BY t DESC LIMIT 3",
        ),
    ]
    rows = [{"schema": "", "reference": r, "prediction": p, "database": path} for r, p in texts]
    assert [verdict.outcome for verdict in scorer.score_batch(rows)] == ["match"] * 3


def test_a_database_that_fills_the_heap_is_queried_and_no_copy_of_it_raises(scorer, tmp_path):
    paths = []
    for number in (1, 2):  # the second takes the place of the first
        path = make(tmp_path / f"{number}.sqlite", "CREATE TABLE t (a INT, b BLOB)")
        with closing(sqlite3.connect(path)) as connection:
            connection.executemany("INSERT INTO t VALUES (?, zeroblob(100000))", ((i,) for i in range(360)))
            connection.commit()
        paths.append(path)
    query = {"schema": "", "reference": "SELECT count(*) FROM t", "prediction": "```\nSELECT 360\n```"}
    write = {"schema": "", "reference": "DELETE FROM t WHERE a = 1", "prediction": "DELETE FROM t WHERE a = 1"}
    verdicts = [scorer.score(**row, database=path) for path in paths for row in (query, write)]
    assert [verdict.outcome for verdict in verdicts] == ["match", "reference_error"] * 2
    assert "no copy of the database could be made" in verdicts[1].detail


# --- CPU time -------------------------------------------------------------------------------------------------------


def burn(seconds: float) -> None:
    """Use so much of this process's CPU time, nearly all of it as a user."""
    stop = time.process_time() + seconds
    while time.process_time() < stop:
        sum(range(20_000))


def left() -> float:
    """Seconds until the alarm, which the kernel tells to some milliseconds; 0.0 where none is set."""
    return signal.getitimer(signal.ITIMER_VIRTUAL)[0]


@pytest.fixture
def alarm(monkeypatch):
    """An alarm in this process, of 10 seconds a stage and an item: it comes to nothing."""
    monkeypatch.setattr(worker, "ITEM_SECONDS", 10.0)
    alarm = worker._Alarm()
    alarm.seconds = 10.0
    yield alarm
    alarm.stop()


def test_the_stages_of_an_item_share_its_time(alarm):
    alarm.start_stage(None)
    burn(0.1)
    alarm.start_stage(0)
    assert left() < 9.95  # what all items share counts for each
    burn(0.1)
    alarm.start_stage(0)
    assert left() < 9.87
    alarm.start_stage(1)
    assert 9.87 < left() < 9.95  # the item before does not count


def test_free_time_does_not_count(alarm):
    alarm.start_stage(0)
    with alarm.pause():
        assert left() == 0.0
        burn(0.1)
        with alarm.pause():
            assert left() == 0.0
        assert left() == 0.0
    assert left() > 9.95
    with alarm.pause():
        alarm.start_stage(0)  # a stage inside has its alarm
        assert left() > 9.95
        burn(0.1)
    assert left() > 9.95
    alarm.start_stage(0)
    assert left() < 9.95  # and its time counts


def test_time_comes_to_an_end_and_never_to_no_alarm(alarm, monkeypatch):
    handler = signal.signal(signal.SIGVTALRM, signal.SIG_IGN)
    try:
        monkeypatch.setattr(worker, "ITEM_SECONDS", 0.01)
        alarm.start_stage(0)
        burn(0.05)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        alarm.start_stage(0)
        assert 0.0 < left() <= 0.05
    finally:
        alarm.stop()
        signal.signal(signal.SIGVTALRM, handler)
