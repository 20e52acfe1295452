"""What tests of generated databases share: a schema of shops, a suite's databases, verdicts on pairs that match."""

# ruff: noqa: E501 - a statement reads best in one line

import sqlite3
from pathlib import Path

from common.scoring import suites
from common.scoring.suites import store

FIELDS = ("schema", "reference", "prediction")
SHOPS = """
CREATE TABLE employee (id INT PRIMARY KEY, name TEXT, salary INT, boss INT REFERENCES employee(id), hired DATE);
INSERT INTO employee VALUES (1,'Ann',100,NULL,'2021-03-01'),(2,'Bob',120,1,'2022-05-01'),(3,'Cid',90,1,'2023-07-09'),(4,'Dee',150,2,'2023-11-30');
CREATE TABLE shop (id INT PRIMARY KEY, name TEXT, head INT REFERENCES employee(id));
INSERT INTO shop VALUES (1,'A',1),(2,'B',2),(3,'C',4);
CREATE TABLE hiring (employee_id INT PRIMARY KEY REFERENCES employee(id), shop_id INT REFERENCES shop(id));
INSERT INTO hiring VALUES (1,1),(2,1),(3,2),(4,3);
CREATE TABLE shift (day TEXT, employee_id INT REFERENCES employee(id), shop_id INT REFERENCES shop(id), hours INT, PRIMARY KEY (day, employee_id));
INSERT INTO shift VALUES ('2023-01-01',1,1,8),('2023-01-01',2,1,6),('2023-01-02',1,2,7),('2023-01-03',3,2,9);
"""


def robust(scorer, schema: str, pairs: list[tuple[str, str]]) -> list[bool | None]:
    rows = [dict(zip(FIELDS, (schema, *pair), strict=True)) for pair in pairs]
    verdicts = scorer.score_batch(rows)
    assert [pair for pair, v in zip(pairs, verdicts, strict=True) if not v.match] == [], "each has to match strictly"
    return [v.robust_match for v in verdicts]


def databases(scorer, schema: str, reference: str, *, seed: int = 0, database: Path | None = None):
    """The suite of a reference, as connections. seed: the scorer's."""
    scorer.score(schema=schema, reference=reference, prediction=reference + " ", database=database)
    file = store.file_digest(database) if database else ""
    key = store.key(schema, file, reference, number=4, generator="conservative", seed=seed)
    connections = []
    for text in store.read([key])[key]:
        connection = sqlite3.connect(":memory:")
        connection.deserialize(suites.unpack(text))
        connections.append(connection)
    assert connections
    return connections
