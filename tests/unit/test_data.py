"""Each source of rows: what it gives, in which order, and the one line for what it cannot give.

Rows are invented here; Spider and gretel's sample are read from ../shared/data where that is there. No test needs the
network: gretel's loader stands in for the hub, and one test asks a hub that nobody answers for.
"""

import hashlib
import io
import json
import os
import py_compile
import random
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pandas
import pytest

from common import data
from common.data import GRETEL, Example, check_no_leak, digest_of, ids_hash, load_examples, load_file, revision
from common.settings import ROOT, UserError, outputs

COUNTS = {"train": 120, "validation": 40, "test": 40, "test_unseen": 40}


@pytest.fixture(scope="module")
def embedded() -> dict[str, list[Example]]:
    return {split: load_examples("embedded", split, limit=n) for split, n in COUNTS.items()}


def sha16(text: bytes | str) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:16]


# Embedded


def test_embedded_rows_are_whole(embedded):
    for split, rows in embedded.items():
        assert len(rows) == COUNTS[split]
        for row in rows:
            assert row.question and row.schema.startswith("CREATE TABLE") and row.sql
            assert row.domain and row.complexity and row.task_type and row.database is None


def test_a_smaller_limit_gives_the_first_rows(embedded):
    assert load_examples("embedded", "train", limit=24) == embedded["train"][:24]


def test_another_seed_gives_other_rows(embedded):
    other = load_examples("embedded", "test", limit=20, seed=7)
    assert not {(row.question, row.schema) for row in other} & {(row.question, row.schema) for row in embedded["test"]}
    assert other == load_examples("embedded", "test", limit=20, seed=7)


def test_embedded_splits_share_nothing(embedded):
    rows = [row for split in embedded.values() for row in split]
    assert len({row.id for row in rows}) == len(rows) == sum(COUNTS.values())
    for split in ("validation", "test", "test_unseen"):
        check_no_leak(embedded["train"], embedded[split])
        assert not {row.schema for row in embedded["train"]} & {row.schema for row in embedded[split]}
    seen = {row.domain for split in ("train", "validation", "test") for row in embedded[split]}
    assert not seen & {row.domain for row in embedded["test_unseen"]}


def test_a_limit_over_the_embedded_split_is_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr(data, "generate", None)  # calling it would raise
    with pytest.raises(
        UserError, match="embedded has 20000 rows in split 'train', 20001 were asked for; ask for fewer"
    ):
        load_examples("embedded", "train", limit=20_001)


