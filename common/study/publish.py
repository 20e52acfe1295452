"""The outputs of executed copies put into the repository's notebooks, for a commit. Executes nothing."""

import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Sequence

import nbformat

from common.pictures import shrink
from common.settings import UserError, relative, replace_text
from common.study.execute import PUBLISHABLE, copy_path
from common.study.notebooks import Notebook, load

# What is stripped before a commit; the static tests verify with the same words.
NBSTRIPOUT = ("--keep-output", "--keep-count", "--keep-id", "--extra-keys")
NBSTRIPOUT += ("metadata.papermill metadata.language_info cell.metadata.papermill",)


def publish(notebooks: Sequence[Notebook], profile: str) -> None:
    """Put the executed copies' outputs into the repository's notebooks.

    Raises UserError, before anything is written, for a copy that is missing, was stopped, was run with other
    parameters or not for results/, or whose code is no longer the notebook's; and where nbstripout or the disk refuses
    one, which then stays as it was.
    """
    contents = {notebook.path: _with_outputs(notebook, profile) for notebook in notebooks}
    for path, content in contents.items():
        text = _stripped(nbformat.writes(content) + "\n", relative(path))
        try:
            replace_text(path, text)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise UserError(f"cannot write {relative(path)}: {reason}; mend that, then publish again") from None
        print(f"published {relative(path)}")


def _stripped(text: str, name: str) -> str:
    """A notebook's text without what changes from run to run."""
    command = [sys.executable, "-m", "nbstripout", *NBSTRIPOUT]
    try:
        return subprocess.run(command, input=text.encode(), check=True, capture_output=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError) as error:
        words = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip() or str(error)
        raise UserError(
            f"nbstripout refuses {name} ({words.splitlines()[-1][:200]}); `make setup` installs it, then publish again"
        ) from None


def _with_outputs(notebook: Notebook, profile: str) -> nbformat.NotebookNode:
    path = copy_path(notebook, profile)
    if not path.exists():
        raise UserError(f"{notebook.name} was not run at profile {profile}; `make notebooks` does it")
    source, copy = load(notebook.path), load(path)
    cells, runs = ([cell for cell in n.cells if cell.cell_type == "code"] for n in (source, copy))
    if any("injected-parameters" in cell.metadata.get("tags", []) for cell in runs):
        raise UserError(f"{notebook.name} was run with other parameters than its own; run it without -p, then publish")
    if [cell.source for cell in cells] != [cell.source for cell in runs]:
        raise UserError(f"{notebook.name} was changed after it was run; run it again, then publish")
    if [cell.execution_count for cell in runs] != list(range(1, len(runs) + 1)):
        raise UserError(f"{notebook.name} was not run to its end; run it again, then publish")
    if not copy.metadata.get(PUBLISHABLE):
        raise UserError(f"{notebook.name} was run for outputs/, not for results/; `make notebooks` does both")
    for cell, run in zip(cells, runs, strict=True):
        cell.execution_count = run.execution_count
        cell.outputs = [output for output in run.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if picture := output.get("data", {}).get("image/png"):
                output["data"]["image/png"] = b64encode(shrink(b64decode(picture))).decode()
    return source
