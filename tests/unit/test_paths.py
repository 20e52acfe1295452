"""Which parameters are paths, and that a path counts from the folder in which it is given."""

from pathlib import Path

import pytest

from common import paths
from common.profiles import EMBEDDED_MODEL, LARGER_TINY_MODEL, TINY_MODEL
from common.settings import absolute


@pytest.fixture(autouse=True)
def stand(tmp_path, monkeypatch) -> Path:
    """The folder where the user stands, with a file, a model and a Spider in it; a link to it, and a home."""
    stand = tmp_path / "stand"
    for folder in ("Qwen/Qwen3-0.6B", TINY_MODEL, EMBEDDED_MODEL, "my model", "spider", "embedded", "gretel", "org"):
        (stand / folder).mkdir(parents=True)
    for file in ("mine.jsonl", "my rows.csv", "weights.gguf", "org/file"):
        (stand / file).touch()
    (tmp_path / "link").symlink_to(stand)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(stand)
    return stand


@pytest.mark.parametrize(
    ("text", "path"),
    [
        *(
            ("mine.jsonl", "stand/mine.jsonl"),
            ("./mine.jsonl", "stand/mine.jsonl"),
            ("my rows.csv", "stand/my rows.csv"),
        ),
        *(("../stand/mine.jsonl", "stand/mine.jsonl"), ("absent.parquet", "stand/absent.parquet")),
        *(("org/../mine.jsonl", "stand/mine.jsonl"), ("new/rows.CSV", "stand/new/rows.CSV")),
        *(("~/mine.jsonl", "home/mine.jsonl"), ("{tmp}/mine.jsonl", "mine.jsonl"), ("my model", "stand/my model")),
        *(("{tmp}/link/mine.jsonl", "stand/mine.jsonl"), ("C:\\rows\\mine.csv", "stand/C:\\rows\\mine.csv")),
        *(("~nobody-at-all/mine.csv", "stand/~nobody-at-all/mine.csv"), ("gretel.jsonl", "stand/gretel.jsonl")),
        *(
            ("./embedded", "stand/embedded"),
            ("./gretel", "stand/gretel"),
            ("..", ""),
            ("mine@home.csv", "stand/mine@home.csv"),
        ),
    ],
)
def test_data_that_are_a_path(tmp_path, text, path):
    full = str(tmp_path / path)
    assert paths.data(text.format(tmp=tmp_path)) == full
    assert paths.parameter("DATA", text.format(tmp=tmp_path)) == full == paths.data(full)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        *(
            ("spider", "stand/spider"),
            ("./spider/", "stand/spider"),
            ("../stand/spider", "stand/spider"),
            ("", "stand"),
        ),
        *(("~/spider", "home/spider"), ("{tmp}/link/spider", "stand/spider"), ("absent", "stand/absent")),
    ],
)
def test_a_folder_with_spider(tmp_path, text, path):
    assert paths.parameter("DATA", f"spider:{text.format(tmp=tmp_path)}") == f"spider:{tmp_path / path}"


@pytest.mark.parametrize(
    "text",
    ["", "embedded", "gretel", "gretel@main", "gretel@a/b.jsonl", "embeded", "hf://a/b.jsonl", "x" * 5000, "a/b"],
)
def test_data_that_are_no_path(text):
    assert paths.parameter("DATA", text) == text


@pytest.mark.parametrize(
    ("text", "path"),
    [
        *(("my model", "stand/my model"), ("Qwen/Qwen3-0.6B", "stand/Qwen/Qwen3-0.6B"), ("./absent", "stand/absent")),
        *(("../stand/my model/", "stand/my model"), ("~/model", "home/model"), ("weights.gguf", "stand/weights.gguf")),
        *((f"./{TINY_MODEL}", f"stand/{TINY_MODEL}"), ("sub/absent.GGUF", "stand/sub/absent.GGUF"), (".", "stand")),
        *(("{tmp}/link/my model", "stand/my model"), ("~nobody-at-all/x", "stand/~nobody-at-all/x")),
    ],
)
def test_a_model_that_is_a_path(tmp_path, text, path):
    full = str(tmp_path / path)
    assert paths.parameter("MODEL_ID", text.format(tmp=tmp_path)) == full == paths.model(full)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            TINY_MODEL,
            LARGER_TINY_MODEL,
            EMBEDDED_MODEL,
            "Qwen/Qwen3-0.6B@main",
            "Qwen/Qwen3-8B",
            "org/name",
            "gpt2",
            "org/file",
        ),
        *("C:\\models\\mine", "https://host/model.gguf", "x" * 5000),
    ],
)
def test_a_model_that_is_no_path(text):
    assert paths.parameter("MODEL_ID", text) == text


@pytest.mark.parametrize(
    ("text", "path"),
    [
        *(("shop.sqlite", "stand/shop.sqlite"), ("mine", "stand/mine"), ("org/file", "stand/org/file")),
        *(("../shop.db", "shop.db"), ("~/shop.db", "home/shop.db"), ("{tmp}/link/shop.db", "stand/shop.db")),
        *(("~nobody-at-all/x", "stand/~nobody-at-all/x"), ("embedded", "stand/embedded"), ("absent", "stand/absent")),
    ],
)
def test_a_database_is_a_path_whatever_it_is_called(tmp_path, text, path):
    full = str(tmp_path / path)
    assert paths.parameter("DATABASE", text.format(tmp=tmp_path)) == full == paths.database(full)


def test_no_database_is_no_path():
    assert paths.parameter("DATABASE", "") == ""


def test_another_parameter_is_a_path_where_it_looks_like_one(stand):
    assert paths.parameter("ADAPTER", "./absent") == str(stand / "absent")
    assert paths.parameter("ADAPTER", "org/file") == str(stand / "org" / "file")
    for name, text in (("METHOD", "spider"), ("JUDGE", "org/name"), ("PROFILE", "./x"), ("RUN_NAME", "org/file")):
        assert paths.parameter(name, text) == text


def test_a_link_keeps_its_name_and_its_folder_does_not(stand, tmp_path):
    """The hub's cache and data stores link names to files without an ending."""
    (stand / "blob").touch()
    (stand / "rows.csv").symlink_to("blob")
    assert paths.data("rows.csv") == paths.data(f"{tmp_path}/link/rows.csv") == str(stand / "rows.csv")
    (stand / "loop").symlink_to("loop")
    assert absolute("loop/x") == stand / "loop" / "x"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        *(("", ""), ("embedded", "embedded"), ("gretel@abc", "gretel"), ("spider:../x/y", "spider")),
        *(("/a/b/rows.jsonl", "rows"), ("/a/embedded.csv", "embedded.csv"), ("gretel.parquet", "gretel.parquet")),
        *(("/a/gretel/x.csv", "x"), ("gretels/y.csv", "y"), ("spider.jsonl", "spider.jsonl")),
    ],
)
def test_a_file_of_ones_own_is_never_called_like_the_studys_data(source, name):
    assert paths.source_name(source) == name
