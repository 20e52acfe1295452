"""What the embedded data set must withstand: SQL run by code of our own, and a lookup of the nearest question."""

import re
import sqlite3

from common.data import Example
from common.data.cells import example
from common.retrieval import Index, answers, fill
from common.retrieval.questions import read_question


def answer(context: str, sql: str) -> list[tuple]:
    """The rows of a query in a fresh database that it cannot change."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(context)
        connection.execute("PRAGMA query_only = 1")
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def run(context: str, sql: str) -> dict:
    """What a statement does in a fresh database: its rows, and what the database holds before and afterwards."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(context)
        before = dump(connection)
        cursor = connection.execute(sql)
        return {"rows": cursor.fetchall(), "before": before, "after": dump(connection)}
    finally:
        connection.close()


def dump(connection: sqlite3.Connection) -> dict:
    objects = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
    tables = [name for kind, name, _ in objects if kind == "table"]
    return {
        "objects": objects,
        "rows": {t: sorted(map(repr, connection.execute(f"SELECT * FROM {t}"))) for t in tables},
    }


def same(context: str, reference: str, prediction: str) -> bool:
    """Whether a prediction does what the reference does; in order only where the reference sorts its result."""
    try:
        target, given = run(context, reference), run(context, prediction)
    except sqlite3.Error:
        return False
    has_order = "ORDER BY" in re.sub(r"\([^()]*\)", "", re.sub(r"\([^()]*\)", "", reference))
    key = list if has_order else lambda rows: sorted(map(repr, rows))
    return target["after"] == given["after"] and key(target["rows"]) == key(given["rows"])


def nearest(train: list[dict], test: list[dict]) -> list[dict]:
    """For each test row the training row with the most similar question, as the study's own retrieval has it."""
    index, by_id = Index(examples(train)), {row["id"]: row for row in train}
    return [by_id[index.nearest(example, 1)[0].id] for example in examples(test)]


def moved(train: list[dict], test: list[dict]) -> list[str]:
    """For each test row what the study's own retrieval answers: a neighbour's SQL with the row's names and values."""
    return answers(examples(train), examples(test))


def transfer(row: dict, target: dict) -> str:
    """The SQL of `row` with its table and column names replaced by those of the target's schema, no question asked."""
    questions = [read_question("", each["sql_context"], frozenset()) for each in (row, target)]
    return fill(questions[0], row["sql"], questions[1]).sql


def examples(rows: list[dict]) -> list[Example]:
    return [example(row, row["id"]) for row in rows]
