"""Spider as a source of rows: its splits and databases where it is there, and a small one that is harmed."""

import io
import json
import random
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from common.data import Example, check_no_leak, load_examples, load_tests, revision
from common.data.ddl import schema_text
from common.data.spider import load
from common.settings import UserError, outputs
from tests.unit.files import halve


@pytest.fixture(scope="module")
def spider(shared_data) -> str:
    return f"spider:{shared_data / 'spider'}"


@pytest.fixture(scope="module")
def spider_rows(spider) -> dict[str, list[Example]]:
    return {split: load_examples(spider, split) for split in ("train", "post", "validation", "test")}


def test_spider_has_its_rows(spider_rows):
    sizes = {split: len(rows) for split, rows in spider_rows.items()}
    assert sizes["test"] == 1034 and sizes["train"] + sizes["post"] + sizes["validation"] == 6787
    assert sizes["post"] == round((sizes["train"] + sizes["post"]) / 10)
    assert 0.03 < sizes["validation"] / 6787 < 0.16  # 8 % of the databases
    rows = [row for split in spider_rows.values() for row in split]
    assert len({row.id for row in rows}) == 6787 + 1034
    assert all(row.question and row.sql and "CREATE TABLE" in row.schema for row in rows)


def test_spider_splits_share_no_database(spider_rows):
    names = {split: {row.domain for row in rows} for split, rows in spider_rows.items()}
    assert not names["train"] & names["validation"] and not (names["train"] | names["validation"]) & names["test"]
    assert (len(names["train"] | names["validation"]), len(names["test"])) == (137, 20)
    check_no_leak(spider_rows["train"], spider_rows["validation"] + spider_rows["test"])


def test_spider_databases_open_and_answer(spider_rows):
    databases = {row.database: row for rows in spider_rows.values() for row in rows}
    assert len(databases) == 157
    for path, row in databases.items():
        assert path.stem == row.domain and path.is_relative_to(outputs() / "cache")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            assert connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0] > 0
            connection.execute(row.sql).fetchmany(1)


def test_spider_is_mixed_and_seeded(spider, spider_rows):
    train = spider_rows["train"]
    assert load_examples(spider, "train", limit=50) == train[:50]
    assert len({row.domain for row in train[:50]}) > 25
    assert {row.domain for row in load_examples(spider, "train", seed=1)} != {row.domain for row in train}


def test_spider_tests_on_the_same_databases_seen_or_unseen(spider, spider_rows):
    assert load_tests(spider, limit=9, other_limit=9) == {"test": spider_rows["test"][:9]}
    with pytest.raises(UserError, match="test_forms is only in embedded"):
        load_examples(spider, "test_forms")
    assert load_examples(spider, "test_unseen") == spider_rows["test"]
    assert load_examples(spider, "test", limit=5851) == spider_rows["test"]  # what the published sizes ask for


