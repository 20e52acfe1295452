"""The example notebooks at other seeds, for the mean and the spread of their results; only what is missing is run.

A run at another seed has the same rows, so its records stand beside the usual ones', in a folder of its own seed. What
is here is what was made by today's code from the rows of the usual seed's record; anything else is run again.
"""

from collections.abc import Sequence
from pathlib import Path

from common.provenance import notebook_digest
from common.results import folder, read_record
from common.results.comparable import disagreement, same_base
from common.results.measures import is_measured
from common.results.places import at_seed
from common.results.sections import staleness
from common.settings import UserError
from common.study.execute import run
from common.study.notebooks import Notebook

SEEDS = (43, 44)
METHODS = "example-"  # how the methods' names begin that are run at every seed


def missing(notebooks: Sequence[Notebook], profile: str, seed: int) -> list[Notebook]:
    """The notebooks whose records of this seed are absent or of other code, rows or model than today's. Raises
    UserError where the usual seed's record of one is missing."""
    return [
        notebook
        for notebook in notebooks
        if not all(_is_there(notebook, method, profile, seed) for method in notebook.methods)
    ]


def _is_there(notebook: Notebook, method: str, profile: str, seed: int) -> bool:
    usual, path = read_record(folder(profile), method), at_seed(folder(profile), seed) / f"{method}.json"
    if not path.exists():
        return False
    record = read_record(path.parent, method)
    fits = disagreement(record, usual) is None and same_base(record, usual)
    return fits and not staleness(record) and record["code"]["notebook_digest"] == notebook_digest(notebook.path)


def _is_of_a_method(notebook: Notebook, place: Path) -> bool:
    """Whether a notebook makes runs of a method: a reward model's worth, say, is no such run."""
    names = notebook.methods
    return bool(names) and names[0].startswith(METHODS) and not is_measured(place, names[0])


def _has_run(notebook: Notebook, profile: str) -> bool:
    return all((folder(profile) / f"{method}.json").exists() for method in notebook.methods)


def run_seeds(notebooks: Sequence[Notebook], profile: str, seeds: Sequence[int] = SEEDS) -> None:
    """Execute the example notebooks at each seed, where their records are not there yet; the comparison and the README
    follow. Those that have not run at the usual seed are named and left out. Raises UserError as `execute.run` with
    publish, and where none is left."""
    examples = [notebook for notebook in notebooks if _is_of_a_method(notebook, folder(profile))]
    if not examples:
        raise UserError(f"none of these notebooks makes a record '{METHODS}…'; name one of examples/")
    waiting = [notebook.name for notebook in examples if not _has_run(notebook, profile)]
    advice = f'`make notebooks PROFILE={profile} NOTEBOOKS="{" ".join(waiting)}"` runs them at the usual seed'
    examples = [notebook for notebook in examples if notebook.name not in waiting]
    if not examples:
        raise UserError(f"none of them has a record at the usual seed yet; {advice}")
    if waiting:
        print(f"left out: {', '.join(waiting)}; {advice}", flush=True)
    for seed in seeds:
        wanted = missing(examples, profile, seed)
        print(f"seed {seed}: {len(wanted)} of {len(examples)} notebooks to run", flush=True)
        if wanted:
            run(wanted, profile, {"SEED": str(seed)}, publish=True)
