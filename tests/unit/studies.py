"""Small notebooks as the study's runner finds them, in a repository of their own."""

import os
import subprocess
from pathlib import Path

import nbformat
import pytest

from common.study.notebooks import Notebook, read

PARAMETERS = """PROFILE: str = "smoke"  # which sizes
SEED: int = 42  # of everything
RUN_NAME: str = "THIS"  # the record's name
RATE: float = 0.5  # a number"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    for module in ("settings", "results.places", "results.readme", "provenance"):
        monkeypatch.setattr(f"common.{module}.ROOT", tmp_path)
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path / "results"))
    quiet = ("TOKENIZERS_PARALLELISM", "PYTHONHASHSEED", "TQDM_MININTERVAL", "GOMP_SPINCOUNT")
    for name in ("JUPYTER_PATH", "PYTHONPATH", "TEXT_TO_SQL_PUBLISHING", *quiet):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # `execute` sets them; put back afterwards
    return tmp_path


def write(path: Path, name: str, *sources: str) -> Notebook:
    first = nbformat.v4.new_code_cell(PARAMETERS.replace("THIS", name), metadata={"tags": ["parameters"]})
    cells = [nbformat.v4.new_markdown_cell("# A notebook"), first, *map(nbformat.v4.new_code_cell, sources)]
    content = nbformat.v4.new_notebook(cells=cells)
    content.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(content, path)
    return read(path)


def commit(place: Path) -> None:
    """All that is in the place, as a repository of its own."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "x", "--no-verify"]):
        subprocess.run(["git", *words], cwd=place, check=True, capture_output=True)