@pytest.mark.parametrize(
    ("source", "split", "limit", "said"),
    [
        ("embedded", "dev", 5, "unknown split 'dev'; choose one of train, validation, test, test_unseen"),
        ("embedded", "", None, "unknown split ''"),
        ("gretel", "Train", None, "unknown split 'Train'"),
        ("embedded", "test", 0, "a limit of 0 rows leaves nothing; give at least 1, or None for all"),
        ("embedded", "test", -3, "a limit of -3 rows"),
        ("gretel", "test_unseen", None, "gretel has the splits train, validation and test"),
        ("imbedded", "test", None, "unknown data 'imbedded'; give embedded, gretel, spider:DIR, or a .parquet"),
        ("", "test", None, "unknown data"),
        ("data.xlsx", "test", None, "unknown data 'data.xlsx'"),
        ("gretelx", "test", None, "unknown data 'gretelx'"),
        ("nowhere/rows.csv", "test", None, "there is no file nowhere/rows.csv"),
        ("spider:nowhere", "test", None, "no Spider in nowhere: schemas.json is missing"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(source, split, limit, said):
    with pytest.raises(UserError) as error:
        load_examples(source, split, limit=limit)
    assert said in str(error.value)


# Hashes and leaks


def row(id: str, question: str = "q", schema: str = "CREATE TABLE t (a);", sql: str = "SELECT 1") -> Example:
    return Example(id=id, question=question, schema=schema, sql=sql)


def test_ids_hash_is_the_hash_of_the_ids_in_order():
    assert ids_hash([row("a"), row("b", question="x")]) == sha16("a\nb")
    assert ids_hash([row("b"), row("a")]) == sha16("b\na") != sha16("a\nb")


def test_leaks_are_found_by_id_and_by_content():
    train = [row("a", "one"), row("b", "two")]
    check_no_leak(train, [row("c", "three"), row("d", "one", sql="SELECT 2")])
    check_no_leak(iter(train), iter([row("c", "one", schema="CREATE TABLE u (a);")]))
    with pytest.raises(UserError, match="1 held-out rows are also in the training rows, the first is b"):
        check_no_leak(train, [row("c", "three"), row("b", "four")])
    with pytest.raises(UserError, match="2 held-out rows .* the first is x"):
        check_no_leak(iter(train), [row("x", "two"), row("a", "nine")])


def test_digest_covers_names_and_bytes_but_no_compiled_python(tmp_path):
    one, two = tmp_path / "b.py", tmp_path / "a.toml"
    one.write_text("x = 1\n")
    two.write_text("")
    expected = b"".join(p.name.encode() + b"\0" + hashlib.sha256(p.read_bytes()).digest() for p in (two, one))
    assert digest_of([one, two]) == sha16(expected)
    py_compile.compile(str(one))
    assert list(tmp_path.glob("**/*.pyc"))
    assert digest_of(tmp_path.glob("**/*.[pt]*")) == sha16(expected)
    one.write_text("x = 2\n")
    assert digest_of([one, two]) != sha16(expected)


# gretel, without the hub


@pytest.fixture
def hub(monkeypatch):
    """The hub's loader with 400 rows to train on and 30 to test on; returns what it was asked for."""
    import datasets
    from huggingface_hub import constants

    asked = []

    def load_dataset(name, *, split, revision):
        asked.append((name, split, revision))
        rows = range({"train": 400, "test": 30}[split])
        columns = ("domain", "sql_complexity", "sql_task_type", "sql_prompt", "sql_context", "sql", "sql_explanation")
        return datasets.Dataset.from_list([{"id": 1000 + n} | {c: f"{c} {split} {n}" for c in columns} for n in rows])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    data._gretel_commit.cache_clear()
    yield asked
    data._gretel_commit.cache_clear()


def test_gretel_is_split_as_published(hub):
    train, validation = (load_examples("gretel@abc", split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (400 - 10, 10)  # 2.5 % of 400
    assert {row.id for row in train + validation} == {f"gretel-train-{1000 + n}" for n in range(400)}
    assert [row.id for row in train] != sorted(row.id for row in train)
    assert hub == [(GRETEL, "train", "abc")] * 2 and GRETEL == "gretelai/synthetic_text_to_sql"


def test_gretel_columns_become_an_example(hub):
    assert load_examples("gretel@abc", "test", limit=2)[1] == Example(
        id="gretel-test-1001",
        question="sql_prompt test 1",
        schema="sql_context test 1",
        sql="sql test 1",
        domain="domain test 1",
        complexity="sql_complexity test 1",
        task_type="sql_task_type test 1",
    )
    assert hub == [(GRETEL, "test", "abc")]


def test_gretel_stages_are_nested_and_seeded(hub):
    whole = load_examples("gretel@abc", "train")
    assert load_examples("gretel@abc", "train", limit=7) == whole[:7]
    other = load_examples("gretel@abc", "train", seed=1)
    assert other != whole and other == load_examples("gretel@abc", "train", seed=1)
    # The test split is gretel's own: no seed moves it.
    assert load_examples("gretel@abc", "test", seed=1) == load_examples("gretel@abc", "test", seed=2)


def test_gretel_has_no_more_rows_than_it_has(hub):
    with pytest.raises(UserError, match="gretel@abc has 30 rows in split 'test', 31 were asked for"):
        load_examples("gretel@abc", "test", limit=31)


def test_gretel_commit_is_asked_for_once_and_recorded_as_loaded(hub, monkeypatch):
    import huggingface_hub

    class Api:
        def dataset_info(self, name, *, revision, timeout):
            questions.append((name, revision))
            return type("Info", (), {"sha": "f" * 40})

    questions = []
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    load_examples("gretel", "train", limit=1)
    load_examples("gretel", "test", limit=1)
    assert [asked[2] for asked in hub] == [revision("gretel")] * 2 == ["f" * 40] * 2
    assert questions == [(GRETEL, None)]
    assert revision("gretel@v1") == "f" * 40 and questions[1:] == [(GRETEL, "v1")]


def test_gretel_without_network_ends_at_once():
    code = (
        "import time\ntime.sleep = lambda seconds: print('waited', seconds)\n"  # as the hub's own clients do for 24 s
        "from common.data import load_examples, revision\nfrom common.settings import UserError\n"
        "for ask in (lambda: load_examples('gretel', 'train', limit=4), lambda: revision('gretel')):\n"
        "    try:\n        ask()\n    except UserError as error:\n        print(error)\n"
    )
    env = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env, timeout=60)
    first, second = found.stdout.splitlines()
    assert first == second and found.stderr == ""
    assert (
        first.startswith(f"cannot get '{GRETEL}' from the Hugging Face hub (ConnectError)") and "PROFILE=cpu" in first
    )


# Spider


@pytest.fixture(scope="module")
def spider(shared_data) -> str:
    return f"spider:{shared_data / 'spider'}"


@pytest.fixture(scope="module")
def spider_rows(spider) -> dict[str, list[Example]]:
    return {split: load_examples(spider, split) for split in ("train", "validation", "test")}


def test_spider_has_its_rows(spider_rows):
    sizes = {split: len(rows) for split, rows in spider_rows.items()}
    assert sizes["test"] == 1034 and sizes["train"] + sizes["validation"] == 6787
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
    assert load_examples(spider, "test_unseen") == spider_rows["test"]
    with pytest.raises(UserError, match="has 1034 rows in split 'test', 1035 were asked for"):
        load_examples(spider, "test", limit=1035)


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
        row for split in ("train", "validation") for row in data._spider(small_spider, split, 42)
    ]  # its one database is in one of the two
    assert [(row.schema, row.question) for row in rows] == [("CREATE TABLE t (a); SELECT 1;", "q\u2028")] * 2


@pytest.mark.parametrize("name", ["schemas.json", "dev.jsonl", "databases.tar.gz"])
def test_spider_with_a_missing_file(small_spider, name):
    (small_spider / name).unlink()
    with pytest.raises(UserError) as error:
        load_examples(f"spider:{small_spider}", "test")
    assert str(error.value) == f"no Spider in {small_spider}: {name} is missing"


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


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


# Files of one's own

TABLE = pandas.DataFrame(
    {
        "sql_prompt": ["How many?", 'Name the "first", please', "NA", "Größe — 数?"],
        "sql_context": [
            "CREATE TABLE a (x);",
            "CREATE TABLE b (x);\nINSERT INTO b VALUES ('it''s');",
            "",
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
    table = TABLE.replace({"sql_context": {"": "-- none"}}) if suffix == ".csv" else TABLE  # "" is no cell in CSV
    rows = load_file(save(table, tmp_path / f"rows{suffix}"))
    columns = [list(table[name]) for name in ("id", "sql_prompt", "sql_context", "sql")]
    domains = ["x", "", "y", "NA"]
    assert rows == [Example(*cells, "basic SQL", "data retrieval") for cells in zip(*columns, domains, strict=True)]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_three_columns_are_enough(tmp_path, suffix):
    table = pandas.DataFrame({"sql_prompt": ["1", "2"], "sql_context": ["-- 1", "-- 2"], "sql": ["3", "4"]})
    assert load_file(save(table, tmp_path / f"mine{suffix}")) == [
        Example("mine-00000", "1", "-- 1", "3"),
        Example("mine-00001", "2", "-- 2", "4"),
    ]


def test_numbers_are_taken_as_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 7, "sql_prompt": "q", "sql_context": "s", "sql": 5, "domain": 2024}\n')
    assert load_file(path) == [Example("7", "q", "s", "5", domain="2024")]


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
    with pytest.raises(UserError, match="has 2 rows in split 'train', 3 were asked for"):
        load_examples(path, "train", limit=3)


def test_a_split_of_an_unknown_name_is_not_dropped_silently(tmp_path):
    path = save(numbered(3).assign(split=["train", "dev", "test"]), tmp_path / "rows.jsonl")
    with pytest.raises(UserError, match="the column 'split' says 'dev'; it takes train, validation, test, test_unseen"):
        load_examples(str(path), "train")


def test_a_file_without_split_is_split_by_whole_schemas(tmp_path):
    path = str(save(numbered(300, per_schema=3), tmp_path / "rows.jsonl"))
    splits = {split: load_examples(path, split) for split in ("train", "validation", "test")}
    assert sum(map(len, splits.values())) == 300
    # A tenth is 30 rows; a schema of three rows stays whole, so a split has 30 to 32.
    assert 30 <= len(splits["test"]) <= 32 and 28 <= len(splits["validation"]) <= 32
    schemas = {split: {row.schema for row in rows} for split, rows in splits.items()}
    assert sum(map(len, schemas.values())) == 100 == len(set().union(*schemas.values()))
    check_no_leak(splits["train"], splits["validation"] + splits["test"])
    assert load_examples(path, "train", limit=11) == splits["train"][:11]
    assert {row.schema for row in load_examples(path, "test", seed=1)} != schemas["test"]
    # The order is mixed, not schema by schema.
    assert len({row.schema for row in splits["train"][:30]}) > 15
    with pytest.raises(UserError, match="name test_unseen in a column 'split'"):
        load_examples(path, "test_unseen")


def test_a_file_of_few_rows_has_no_rows_to_test_on(tmp_path):
    path = str(save(numbered(4), tmp_path / "rows.csv"))
    assert len(load_examples(path, "train")) == 4
    with pytest.raises(UserError, match="has no rows in split 'test'; give a larger file"):
        load_examples(path, "test")


def test_one_schema_for_all_rows_cannot_be_split(tmp_path):
    path = str(save(numbered(20, per_schema=20), tmp_path / "rows.csv"))
    with pytest.raises(UserError, match="has no rows in split 'train'; give a larger file or another split"):
        load_examples(path, "train")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="sql"), "lacks the column sql; it needs sql_prompt, sql_context, sql"),
        (lambda t: t.drop(columns=["sql_prompt", "sql"]), "lacks the column sql_prompt, sql; it needs"),
        (lambda t: t.rename(columns=str.upper), "lacks the column sql_prompt, sql_context, sql"),
        (lambda t: t.assign(id=["a", "b", "a"]), "repeats an id; make the ids unique, or leave the column out"),
        (lambda t: t.assign(sql=["SELECT 1", None, None]), "has an empty sql in row 2; fill or drop it"),
        (lambda t: t.assign(sql_context=["x", "y", None]), "has an empty sql_context in row 3; fill or drop it"),
        (lambda t: t.assign(id=[None, "b", "c"]), "has an empty id in row 1; fill or drop it"),
        (lambda t: t.iloc[:0], "has no rows"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path, suffix, change, said):
    path = save(change(numbered(3)), tmp_path / f"rows{suffix}")
    with pytest.raises(UserError) as error:
        load_examples(str(path), "train")
    assert str(error.value).startswith(f"{path} {said}")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe not this \x00\n\n" * 20, b'{"sql": \n'])
def test_a_file_of_another_kind_is_one_line(tmp_path, suffix, content):
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load_examples(str(path), "train")
    assert any(f"{path} {said}" in str(error.value) for said in ("is no readable", "has no rows", "lacks the column"))
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


# Revisions


def test_revision_of_a_file_is_its_digest_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(numbered(2), Path("gretel_rows.csv"))
    expected = sha16(b"gretel_rows.csv\0" + hashlib.sha256(Path("gretel_rows.csv").read_bytes()).digest())
    assert revision("gretel_rows.csv") == expected


def test_revision_of_spider_covers_rows_schemas_and_databases(small_spider):
    source, found = f"spider:{small_spider}", set()
    for name in ("", "dev.jsonl", "train.jsonl", "schemas.json", "databases.tar.gz"):
        if name:
            with (small_spider / name).open("a") as file:
                file.write(" ")
        found.add(revision(source))
    assert len(found) == 5
    (small_spider / "README.md").write_text("no content")
    assert revision(source) in found


def test_revision_of_embedded_is_the_generators(tmp_path):
    copy = tmp_path / "synthetic"
    shutil.copytree(ROOT / "common" / "synthetic", copy, ignore=shutil.ignore_patterns("__pycache__"))
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert len({path.suffix for path in files} - {".py", ".toml", ".txt"}) == 0
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    assert revision("embedded") == digest.hexdigest()[:16]
