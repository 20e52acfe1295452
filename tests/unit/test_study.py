"""The study's runner on small notebooks written here; the real ones are run in tests/notebooks."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from common.settings import ROOT, UserError
from common.study import execute as runner
from common.study.__main__ import pairs
from common.study.execute import execute, run
from common.study.notebooks import Notebook, find, in_order, parameters_for, read
from common.study.publish import publish
from tests.unit import studies
from tests.unit.studies import write

place = studies.place


def start(*needs: str) -> str:
    return f"run = start_run(RUN_NAME, profile=PROFILE, needs={needs!r})"


def test_what_a_notebook_makes_and_needs_is_read_from_its_code(place):
    notebook = write(
        place / "a" / "n.ipynb",
        "lora",
        'run = notebook.start_run(RUN_NAME, needs=("baseline", RUN_NAME, f"x{1 + 1}", unknown))',
        'if NF4:\n    name = f"{RUN_NAME}-nf4"\n    run.save(report, method=name)',
        'run.save(report, method="more")\nrun.save(report)\nother(method="no", needs="no")',
    )
    assert notebook.methods == ("lora", "lora-nf4", "more")
    assert (notebook.needs, notebook.name) == (("baseline", "lora"), "a/n.ipynb")


def test_notebooks_are_found_by_glob_and_come_after_what_they_need(place):
    write(place / "a" / "dpo.ipynb", "dpo", start("sft"))
    write(place / "b" / "deep" / "sft.ipynb", "sft", start("baseline"))
    write(place / "z" / "base.ipynb", "baseline", start())
    write(place / "a" / "alone.ipynb", "alone", start("made-nowhere"))
    for hidden in ("outputs/x.ipynb", ".venv/x.ipynb", "a/.ipynb_checkpoints/x.ipynb", "tests/x.ipynb", "root.ipynb"):
        write(place / hidden, "x")
    names = [notebook.path.name for notebook in find()]
    assert sorted(names) == ["alone.ipynb", "base.ipynb", "dpo.ipynb", "sft.ipynb"]
    assert names.index("base.ipynb") < names.index("sft.ipynb") < names.index("dpo.ipynb")


def test_a_circle_and_what_is_no_notebook_are_one_line(place):
    a = write(place / "a" / "a.ipynb", "a", start("b"))
    b = write(place / "a" / "b.ipynb", "b", start("a"))
    with pytest.raises(UserError, match="need each other's results: "):
        in_order([a, b])
    with pytest.raises(UserError, match="there is no notebook"):
        read(place / "a" / "c.ipynb")
    (place / "a" / "c.ipynb").write_text("{}")
    with pytest.raises(UserError, match="is no notebook"):
        read(place / "a" / "c.ipynb")
    with pytest.raises(UserError, match="no plain Python"):
        write(place / "a" / "d.ipynb", "d", "!pip install x")


def test_parameters(place):
    path = write(place / "a" / "n.ipynb", "n").path
    assert parameters_for(path, {"PROFILE": "smoke", "SEED": "42", "RATE": "0.5"}) == {}
    assert parameters_for(path, {"PROFILE": "cpu", "SEED": "7", "RATE": "1", "RUN_NAME": "7"}) == {
        "PROFILE": "cpu",
        "SEED": 7,
        "RATE": 1.0,
        "RUN_NAME": "7",
    }
    assert isinstance(parameters_for(path, {"RATE": "1"})["RATE"], float)
    with pytest.raises(UserError, match="no parameter SEDE; choose from PROFILE, SEED, RUN_NAME, RATE"):
        parameters_for(path, {"SEDE": "1"})
    for text in ("seven", "7.5", "True", "[7]"):
        with pytest.raises(UserError, match="SEED wants a value like 42"):
            parameters_for(path, {"SEED": text})


def test_the_profile_that_auto_stands_for_is_not_injected(place, monkeypatch):
    path = write(place / "a" / "n.ipynb", "n").path
    path.write_text(path.read_text().replace("smoke", "auto"))
    monkeypatch.setattr("common.profiles._from_hardware", lambda: "cpu")
    assert parameters_for(path, {"PROFILE": "cpu"}) == {}
    assert parameters_for(path, {"PROFILE": "auto"}) == {}
    assert parameters_for(path, {"PROFILE": "t4"}) == {"PROFILE": "t4"}


@pytest.mark.parametrize("texts, message", [(["SEED"], "write it as -p SEED=VALUE"), (["PROFILE=t4"], "--profile")])
def test_wrong_pairs(texts, message):
    with pytest.raises(UserError, match=message):
        pairs(texts)


def test_pairs_keep_what_is_behind_the_first_equals_sign():
    assert pairs(["DATA=a=b.csv", "SEED=1"]) == {"DATA": "a=b.csv", "SEED": "1"}


def test_execute_and_publish(place, capsys, monkeypatch):
    """stderr comes live and is not kept; the kernel is this interpreter, whatever the user's own python3 kernel is."""
    foreign = place / "user" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    (foreign / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "foreign", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(foreign.parents[1]))
    source = "import os, sys, common\nprint('bar', file=sys.stderr)\n"
    source += "print(sys.prefix, common.__path__[0], os.path.basename(os.getcwd()), SEED)"
    notebook = write(place / "a" / "n.ipynb", "n", source)

    with pytest.raises(UserError, match="was not run"):
        publish([notebook], "smoke")
    execute(notebook, "smoke")
    with pytest.raises(UserError, match="was run for outputs/, not for results/; `make notebooks` does both"):
        publish([notebook], "smoke")
    target = execute(notebook, "smoke", publish=True)
    assert target == place / "outputs" / "notebooks" / "smoke" / "a" / "n.ipynb"
    assert "bar" in capsys.readouterr().err
    (output,) = nbformat.read(target, as_version=4).cells[2].outputs
    assert (output.name, output.text) == ("stdout", f"{sys.prefix} {ROOT / 'common'} a 42\n")

    publish([notebook], "smoke")
    published = nbformat.read(notebook.path, as_version=4)
    assert [cell.execution_count for cell in published.cells[1:]] == [1, 2]
    assert published.cells[2].outputs == [output]
    assert "papermill" not in notebook.path.read_text()

    published.cells[0].source = "# Other words"
    nbformat.write(published, notebook.path)
    publish([notebook], "smoke")
    published.cells[2].source += "\n"
    published.cells[2].source += "print(1)"
    nbformat.write(published, notebook.path)
    with pytest.raises(UserError, match="was changed after it was run"):
        publish([notebook], "smoke")

    apart = execute(notebook, "smoke", {"SEED": "7"}, publish=True)
    assert apart == place / "outputs" / "notebooks" / "smoke" / "seed-7" / "a" / "n.ipynb"
    execute(notebook, "smoke", {"RATE": "0.25"})
    with pytest.raises(UserError, match="with other parameters"):
        publish([notebook], "smoke")


