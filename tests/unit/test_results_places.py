"""Where a run's records go: only a notebook's own parameters, by `make notebooks`, reach results/."""

import shutil
import subprocess

import nbformat
import pytest

from common.profiles import PROFILES
from common.results import places
from common.results.places import (
    command,
    committed_parameters,
    notebook_of,
    parameters,
    place,
    usual_seed,
    with_overrides,
)
from common.settings import ROOT, UserError

CELL = """PROFILE: str = "auto"  # which sizes
SEED: int = 42  # of everything
RUN_NAME: str = "baseline"  # the record's name
TEST_ROWS: int = 0  # 0 takes the profile's
RATE: float = 0.5  # a number"""
USUAL = {"model_id": "", "data": "", "test_rows": 0, "run_name": "baseline"}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A repository that holds one notebook, not committed."""
    monkeypatch.setattr(places, "ROOT", tmp_path)
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.delenv("TEXT_TO_SQL_PUBLISHING", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    write(tmp_path, CELL)
    return tmp_path


def write(root, source: str, name: str = "a/base.ipynb") -> None:
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    (root / name).parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A"), cell]), root / name)


def where(root, seed: int = 42, **changes) -> str:
    return place("a/base.ipynb", "smoke", seed, USUAL | changes).relative_to(root).as_posix()


def test_rows_data_and_model_of_ones_own_have_a_folder_of_their_own_and_a_seed_one_below_it(root):
    usual = "outputs/results/smoke"
    assert where(root) == where(root, rate=0.1) == where(root, run_name="other") == usual
    assert where(root, test_rows=PROFILES["smoke"].test_rows) == where(root, data="embedded") == usual
    others = [where(root, test_rows=8), where(root, data="x.csv"), where(root, model_id="m/x")]
    assert len(set(others)) == 3 and all(other.startswith(f"{usual}@") for other in others)
    assert where(root, seed=7) == f"{usual}/seeds/7" and where(root, seed=7, test_rows=8) == f"{others[0]}/seeds/7"
    for path in (where(root), where(root, seed=7)):
        assert usual_seed(root / path) == root / usual
    # The same three meet, whichever notebook has them and whatever else it has.
    write(root, CELL.replace('"baseline"', '"lora"'), "a/lora.ipynb")
    lora = place("a/lora.ipynb", "smoke", 7, USUAL | {"test_rows": 8, "run_name": "lora", "epochs": 3})
    assert lora.relative_to(root).as_posix() == where(root, seed=7, test_rows=8)


def test_only_make_notebooks_with_own_parameters_writes_to_results(root, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_PUBLISHING", "1")
    assert where(root) == where(root, rate=0.5) == "results/smoke"
    for changes in ({"rate": 0.1}, {"run_name": "other"}, {"test_rows": 8}):
        assert where(root, **changes).startswith("outputs/results/smoke")
    assert where(root, seed=7) == "results/smoke/seeds/7"  # `make seeds`
    script = place("examples/train.py", "smoke", 42, USUAL)
    assert script == root / "outputs" / "results" / "smoke"


def test_a_notebooks_own_parameters_are_those_of_the_commit(root):
    assert committed_parameters("a/base.ipynb")["SEED"] == 42
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "x", "--no-verify"]):
        subprocess.run(["git", *words], cwd=root, check=True, capture_output=True)
    write(root, CELL.replace("42", "7"))  # typed into the notebook and saved
    assert parameters(root / "a" / "base.ipynb")["SEED"] == 7
    assert committed_parameters("a/base.ipynb")["SEED"] == 42
    assert where(root, seed=7) == "outputs/results/smoke/seeds/7" and where(root) == "outputs/results/smoke"


def test_parameters_are_the_literals_of_the_tagged_cell(root):
    assert parameters(root / "a" / "base.ipynb") == {
        "PROFILE": "auto",
        "SEED": 42,
        "RUN_NAME": "baseline",
        "TEST_ROWS": 0,
        "RATE": 0.5,
    }
    assert parameters(root / "a" / "train.py") == {}
    with pytest.raises(UserError, match="there is no notebook"):
        parameters(root / "a" / "gone.ipynb")
    for text in ("{}", "[]", "x"):
        (root / "a" / "broken.ipynb").write_text(text)
        with pytest.raises(UserError, match="is no notebook"):
            parameters(root / "a" / "broken.ipynb")


def test_the_command_names_the_notebook_the_profile_and_what_differs(root):
    write(root, CELL.replace('"baseline"', '"baseline-3shot"'), "a/shots.ipynb")
    smoke = PROFILES["smoke"]
    assert notebook_of("baseline") == notebook_of("baseline-nf4") == "a/base.ipynb"
    assert notebook_of("baseline-3shot") == "a/shots.ipynb" and notebook_of("dpo") == ""
    assert command("baseline", smoke) == "`make run PROFILE=smoke NOTEBOOKS=a/base.ipynb`"
    other = with_overrides(smoke, {"test_rows": 8, "data": "x.csv", "model_id": ""})
    spaced = with_overrides(smoke, {"data": "/my data/x.csv", "model_id": "m/x"})
    line = """`make run PROFILE=smoke ARGS="-p MODEL_ID=m/x -p 'DATA=/my data/x.csv'"`"""
    assert command("dpo", spaced) == line
    assert command("dpo", other) == '`make run PROFILE=smoke ARGS="-p DATA=x.csv -p TEST_ROWS=8"`'


@pytest.mark.parametrize(
    "path", ["/x.csv", "/my data/x.csv", "/it's/$HOME/x.csv", '/a "b"/$(x)/`y`.csv', "/a#b/!c/\\\\d;&*.csv"]
)
def test_the_command_can_be_typed_as_it_stands(path, tmp_path, monkeypatch):
    """To a shell, of which make takes it to another."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    (tmp_path / "Makefile").write_text("run:\n\t@printf '%s\\n' $(ARGS)\n")
    line = command("dpo", with_overrides(PROFILES["smoke"], {"data": path})).strip("`")
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # as below `make test`, which would be said
        monkeypatch.delenv(name, raising=False)
    words = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert words.splitlines() == ["-p", f"DATA={path}"]


@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        ((), "-p TEST_ROWS=160"),
        (("ARGS=-p SEED=7",), "-p SEED=7"),
        (("PROFILE=smoke",), ""),
        (("NOTEBOOKS=sft/lora.ipynb",), ""),
    ],
    ids=["plain", "ARGS", "smoke", "NOTEBOOKS"],
)
def test_plain_make_run_alone_takes_a_part_of_the_rows(words, sizes, monkeypatch):
    """Where a notebook says what to run first, that has to make a record of all rows."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS", "PROFILE", "NOTEBOOKS"):
        monkeypatch.delenv(name, raising=False)
    lines = subprocess.run(["make", "-n", "run", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in lines.splitlines() if "common.study run" in line]
    notebooks = (
        words[0].partition("=")[2] if words and words[0].startswith("NOTEBOOKS") else "baseline/data_audit.ipynb"
    )
    assert f"{sizes} {notebooks}" in line and line.count("-p ") == sizes.count("-p ")
