"""Rows from files of one's own: read back as they were written, split, and refused in one line."""

import hashlib
from pathlib import Path

import pandas
import pytest

from common.data import Example, check_no_leak, load_examples, load_file, load_tests, notices, revision
from common.profiles import PROFILES
from common.settings import UserError
from tests.unit.files import halve, sha16

TABLE = pandas.DataFrame(
    {
        "sql_prompt": ["How many?", 'Name the "first", please', "NA", "Größe — 数?"],
        "sql_context": [
            "CREATE TABLE a (x);",
            "CREATE TABLE b (x);\nINSERT INTO b VALUES ('it''s');",
            "--",
            "CREATE TABLE c (x)",
        ],
        "sql": ["SELECT 1", "SELECT 'a,b'\r\nFROM b", "SELECT NULL", "SELECT 4;"],
        "id": ["007", "7", "null", "d-4"],
        "domain": ["x", None, "y", "NA"],
        "sql_complexity": ["basic SQL"] * 4,
        "sql_task_type": ["data retrieval"] * 4,
    }
)


def save(table: pandas.DataFrame, path: Path) -> Path:
    match path.suffix:
        case ".parquet":
            table.to_parquet(path, index=False)
        case ".csv":
            table.to_csv(path, index=False)
        case _:
            table.to_json(path, orient="records", lines=True, force_ascii=False)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json", ".csv"])
def test_a_file_comes_back_as_it_was_written(tmp_path, suffix):
    rows = load_file(save(TABLE, tmp_path / f"rows{suffix}"))
    columns = [list(TABLE[name]) for name in ("id", "sql_prompt", "sql_context", "sql")]
    domains = ["x", "", "y", "NA"]
    assert rows == [Example(*cells, "basic SQL", "data retrieval") for cells in zip(*columns, domains, strict=True)]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_three_columns_are_enough(tmp_path, suffix):
    table = pandas.DataFrame({"sql_prompt": ["1", "2"], "sql_context": ["-- 1", "-- 2"], "sql": ["3", "4"]})
    assert load_file(save(table, tmp_path / f"mine{suffix}")) == [
        Example("mine-00000", "1", "-- 1", "3"),
        Example("mine-00001", "2", "-- 2", "4"),
    ]


def test_numbers_are_taken_as_text_where_no_text_is_learned(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 7, "sql_prompt": "q", "sql_context": "s", "sql": "SELECT 5", "domain": 2024}\n')
    assert load_file(path) == [Example("7", "q", "s", "SELECT 5", domain="2024")]


def test_text_is_not_taken_as_numbers(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "007", "sql_prompt": "1e3", "sql_context": "s", "sql": "2024-01-01"}\n')
    assert load_file(path) == [Example("007", "1e3", "s", "2024-01-01")]


def numbered(n: int, per_schema: int = 1) -> pandas.DataFrame:
    return pandas.DataFrame(
        {
            "sql_prompt": [f"question {i}" for i in range(n)],
            "sql_context": [f"CREATE TABLE t{i // per_schema} (a);" for i in range(n)],
            "sql": [f"SELECT {i}" for i in range(n)],
        }
    )


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_split_column_is_followed(tmp_path, suffix):
    names = ["train", "test", "test_unseen", "train", None]
    path = str(save(numbered(5).assign(split=names), tmp_path / f"rows{suffix}"))
    with pytest.raises(UserError, match="the column 'split' says ''; it takes train, validation, test, test_unseen"):
        load_examples(path, "train")
    path = str(save(numbered(4).assign(split=names[:4]), tmp_path / f"rows{suffix}"))
    assert [row.question for row in load_examples(path, "train")] == ["question 0", "question 3"]
    assert [row.question for row in load_examples(path, "test_unseen")] == ["question 2"]
    with pytest.raises(UserError, match="has no rows in split 'validation'; give a larger file or another split"):
        load_examples(path, "validation")
    assert len(load_examples(path, "train", limit=3)) == 2


@pytest.mark.parametrize("name", ["holdout", "0", "trainn", "test unseen"])
def test_a_split_of_an_unknown_name_is_not_dropped_silently(tmp_path, name):
    path = save(numbered(3).assign(split=["train", name, "test"]), tmp_path / "rows.jsonl")
    with pytest.raises(UserError, match=f"column 'split' says '{name}'; it takes train, validation, test, test_unseen"):
        load_examples(str(path), "train")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_splits_of_the_usual_names_are_known(tmp_path, suffix):
    names = ["Train", " dev ", "valid", "TEST", "val", "test_unseen", "training", "Validation"]
    path = str(save(numbered(8).assign(split=names), tmp_path / f"rows{suffix}"))
    numbers = {"train": [0, 6], "validation": [1, 2, 4, 7], "test": [3], "test_unseen": [5]}
    for split, expected in numbers.items():
        assert [int(row.question.split()[1]) for row in load_examples(path, split)] == expected


