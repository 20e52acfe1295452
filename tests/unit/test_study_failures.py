"""Where notebooks are run and something fails: no key stays, disk and nbstripout are one line, strays are left out."""

import json
import subprocess

import nbformat
import pytest

from common.results import catalogue
from common.results.places import notebook_of, notebook_paths, strays
from common.settings import UserError
from common.study import execute as runner
from common.study import publish as publishing
from common.study.execute import copy_path, execute
from common.study.notebooks import find, read
from common.study.publish import publish
from tests.unit import studies
from tests.unit.studies import write

place = studies.place
KEY = "gsk_only-for-this-test"


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ("raise ValueError(os.environ['GROQ_API_KEY'])", RuntimeError),
        ("from common.settings import UserError\nraise UserError(os.environ['GROQ_API_KEY'])", UserError),
        ("os._exit(9)", UserError),
    ],
)
def test_a_notebook_that_fails_leaves_no_key(place, monkeypatch, ending, error):
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    notebook = write(place / "a" / "n.ipynb", "n", "import os\nprint('é', os.environ['GROQ_API_KEY'])", ending)
    with pytest.raises(error) as raised:
        execute(notebook, "smoke")
    text = copy_path(notebook, "smoke").read_text(encoding="utf-8")
    assert KEY not in str(raised.value) and KEY not in text
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", [])]
    assert any(output.get("text") == ["é <key>\n"] for output in outputs)
    if error is RuntimeError:
        assert "ValueError: <key>" in str(raised.value)
    assert not [path for path in (place / "outputs").rglob("*") if path.is_file() and KEY in path.read_text()]


def replaced(monkeypatch, papermill) -> None:
    monkeypatch.setattr("papermill.execute_notebook", papermill)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("another one"), OSError(5, "Input/output error")])
def test_whatever_ends_it_leaves_no_key(place, monkeypatch, error):
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    notebook = write(place / "a" / "n.ipynb", "n")

    def stopped(source, target, *_, **__):
        target.write_bytes(f'"{KEY}"'.encode() + b"\xc3")  # cut within a character
        raise error

    replaced(monkeypatch, stopped)
    with pytest.raises(UserError if isinstance(error, OSError) else type(error)):
        execute(notebook, "smoke")
    assert copy_path(notebook, "smoke").read_text().startswith('"<key>"')


def test_a_copy_whose_key_cannot_be_taken_out_goes(place, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    notebook = write(place / "a" / "n.ipynb", "n")

    def full(*_):
        raise OSError(28, "No space left on device")

    replaced(monkeypatch, lambda source, target, *_, **__: target.write_text(source.read_text().replace("# A", KEY)))
    monkeypatch.setattr(runner, "replace_text", full)
    with pytest.raises(UserError, match="cannot write .*n.ipynb: No space left on device"):
        execute(notebook, "smoke")
    assert not copy_path(notebook, "smoke").exists()


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (OSError(36, "File name too long", "/x/y"), "cannot write /x/y: File name too long"),
        (OSError(28, "No space left on device"), "cannot write .*n.ipynb: No space left on device"),
        (
            OSError(12, "Cannot allocate memory"),
            r"^a/n.ipynb cannot be executed \(.*memory\); run it",
        ),
        (
            FileNotFoundError(2, "No such file", "/bin/x"),
            r"^a/n.ipynb cannot be executed \(.*'/bin/x'\); run it",
        ),
        (OSError("odd"), r"^a/n.ipynb cannot be executed \(odd\); run it again$"),
        (TimeoutError("Timeout waiting for output"), "a/n.ipynb: Timeout waiting for output; close other programs"),
        (RuntimeError("Kernel died before replying to kernel_info"), "a/n.ipynb: the kernel died, most often for want"),
    ],
)
def test_what_the_disk_or_the_kernel_refuses_is_one_line(place, monkeypatch, error, match):
    notebook = write(place / "a" / "n.ipynb", "n")

    def refusing(*_, **__):
        raise error

    replaced(monkeypatch, refusing)
    with pytest.raises(UserError, match=match):
        execute(notebook, "smoke")


def test_a_folder_in_the_copys_place_is_one_line(place):
    notebook = write(place / "a" / "n.ipynb", "n")
    copy_path(notebook, "smoke").mkdir(parents=True)
    with pytest.raises(UserError, match="cannot write .*n.ipynb: Is a directory"):
        execute(notebook, "smoke")


def executed(place):
    """A notebook and a copy as an execution for results/ leaves it."""
    notebook = write(place / "a" / "n.ipynb", "n", "print(1)")
    content = nbformat.read(notebook.path, as_version=4)
    for count, cell in enumerate(content.cells[1:], 1):
        cell.execution_count = count
        cell.outputs = [nbformat.v4.new_output("stream", text=f"{count}\n")]
    content.metadata["publishable"], content.metadata["papermill"] = True, {"duration": 1}
    target = copy_path(notebook, "smoke")
    target.parent.mkdir(parents=True)
    nbformat.write(content, target)
    return notebook


