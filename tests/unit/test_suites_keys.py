"""Keys of generated rows lead somewhere: declared or not, of one column or several, in circles and to their own table."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

import sqlite3
from contextlib import closing

import pytest

from common.scoring import Scorer
from tests.unit.suite_rows import SHOPS, databases, robust


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=2, databases=4) as scorer:
        yield scorer


ORPHANS = {
    "shop.head": "SELECT 1 FROM shop WHERE head IS NULL OR head NOT IN (SELECT id FROM employee)",
    "hiring.employee_id": "SELECT 1 FROM hiring WHERE employee_id IS NULL OR employee_id NOT IN (SELECT id FROM employee)",
    "hiring.shop_id": "SELECT 1 FROM hiring WHERE shop_id IS NULL OR shop_id NOT IN (SELECT id FROM shop)",
    "employee.boss": "SELECT 1 FROM employee WHERE boss NOT IN (SELECT id FROM employee)",
    "shift": "SELECT 1 FROM shift WHERE employee_id IS NULL OR shop_id IS NULL OR day IS NULL",
    "shift.shop_id": "SELECT 1 FROM shift WHERE shop_id NOT IN (SELECT id FROM shop)",
}


def test_no_key_is_missing_or_leads_nowhere(scorer):
    schema = (
        SHOPS
        + "CREATE TABLE owner (shop_id INT REFERENCES shop, name TEXT); INSERT INTO owner VALUES (1, 'x'), (3, 'y');"
    )
    for reference in (
        "SELECT s.name, count(*) FROM hiring h JOIN shop s ON h.shop_id = s.id GROUP BY s.name",
        "SELECT name FROM employee LEFT JOIN hiring ON id = employee_id WHERE employee_id IS NULL OR salary > 90",
        "SELECT a.name FROM employee a JOIN employee b ON a.boss = b.id",
        "SELECT sum(hours) FROM shift JOIN shop ON shop.id = shop_id WHERE day = '2023-01-01'",
        "DELETE FROM hiring WHERE shop_id = 1",
    ):
        for connection in databases(scorer, schema, reference):
            with closing(connection):
                for name, sql in ORPHANS.items():
                    assert connection.execute(sql).fetchall() == [], (name, reference)


def test_an_undeclared_key_of_the_own_table_leads_somewhere(scorer):
    schema = "CREATE TABLE worker (id INT, name TEXT, chief INT); INSERT INTO worker VALUES (1, 'Ann', 1), (2, 'Bob', 1), (3, 'Cy', 2);"
    for connection in databases(
        scorer, schema, "SELECT a.name FROM worker a JOIN worker b ON a.chief = b.id WHERE b.name = 'Ann'"
    ):
        with closing(connection):
            assert (
                connection.execute("SELECT 1 FROM worker WHERE chief NOT IN (SELECT id FROM worker)").fetchall() == []
            )


def test_keys_in_a_circle_lead_somewhere(scorer):
    schema = """
    CREATE TABLE team (id INTEGER PRIMARY KEY, name TEXT, captain_id INT REFERENCES player(id));
    CREATE TABLE player (id INTEGER PRIMARY KEY, name TEXT, team_id INT REFERENCES team(id));
    INSERT INTO team VALUES (1, 'Reds', 10), (2, 'Blues', 12);
    INSERT INTO player VALUES (10, 'Ann', 1), (11, 'Bob', 1), (12, 'Cy', 2);"""
    for connection in databases(scorer, schema, "SELECT count(*) FROM player JOIN team ON team.id = team_id"):
        with closing(connection):
            assert (
                connection.execute("SELECT 1 FROM player WHERE team_id NOT IN (SELECT id FROM team)").fetchall() == []
            )
            assert (
                connection.execute("SELECT 1 FROM team WHERE captain_id NOT IN (SELECT id FROM player)").fetchall()
                == []
            )


def test_a_parent_that_its_table_refuses_takes_its_children_with_it(scorer):
    schema = """
    CREATE TABLE room (id INTEGER PRIMARY KEY, floor INT CHECK (floor BETWEEN 1 AND 3), UNIQUE (floor, id));
    CREATE TABLE guest (name TEXT, room_id INT REFERENCES room(id));
    INSERT INTO room VALUES (1, 1), (2, 3), (3, 2); INSERT INTO guest VALUES ('Ann', 1), ('Bob', 1), ('Cy', 3);"""
    for connection in databases(
        scorer, schema, "SELECT name FROM guest JOIN room ON room.id = room_id WHERE floor > 1"
    ):
        with closing(connection):
            assert connection.execute("SELECT 1 FROM guest WHERE room_id NOT IN (SELECT id FROM room)").fetchall() == []


def test_undeclared_keys_of_large_tables_lead_somewhere(scorer, tmp_path):
    path = tmp_path / "orders.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE customer (cid INT, city TEXT); CREATE TABLE orders (oid INT, customer_ref INT, total REAL)"
        )
        connection.executemany("INSERT INTO customer VALUES (?, ?)", [(n, f"City {n % 7}") for n in range(1000)])
        connection.executemany(
            "INSERT INTO orders VALUES (?, ?, ?)", [(n, (n * 37) % 1000, n / 4) for n in range(2500)]
        )
        connection.commit()
    reference = "SELECT sum(total) FROM orders JOIN customer ON customer_ref = cid"
    verdict = scorer.score(schema="", reference=reference, prediction="SELECT sum(total) FROM orders", database=path)
    assert (verdict.match, verdict.robust_match) == (True, True), verdict.detail
    for connection in databases(scorer, "", reference, database=path):
        with closing(connection):
            assert (
                connection.execute(
                    "SELECT 1 FROM orders WHERE customer_ref NOT IN (SELECT cid FROM customer)"
                ).fetchall()
                == []
            )


ARTISTS = """
CREATE TABLE artists (id INT, name VARCHAR(50), age INT); INSERT INTO artists VALUES (1,'Ann',30),(2,'Bob',41),(3,'Cid',25);
CREATE TABLE songs (id INT, artist_id INT, title VARCHAR(50)); INSERT INTO songs VALUES (1,1,'x'),(2,1,'y'),(3,2,'z'),(4,3,'w');
CREATE TABLE sale (id INT, song INT, price INT); INSERT INTO sale VALUES (1,1,5),(2,1,6),(3,4,7),(4,2,8),(5,2,9);
"""
BARE_KEYS = [  # no key is declared, and the numbers of one table's id are among another's
    (
        "SELECT a.name, COUNT(*) FROM artists a JOIN songs s ON s.artist_id = a.id GROUP BY a.name",
        "SELECT a.name, COUNT(*) FROM artists a JOIN songs s ON s.artist_id = a.id GROUP BY a.id",
    ),
    ("SELECT COUNT(*) FROM artists", "SELECT COUNT(DISTINCT id) FROM artists"),
    ("SELECT title FROM songs", "SELECT s.title FROM songs s JOIN artists a ON s.artist_id = a.id"),
    ("SELECT COUNT(*) FROM sale", "SELECT COUNT(*) FROM sale JOIN songs ON songs.id = sale.song"),
    (
        "SELECT SUM(price) FROM sale",
        "SELECT SUM(price) FROM sale JOIN songs s ON s.id = sale.song JOIN artists a ON a.id = s.artist_id",
    ),
]


@pytest.mark.parametrize("seed", [0, 1])
def test_an_id_is_no_other_tables_id(seed):
    with Scorer(workers=2, databases=4, seed=seed) as scorer:
        assert robust(scorer, ARTISTS, BARE_KEYS) == [True] * len(BARE_KEYS)
        for connection in databases(scorer, ARTISTS, "SELECT COUNT(*) FROM artists", seed=seed):
            with closing(connection):
                for table in ("artists", "songs", "sale"):
                    assert connection.execute(f"SELECT COUNT(*) - COUNT(DISTINCT id) FROM {table}").fetchall() == [(0,)]


DAYS = "CREATE TABLE sale (id INTEGER PRIMARY KEY, day DATE, amount INT); INSERT INTO sale VALUES (1,'2023-01-03',5),(2,'2023-01-01',7),(3,'2023-02-09',6),(4,'2023-01-20',9);"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_place_in_an_order_without_ties_stays_one(seed):
    number = "SELECT day, ROW_NUMBER() OVER (ORDER BY day) FROM sale"
    pairs = [
        (number, "SELECT day, RANK() OVER (ORDER BY day) FROM sale"),
        (number, "SELECT s.day, (SELECT COUNT(*) FROM sale x WHERE x.day <= s.day) FROM sale s"),
        (
            "SELECT day, LAG(amount) OVER (ORDER BY day) FROM sale",
            "SELECT s.day, (SELECT x.amount FROM sale x WHERE x.day < s.day ORDER BY x.day DESC LIMIT 1) FROM sale s",
        ),
    ]
    with Scorer(workers=2, databases=4, seed=seed) as scorer:
        assert robust(scorer, DAYS, pairs) == [True] * len(pairs)


KEYS_OF_TWO = """
CREATE TABLE course (code TEXT, term INT, title TEXT, PRIMARY KEY (code, term));
CREATE TABLE enrol (code TEXT, term INT, stud INT, mark INT, PRIMARY KEY (code, term, stud), FOREIGN KEY (code, term) REFERENCES course{0});
INSERT INTO course VALUES ('A', 1, 'x'), ('A', 2, 'y'), ('B', 1, 'z'); INSERT INTO enrol VALUES ('A', 1, 7, 50), ('A', 2, 7, 60), ('B', 1, 8, 70);
"""


@pytest.mark.parametrize("target", ["", "(code, term)"])
def test_keys_of_several_columns_lead_somewhere(scorer, target):
    schema = KEYS_OF_TWO.format(target)
    assert robust(
        scorer, schema, [("SELECT count(*) FROM enrol", "SELECT count(*) FROM enrol NATURAL JOIN course")]
    ) == [True]
    for connection in databases(scorer, schema, "SELECT count(*) FROM enrol WHERE mark > 55"):
        with closing(connection):
            orphans = "SELECT 1 FROM enrol WHERE (code, term) NOT IN (SELECT code, term FROM course)"
            assert connection.execute(orphans).fetchall() == []
            assert connection.execute("SELECT count(*) FROM enrol").fetchone()[0] > 0


def test_keys_with_a_role_lead_somewhere(scorer):
    schema = """
    CREATE TABLE teams (id INT, name TEXT); INSERT INTO teams VALUES (1, 'Reds'), (2, 'Blues'), (3, 'Greens');
    CREATE TABLE game (id INT, home_team_id INT, away_team_id INT); INSERT INTO game VALUES (1, 1, 2), (2, 2, 3), (3, 1, 3);"""
    both = "SELECT count(*) FROM game JOIN teams h ON h.id = home_team_id JOIN teams a ON a.id = away_team_id"
    assert robust(scorer, schema, [("SELECT count(*) FROM game", both)]) == [True]


def test_a_key_of_several_columns_is_no_key_of_one(scorer):
    schema = """
    CREATE TABLE land (code TEXT PRIMARY KEY, name TEXT);
    CREATE TABLE tongue (land TEXT REFERENCES land(code), language TEXT, official TEXT, PRIMARY KEY (land, language));
    INSERT INTO land VALUES ('AND', 'A'), ('ATG', 'B'), ('BRB', 'C'), ('DNK', 'D'), ('GIB', 'E'), ('KIR', 'F');
    INSERT INTO tongue VALUES ('AND', 'French', 'F'), ('ATG', 'English', 'T'), ('BRB', 'English', 'T'), ('DNK', 'Dutch', 'F'), ('GIB', 'English', 'T');"""
    reference = "SELECT count(*) FROM (SELECT land FROM tongue WHERE language = 'English' INTERSECT SELECT land FROM tongue WHERE language = 'Dutch')"
    assert robust(scorer, schema, [(reference, "SELECT 0")]) == [False]
    for connection in databases(scorer, schema, reference):
        with closing(connection):
            assert {len(code) for (code,) in connection.execute("SELECT code FROM land")} == {3}
