"""What the embedded data set must withstand: SQL run by code of our own, and a lookup of the nearest question."""

import re
import sqlite3


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
    """For each test row the training row with the most similar question (Jaccard similarity of their words)."""
    index = [(words(row["sql_prompt"]), row) for row in train]
    matches = []
    for row in test:
        question = words(row["sql_prompt"])
        matches.append(max(index, key=lambda pair: len(pair[0] & question) / len(pair[0] | question))[1])
    return matches


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def transfer(row: dict, target: dict) -> str:
    """The SQL of `row` with its table and column names replaced by those in the same places of the target's schema."""
    here, there = names(row["sql_context"]), names(target["sql_context"])
    places = {name: place for place, name in reversed(here.items())}
    return re.sub(r"'[^']*'|\w+", lambda word: there.get(places.get(word[0]), word[0]), row["sql"])


def names(context: str) -> dict[tuple[int, int], str]:
    """Names in a schema by place: (table, 0) for a table and (table, n) for its n-th column."""
    places_of = {}
    for number, (table, columns) in enumerate(re.findall(r"CREATE TABLE (\w+) \(([^)]*)\)", context)):
        places_of[number, 0] = table
        places_of |= {(number, n): column.split()[0] for n, column in enumerate(columns.split(", "), 1)}
    return places_of
