"""What generated rows are like: keys, names, formats; and the reports that showed what they were not."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

import json
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from common.scoring import STRICT_ONLY, Scorer
from common.scoring.suites.naming import is_label, is_name
from tests.unit.suite_rows import FIELDS, databases, robust

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


def test_a_flag_has_no_third_value_and_a_colour_its_length(scorer):
    schema = "CREATE TABLE t (id INT, f TEXT, c TEXT); INSERT INTO t VALUES (1, 'Y', '#1A2B3C'), (2, 'N', '#00FF7F'), (3, 'Y', '#ABCDEF');"
    pairs = [
        ("SELECT id FROM t WHERE f = 'Y'", "SELECT id FROM t WHERE f <> 'N'"),
        ("SELECT id FROM t", "SELECT id FROM t WHERE length(c) = 7"),
    ]
    assert robust(scorer, schema, pairs) == [True, True]
