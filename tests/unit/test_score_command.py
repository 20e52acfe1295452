"""`python -m common.score`: predictions joined with references, judged, and reported; mistakes in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import score
from common.data import load_examples
from common.score import aligned, judge, read_predictions, read_references, report, verdicts_file
from common.settings import ROOT, UserError

SCHEMA = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'y');"
REFERENCES = [
    {"id": "one", "sql_prompt": "All a?", "sql_context": SCHEMA, "sql": "SELECT a FROM t"},
    {"id": "two", "sql_prompt": "How many of y?", "sql_context": SCHEMA, "sql": "SELECT COUNT(*) FROM t WHERE b = 'y'"},
    {"id": "three", "sql_prompt": "The b?", "sql_context": SCHEMA, "sql": "SELECT b FROM t ORDER BY a"},
]
PREDICTIONS = [
    {"id": "two", "completion": "SELECT 2"},  # right on the given rows alone
    {"id": "one", "completion": "```sql\nSELECT a FROM t;\n```"},
]


def write(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_score(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "common.score", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_command(tmp_path):
    references = write(tmp_path / "references.jsonl", REFERENCES)
    predictions, output = write(tmp_path / "predictions.jsonl", PREDICTIONS), tmp_path / "verdicts.jsonl"
    done = run_score(predictions, "--references", references, "--output", output)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "1 of 3 references have no prediction; they count as answered wrongly"
    # one of three is right on generated databases, two are on the given one
    assert lines[1].startswith("robust match") and "0.333 [" in lines[1] and lines[1].endswith("n = 3")
    assert lines[2].startswith("strict match") and "0.667 [" in lines[2]
    assert lines[-1] == "outcomes: empty_prediction 1, match 2"
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(row["id"], row["match"], row["robust_match"], row["sql"]) for row in rows] == [
        ("one", True, True, "SELECT a FROM t;"),
        ("two", True, False, "SELECT 2"),
        ("three", False, False, ""),
    ]


def test_the_studys_own_rows_judge_themselves_right():
    examples = load_examples("embedded", "test_forms", limit=6)
    rows = judge(examples, [example.sql for example in examples], databases=1)
    assert [row["robust_match"] for row in rows] == [True] * 6
    text = report(rows)
    assert text.startswith("robust match                    1.000 [") and "n = 6" in text
    assert all(example.complexity in text for example in examples) and "6/6" not in text.splitlines()[0]


def test_lines_without_ids_are_in_the_references_order(tmp_path):
    examples = load_examples("embedded", "test", limit=2)
    predictions = read_predictions(write(tmp_path / "p.jsonl", [{"prediction": "a"}, {"sql": "b"}]))
    assert aligned(examples, predictions) == (["a", "b"], 0)
    with pytest.raises(UserError, match="2 predictions without ids for 1 references"):
        aligned(examples[:1], predictions)
    with pytest.raises(UserError, match="1 predictions are of no reference, 'x' among them"):
        aligned(examples, [("x", "a")])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "has no lines"),
        ("[1]\n", "line 1 of .* is no object"),
        ('{"id": 1, "completion": "a"}\n{"id"\n', "line 2 of .* is no JSON"),
        ('{"id": 1}\n', "has no text as completion, prediction or sql"),
        ('{"id": 1, "completion": null}\n', "has no text as"),
        ('{"id": 1, "sql": "a"}\n{"sql": "a"}\n', "only some lines .* have an id"),
        ('{"id": 1, "sql": "a"}\n{"id": "1", "sql": "b"}\n', "has the id '1' twice"),
        (b"\xff\xfe", "cannot be read .UnicodeDecodeError."),
    ],
)
def test_files_of_something_else(tmp_path, text, match):
    path = tmp_path / "p.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=match):
        read_predictions(path)


def test_a_file_that_is_not_there_ends_in_one_line(tmp_path):
    done = run_score("gone.jsonl", "--data", "embedded")
    assert (done.returncode, done.stderr) == (
        2,
        "error: there is no file gone.jsonl; give a .jsonl file of predictions\n",
    )


def test_options_of_the_other_source_are_refused(tmp_path):
    references = write(tmp_path / "references.jsonl", REFERENCES)
    done = run_score(references, "--references", references, "--limit", "2")
    assert done.returncode == 2 and "--split and --limit are of --data" in done.stderr


def test_verdicts_of_odd_texts_are_written(tmp_path):
    references = write(tmp_path / "references.jsonl", REFERENCES[:1])
    predictions, output = tmp_path / "predictions.jsonl", tmp_path / "new" / "verdicts.jsonl"
    predictions.write_text('\ufeff{"id": null, "completion": "SELECT \'\\ud800\'"}\n', encoding="utf-8")
    done = run_score(predictions, "--references", references, "--output", output)
    assert done.returncode == 0, done.stderr
    assert json.loads(output.read_text())["match"] is False


def test_a_separator_in_a_completion_ends_no_line(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        json.dumps({"id": "a", "completion": "SELECT '\u2028'"}, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    assert read_predictions(path) == [("a", "SELECT '\u2028'")]


LONG = "x" * 255  # as long as a name may be, and too long for the one that it is written under at first
PLACES = {
    "": "--output is empty",
    " ": "--output is empty",
    ".": "--output . is a folder",
    "..": "--output .. is a folder",
    "{place}/folder": "folder is a folder",
    "{place}/new/": "new/ is a folder",
    "{place}/pipe": "pipe is no plain file",
    "/dev/null": "/dev/null is no plain file",
    "{place}/circle": "circle cannot be written",
    f"{{place}}/{LONG}": "File name too long",
    f"{{place}}/{LONG[:-5]}": "File name too long",
    f"{{place}}/{LONG}y/verdicts.jsonl": "File name too long",
    "{place}/file.jsonl/verdicts.jsonl": "cannot be written",
    "{place}/file.jsonl/deep/verdicts.jsonl": "cannot be written",
    "/proc/nowhere/verdicts.jsonl": "cannot be written",
    "~nobody-at-all/verdicts.jsonl": "is in nobody's home; write the path in full",
    "a\0b": "cannot be written",
}


@pytest.fixture
def place(tmp_path):
    """A folder of what is no file for verdicts."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.jsonl").write_text("before")
    (tmp_path / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize(("text", "match"), PLACES.items(), ids=lambda text: text[:20])
def test_a_place_that_takes_no_verdicts_is_refused_and_left_as_it_is(place, text, match):
    before = sorted(place.rglob("*"))
    with pytest.raises(UserError, match=match) as error:
        verdicts_file(text.format(place=place))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert sorted(place.rglob("*")) == before and (place / "file.jsonl").read_text() == "before"


def test_a_place_that_takes_them_is_given_in_full(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    (place / "link").symlink_to("folder/there.jsonl")
    for text, name in {
        "a.jsonl": "a.jsonl",
        "new/deep/a.jsonl": "new/deep/a.jsonl",
        "file.jsonl": "file.jsonl",
        "link": "folder/there.jsonl",
        "~/a.jsonl": "a.jsonl",
        LONG[:200]: LONG[:200],
    }.items():
        assert verdicts_file(text) == place.resolve() / name
    assert (place / "file.jsonl").read_text() == "before" and not (place / "a.jsonl").exists()


def run_main(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["score", *map(str, arguments)])
    score.main()


def test_no_answer_is_judged_before_the_place_for_the_verdicts_is_tried(place, monkeypatch):
    monkeypatch.setattr(score, "judge", lambda *_, **__: pytest.fail("judged"))
    references, predictions = write(place / "r.jsonl", REFERENCES), write(place / "p.jsonl", PREDICTIONS)
    for text in (str(place / "folder"), "", str(place / LONG)):
        with pytest.raises(UserError, match="--output"):
            run_main(monkeypatch, predictions, "--references", references, "--output", text)


def test_verdicts_never_take_the_place_of_what_is_read(place, monkeypatch):
    monkeypatch.setattr(score, "judge", lambda *_, **__: pytest.fail("judged"))
    references, predictions = write(place / "r.jsonl", REFERENCES), write(place / "p.jsonl", PREDICTIONS)
    (place / "other.jsonl").symlink_to(references)
    before = references.read_text(), predictions.read_text()
    for output in (references, predictions, place / "other.jsonl"):
        with pytest.raises(UserError, match="is a file to read, .*; name another for the verdicts"):
            run_main(monkeypatch, predictions, "--references", references, "--output", output)
    assert (references.read_text(), predictions.read_text()) == before


def test_figures_are_told_where_the_disk_refuses_the_verdicts_at_the_end(place, monkeypatch, capsys):
    references, predictions = write(place / "r.jsonl", REFERENCES), write(place / "p.jsonl", PREDICTIONS)
    monkeypatch.setattr(score, "judge", lambda *_, **__: (place / "v.jsonl").mkdir() or [])
    monkeypatch.setattr(score, "report", lambda _: "the figures")
    with pytest.raises(UserError, match="v.jsonl cannot be written .Is a directory.; judge again"):
        run_main(monkeypatch, predictions, "--references", references, "--output", place / "v.jsonl")
    assert capsys.readouterr().out.endswith("the figures\n")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("~nobody-at-all/x.csv", "is in nobody's home; write the path in full"),
        (f"{LONG}y.csv", "cannot be read .File name too long.; give"),
        ("shut/x.csv", "cannot be read .Permission denied.; give"),
        ("gone.csv", "there is no file"),
        ("folder", "cannot be read .Is a directory.|unknown data"),
        ("file.jsonl/x.csv", "cannot be read .Not a directory.|there is no file"),
    ],
)
def test_paths_that_cannot_be_read_are_one_line(place, monkeypatch, name, match):
    open_file, stat = Path.open, Path.stat

    def refusing(method):
        def look(path, *arguments, **options):
            if path.parent.name == "shut":  # root is refused nothing, so a folder's modes would do here
                raise PermissionError(13, "Permission denied")
            return method(path, *arguments, **options)

        return look

    monkeypatch.setattr(Path, "open", refusing(open_file))
    monkeypatch.setattr(Path, "stat", refusing(stat))
    monkeypatch.chdir(place)
    readers = [read_predictions, lambda name: read_references(name, None, "test", None)]
    readers += [lambda name: read_references(None, name, "test", None)]
    for read in readers if "~" not in name else readers[:2]:
        with pytest.raises(UserError, match=match) as error:
            read(name)
        assert "\n" not in str(error.value)
