"""What is not executed yet, or was by other code: every such notebook executed in order, one after the other.

A notebook that fails is named at the end, and the others go on. What was stopped goes on where it was.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat

from common.provenance import notebook_digest
from common.results import folder, read_record, read_records
from common.results.formats import interval
from common.results.measures import measures_digest
from common.results.sections import computing_modules, staleness
from common.settings import UserError
from common.study.execute import run
from common.study.notebooks import Notebook, load
from common.study.publish import publish

SUMMARY = "results/comparison.ipynb"  # shows the others' records: executed again after them


def pending(notebooks: Sequence[Notebook], profile: str) -> list[tuple[Notebook, str]]:
    """Notebooks to execute, in the order given, each with the reason in a few words."""
    reasons = [(notebook, _reason(notebook, profile)) for notebook in notebooks if notebook.name != SUMMARY]
    wanted = [(notebook, reason) for notebook, reason in reasons if reason]
    summary = [notebook for notebook in notebooks if notebook.name == SUMMARY]
    is_due = wanted or (summary and not shows_all(load(summary[0].path), folder(profile)))
    return wanted + [(notebook, "shows all records") for notebook in summary if is_due]


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
        elif paths := sorted(place.glob(f"*/{method}.json")) or _by_notebook(place, notebook):
            record = json.loads(paths[0].read_text(encoding="utf-8"))
            digest_then = record["code"].get("measures_digest")
            if digest_then and digest_then != measures_digest(computing_modules(notebook.name)):
                return f"{method}: other code (measures)"
        else:
            return f"{method}: no record"
        if record["code"].get("notebook_digest", digest) != digest:
            return f"{method}: another notebook"
    return ""


def _by_notebook(place: Path, notebook: Notebook) -> list[Path]:
    """Records of tables that a notebook names after its data, such as an audit."""
    paths = sorted(place.glob("*/*.json"))
    return [path for path in paths if json.loads(path.read_text(encoding="utf-8")).get("notebook") == notebook.name]


def _is_executed(content: nbformat.NotebookNode) -> bool:
    return any(cell.get("outputs") for cell in content.cells)


def execute_one(notebook: Notebook, profile: str) -> None:
    """Execute a notebook for results/, and put its outputs into it. Raises as `run` and `publish`."""
    run([notebook], profile, {}, publish=True)
    publish([notebook], profile)


def run_pending(
    notebooks: Sequence[Notebook], profile: str, execute: Callable[[Notebook, str], None] = execute_one
) -> list[str]:
    """Execute what is pending, in order; the names of those that failed. execute: what is done with each."""
    failures: list[str] = []
    wanted = pending(notebooks, profile)
    print(f"{len(wanted)} of {len(notebooks)} notebooks to run at {profile}", flush=True)
    for notebook, reason in wanted:
        print(f"{notebook.name}: {reason}", flush=True)
    for notebook, _ in wanted:
        try:
            execute(notebook, profile)
        except (UserError, RuntimeError) as error:
            failures.append(notebook.name)
            print(f"{notebook.name} failed, the others go on: {error}", flush=True)
    return failures
