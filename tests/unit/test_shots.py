"""Which training rows become the shots of a few-shot prompt."""

import pytest

from common.data import Example, load_examples
from common.settings import UserError
from common.shots import fixed_shots

SCHEMA = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y');"
COUNT, ALL = "SELECT COUNT(*) FROM t;", "SELECT a FROM t;"


def rows(*pairs: tuple[str, str]) -> list[Example]:
    return [
        Example(id=str(number), question="?", schema=SCHEMA, sql=sql, complexity=complexity)
        for number, (complexity, sql) in enumerate(pairs)
    ]


def ids(train: list[Example], count: int = 3) -> list[str]:
    return [shot.id for shot in fixed_shots(train, count)]


def test_the_first_rows_of_different_complexities_are_taken():
    assert ids(rows(("basic", ALL), ("basic", COUNT), ("join", ALL), ("join", COUNT), ("window", ALL))) == [
        "0",
        "2",
        "4",
    ]


@pytest.mark.parametrize("sql", ["SELECT no FROM t;", "SELECT a FROM t WHERE a > 9;", "SELECT random();", "nothing"])
def test_a_row_that_is_not_certified_is_passed_over(sql):
    """References that fail, give nothing, or give something else each time."""
    assert ids(rows(("basic", sql), ("basic", COUNT), ("join", ALL)), 2) == ["1", "2"]


def test_with_fewer_complexities_the_first_others_follow():
    train = rows(("", ALL), ("", COUNT), ("join", ALL), ("", "SELECT b FROM t;"))
    assert ids(train) == ["0", "2", "1"]
    with pytest.raises(UserError, match="^1 training rows have a sound reference, 3 shots need as many; give more$"):
        fixed_shots(train[:1])


def test_the_embedded_rows_give_three_alike_whatever_their_number():
    train = load_examples("embedded", "train", limit=64)
    shots = fixed_shots(train)
    assert shots == fixed_shots(train[:24]) and len({shot.complexity for shot in shots}) == 3
