"""What generated rows part: they leave no tie where the given ones leave none, and fall below and above them."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

import pytest

from common.scoring import Scorer
from tests.unit.suite_rows import SHOPS, robust


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=2, databases=4) as scorer:
        yield scorer


NO_TIES = [
    ("SELECT name FROM employee ORDER BY salary DESC LIMIT 1", "SELECT name FROM employee WHERE salary = (SELECT max(salary) FROM employee)"),
    ("SELECT name FROM employee WHERE salary = (SELECT max(salary) FROM employee)", "SELECT name FROM employee ORDER BY salary DESC LIMIT 1"),
    ("SELECT name FROM employee WHERE hired IN (SELECT min(hired) FROM employee)", "SELECT name FROM employee ORDER BY hired LIMIT 1"),
    ("SELECT name FROM employee ORDER BY hired LIMIT 2", "SELECT name FROM (SELECT name, rank() OVER (ORDER BY hired) AS r FROM employee) WHERE r <= 2 ORDER BY r"),
    ("SELECT name FROM employee ORDER BY salary LIMIT 1 OFFSET 1", "SELECT name FROM employee WHERE salary = (SELECT min(salary) FROM employee WHERE salary > (SELECT min(salary) FROM employee))"),
    ("SELECT shop_id FROM hiring GROUP BY shop_id ORDER BY count(*) DESC LIMIT 1", "SELECT shop_id FROM hiring GROUP BY shop_id HAVING count(*) = (SELECT max(n) FROM (SELECT count(*) AS n FROM hiring GROUP BY shop_id))"),
    ("SELECT employee_id FROM shift GROUP BY employee_id ORDER BY sum(hours) DESC LIMIT 1", "WITH s AS (SELECT employee_id, sum(hours) AS h FROM shift GROUP BY employee_id) SELECT employee_id FROM s WHERE h = (SELECT max(h) FROM s)"),
    ("SELECT name FROM employee JOIN shift ON id = employee_id ORDER BY hours DESC LIMIT 1", "SELECT name FROM employee JOIN shift ON id = employee_id WHERE hours = (SELECT max(hours) FROM shift)"),
    ("SELECT hired, sum(salary) OVER (ORDER BY hired) FROM employee", "SELECT hired, sum(salary) OVER (ORDER BY hired ROWS UNBOUNDED PRECEDING) FROM employee"),
    ("SELECT hired, sum(salary) OVER (ORDER BY hired) FROM employee", "SELECT hired, (SELECT sum(b.salary) FROM employee b WHERE b.hired <= a.hired) FROM employee a"),
    ("SELECT day, sum(hours) OVER (PARTITION BY employee_id ORDER BY day) FROM shift", "SELECT day, sum(hours) OVER (PARTITION BY employee_id ORDER BY day ROWS UNBOUNDED PRECEDING) FROM shift"),
]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_where_the_given_rows_leave_no_tie_the_generated_ones_leave_none(seed):
    with Scorer(workers=2, databases=4, seed=seed) as scorer:
        refused = [pair for pair, kept in zip(NO_TIES, robust(scorer, SHOPS, NO_TIES), strict=True) if not kept]
    assert refused == []


def test_where_the_given_rows_tie_the_generated_ones_may(scorer):
    schema = SHOPS + "UPDATE employee SET salary = 150 WHERE id = 1;"
    reference = "SELECT name FROM employee ORDER BY salary DESC, name LIMIT 2"
    assert robust(scorer, schema, [(reference, "SELECT name FROM employee WHERE salary = 150 ORDER BY name")]) == [
        False
    ]


LEAST = [
    ("SELECT name FROM employee", "SELECT name FROM employee WHERE salary > 89"),
    ("SELECT name FROM employee", "SELECT name FROM employee WHERE salary >= 50"),
    ("SELECT name FROM employee", "SELECT name FROM employee WHERE salary < 151"),
    ("SELECT name FROM employee", "SELECT name FROM employee WHERE hired >= '2021-03-01'"),
    ("SELECT name FROM employee", "SELECT name FROM employee WHERE hired > '2021-01-01'"),
    ("SELECT name FROM employee", "SELECT name FROM employee WHERE hired <= '2023-11-30'"),
    ("SELECT count(*) FROM shift", "SELECT count(*) FROM shift WHERE hours IN (6, 7, 8, 9)"),
    ("SELECT count(*) FROM employee", "SELECT count(*) FROM employee WHERE name IN ('Ann', 'Bob', 'Cid', 'Dee')"),
    ("SELECT avg(salary) FROM employee WHERE hired > '2022-01-01'", "SELECT avg(salary) FROM employee WHERE hired > '2022-01-01' AND salary > 80"),
    ("SELECT max(salary) FROM employee", "SELECT 150"),
    ("SELECT min(salary), max(salary) FROM employee", "VALUES (90, 150)"),
    ("SELECT count(DISTINCT shop_id) FROM hiring", "SELECT 3"),
    ("SELECT name FROM shop", "SELECT 'A' UNION ALL SELECT 'B' UNION ALL SELECT 'C'"),
    ("SELECT max(hired) FROM employee", "SELECT '2023-11-30'"),
    ("SELECT id FROM employee WHERE hired LIKE '2023-07-%'", "SELECT id FROM employee WHERE strftime('%m', hired) = '07'"),
    ("SELECT id FROM employee WHERE hired LIKE '2023-07%'", "SELECT id FROM employee WHERE hired LIKE '%-07-%'"),
    ("SELECT id FROM employee WHERE hired LIKE '%-07-%'", "SELECT id FROM employee WHERE hired LIKE '2023-07-%'"),
    ("SELECT id FROM employee WHERE hired LIKE '2021%'", "SELECT id FROM employee WHERE hired < '2021-12-01'"),
]  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1])
def test_what_every_given_row_fulfils_is_parted(seed):
    with Scorer(workers=2, databases=4, seed=seed) as scorer:
        accepted = [pair for pair, taken in zip(LEAST, robust(scorer, SHOPS, LEAST), strict=True) if taken]
    assert accepted == []
