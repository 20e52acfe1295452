"""`python -m common.study list | run | publish`: the notebooks as one study, by papermill, in dependency order.

The notebooks say themselves what they make and need, see `common.notebooks`. Executed copies go to
outputs/notebooks/<profile>/; `publish` puts their outputs into the repository's notebooks. What a run computes, keeps
and resumes is the notebook's own affair.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat

from common.notebooks import (
    Notebook,
    check_known,
    defaults,
    find,
    in_order,
    load,
    parameters_for,
    read,
    shown,
)
from common.profiles import resolve
from common.results import folder, read_records, readme, save_comparison
from common.results.comparison import plain
from common.settings import UserError, outputs, replace_text, run_cli, writable, writing

# What is stripped before a commit; the static tests verify with the same words.
NBSTRIPOUT = ("--keep-output", "--keep-count", "--keep-id", "--extra-keys")
NBSTRIPOUT += ("metadata.papermill metadata.language_info cell.metadata.papermill",)


def execute(notebook: Notebook, profile: str, given: Mapping[str, str] | None = None) -> Path:
    """Run one notebook from its own folder; returns the executed copy, stderr left out of it.

    What cells write to stderr (progress bars) goes to this process's stderr as it comes. Raises UserError with the
    cell's own line where a cell raised one, and where the kernel died; any other error of a cell ends in RuntimeError.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    values = parameters_for(notebook.path, {"PROFILE": profile, **(given or {})})
    target = executed_path(notebook, profile)
    writable(target.parent)
    _set_environment()
    try:
        with writing(target):
            papermill.execute_notebook(
                notebook.path,
                target,
                values,
                kernel_name="python3",
                progress_bar=False,
                stderr_file=sys.stderr,
                start_timeout=180,
                iopub_timeout=120,  # a busy machine is slow to answer; four seconds, the default, is too few
                extra_arguments=["--log-level=CRITICAL"],  # the kernel's talk about its own sockets
                cwd=notebook.path.parent,
            )
    except PapermillExecutionError as error:
        if error.ename == "UserError":
            raise UserError(f"{notebook.name}: {error.evalue}") from None
        raise RuntimeError(f"{notebook.name}, {error}\nthe notebook up to there: {target}") from None
    except DeadKernelError:
        raise UserError(
            f"{notebook.name}: the kernel died, most often for want of memory; close other programs or take a smaller "
            "batch, then run again: it goes on where it was"
        ) from None
    executed = load(target)
    for cell in executed.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    replace_text(target, nbformat.writes(executed) + "\n")
    return target


def executed_path(notebook: Notebook, profile: str) -> Path:
    """Where a notebook's executed copy goes."""
    return (outputs() / "notebooks" / profile / notebook.name.lstrip("/")).resolve()


def _set_environment() -> None:
    """For the kernels: this `common` and this interpreter before any other, quiet tokenizers, calm bars."""
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    os.environ["JUPYTER_PATH"] = str(Path(sys.prefix) / "share" / "jupyter")  # always searched first
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"}
    # A thread that waits spins for some microseconds, then gives its core away. GNU's OpenMP spins for milliseconds, on
    # which anything else that runs slows a training tenfold; without any spinning it is a third slower when alone.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("TQDM_MININTERVAL", "1" if sys.stderr.isatty() else "20")


