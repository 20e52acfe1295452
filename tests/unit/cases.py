"""A case of the scorer's tables: a reference, a prediction and the outcome; and the schema most of them share."""

# ruff: noqa: E501 - a table of cases reads best with one case a line

from dataclasses import dataclass

STAFF = """
CREATE TABLE staff (id INTEGER PRIMARY KEY, name TEXT, team TEXT, pay REAL);
INSERT INTO staff VALUES (1, 'Ann', 'red', 10.0), (2, 'Bob', 'red', 20.0), (3, 'Cy', 'blue', 20.0), (4, 'Di', NULL, NULL);
CREATE TABLE item (code TEXT, n INT, CHECK (n < 1000));
INSERT INTO item VALUES ('a', 1), ('a', 1), ('b', 2);
"""
PATIENCE = 30.0  # CPU seconds for one row; the promise is 3 seconds on a machine that does nothing else
ALL = "SELECT name FROM staff"
GONE = "DELETE FROM item WHERE n = 2"
# One opcode that takes some 15 seconds under every limit of SQLite: only a kill ends it.
LONG_STEP = "SELECT printf('%.*c', 2000000000, 'x')"
UNSCORABLE = ("reference_error", "reference_nondeterministic", "schema_invalid")


@dataclass(frozen=True)
class Case:
    name: str
    reference: str
    prediction: str
    outcome: str
    schema: str = STAFF
    both_empty: bool | None = None  # None: the table says nothing about it

    @property
    def match(self) -> bool | None:
        return None if self.outcome in UNSCORABLE else self.outcome == "match"


def cases(*rows: tuple) -> list[Case]:
    return [Case(*row) for row in rows]