def test_a_file_without_split_is_split_by_whole_schemas(tmp_path):
    path = str(save(numbered(300, per_schema=3), tmp_path / "rows.jsonl"))
    splits = {split: load_examples(path, split) for split in ("train", "validation", "test", "post")}
    assert sum(map(len, splits.values())) == 300
    post = splits.pop("post")
    assert len(post) == round((len(splits["train"]) + len(post)) / 10)
    check_no_leak(splits["train"] + post, splits["validation"] + splits["test"])
    check_no_leak(splits["train"], post)
    splits["train"] += post  # it is the end of what there is to train on
    assert load_examples(path, "post", limit=3) == post[:3]
    # A tenth is 30 rows; a schema of three rows stays whole, so a split has 30 to 32.
    assert 30 <= len(splits["test"]) <= 32 and 30 <= len(splits["validation"]) <= 32
    schemas = {split: {row.schema for row in rows} for split, rows in splits.items()}
    assert sum(map(len, schemas.values())) == 100 == len(set().union(*schemas.values()))
    check_no_leak(splits["train"], splits["validation"] + splits["test"])
    assert load_examples(path, "train", limit=11) == splits["train"][:11]
    assert {row.schema for row in load_examples(path, "test", seed=1)} != schemas["test"]
    # The order is mixed, not schema by schema.
    assert len({row.schema for row in splits["train"][:30]}) > 15
    with pytest.raises(UserError, match="name test_unseen in a column 'split'"):
        load_examples(path, "test_unseen")


def test_tests_are_the_splits_that_a_file_names(tmp_path):
    names = ["train", "test", "test", "test_forms", "test_forms", "post"]
    path = str(save(numbered(6).assign(split=names), tmp_path / "rows.csv"))
    tests = load_tests(path, limit=2, other_limit=1)
    assert {split: [row.question for row in rows] for split, rows in tests.items()} == {
        "test": ["question 1", "question 2"],
        "test_forms": ["question 3"],
    }
    assert list(load_tests(path, limit=2, other_limit=0)) == ["test"]
    assert [row.question for row in load_examples(path, "post")] == ["question 5"]
    unnamed = str(save(numbered(60), tmp_path / "unnamed.csv"))
    assert list(load_tests(unnamed, limit=2, other_limit=2)) == ["test"]


def test_a_file_of_few_rows_has_no_rows_to_test_on(tmp_path):
    path = str(save(numbered(4), tmp_path / "rows.csv"))
    assert len(load_examples(path, "train")) == 4
    with pytest.raises(UserError, match="has no rows in split 'test'; give a larger file"):
        load_examples(path, "test")


def test_one_schema_for_all_rows_cannot_be_split(tmp_path):
    path = str(save(numbered(20, per_schema=20), tmp_path / "rows.csv"))
    reason = r"or name each row's split in a column 'split' \(20 rows, schemas: 1, none parted\)"
    with pytest.raises(UserError, match=f"has no rows in split 'train'; give a larger file or another split, {reason}"):
        load_examples(path, "train")


def test_three_schemas_are_three_splits(tmp_path):
    path = str(save(numbered(120, per_schema=40), tmp_path / "rows.csv"))
    rows = [load_examples(path, split) for split in ("train", "validation", "test")]
    assert [len(part) for part in rows] == [36, 40, 40] and len({row.schema for part in rows for row in part}) == 3


