"""Columns in another order: no match, but said apart in `detail`, so that it can be counted."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

import pytest

from common.scoring import COLUMN_ORDER, Scorer
from common.scoring.columns import MOST_COLUMNS, fit_in_another_order
from common.scoring.pairing import PairingBudget
from tests.unit.cases import STAFF

PAY = "SELECT name, pay FROM staff WHERE id < 4"


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=1) as scorer:
        yield scorer


@pytest.mark.parametrize(
    ("reference", "prediction", "is_order"),
    [
        ("SELECT id, name FROM staff", "SELECT name, id FROM staff", True),
        ("SELECT id, name, team FROM staff", "SELECT team, id, name FROM staff ORDER BY 1", True),
        ("SELECT id, name, pay FROM staff", "SELECT id, pay, name FROM staff", True),
        ("SELECT id, id, name FROM staff", "SELECT name, id, id FROM staff", True),
        ("SELECT 1, 2 UNION ALL SELECT 2, 1 UNION ALL SELECT 1, 3", "SELECT 2, 1 UNION ALL SELECT 1, 2 UNION ALL SELECT 3, 1", True),
        ("SELECT 1, 2 UNION ALL SELECT 2, 3 UNION ALL SELECT 3, 1", "SELECT 2, 1 UNION ALL SELECT 3, 2 UNION ALL SELECT 1, 3", True),
        ("SELECT 0.3, 'x'", "SELECT 'x', 0.1 + 0.2", True),
        ("SELECT NULL, 1", "SELECT 1, NULL", True),
        (PAY + " ORDER BY pay", "SELECT pay, name FROM staff WHERE id < 4 ORDER BY pay, id DESC", True),
        (PAY + " ORDER BY pay DESC LIMIT 1", "SELECT 20, 'Cy'", True),
        (PAY + " ORDER BY pay", "SELECT pay, name FROM staff WHERE id < 4 ORDER BY pay DESC", False),
        (PAY + " ORDER BY pay DESC LIMIT 1", "SELECT 10, 'Ann'", False),
        ("SELECT id, name FROM staff", "SELECT name, id + 1 FROM staff", False),
        ("SELECT 1, 2 UNION ALL SELECT 3, 4", "SELECT 2, 3 UNION ALL SELECT 4, 1", False),
        ("SELECT 1, 2 UNION ALL SELECT 3, 4", "SELECT 1, 4 UNION ALL SELECT 3, 2", False),
        ("SELECT id, name FROM staff", "SELECT name, id FROM staff WHERE id < 4", False),
        ("SELECT id, name FROM staff", "SELECT name FROM staff", False),
        ("SELECT id FROM staff", "SELECT id + 1 FROM staff", False),
        ("SELECT 1, 1, 2", "SELECT 1, 2, 2", False),
        ("SELECT 1, 2; SELECT 3, 4", "SELECT 2, 1; SELECT 4, 3", True),
        ("SELECT 1, 2; SELECT 3, 4", "SELECT 2, 1; SELECT 4, 5", False),
        ("DELETE FROM item RETURNING code, n", "DELETE FROM item RETURNING n, code", True),
        ("DELETE FROM item WHERE n > 1 RETURNING code, n", "DELETE FROM item WHERE n = 2 RETURNING n, code", True),
        ("UPDATE item SET n = 9 WHERE n = 2 RETURNING code, 2", "UPDATE item SET n = 8 WHERE n = 2 RETURNING 2, code", False),
        ("INSERT INTO item VALUES (5, 3)", "INSERT INTO item VALUES (3, 5)", False),
    ],
)  # fmt: skip
def test_only_the_order_of_columns_is_said_apart(scorer, reference, prediction, is_order):
    verdict = scorer.score(schema=STAFF, reference=reference, prediction=prediction)
    assert (verdict.match, verdict.outcome) == (False, "mismatch")
    assert (verdict.detail == COLUMN_ORDER) == is_order, verdict.detail


def test_the_phrase_is_fixed():
    assert COLUMN_ORDER == "the reference's columns in another order"  # what is committed in predictions files


def orders_tried(width: int, rows: int, *, alike: bool) -> int:
    """How many orders are tried in full where none fits."""
    reference = [tuple(0 if alike else (row + column) % rows for column in range(width)) for row in range(rows)]
    number = 0

    def fits(_: object) -> bool:
        nonlocal number
        number += 1
        return False

    assert not fit_in_another_order(reference, reference, fits, PairingBudget())
    return number


def test_what_is_tried_is_bounded():
    assert orders_tried(3, 4, alike=False) == 5  # six orders but the one that is there
    assert orders_tried(MOST_COLUMNS, 20, alike=False) <= 12
    assert orders_tried(MOST_COLUMNS, 20, alike=True) == 0  # equal columns have one order
    assert orders_tried(MOST_COLUMNS + 1, 4, alike=False) == 0
    assert orders_tried(3, 50_000, alike=False) == 0
