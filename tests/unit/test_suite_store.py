"""Suites on disk: made once, by whichever process comes first, and no more than a cache."""

import sqlite3
import subprocess
import sys
from contextlib import closing

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
    written = []
    monkeypatch.setattr(store, "write", lambda found: written.append(found))
    with Scorer(workers=2, databases=4) as scorer:
        assert scorer.score_batch(pairs) == first  # from the store: judged in one go, with the same words
    assert written == []


def test_no_suite_is_made_for_a_reference_that_no_completion_matches(cold):
    with Scorer(workers=1, databases=4) as scorer:
        scorer.score(**row("SELECT 1", "SELECT 2"))
    assert not list(cold.iterdir())


def test_what_makes_a_suite_is_in_its_key(monkeypatch):
    made_by = closure("common.scoring.judge")
    assert {"common.scoring.suites.building", "common.mutations.expressions", "common.sandbox.guard"} <= made_by.keys()

    def key() -> str:
        store._maker.cache_clear()
        return store.key("CREATE TABLE t (a)", "", "SELECT 1", number=4, generator="conservative", seed=0)

    first = key()
    assert key() == first
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.0.0")
    assert key() != first
    monkeypatch.undo()
    assert key() == first


def test_a_verdict_stands_on_no_data():
    assert not [name for name in closure("common.scoring.scorer") if name.split(".")[1:2] in (["data"], ["synthetic"])]


def test_a_damaged_store_costs_time_and_nothing_else(cold):
    with Scorer(workers=1, databases=4) as scorer:
        first = scorer.score(**LUCKY[0])
        path = cold / "cache" / "suites.sqlite"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE suite SET suite = replace(suite, 'a', 'b')")
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
    assert [rank.communicate(timeout=120)[0] for rank in ranks] == ["30\n"] * 3
    assert [rank.returncode for rank in ranks] == [0] * 3
    with closing(sqlite3.connect(cold / "cache" / "suites.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM suite").fetchone() == (30,)