MORE = """RATE: float = 0.5  # a number
DATA: str = ""  # rows
MODEL_ID: str = ""  # a model
ADAPTER: str = ""  # trained weights"""


def with_paths(place: Path, *sources: str) -> Notebook:
    """A notebook that takes paths."""
    notebook = write(place / "a" / "n.ipynb", "n", *sources)
    content = nbformat.read(notebook.path, as_version=4)
    content.cells[1].source = content.cells[1].source.replace(MORE.splitlines()[0], MORE)
    nbformat.write(content, notebook.path)
    return read(notebook.path)


def test_paths_count_from_where_the_command_is_given(place, monkeypatch):
    stand = place / "stand here"
    (stand / "org" / "model").mkdir(parents=True)
    (stand / "mine.jsonl").touch()
    notebook = with_paths(place)
    monkeypatch.chdir(stand)
    texts = {"DATA": "mine.jsonl", "MODEL_ID": "org/model", "ADAPTER": "../a/weights", "RUN_NAME": "org/model"}
    full = {"DATA": f"{stand}/mine.jsonl", "MODEL_ID": f"{stand}/org/model", "ADAPTER": f"{place}/a/weights"}
    assert parameters_for(notebook.path, texts) == full | {"RUN_NAME": "org/model"}
    assert parameters_for(notebook.path, full) == full
    others = {"DATA": "spider:rows", "MODEL_ID": "org/other", "ADAPTER": "org/model"}
    full = {"DATA": f"spider:{stand}/rows", "MODEL_ID": "org/other", "ADAPTER": f"{stand}/org/model"}
    assert parameters_for(notebook.path, others) == full
    assert parameters_for(notebook.path, {"DATA": "gretel@main", "ADAPTER": "model"})["DATA"] == "gretel@main"
    # One folder of records, however the data are named.
    folders = {
        runner._place(notebook, "smoke", {"DATA": text}, False) for text in ("mine.jsonl", f"{stand}/mine.jsonl")
    }
    assert len(folders) == 1 and folders != {runner._place(notebook, "smoke", {}, False)}


