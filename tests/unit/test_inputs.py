"""A file of one's own is refused before a run where it would be read otherwise than it was meant, or leaks."""

import pandas
import pytest

from common.inputs import check_columns, check_data
from common.settings import UserError

SPLITS = ("train", "validation", "post", "test", "test_unseen", "test_forms")


def table(*rows: tuple[str, str]) -> pandas.DataFrame:
    """Rows of (question, split)."""
    facts = {"sql_context": "CREATE TABLE t (a INT);", "sql": "SELECT a FROM t"}
    return pandas.DataFrame([{"sql_prompt": question, **facts, "split": split} for question, split in rows])


@pytest.mark.parametrize("held_out", SPLITS[3:])
@pytest.mark.parametrize("trained", ["train", "training", "post"])
def test_a_row_for_training_and_for_a_test_is_refused(trained, held_out, tmp_path):
    path = tmp_path / "rows.csv"
    table(("one", trained), ("two", held_out)).to_csv(path, index=False)
    check_data(str(path))
    table(("one", trained), ("two", held_out), ("one", held_out)).to_csv(path, index=False)
    message = "rows.csv: 1 held-out rows are also in the training rows, the first is rows-00002"
    with pytest.raises(UserError, match=message):
        check_data(str(path))


def test_validation_that_is_tested_on_is_named(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    table(("one", "train"), ("two", "dev"), ("two", "test"), ("three", "validation")).to_csv(path, index=False)
    check_data(str(path))
    assert "rows.csv has rows of validation, which chooses weights and settings, among its test rows" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("name", ["x" * 5_000 + ".csv", "~nobody-of-this-name/x.csv"])
def test_a_path_that_the_system_refuses_is_one_line(name):
    with pytest.raises(UserError):
        check_data(name)


def test_rows_without_a_split_and_the_studys_sources_pass(tmp_path):
    path = tmp_path / "rows.csv"
    table(("one", ""), ("one", "")).to_csv(path, index=False)  # one schema, so one split
    for source in ("embedded", "gretel", "gretel@abc", "spider:/nowhere", str(path)):
        check_data(source)


@pytest.mark.parametrize("name", ["split", "id", "sql"])
def test_a_column_that_is_pandas_index_is_refused(name, tmp_path):
    path, rows = tmp_path / "rows.parquet", table(("one", "train"), ("two", "test")).assign(id=["x", "y"])
    rows.to_parquet(path)
    check_data(str(path))
    rows.set_index(name).to_parquet(path)
    with pytest.raises(UserError, match=rf"has the column {name} as pandas' index, .* after `reset_index\(\)`"):
        check_data(str(path))
    rows.set_index([name, "sql_prompt"]).to_parquet(path)
    with pytest.raises(UserError, match=rf"has the column {name}, sql_prompt as pandas' index"):
        check_columns(path)


def test_an_unreadable_file_is_left_to_the_reader(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_text("no parquet")
    check_columns(path)
    check_columns(tmp_path / "nowhere.parquet")
    with pytest.raises(UserError, match="is no readable .parquet file"):
        check_data(str(path))