@pytest.mark.parametrize(("count", "sizes"), [(120, (86, 12, 12)), (400, (288, 40, 40))])
def test_a_file_smaller_than_a_profile_is_taken_as_it_is_and_that_is_told_once(
    tmp_path, capsys, monkeypatch, count, sizes
):
    """What every training notebook asks for, at each profile."""
    path = str(save(numbered(count), tmp_path / "mine.csv"))
    for profile in PROFILES.values():
        monkeypatch.setattr(notices, "_printed", set())
        capsys.readouterr()
        lines = []
        for stage in profile.stages:
            limits = stage.train_rows, stage.valid_rows, profile.test_rows
            for split, limit, size in zip(("train", "validation", "test"), limits, sizes, strict=True):
                rows = load_examples(path, split, limit=limit)
                assert rows == load_examples(path, split)[:limit] and len(rows) == min(limit, size)
                line = f"{path} has {size} rows in split '{split}', {limit} were asked for; {size} are taken"
                if limit > size and not any(f"'{split}'" in before for before in lines):
                    lines.append(line)
        assert capsys.readouterr().out.splitlines() == lines
        assert lines or profile.name == "smoke"


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="sql"), "lacks the column sql; it needs sql_prompt, sql_context, sql"),
        (lambda t: t.drop(columns=["sql_prompt", "sql"]), "lacks the column sql_prompt, sql; it needs"),
        (lambda t: t.rename(columns=str.upper), "lacks the column sql_prompt, sql_context, sql"),
        (lambda t: t.assign(id=["a", "b", "a"]), "repeats an id; make the ids unique, or leave the column out"),
        (lambda t: t.assign(sql=["SELECT 1", None, None]), "has an empty sql in row 2; fill or drop it"),
        (lambda t: t.assign(sql_context=["x", "y", None]), "has an empty sql_context in row 3; fill or drop it; '--'"),
        (lambda t: t.assign(sql=["SELECT 1", "", "x"]), "has an empty sql in row 2; fill or drop it"),
        (lambda t: t.assign(sql=["SELECT 1", "SELECT 2", " \n\t"]), "has an empty sql in row 3; fill or drop it"),
        (lambda t: t.assign(sql_prompt=["a", "", "x"]), "has an empty sql_prompt in row 2; fill or drop it"),
        (lambda t: t.assign(sql_context=["", "", "x"]), "has an empty sql_context in row 1; fill or drop it"),
        (lambda t: t.assign(id=["a", " ", "c"]), "has an empty id in row 2; fill or drop it"),
        (lambda t: t.assign(id=["a", "", "c"]), "has an empty id in row 2; fill or drop it"),
        (lambda t: t.assign(id=[None, "b", "c"]), "has an empty id in row 1; fill or drop it"),
        (lambda t: t.iloc[:0], "has no rows"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path, suffix, change, message):
    path = save(change(numbered(3)), tmp_path / f"rows{suffix}")
    with pytest.raises(UserError) as error:
        load_examples(str(path), "train")
    assert str(error.value).startswith(f"{path} {message}")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe not this \x00\n\n" * 20, b'{"sql": \n'])
def test_a_file_of_another_kind_is_one_line(tmp_path, suffix, content):
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_examples(str(path), "train")
    assert any(
        f"{path} {reason}" in str(error.value) for reason in ("is no readable", "has no rows", "lacks the column")
    )
    if suffix == ".parquet":
        assert "is no readable .parquet file" in str(error.value)


def test_a_truncated_parquet_is_one_line(tmp_path):
    path = save(numbered(50), tmp_path / "rows.parquet")
    halve(path)
    with pytest.raises(UserError, match=r"is no readable \.parquet file \(ArrowInvalid\); write it again"):
        load_file(path)


def test_a_parquet_with_an_index_of_names_still_counts_rows(tmp_path):
    table = numbered(3).assign(sql=["SELECT 1", None, "SELECT 2"])
    table.index = ["x", "y", "z"]
    table.to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="has an empty sql in row 2"):
        load_file(tmp_path / "rows.parquet")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "rows.parquet").mkdir()
    with pytest.raises(UserError, match="there is no file"):
        load_examples(str(tmp_path / "rows.parquet"), "train")


def test_home_is_expanded(tmp_path, monkeypatch):
    save(numbered(1), tmp_path / "rows.csv")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_file("~/rows.csv")) == 1


def test_gretel_sample_has_gretels_format(shared_data):
    rows = load_file(shared_data / "gretel_sample.jsonl")
    assert len(rows) == 20 and rows[0].id == "gretel_sample-00000"
    assert all(row.schema.startswith("CREATE") and row.sql and row.question for row in rows)
    assert "application_id" in rows[0].schema and rows[0].sql.startswith("SELECT AVG(explainability_score)")


def test_revision_of_a_file_is_its_digest_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(numbered(2), Path("gretel_rows.csv"))
    expected = sha16(b"gretel_rows.csv\0" + hashlib.sha256(Path("gretel_rows.csv").read_bytes()).digest())
    assert revision("gretel_rows.csv") == expected