def run(notebooks: Sequence[Notebook], profile: str, given: Mapping[str, str]) -> None:
    """Execute the notebooks in order, then print and save the profile's comparison.

    A parameter goes to the notebooks that have it; one that none of them has is refused.
    """
    start = time.monotonic()
    check_known(given, [notebook.path for notebook in notebooks])
    own = [{name: given[name] for name in given if name in defaults(notebook.path)} for notebook in notebooks]
    for notebook, texts in zip(notebooks, own, strict=True):  # all of them before the first one runs
        parameters_for(notebook.path, {"PROFILE": profile, **texts})
    records = read_records(profile)
    for number, notebook in enumerate(notebooks, 1):
        costs = [record["cost"] for record in records if record["notebook"] == notebook.name]
        answering = sum(cost["eval_seconds"] for cost in costs)
        training = [
            sum(cost.get(name, 0) for name in ("search_seconds", "train_seconds", "validation_seconds"))
            for cost in costs
        ]
        seconds = answering + max(training, default=0)  # records of one notebook share its training
        note = f" · about {_minutes(seconds)} the last time" if seconds else ""
        print(f"[{number}/{len(notebooks)}] {notebook.name}{note}", flush=True)
        begun = time.monotonic()
        execute(notebook, profile, own[number - 1])
        print(f"[{number}/{len(notebooks)}] {notebook.name} done in {_minutes(time.monotonic() - begun)}", flush=True)
    where = f"records: {shown(folder(profile))} · executed notebooks: {shown(outputs() / 'notebooks' / profile)}"
    try:
        where += f" · figure: {shown(save_comparison(profile)[1])}"
        print(f"\n{plain(profile)}\n")
        readme.follow(profile)
    except UserError as error:  # what was run is recorded all the same
        print(f"\nno comparison: {error}\n")
    print(f"done in {_minutes(time.monotonic() - start)} · {where}")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"


def publish(notebooks: Sequence[Notebook], profile: str) -> None:
    """Put the executed copies' outputs into the repository's notebooks.

    Raises UserError, before anything is written, for a copy that is missing, was stopped, was run with other
    parameters, or whose code is no longer the notebook's.
    """
    merged = {notebook.path: _merged(notebook, profile) for notebook in notebooks}
    for path, content in merged.items():
        replace_text(path, nbformat.writes(content) + "\n")
        subprocess.run([sys.executable, "-m", "nbstripout", *NBSTRIPOUT, str(path)], check=True)
        print(f"published {shown(path)}")


def _merged(notebook: Notebook, profile: str) -> nbformat.NotebookNode:
    copy = executed_path(notebook, profile)
    if not copy.exists():
        raise UserError(f"{notebook.name} was not run at profile {profile}; `python -m common.study run` does it")
    source, executed = load(notebook.path), load(copy)
    cells, done = ([cell for cell in n.cells if cell.cell_type == "code"] for n in (source, executed))
    if any("injected-parameters" in cell.metadata.get("tags", []) for cell in done):
        raise UserError(f"{notebook.name} was run with other parameters than its own; run it without -p, then publish")
    if [cell.source for cell in cells] != [cell.source for cell in done]:
        raise UserError(f"{notebook.name} was changed after it was run; run it again, then publish")
    if [cell.execution_count for cell in done] != list(range(1, len(done) + 1)):
        raise UserError(f"{notebook.name} was not run to its end; run it again, then publish")
    for cell, ran in zip(cells, done, strict=True):
        cell.execution_count = ran.execution_count
        cell.outputs = [output for output in ran.outputs if output.get("name") != "stderr"]
    return source


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m common.study", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="the notebooks in the order in which they run")
    for name, text in (("run", "execute notebooks and compare"), ("publish", "put outputs into the notebooks")):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--profile", default="auto")
        verb.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="default: all of them")
        if name == "run":
            verb.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    if arguments.verb == "list":
        for notebook in find():
            print(f"{notebook.name}: {', '.join(notebook.makes)} (needs {', '.join(notebook.needs) or 'nothing'})")
        return 0
    profile = resolve(arguments.profile).name
    chosen = in_order([read(path) for path in arguments.notebooks]) if arguments.notebooks else find()
    if arguments.verb == "publish":
        publish(chosen, profile)
    else:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: the kernel is shut down with us
        run(chosen, profile, _pairs(arguments.parameters))
    return 0


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    if wrong := [text for text in texts if "=" not in text]:
        raise UserError(f"-p {wrong[0]} has no value; write it as -p {wrong[0]}=VALUE")
    if "PROFILE" in pairs:
        raise UserError("give the profile as --profile NAME, not with -p")
    return pairs


if __name__ == "__main__":
    run_cli(main)
