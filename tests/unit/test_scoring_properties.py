"""What holds for any input: properties over generated databases and queries, random bytes.

Covered: a match is reflexive, symmetric for queries, and blind to the order of insertion where no order is asked for;
scores and ROUGE-L are what they say; 10,000 texts of random bytes leave no trace. Not covered: whether a given verdict
is right (test_hostile.py, test_scoring.py), the published metric (test_published.py).
"""

import itertools
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from common.scoring import Scorer, Verdict
from common.scoring.rouge import rouge_l

# A busy machine is no fault, and a failure must come back: the examples are the same in every run.
FORGIVEN = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
QUICK = settings(deadline=None, derandomize=True, database=None, suppress_health_check=FORGIVEN)
THEIRS = RougeScorer(["rougeL"], use_stemmer=False)


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=2) as scorer:
        yield scorer


def row(schema: str, reference: str, prediction: str) -> dict[str, str]:
    return {"schema": schema, "reference": reference, "prediction": prediction}


# --- generated databases and queries --------------------------------------------------------------------------------

COLUMNS = ("a", "b", "c")
KINDS = ("plain", "distinct", "grouped", "compound")
# No 1.0 beside 1: which of two equal values stands for both under DISTINCT would be the first one met.
VALUES = st.sampled_from(["NULL", "0", "1", "2", "-3", "0.5", "0.1 + 0.2", "0.3", "'x'", "'X'", "'x '", "'1'", "x'31'"])
ROWS = st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=4)
TYPES = st.tuples(*[st.sampled_from(["", "INT", "TEXT", "REAL"])] * 3)
EXPRESSIONS = st.sampled_from(
    ["a", "b", "c", "a + b", "abs(a)", "a || b", "length(c)", "a IS NULL", "b > 1", "max(a, b)", "t.c", '"b"', "1 + 1"]
)
AGGREGATES = st.sampled_from(["count(*)", "count(a)", "sum(b)", "min(c)", "max(a)", "avg(a)", "count(DISTINCT c)"])
CONDITIONS = st.sampled_from(
    ["", "", " WHERE a > 0", " WHERE b IS NOT NULL", " WHERE c LIKE 'x%'", " WHERE a IN (1, 2) OR b = 0.3", " WHERE 0"]
)
DIRECTIONS = st.sampled_from(
    ["", "", " ASC", " DESC", " NULLS LAST", " DESC NULLS FIRST", " COLLATE NOCASE", " COLLATE RTRIM DESC"]
)
LIMITS = st.sampled_from(
    ["", "", "", " LIMIT 2", " LIMIT 1 OFFSET 1", " LIMIT 1, 1 + 1", " LIMIT -1 OFFSET 2", " LIMIT 0"]
)


def schema_of(types: tuple[str, ...], rows: Sequence[tuple[str, ...]], table: str = "t") -> str:
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(COLUMNS, types, strict=True))
    inserts = "".join(f"INSERT INTO {table} VALUES ({', '.join(values)});\n" for values in rows)
    return f"CREATE TABLE {table} ({columns});\n{inserts}"