def test_a_kernel_finds_what_the_command_found(place, monkeypatch):
    """In the notebook's folder: parameters, the places of outputs, records and searches, the libraries' caches."""
    source = """import os
from pathlib import Path
from common.settings import outputs, results
from common.sweeps import storage
places = outputs(), results(), storage.location(), os.environ["HF_HOME"]
print(Path.cwd().name, Path(DATA).read_text(), *places, sep="|")"""
    notebook = with_paths(place, source)
    stand = place / "stand here"
    stand.mkdir()
    (stand / "mine.jsonl").write_text("rows")
    monkeypatch.chdir(stand)
    values = {"SWEEP_STORAGE": "journal:sub/s.journal", "HF_HOME": "hub", "TQDM_MININTERVAL": "1"}
    for name, value in {"TEXT_TO_SQL_OUTPUTS": "o", "TEXT_TO_SQL_RESULTS": "../r", **values}.items():
        monkeypatch.setenv(name, value)
    target = execute(notebook, "smoke", {"DATA": "mine.jsonl"})
    assert target == place / "o" / "notebooks" / "smoke" / "a" / "n.ipynb"
    (output,) = nbformat.read(target, as_version=4).cells[-1].outputs
    in_full = [place / "o", place.parent / "r", place / "sub" / "s.journal", stand / "hub"]
    assert output.text == "|".join(["a", "rows", *map(str, in_full)]) + "\n"


def test_a_users_mistake_in_a_cell_is_one_line_and_a_bug_is_not(place):
    raising = "from common.settings import UserError\nraise UserError('do this instead')"
    notebook = write(place / "a" / "n.ipynb", "n", raising, "print(1)")
    with pytest.raises(UserError, match="^a/n.ipynb: do this instead$"):
        execute(notebook, "smoke")
    with pytest.raises(UserError, match="not run to its end"):
        publish([notebook], "smoke")
    notebook = write(place / "a" / "bug.ipynb", "n", "1 / 0")
    with pytest.raises(RuntimeError, match=r"(?s)a/bug\.ipynb.*ZeroDivisionError.*bug\.ipynb"):
        execute(notebook, "smoke")


def test_a_dead_kernel_is_one_line(place):
    notebook = write(place / "a" / "n.ipynb", "n", "import os\nos._exit(9)")
    with pytest.raises(UserError, match="the kernel died"):
        execute(notebook, "smoke")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_kernel_too(place, sent):
    waiting = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(3600)"
    notebook = write(place / "a" / "n.ipynb", "n", waiting)
    command = [sys.executable, "-m", "common.study", "run", "--profile", "smoke", str(notebook.path)]
    # Started in a background shell, a child would ignore SIGINT; here it is put back.
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    pid = _number(place / "a" / "pid")
    process.send_signal(sent)
    _, output = process.communicate(timeout=600)
    assert process.returncode == 130 and output.strip().startswith("interrupted;") and "Traceback" not in output
    _until(lambda: not _is_alive(pid))


def _number(path: Path) -> int:
    _until(lambda: path.exists() and path.read_text())
    return int(path.read_text())


def _until(condition) -> None:
    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    """Whether it runs: one that has ended may still wait for whoever has taken it over to ask how."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def test_parameters_go_where_they_are_known_and_bad_ones_stop_before_anything_runs(place, monkeypatch):
    ran = []
    monkeypatch.setattr(
        runner, "execute", lambda notebook, profile, texts, *, publish: ran.append((notebook.path.name, texts))
    )
    notebooks = [write(place / "a" / "a.ipynb", "a"), write(place / "a" / "b.ipynb", "b")]
    notebooks[0].path.write_text(notebooks[0].path.read_text().replace("RATE: float", "OTHER: float"))
    for given in ({"NO": "1"}, {"RATE": "fast"}):
        with pytest.raises(UserError, match="NO|RATE"):
            run(notebooks, "smoke", given)
    assert not ran
    run(notebooks, "smoke", {"SEED": "7", "RATE": "2"})
    assert ran == [("a.ipynb", {"SEED": "7"}), ("b.ipynb", {"SEED": "7", "RATE": "2"})]


def test_run_tells_where_it_is_and_where_the_results_are(place, capsys, monkeypatch):
    monkeypatch.setattr(runner, "execute", lambda *arguments, **options: None)
    monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=lambda: 0.0))
    run([write(place / "a" / "a.ipynb", "a")], "smoke", {})
    out = capsys.readouterr().out
    assert "[1/1] a/a.ipynb\n" in out and "[1/1] a/a.ipynb done in 0.0 min" in out
    assert out.splitlines()[-1].startswith(
        "done in 0.0 min · records: outputs/results/smoke · executed notebooks: outputs/"
    )
