"""What generated rows are like: keys, names, formats; and the reports that showed what they were not."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

import json
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from common.scoring import STRICT_ONLY, Scorer
from common.scoring.suites.naming import is_label, is_name
from tests.unit.suite_rows import FIELDS, SHOPS, databases, robust

REPORTS = json.loads(Path(__file__).with_name("robust_cases.json").read_text())


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=2, databases=4) as scorer:
        yield scorer


@pytest.mark.parametrize("seed", [0, 1])
def test_every_report_has_its_right_verdict(seed):
    with Scorer(workers=2, databases=4, seed=seed) as scorer:
        verdicts = scorer.score_batch({field: case[field] for field in FIELDS} for case in REPORTS)
    for case, verdict in zip(REPORTS, verdicts, strict=True):
        verdict_fields = {name: getattr(verdict, name) for name in case["expected"]}
        assert verdict_fields == case["expected"], (case["id"], verdict.detail)


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


NOWHERE = [
    "CREATE TABLE o (id INTEGER PRIMARY KEY, cust INT REFERENCES gone, total REAL);",
    "CREATE TABLE o (id INTEGER PRIMARY KEY, cust INT REFERENCES gone(id), total REAL);",
    "CREATE TABLE o (id INTEGER PRIMARY KEY, cust INT, total REAL, FOREIGN KEY (cust) REFERENCES gone);",
    "CREATE TABLE o (id INTEGER PRIMARY KEY, cust INT, total REAL, FOREIGN KEY (cust, total) REFERENCES gone);",
    "CREATE TABLE o (id INTEGER PRIMARY KEY, cust INT, total REAL, FOREIGN KEY (cust, total) REFERENCES gone(a, b));",
    "CREATE TABLE v (id INTEGER PRIMARY KEY); CREATE TABLE o (id INTEGER PRIMARY KEY, cust INT REFERENCES v, total REAL); DROP TABLE v;",
    "CREATE VIEW v AS SELECT 1 AS id; CREATE TABLE o (id INTEGER PRIMARY KEY, cust INT REFERENCES v, total REAL);",
    "CREATE TABLE p (a INT); CREATE TABLE o (id INTEGER PRIMARY KEY, cust INT REFERENCES p(gone), total REAL);",
    "CREATE TABLE p (a INT); CREATE TABLE o (id INTEGER PRIMARY KEY, cust INT REFERENCES p, total REAL);",
    "CREATE TABLE o (id INTEGER PRIMARY KEY, cust INT REFERENCES o(gone), total REAL);",
    "CREATE TABLE \"my o\" (x INT REFERENCES \"gone too\"); CREATE TABLE o (id INTEGER PRIMARY KEY, cust INT REFERENCES \"a.b\", total REAL);",
]  # fmt: skip


@pytest.mark.parametrize("tables", NOWHERE)
def test_a_foreign_key_to_nowhere_is_no_obstacle(scorer, tables):
    schema = tables + "INSERT INTO o VALUES (1, 1, 5.0), (2, 2, 7.0), (3, 3, 9.0);"
    reference = "SELECT total FROM o WHERE cust = 2"
    same, other = robust(
        scorer,
        schema,
        [(reference, "SELECT total FROM o WHERE NOT cust <> 2"), (reference, "SELECT total FROM o WHERE id = 2")],
    )
    assert (same, other) == (True, False)


@pytest.mark.parametrize(
    ("column", "table"),
    [
        *(
            ("CountryName", "countries"),
            ("category_name", "categories"),
            ("city_name", "cities"),
            ("company_name", "companies"),
        ),
        *(("person_name", "people"), ("name", "children"), ("child_name", "children"), ("woman_name", "women")),
        *(("salesman_id", "salesmen"), ("mouse_name", "mice"), ("wolf_name", "wolves"), ("knife_code", "knives")),
        *(("box_code", "boxes"), ("bus_no", "buses"), ("dish_name", "dishes"), ("analysis_id", "analyses")),
        *(
            ("criterion_name", "criteria"),
            ("index_name", "indices"),
            ("series_title", "series"),
            ("team_name", "teams"),
        ),
        *(
            ("product_category_name", "product_categories"),
            ("category_name", "ref_product_categories"),
            ("movie_title", "movies"),
        ),
        *(
            ("airline", "airlines"),
            ("plant", "plants"),
            ("id", "anything"),
            ("first_name", "staff"),
            ("hero_name", "heroes"),
        ),
    ],
)
def test_names_of_rows_in_any_plural(column, table):
    assert is_name(column, table)


@pytest.mark.parametrize(
    ("column", "table"),
    [
        ("country_name", "cities"),
        ("price", "rooms"),
        ("salary", "people"),
        ("team_id", "players"),
        ("age", "ages_of_man"),
    ],
)
def test_what_names_no_row_of_its_table(column, table):
    assert not is_name(column, table)


def test_labels_are_texts_that_never_repeat_and_say_no_kind():
    texts = [f"text {n}" for n in range(20)]
    assert is_label("plate", "cars", texts[:3], first=True)
    assert not is_label("plate", "cars", texts[:2], first=True)
    assert is_label("motto", "cars", texts, first=False)
    assert not is_label("motto", "cars", texts[:5], first=False)
    assert not is_label("city", "cars", texts, first=True)


LABELS = """
CREATE TABLE truck (id INT, {0} TEXT, miles INT);
INSERT INTO truck VALUES (1,'AB1',10),(2,'CD2',30),(3,'EF3',20),(4,'GH4',40);
CREATE TABLE trip (id INT, truck_id INT, tons INT); INSERT INTO trip VALUES (1,1,5),(2,1,6),(3,3,7);
"""


@pytest.mark.parametrize(
    "label", ["plate", "label", "model", "family", "symbol", "plant", "entrant", "patient", "truck", "nickname"]
)
def test_columns_that_the_rows_use_as_names_stay_unique(scorer, label):
    schema = LABELS.format(label)
    pairs = [
        (f"SELECT {label}, count(*) FROM truck JOIN trip ON truck_id = truck.id GROUP BY truck.id", f"SELECT {label}, count(*) FROM truck JOIN trip ON truck_id = truck.id GROUP BY {label}"),
        (f"SELECT {label} FROM truck WHERE id NOT IN (SELECT truck_id FROM trip)", f"SELECT {label} FROM truck EXCEPT SELECT {label} FROM truck JOIN trip ON truck_id = truck.id"),
        (f"SELECT {label} FROM truck WHERE miles > 15 INTERSECT SELECT {label} FROM truck WHERE miles < 35", f"SELECT {label} FROM truck WHERE miles > 15 AND miles < 35"),
    ]  # fmt: skip
    assert robust(scorer, schema, pairs) == [True] * 3


def test_no_new_number_is_negative_and_no_year_is_halved(scorer):
    schema = "CREATE TABLE film (id INT, year INT, hours REAL); INSERT INTO film VALUES (1, 1990, 1.5), (2, 2004, 2.25), (3, 2011, 3.0);"
    for connection in databases(scorer, schema, "SELECT count(*) FROM film WHERE hours > 2 AND year > 1995"):
        with closing(connection):
            least = connection.execute(
                "SELECT min(id), min(hours) > 0, min(year) >= 1900, max(year) <= 2100 FROM film"
            ).fetchone()
            assert least[0] >= 1 and least[1:] == (1, 1, 1)


def test_a_match_without_databases_says_that_it_is_strict_only(scorer):
    rows = [("", "SELECT 1"), ("CREATE TABLE t (a); INSERT INTO t VALUES (1);", "SELECT abs(random()) >= 0 FROM t")]
    verdicts = scorer.score_batch({"schema": s, "reference": q, "prediction": q + " "} for s, q in rows)
    assert [(v.match, v.robust_match, v.detail) for v in verdicts] == [(True, True, STRICT_ONLY)] * 2
    with Scorer(workers=1) as strict:
        assert strict.score(schema="", reference="SELECT 1", prediction="SELECT 1 ").detail == ""


def test_names_in_order_stay_in_order():
    """`numbered` counts on without an end: a column of few possible values gets different ones all the same."""
    from common.scoring.suites.formats import format_of

    form = format_of(["A1", "B2"])
    values = [form.numbered("A1", serial) for serial in range(1, 30)]
    assert len(set(values)) == len(values) and all(left != right for left, right in pairwise(values))
    codes = format_of(["USD", "EUR"])
    values = [codes.numbered("USZ", serial) for serial in range(1, 30)]
    assert values[:2] == ["UTA", "UTB"] and len(set(values)) == 29
    assert all(codes.split(value) and value.isupper() and len(value) == 3 for value in values)


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
