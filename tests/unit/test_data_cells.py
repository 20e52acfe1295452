"""Cells of files of one's own: what is taken as text, and the one line with column and row for what is none."""

import datetime
import decimal

import pandas
import pytest

from common.data import Example, load_file
from tests.unit.files import READ, ROW, file, lines, refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sql_context": ["CREATE TABLE t (a INT);", "INSERT INTO t VALUES (1);"]}, "a list as sql_context"),
        ({"sql": {"query": "SELECT 1"}}, "an object as sql"),
        ({"sql": {}}, "an object as sql"),
        ({"sql": []}, "a list as sql"),
        ({"sql": True}, "true or false as sql"),
        ({"sql_prompt": False}, "true or false as sql_prompt"),
        ({"sql": 5}, "a number as sql"),
        ({"sql_prompt": 1.5}, "a number as sql_prompt"),
        ({"id": [7]}, "a list as id"),
        ({"id": {"$oid": "7"}}, "an object as id"),
        ({"id": True}, "true or false as id"),
        ({"id": 7.5}, "a number as id"),
        ({"domain": {"name": "x"}}, "an object as domain"),
        ({"sql_complexity": []}, "a list as sql_complexity"),
        ({"sql_task_type": 0.5}, "a number as sql_task_type"),
        ({"split": ["train"]}, "a list as split"),
        ({"sql": "SELECT '\0'"}, "a NUL character in sql"),
        ({"sql_prompt": "\ud83d ?"}, "half a character (a lone surrogate) in sql_prompt"),
    ],
)
def test_a_json_cell_that_is_no_text_is_named_with_its_row(tmp_path, change, message):
    refused(
        file(tmp_path, ".jsonl", lines(ROW | {"id": "a", "split": "train"}, ROW | {"id": "b"} | change)),
        f"has {message} in row 2; ",
    )


DAY = datetime.datetime(2024, 5, 1, 12)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("sql_context", ["CREATE TABLE t (a);", "INSERT INTO t VALUES (1);"], "a list as sql_context"),
        ("sql", {"query": "SELECT 1"}, "an object as sql"),
        ("sql", b"SELECT '\xff'", "bytes that are no UTF-8 as sql"),
        ("sql", [b"SELECT 1"], "a list as sql"),
        ("sql_prompt", DAY, "a time as sql_prompt"),
        ("sql_prompt", DAY.date(), "a time as sql_prompt"),
        ("sql_prompt", DAY.time(), "a time as sql_prompt"),
        ("sql_prompt", DAY - DAY, "a time as sql_prompt"),
        ("sql", True, "true or false as sql"),
        ("sql", 1, "a number as sql"),
        ("sql", 1.5, "a number as sql"),
        ("sql", decimal.Decimal("1.5"), "a number as sql"),
        ("sql", None, "an empty sql"),
        ("sql", float("nan"), "an empty sql"),
        ("sql", b" ", "an empty sql"),
        ("id", [7], "a list as id"),
        ("id", DAY, "a time as id"),
        ("domain", {"a": 1}, "an object as domain"),
        ("split", True, "true or false as split"),
    ],
)
def test_a_parquet_cell_that_is_no_text_is_named_with_its_row(tmp_path, column, value, message):
    path = tmp_path / "rows.parquet"
    pandas.DataFrame([ROW | {column: value}]).to_parquet(path)
    refused(path, f"has {message} in row 1; ")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sql": [b"SELECT COUNT(*) FROM t"]}, READ),
        ({name: [cell.encode()] for name, cell in ROW.items()}, READ),
        ({"sql": pandas.Categorical([ROW["sql"]])}, READ),
        ({"sql": pandas.Series([ROW["sql"]], dtype="string")}, READ),
        ({"domain": [float("nan")]}, READ),
        ({"domain": [None], "split": [None]}, READ),
        ({"note": [["of any", "kind"]], "when": [DAY]}, READ),
        ({"id": [7]}, Example("7", *ROW.values())),
        ({"id": pandas.Series([7], dtype="uint8")}, Example("7", *ROW.values())),
        ({"id": [b"caf\xc3\xa9"]}, Example("café", *ROW.values())),
    ],
)
def test_parquet_text_is_read_however_it_is_kept(tmp_path, changes, expected):
    path = tmp_path / "rows.parquet"
    pandas.DataFrame({name: [cell] for name, cell in ROW.items()} | changes).to_parquet(path)
    assert load_file(path) == [expected]


def test_whole_numbers_with_gaps_between_them_stay_whole(tmp_path):
    path = tmp_path / "rows.parquet"
    pandas.DataFrame([ROW, ROW]).assign(domain=pandas.array([2024, None], dtype="Int64")).to_parquet(path)
    assert [row.domain for row in load_file(path)] == ["2024", ""]
