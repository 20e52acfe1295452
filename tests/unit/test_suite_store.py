"""Suites on disk: made once, by whichever process comes first, and no more than a cache."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import pytest

from common.provenance import closure
from common.scoring import Scorer
from common.scoring.suites import store


def row(reference: str, prediction: str) -> dict[str, str]:
    schema = (
        "CREATE TABLE sale (id INT, price REAL, n INT); INSERT INTO sale VALUES (1, 20, 2), (2, 30, 1), (3, 10, 5);"
    )
    return {"schema": schema, "reference": reference, "prediction": prediction}


# Wrong but for luck, and right in other words.
LUCKY = [
    row("SELECT n FROM sale WHERE price > 20", "SELECT n FROM sale WHERE price > 25"),
    row("SELECT count(*) FROM sale", "SELECT 3"),
    row("DELETE FROM sale WHERE price > 20", "DELETE FROM sale WHERE id = 2"),
]
SAME = [
    row("SELECT n FROM sale WHERE price > 20", "SELECT n FROM sale WHERE NOT price <= 20"),
    row("SELECT max(n) FROM sale", "SELECT n FROM sale ORDER BY n DESC LIMIT 1"),
    row("UPDATE sale SET n = n + 1", "UPDATE sale SET n = 1 + n WHERE 1"),
]


def test_suites_are_made_once(cold, monkeypatch):
    pairs = [*LUCKY, *SAME]
    with Scorer(workers=2, databases=4) as scorer:
        first = scorer.score_batch(pairs)
    writes = []
    monkeypatch.setattr(store, "write", lambda suites: writes.append(suites))
    with Scorer(workers=2, databases=4) as scorer:
        assert scorer.score_batch(pairs) == first  # from the store: judged in one go, with the same words
    assert writes == []


def test_no_suite_is_made_for_a_reference_that_no_completion_matches(cold):
    with Scorer(workers=1, databases=4) as scorer:
        scorer.score(**row("SELECT 1", "SELECT 2"))
    assert not list(cold.iterdir())


@pytest.fixture
def by_another_maker(monkeypatch):
    """Calls a function as code of another day, with another SQLite, would."""

    def call(function: Callable, *arguments, version: str = "3.0.0"):
        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "sqlite_version", version)
            store.maker.cache_clear()
            result = function(*arguments)
        store.maker.cache_clear()
        return result

    return call


def test_what_makes_a_suite_tells_one_maker_from_another(by_another_maker):
    modules = closure("common.scoring.judge")
    assert {"common.scoring.suites.building", "common.mutations.expressions", "common.sandbox.guard"} <= modules.keys()
    assert by_another_maker(store.maker) != store.maker() == store.maker()


def test_suites_of_another_maker_are_neither_read_nor_kept(cold, by_another_maker):
    suites = {f"{number:04}": [os.urandom(3_000).hex()] for number in range(200)}
    store.write(suites)
    path = cold / "cache" / "suites.sqlite"
    size = path.stat().st_size
    for version in ("1", "3"):
        assert by_another_maker(store.read, suites, version=version) == {}
        by_another_maker(store.write, suites, version=version)
        assert store.read(suites) == {} and by_another_maker(store.read, suites, version=version) == suites
    assert path.stat().st_size < 1.2 * size
    store.write({"0000": ["a"]})  # one is enough to remove all others
    assert by_another_maker(store.read, suites, version="3") == {} and store.read(suites) == {"0000": ["a"]}
    assert store.read([]) == {}


def test_the_table_of_an_earlier_layout_goes(cold):
    path = cold / "cache" / "suites.sqlite"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE suite (key TEXT PRIMARY KEY, suite TEXT, sum INTEGER) WITHOUT ROWID")
        connection.execute("INSERT INTO suite VALUES ('k', '[]', 223132457)")
    assert store.read(["k"]) == {}
    store.write({"k": ["a"]})
    assert store.read(["k"]) == {"k": ["a"]}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("suites",)]


def test_writers_of_two_makers_do_not_disturb_each_other(cold):
    code = (
        "import sqlite3, sys\n"
        "sqlite3.sqlite_version = sys.argv[1]\n"
        "from common.scoring.suites import store\n"
        "for number in range(60):\n"
        "    store.write({f'{sys.argv[1]}-{number}': [sys.argv[1] * 5_000]})\n"
        "    store.read([f'{sys.argv[1]}-{number}'])\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, version]) for version in ("4", "5", "4")]
    assert [writer.wait(timeout=900) for writer in writers] == [0] * 3
    with closing(sqlite3.connect(cold / "cache" / "suites.sqlite")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert len(connection.execute("SELECT DISTINCT maker FROM suites").fetchall()) == 1
        assert connection.execute("SELECT count(*) FROM suites WHERE json_valid(suite)").fetchone()[0] >= 1


def test_a_verdict_stands_on_no_data():
    assert not [name for name in closure("common.scoring.scorer") if name.split(".")[1:2] in (["data"], ["synthetic"])]


def test_a_damaged_store_costs_time_and_nothing_else(cold):
    with Scorer(workers=1, databases=4) as scorer:
        first = scorer.score(**LUCKY[0])
        path = cold / "cache" / "suites.sqlite"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE suites SET suite = replace(suite, 'a', 'b')")
        assert scorer.score(**LUCKY[0]) == first
        path.write_bytes(b"no database")
        assert scorer.score(**LUCKY[0]) == first


def test_without_a_place_to_write_scoring_goes_on(tmp_path, monkeypatch):
    place = tmp_path / "a file"
    place.write_text("")
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(place))
    with Scorer(workers=1, databases=4) as scorer:
        assert scorer.score(**LUCKY[0]).robust_match is False
        assert scorer.score(**SAME[0]).robust_match is True


def test_processes_share_a_store(cold):
    """As the ranks of a distributed trainer do."""
    code = (
        "from common.data import load_examples\nfrom common.scoring import Scorer\n"
        "rows = [(e, e.sql + ' ;') for e in load_examples('embedded', 'test', limit=30)]\n"
        "with Scorer(workers=1, databases=2) as scorer:\n"
        "    print(sum(v.robust_match for v in scorer.score_batch(rows)))\n"
    )
    ranks = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [rank.communicate(timeout=900)[0] for rank in ranks] == ["30\n"] * 3
    assert [rank.returncode for rank in ranks] == [0] * 3
    with closing(sqlite3.connect(cold / "cache" / "suites.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM suites").fetchone() == (30,)