@pytest.fixture
def small_spider(tmp_path) -> Path:
    """A Spider of two databases, x with one row in dev and y with two rows in train."""
    folder = tmp_path / "spider"
    folder.mkdir()
    rows = {"dev": ["x"], "train": ["y", "y"]}
    for name, ids in rows.items():
        lines = [
            {"id": f"{name}-{n}", "db_id": db, "question": "q\u2028", "sql": "SELECT a FROM t"}
            for n, db in enumerate(ids)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    (folder / "schemas.json").write_text(
        json.dumps({"x": "CREATE TABLE t (a)", "y": ["CREATE TABLE t (a);", "SELECT 1;"]})
    )
    pack(folder, "x", "y")
    return folder


def pack(folder: Path, *names: str) -> None:
    with tarfile.open(folder / "databases.tar.gz", "w:gz") as tar:
        for name in names:
            content = random.Random(name).randbytes(5000)  # does not compress, so half the archive is half of it
            member = tarfile.TarInfo(f"deep/{name}.sqlite")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def cached() -> set[Path]:
    return set((outputs() / "cache").glob("spider-*")) if (outputs() / "cache").is_dir() else set()


def test_spider_is_unpacked_once(small_spider, monkeypatch):
    before = cached()
    first = load_examples(f"spider:{small_spider}", "test")[0]
    assert first.database.read_bytes() == random.Random("x").randbytes(5000)
    assert [path.name.count("partial") for path in cached() - before] == [0]
    monkeypatch.setattr(tarfile, "open", None)  # calling it would raise
    assert load_examples(f"spider:{small_spider}", "test")[0] == first


def test_spider_schemas_may_be_lists_and_lines_may_hold_any_character(small_spider):
    rows = [
        row for split in ("train", "validation") for row in load(small_spider, split, seed=42)
    ]  # its one database is in one of the two
    assert [(row.schema, row.question) for row in rows] == [("CREATE TABLE t (a); SELECT 1;", "q\u2028")] * 2


@pytest.mark.parametrize("name", ["schemas.json", "dev.jsonl", "databases.tar.gz"])
def test_spider_with_a_missing_file(small_spider, name):
    (small_spider / name).unlink()
    with pytest.raises(UserError) as error:
        load_examples(f"spider:{small_spider}", "test")
    assert str(error.value) == f"no Spider in {small_spider}: {name} is missing"


@pytest.mark.parametrize(
    ("name", "harm", "reason"),
    [
        ("databases.tar.gz", halve, "EOFError|ReadError"),
        ("databases.tar.gz", lambda path: path.write_bytes(b"no archive" * 100), "ReadError"),
        ("databases.tar.gz", lambda path: path.write_bytes(path.read_bytes()[:60] + b"\xff" * 4000), "error|ReadError"),
        ("schemas.json", lambda path: path.write_text('{"x": '), "JSONDecodeError"),
        ("dev.jsonl", lambda path: path.write_text("<html>"), "JSONDecodeError"),
        ("dev.jsonl", lambda path: path.write_bytes(b"\xff\xfe"), "UnicodeDecodeError"),
    ],
)
def test_spider_with_a_corrupt_file(small_spider, name, harm, reason):
    before = cached()
    harm(small_spider / name)
    with pytest.raises(UserError, match=rf"^Spider in .* cannot be read \(({reason})\); copy it again$"):
        load_examples(f"spider:{small_spider}", "test")
    assert cached() == before  # nothing half unpacked is left to be taken for whole


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("dev.jsonl", '{"id": "a", "question": "q", "sql": "x"}', "row 1 of dev.jsonl has no text as db_id"),
        ("dev.jsonl", '{"id": 1, "db_id": "x", "question": "q", "sql": "x"}', "row 1 of dev.jsonl has no text as id"),
        (
            "dev.jsonl",
            '{"id": "a", "db_id": "x", "question": "q", "sql": null}',
            "row 1 of dev.jsonl has no text as sql",
        ),
        ("dev.jsonl", '\n["a"]', "row 1 of dev.jsonl has no text as"),
        ("schemas.json", "{}", "schemas.json has no text for x"),
        ("schemas.json", '["CREATE TABLE t (a)"]', "schemas.json has no text for x"),
        ("schemas.json", '{"x": null}', "schemas.json has no text for x"),
        ("schemas.json", '{"x": [["CREATE TABLE t (a)"]]}', "schemas.json has no text for x"),
    ],
)
def test_spider_with_a_row_or_a_schema_that_is_no_text(small_spider, name, text, reason):
    (small_spider / name).write_text(text)
    with pytest.raises(UserError, match=f"^Spider in .*: {reason}"):
        load_examples(f"spider:{small_spider}", "test")


def test_the_packed_folder_may_lie_one_deeper(small_spider):
    assert load_examples(f"spider:{small_spider.parent}", "test") == load_examples(f"spider:{small_spider}", "test")


def test_a_databases_own_statements_read_as_the_packed_schemas(spider_rows):
    """Both layouts give a prompt the same text; one database's is written in another way."""
    schemas = {row.database: row.schema for rows in spider_rows.values() for row in rows}
    differences = [path.stem for path, schema in schemas.items() if schema_text(path) != schema]
    assert len(schemas) == 157 and len(differences) <= 1


@pytest.mark.parametrize("names", [(), ("y",)])
def test_spider_without_one_of_its_databases(small_spider, names):
    pack(small_spider, *names)
    with pytest.raises(UserError, match="lacks 1 databases, the first is x; copy it again"):
        load_examples(f"spider:{small_spider}", "test")


def test_an_archive_writes_nowhere_but_into_the_cache(small_spider):
    with tarfile.open(small_spider / "databases.tar.gz", "w:gz") as tar:
        for name in ("x.sqlite", "../../escaped.sqlite", "note.txt"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    folder = load_examples(f"spider:{small_spider}", "test")[0].database.parent
    assert {path.name for path in folder.iterdir()} == {"x.sqlite", "escaped.sqlite"}
    assert not list(outputs().glob("escaped*"))


def test_revision_of_spider_covers_rows_schemas_and_databases(small_spider):
    source, revisions = f"spider:{small_spider}", set()
    for name in ("", "dev.jsonl", "train.jsonl", "schemas.json", "databases.tar.gz"):
        if name:
            with (small_spider / name).open("a") as file:
                file.write(" ")
        revisions.add(revision(source))
    assert len(revisions) == 5
    (small_spider / "README.md").write_text("no content")
    assert revision(source) in revisions
