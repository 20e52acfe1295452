"""What a caller of the scorer may get wrong: options, rows, database files. Each is one line that names it."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest

from common.sandbox import SandboxError
from common.sandbox.pool import LARGEST_FILE
from common.scoring import Scorer
from common.settings import UserError

ROW = {"schema": "", "reference": "SELECT 1", "prediction": "SELECT 1"}


@dataclass(frozen=True)
class Question:
    """What a row's first half needs of an example."""

    schema: str = ""
    sql: str = "SELECT 1"
    database: object = None


@pytest.fixture(scope="module")
def scorer():
    with Scorer(workers=1) as scorer:
        yield scorer


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": "2"}, "workers='2' is no whole number"),
        ({"workers": 2.5}, "workers=2.5 is no whole number"),
        ({"workers": True}, "workers=True is no whole number"),
        ({"workers": None}, "workers=None is no whole number"),
        ({"workers": [2]}, r"workers=\[2\] is no whole number"),
        ({"workers": 0}, "workers=0 leaves nobody"),
        ({"workers": -1}, "workers=-1 leaves nobody"),
        ({"workers": 10**9}, "workers=1000000000 are too many"),
        ({"databases": "4"}, "databases='4' is no whole number"),
        ({"databases": True}, "databases=True is no whole number"),
        ({"databases": 4.0}, "databases=4.0 is no whole number"),
        ({"databases": None}, "databases=None is no whole number"),
        ({"databases": 33}, "databases=33 is not possible"),
        ({"seed": "0"}, "seed='0' is no whole number"),
        ({"seed": 1.5}, "seed=1.5 is no whole number"),
        ({"seed": None}, "seed=None is no whole number"),
        ({"generator": None}, "unknown generator None"),
        ({"generator": 3}, "unknown generator 3"),
        ({"generator": "Conservative"}, "unknown generator 'Conservative'"),
        ({"generator": ["conservative"]}, r"unknown generator \['conservative'\]"),
    ],
)
def test_options_that_make_no_sense(options, words):
    with pytest.raises(UserError, match=f"^{words}") as error:
        Scorer(**options)
    assert "\n" not in str(error.value)


def test_whole_numbers_of_numpy_are_whole_numbers():
    with Scorer(workers=numpy.int64(1), databases=numpy.int32(1), seed=numpy.int64(3)) as scorer:
        assert scorer.score(**ROW).robust_match is True


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (None, "None is no row"),
        ("SELECT 1", "a str is no row"),
        ("ab", "a str is no row"),
        (b"SELECT 1", "a bytes is no row"),
        (7, "a int is no row"),
        ((), "a tuple of 0 is no row"),
        ((Question(),), "a tuple of 1 is no row"),
        ((Question(), "SELECT 1", None), "a tuple of 3 is no row"),
        ([Question(), "SELECT 1", 0], "a list of 3 is no row"),
        ({"SELECT 1"}, "a set is no row"),
        (Question(), "a Question is no row"),
        (("SELECT 1", "SELECT 1"), "a str is no Example"),
        ((None, "SELECT 1"), "None is no Example"),
        ((ROW, "SELECT 1"), "a dict is no Example"),
        ({}, "a row without schema and reference and prediction"),
        ({"schema": "", "prediction": ""}, "a row without reference"),
        ({**ROW, "completion": ""}, "unknown keys in a row: completion"),
        ({**ROW, 3: ""}, "unknown keys in a row: 3"),
        ({**ROW, "prediction": None}, "prediction is None; schema, reference and prediction are strings"),
        ({**ROW, "prediction": b"SELECT 1"}, "prediction is a bytes"),
        ({**ROW, "prediction": ["SELECT 1"]}, "prediction is a list"),
        ({**ROW, "reference": 1}, "reference is a int"),
        ({**ROW, "schema": None}, "schema is None"),
        ({**ROW, "database": 3}, "database is a int"),
        ({**ROW, "database": b"x"}, "database is a bytes"),
        ({**ROW, "database": ["x"]}, "database is a list"),
        ((Question(), None), "prediction is None"),
        ((Question(sql=None), "SELECT 1"), "reference is None"),
        ((Question(database=False), "SELECT 1"), "database is a bool"),
    ],
    ids=repr,
)
def test_a_row_of_another_shape_is_named_by_its_number(scorer, row, words):
    with pytest.raises(TypeError, match=f"^row 3: {words}") as error:
        scorer.score_batch([ROW, (Question(), "SELECT 1"), row, ROW])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rows", [None, 5, "SELECT 1", b"SELECT 1", ROW])