def test_a_notebook_that_nbstripout_refuses_stays_as_it_was(place, monkeypatch):
    notebook = executed(place)
    before = notebook.path.read_text()
    errors = {
        "No module named nbstripout": subprocess.CalledProcessError(
            1, "x", stderr=b"Trace\nNo module named nbstripout\n"
        ),
        "exit status 3": subprocess.CalledProcessError(3, "nbstripout"),
        "No such file": FileNotFoundError(2, "No such file or directory"),
    }
    for words, error in errors.items():

        def refusing(*_, error=error, **__):
            raise error

        with monkeypatch.context() as patch, pytest.raises(UserError, match=f"nbstripout refuses a/n.ipynb .*{words}"):
            patch.setattr(publishing.subprocess, "run", refusing)
            publish([notebook], "smoke")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="cannot write a/n.ipynb: No space"):
        patch.setattr(publishing, "_stripped", lambda text, name: text)
        patch.setattr(publishing, "replace_text", full)
        publish([notebook], "smoke")
    assert notebook.path.read_text() == before
    publish([notebook], "smoke")
    content = nbformat.read(notebook.path, as_version=4)
    assert [cell.outputs[0].text for cell in content.cells[1:]] == ["1\n", "2\n"]
    assert "papermill" not in content.metadata and "publishable" not in content.metadata


V4 = {"metadata": {}, "nbformat": 4, "nbformat_minor": 5}
CELL = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "execution_count": None, "outputs": [], "id": "a"}
STRAYS = {
    "no cells": {"cells": [], **V4},
    "no title": {"cells": [{"cell_type": "markdown", "metadata": {}, "source": [], "id": "a"}], **V4},
    "format 3": {"worksheets": [{"cells": []}], "metadata": {}, "nbformat": 3, "nbformat_minor": 0},
    "no list": {"cells": None, **V4},
    "no dicts": {"cells": ["x"], **V4},
    "no metadata": {"cells": [{"cell_type": "code", "source": ""}], **V4},
    "null metadata": {"cells": [{"cell_type": "code", "source": "", "metadata": None}], **V4},
    "empty name": {"cells": [CELL | {"source": "RUN_NAME = ''"}], **V4},
    "a list": [],
    "null": None,
}
DAMAGED = {
    **{
        "empty": b"",
        "cut": b'{"cells": [',
        "deep": b"[" * 100_000,
        "bytes": b"\xff\xfe",
        "merged": b"<<<<<<< HEAD\n{}",
    },
    "magic": json.dumps({"cells": [CELL | {"source": "%time x"}], **V4}).encode(),
    "computed": json.dumps({"cells": [CELL | {"source": "RUN_NAME = str(1)"}], **V4}).encode(),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_notebook_may_be_the_studys_and_is_never_left_out_in_silence(place, monkeypatch, kind):
    monkeypatch.setattr(catalogue, "ROOT", place)
    write(place / "a" / "n.ipynb", "n")
    path = place / "b" / "m.ipynb"
    path.parent.mkdir()
    path.write_bytes(DAMAGED[kind])
    for call in (find, notebook_paths, strays, lambda: catalogue.markdown("smoke")):
        with pytest.raises(UserError, match=r"b/m.ipynb is no notebook \(\w+\); mend it, or move it away"):
            call()
    assert notebook_of("n") == ""


@pytest.mark.parametrize("kind", [*STRAYS, "folder", "link"])
def test_a_stray_is_left_out_wherever_notebooks_are_looked_for(place, monkeypatch, capsys, kind):
    monkeypatch.setattr(catalogue, "ROOT", place)
    path = place / "b" / "Untitled.ipynb"
    write(place / "a" / "n.ipynb", "n")
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("gone")
    else:
        path.write_text(json.dumps(STRAYS[kind]))
    assert [notebook.name for notebook in find()] == ["a/n.ipynb"]
    assert capsys.readouterr().err == "b/Untitled.ipynb is left out: no cell with a RUN_NAME can be read in it\n"
    assert [path.as_posix() for path in (*notebook_paths(), *strays())] == ["a/n.ipynb", "b/Untitled.ipynb"]
    assert (notebook_of("n"), notebook_of("other"), notebook_of("None")) == ("a/n.ipynb", "", "")
    assert catalogue.markdown("smoke").splitlines()[2:] == ["| [a/n.ipynb](../a/n.ipynb) | – | – | – |"]


def test_a_stray_that_is_named_says_what_it_lacks(place):
    path = place / "b" / "Untitled.ipynb"
    path.parent.mkdir()
    path.write_text(json.dumps(STRAYS["no cells"]))
    with pytest.raises(UserError, match="no parameter PROFILE; none of these notebooks has a cell tagged 'parameters'"):
        runner.run([read(path)], "smoke", {})


def test_a_notebook_without_a_title_has_a_dash_for_its_question(place, monkeypatch):
    monkeypatch.setattr(catalogue, "ROOT", place)
    for first in ([], [{"cell_type": "markdown", "metadata": {}, "id": "b", "source": "# A\n\nWhat\nis it?"}]):
        path = place / "a" / "n.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"cells": [*first, CELL | {"source": "RUN_NAME = 'x'"}], **V4}))
        assert f"| {'What is it?' if first else '–'} |" in catalogue.markdown("smoke")


def test_damaged_records_of_tables_are_nobodys(place, monkeypatch):
    monkeypatch.setattr(catalogue, "ROOT", place)
    write(place / "a" / "n.ipynb", "n")
    folder = place / "results" / "smoke" / "reward"
    folder.mkdir(parents=True)
    for name, text in {"cut": "{", "list": "[]", "null": "null", "bare": "{}", "code": '{"notebook": 5}'}.items():
        (folder / f"{name}.json").write_text(text)
    (folder / "folder.json").mkdir()
    (folder / "whole.json").write_text('{"notebook": "a/n.ipynb", "code": {}}')
    assert catalogue.markdown("smoke").splitlines()[2:] == ["| [a/n.ipynb](../a/n.ipynb) | – | `reward/whole` | – |"]
