"""What is not executed yet, or was by other code: every such notebook executed in order, one after the other.

A notebook that fails is named at the end, whatever the reason, and the others go on. What was stopped goes on where it
was.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat

from common.provenance import notebook_digest
from common.results import folder, read_record, read_records
from common.results.formats import interval
from common.results.measures import load as load_measures
from common.results.measures import measures_digest, paths_of
from common.results.sections import computing_modules, staleness
from common.settings import UserError, redact
from common.study.execute import run
from common.study.notebooks import Notebook, load
from common.study.publish import publish

SUMMARY = "results/comparison.ipynb"  # shows the others' records: executed again after them


def pending(notebooks: Sequence[Notebook], profile: str) -> list[tuple[Notebook, str]]:
    """Notebooks to execute, in the order given, each with the reason in a few words. One that cannot be told is due:
    executed, it says what is wrong."""
    wanted = []
    for notebook in notebooks:
        try:
            reason = _reason(notebook, profile) if notebook.name != SUMMARY else ""
        except Exception as error:
            reason = _line(error)
        wanted += [(notebook, reason)] if reason else []
    summary = [notebook for notebook in notebooks if notebook.name == SUMMARY]
    is_due = wanted or (summary and not _is_current(summary[0], profile))
    return wanted + [(notebook, "shows all records") for notebook in summary if is_due]


def _is_current(summary: Notebook, profile: str) -> bool:
    try:
        return shows_all(load(summary.path), folder(profile))
    except Exception:  # a record that cannot be read is in no table
        return False


def _line(error: Exception) -> str:
    """What is said of any failure; only those with words of their own go without their kind."""
    words = redact(str(error))
    return words if isinstance(error, UserError | RuntimeError) and words else f"{type(error).__name__}: {words}"


def shows_all(content: nbformat.NotebookNode, place: Path) -> bool:
    """Whether the outputs of a notebook hold the name and the headline of every record of a folder."""
    outputs = [output for cell in content.cells for output in cell.get("outputs", ())]
    text = "\n".join("".join(output.get("data", {}).get("text/plain", "")) for output in outputs)
    records = [record for record in read_records(place) if record["metrics"]["match"].get("n")]
    words = [(record["method"], interval(record["metrics"]["right"])) for record in records]
    return bool(words) and all(name in text and headline in text for name, headline in words)


def _reason(notebook: Notebook, profile: str) -> str:
    if not _is_executed(load(notebook.path)):
        return "not executed"
    place, digest = folder(profile), notebook_digest(notebook.path)
    for method in notebook.methods:
        if (place / f"{method}.json").is_file():
            record = read_record(place, method)
            if why := staleness(record):
                return f"{method}: other code ({why})"
        elif paths := sorted(place.glob(f"*/{method}.json")) or paths_of(place, notebook.name):
            record = load_measures(paths[0])
            digest_then = record["code"].get("measures_digest")
            if digest_then and digest_then != measures_digest(computing_modules(notebook.name)):
                return f"{method}: other code (measures)"
        else:
            return f"{method}: no record"
        if record["code"].get("notebook_digest", digest) != digest:
            return f"{method}: another notebook"
    return ""


def _is_executed(content: nbformat.NotebookNode) -> bool:
    return any(cell.get("outputs") for cell in content.cells)


def execute_one(notebook: Notebook, profile: str) -> None:
    """Execute a notebook for results/, and put its outputs into it. Raises as `run` and `publish`."""
    run([notebook], profile, {}, publish=True)
    publish([notebook], profile)


def run_pending(
    notebooks: Sequence[Notebook], profile: str, execute: Callable[[Notebook, str], None] = execute_one
) -> list[str]:
    """Execute what is pending, in order; the names of those that failed, for whatever reason. execute: what is done
    with each."""
    failures: list[str] = []
    wanted = pending(notebooks, profile)
    print(f"{len(wanted)} of {len(notebooks)} notebooks to run at {profile}", flush=True)
    for notebook, reason in wanted:
        print(f"{notebook.name}: {reason}", flush=True)
    for notebook, _ in wanted:
        try:
            execute(notebook, profile)
        except Exception as error:
            failures.append(notebook.name)
            print(f"{notebook.name} failed, the others go on: {_line(error)}", flush=True)
    return failures