@st.composite
def queries(draw, kinds: Sequence[str] = KINDS, has_order: bool | None = None) -> str:
    """A query over t; has_order: with ORDER BY (and perhaps LIMIT), without either, or as it comes."""
    kind = draw(st.sampled_from(kinds))
    where = draw(CONDITIONS)
    if kind == "grouped":
        key = draw(st.sampled_from(COLUMNS))
        text = f"SELECT {key}, {draw(AGGREGATES)} AS g FROM t{where} GROUP BY {key}"
        keys = [key, "g", "1", "2", "count(*)", "g + 1", '"g" IS NULL', "max(b)"]
    elif kind == "compound":
        operator = draw(st.sampled_from(["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]))
        text = f"SELECT a, b AS z FROM t{where} {operator} SELECT b, t.c FROM t{draw(CONDITIONS)}"
        keys = ["1", "2", "a", "z", "c"]
    else:
        expressions = draw(st.lists(EXPRESSIONS, min_size=1, max_size=3))
        columns = [f"{e} AS s{i}" if draw(st.booleans()) else e for i, e in enumerate(expressions)]
        text = f"SELECT {'DISTINCT ' if kind == 'distinct' else ''}{', '.join(columns)} FROM t{where}"
        keys = ["1", *expressions] + ([] if kind == "distinct" else ["a", "b + 1", "t.c", "length(b)", "abs(-2)"])
        keys += [f"s{i}" for i, e in enumerate(columns) if " AS s" in e]
        keys += [f'("s{i}" IS NULL) + 0' for i, e in enumerate(columns) if " AS s" in e]
    if draw(st.booleans()) if has_order is None else has_order:
        terms = draw(st.lists(st.tuples(st.sampled_from(keys), DIRECTIONS), min_size=1, max_size=2))
        text += (
            " ORDER BY "
            + ", ".join(
                f"({key}){direction}" if "COLLATE" in direction else key + direction for key, direction in terms
            )
            + draw(LIMITS)
        )
    return text


def is_sound(verdict: Verdict) -> bool:
    return (
        0.0 <= verdict.rouge_l <= 1.0
        and 0.0 <= verdict.score <= 1.0
        and 0.0 <= verdict.published_score <= 1.0
        and (verdict.score == 1.0) == (verdict.match is True)
        and (verdict.published_score == 1.0) == verdict.published_match
    )


@QUICK
@given(TYPES, ROWS, st.lists(queries(), min_size=5, max_size=5))
def test_a_match_is_reflexive_and_symmetric(scorer, types, rows, texts):
    schema = schema_of(types, rows)
    pairs = [(left, right) for left in texts for right in texts]
    verdicts = dict(zip(pairs, scorer.score_batch(row(schema, *pair) for pair in pairs), strict=True))
    for (left, right), verdict in verdicts.items():
        assert is_sound(verdict), (schema, left, right, verdict)
        assert verdict.outcome in ("match", "mismatch"), (schema, left, right, verdict)
        assert verdict.match or left != right, (schema, left, verdict)
        if " ORDER BY " not in left + right:
            assert verdict.match == verdicts[right, left].match, (schema, left, right)


@settings(QUICK, max_examples=300)
@given(TYPES, ROWS, queries(), st.randoms(use_true_random=False))
def test_the_order_of_insertion_does_not_matter(scorer, types, rows, text, draw):
    """The same query over the same rows, put in in another order: equal as a bag, or up to ties and their choice."""
    schema = schema_of(types, rows) + schema_of(types, draw.sample(rows, len(rows)), "u")
    verdict = scorer.score(**row(schema, text, text.replace("FROM t", "FROM u").replace("t.c", "u.c")))
    assert verdict.match, (schema, text, verdict)


@settings(QUICK, max_examples=300)
@given(TYPES, ROWS, queries(kinds=["plain"], has_order=True), st.randoms(use_true_random=False))
def test_an_order_is_right_where_some_order_of_insertion_gives_it(scorer, types, rows, text, draw):
    """Against every order of insertion: SQLite leaves ties as they came, so that each order of them turns up.

    Groups and DISTINCT rows come sorted, so for them this would say nothing.
    """
    possible = [results(schema_of(types, order), text) for order in itertools.permutations(rows)]
    whole = results(schema_of(types, rows), text.partition(" LIMIT ")[0])
    choice = draw.sample(whole, len(possible[0]))
    if not choice:
        return
    rows_text = ", ".join(f"({', '.join(map(literal, values))})" for values in choice)
    verdict = scorer.score(**row(schema_of(types, rows), text, f"VALUES {rows_text}"))
    expected = any(all(map(close, sum(choice, ()), sum(rows, ()))) for rows in possible)
    assert verdict.match == expected, (types, rows, text, choice, verdict)


def results(schema: str, sql: str) -> list[tuple]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        return connection.execute(sql).fetchall()


def literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def close(left: object, right: object) -> bool:
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    return abs(left - right) < 1e-9 if numbers else left == right


# --- ROUGE-L --------------------------------------------------------------------------------------------------------

WORDS = st.lists(
    st.sampled_from(["SELECT", "a", "B", "t1.x", "İ", "\u212a", "é", "_", "42", "'", "<", "\n", "\ud800", "\0"])
)


@settings(QUICK, max_examples=300)
@given(st.text() | WORDS.map(" ".join) | WORDS.map("".join), st.text() | WORDS.map(" ".join))
def test_rouge_l_equals_rouge_score(left, right):
    expected = THEIRS.score(left, right)["rougeL"].fmeasure
    assert abs(rouge_l(left, right) - expected) <= 1e-9
    assert rouge_l(left, right) == pytest.approx(rouge_l(right, left), abs=1e-12)


# --- random bytes ---------------------------------------------------------------------------------------------------

FRAGMENTS = (
    [
        "SELECT a FROM t ",
        "SELECT ",
        "FROM t ",
        "a",
        "WHERE ",
        "ORDER BY 1 ",
        "LIMIT 1 ",
        "UNION ",
        "(",
        ")",
        ",",
        ";",
        "'",
        '"',
        "`",
        "[",
    ]
    + ["/*", "*/", "--", "```sql\n", "```", "<think>", "</think>", "WITH x AS (SELECT 1) ", "DELETE FROM t ", "\n\n"]
    + [
        "ATTACH 'leaked.db' AS x",
        "VACUUM INTO 'leaked.db'",
        "PRAGMA ",
        "CREATE TABLE leaked (a)",
        "\0",
        "\ufeff",
        "x'00'",
    ]
    + [
        "printf('%.*c', 2000000000, 'x')",
        "zeroblob(1000000000)",
        "load_extension('leaked')",
        "0x",
        "1e999",
        "CASE ",
        "END ",
    ]
)


def random_text(draw: random.Random) -> str:
    junk = draw.randbytes(draw.randrange(40))
    text = junk.decode("latin-1") if draw.random() < 0.5 else junk.decode("utf-8", errors="surrogateescape")
    if draw.random() < 0.7:
        parts = draw.choices(FRAGMENTS, k=draw.randrange(1, 9))
        parts.insert(draw.randrange(len(parts) + 1), text if draw.random() < 0.5 else "")
        return "".join(parts)
    return text


def test_ten_thousand_random_texts_leave_no_trace(nothing_left, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = random.Random(5)
    texts = [random_text(draw) for _ in range(10_000)]
    schema = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2);"
    with nothing_left(tmp_path):
        with Scorer(workers=2) as scorer:
            verdicts = scorer.score_batch(row(schema, "SELECT a FROM t", text) for text in texts)
        assert len(verdicts) == 10_000 and all(map(is_sound, verdicts))
    outcomes = {verdict.outcome for verdict in verdicts}
    assert outcomes >= {
        "match",
        "mismatch",
        "empty_prediction",
        "syntax_error",
        "schema_error",
        "forbidden",
        "too_large",
    }
    assert all(verdict.match is not None for verdict in verdicts)


@pytest.mark.parametrize("place", ["schema", "reference"])
def test_random_texts_elsewhere_are_verdicts_too(scorer, place):
    draw = random.Random(6)
    requests = [
        row("CREATE TABLE t (a INT);", "SELECT a FROM t", "SELECT 1") | {place: random_text(draw)} for _ in range(500)
    ]
    verdicts = scorer.score_batch(requests)
    assert all(map(is_sound, verdicts))
    assert {"reference": "reference_error", "schema": "schema_invalid"}[place] in {v.outcome for v in verdicts}