def test_what_is_no_list_of_rows(scorer, rows):
    with pytest.raises(TypeError, match="^score_batch takes a list of rows, not"):
        scorer.score_batch(rows)


def test_score_names_the_argument(scorer):
    for name in ("schema", "reference", "prediction"):
        with pytest.raises(TypeError, match=f"^{name} is None; schema, reference and prediction are strings"):
            scorer.score(**{**ROW, name: None})


def test_rows_may_be_a_generator_a_tuple_or_lists_of_two(scorer):
    rows = (row for row in [ROW, (Question(), "SELECT 2"), [Question(), "SELECT 1"]])
    assert [verdict.match for verdict in scorer.score_batch(rows)] == [True, False, True]
    assert scorer.score_batch(()) == scorer.score_batch(iter([])) == []


def test_a_closed_scorer_says_so():
    scorer = Scorer(workers=1)
    scorer.close()
    with pytest.raises(SandboxError, match="closed"):
        scorer.score(**ROW)


# --- database files -------------------------------------------------------------------------------------------------


def refusal(scorer: Scorer, path: object) -> str:
    with pytest.raises(UserError) as error:
        scorer.score_batch([ROW, {**ROW, "database": path}])
    text = str(error.value)
    assert "\n" not in text and Path(path).name in text
    return text


def test_what_is_no_file_is_refused_at_once(scorer, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "no regular file" in refusal(scorer, pipe)
    (tmp_path / "link").symlink_to(pipe)
    assert "no regular file" in refusal(scorer, str(tmp_path / "link"))
    assert "no regular file" in refusal(scorer, "/dev/zero")
    assert "a folder" in refusal(scorer, tmp_path)
    assert "a folder" in refusal(scorer, "")
    assert "No such file" in refusal(scorer, tmp_path / "missing")
    (tmp_path / "dangling").symlink_to(tmp_path / "missing")
    assert "No such file" in refusal(scorer, tmp_path / "dangling")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "check the path" in refusal(scorer, tmp_path / "loop")
    assert "check the path" in refusal(scorer, str(tmp_path / "a\0b"))
    assert "check the path" in refusal(scorer, "x" * 5000)
    (tmp_path / "text.txt").write_text("no folder")
    assert "Not a directory" in refusal(scorer, tmp_path / "text.txt" / "shop.sqlite")


def test_a_file_that_is_too_large_is_refused_unread(scorer, tmp_path):
    for size in (LARGEST_FILE + 1, 2**40):
        path = tmp_path / f"{size}.sqlite"
        with path.open("wb") as file:
            file.truncate(size)  # no block of it is on the disk
        assert "at most 60 can be scored" in refusal(scorer, path)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(scorer, tmp_path):
    path = tmp_path / "secret.sqlite"
    path.write_bytes(b"")
    path.chmod(0)
    assert "Permission denied" in refusal(scorer, path)


def test_a_database_whose_changes_lie_in_a_log_beside_it(scorer, tmp_path):
    path = tmp_path / "shop.sqlite"
    row = {**ROW, "reference": "SELECT count(*) FROM sale", "database": path}
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE sale (n INT)")
        connection.execute("INSERT INTO sale VALUES (1)")
        connection.commit()
        assert "a log beside it" in refusal(scorer, path)
        link = tmp_path / "link.sqlite"
        link.symlink_to(path)
        assert "a log beside it" in refusal(scorer, link)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert scorer.score(**{**row, "prediction": "SELECT 1"}).match
    assert scorer.score(**{**row, "prediction": "SELECT 1"}).match  # SQLite has put the log away
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=PERSIST")
        connection.execute("INSERT INTO sale VALUES (2)")
        connection.commit()
    journal = path.with_name("shop.sqlite-journal")
    assert journal.stat().st_size and scorer.score(**{**row, "prediction": "SELECT 2"}).match  # it is of no more use
    journal.write_bytes(bytes.fromhex("d9d505f920a163d7") + bytes(504))  # what a kill leaves
    assert "a log beside it" in refusal(scorer, path)


def test_a_file_that_is_no_database_concerns_its_row_alone(scorer, tmp_path):
    (tmp_path / "text.sqlite").write_text("CREATE TABLE t (a INT);\n" * 100)
    (tmp_path / "empty.sqlite").write_bytes(b"")
    rows = [ROW, {**ROW, "database": tmp_path / "text.sqlite"}, {**ROW, "database": tmp_path / "empty.sqlite"}]
    verdicts = scorer.score_batch(rows)
    assert [verdict.outcome for verdict in verdicts] == ["match", "schema_invalid", "match"]
    assert "file is not a database" in verdicts[1].detail
