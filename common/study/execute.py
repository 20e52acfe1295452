"""Notebooks executed by papermill in dependency order, and the comparison of what they recorded.

Executed copies go to outputs/notebooks/<profile>/, records to outputs/results/, whatever the parameters. For
`make notebooks` alone both are meant for the repository: then records go to results/ and the README follows.
"""

import errno
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import nbformat

from common import provenance
from common.results import folder, places, read_records, readme, save_comparison
from common.results.tables import plain
from common.settings import (
    UserError,
    absolute,
    disk_error,
    outputs,
    redact,
    relative,
    replace_text,
    results,
    writable,
    writing,
)
from common.study.notebooks import Notebook, check_known, defaults, load, parameters_for

# Libraries' folders, which each of them takes from the folder of its own process.
# What names the copy's place beside what `settings.writing` knows: a folder in it, a name too long, a disk that fails.
_OF_DISKS = (errno.EISDIR, errno.ENAMETOOLONG, errno.EIO)
_FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "TORCH_HOME", "XDG_CACHE_HOME", "TMPDIR")
PUBLISHABLE = "publishable"  # in the metadata of a copy that was executed for the repository


def execute(notebook: Notebook, profile: str, texts: Mapping[str, str] | None = None, *, publish: bool = False) -> Path:
    """Run one notebook from its own folder; returns the executed copy, stderr left out of it.

    texts: parameters as they are typed; publish: records go to results/. What cells write to stderr (progress bars)
    goes to this process's stderr as it comes. However it ends, no key stays in the copy. Raises UserError with the
    cell's own line where a cell raised one, where the kernel died, and where the disk refuses the copy; any other error
    of a cell ends in RuntimeError.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    values = parameters_for(notebook.path, {"PROFILE": profile, **(texts or {})})
    target = copy_path(notebook, profile, values.get("SEED"))
    writable(target.parent)
    _set_environment(publish)
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
        copy = load(target)
        for cell in copy.cells:
            if cell.cell_type == "code":
                cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        copy.metadata[PUBLISHABLE] = publish
        with writing(target):
            replace_text(target, nbformat.writes(copy) + "\n")
    except PapermillExecutionError as error:
        if error.ename == "UserError":
            raise UserError(f"{notebook.name}: {error.evalue}") from None
        raise RuntimeError(redact(f"{notebook.name}, {error}\nthe notebook up to there: {target}")) from None
    except (DeadKernelError, RuntimeError) as error:
        if not isinstance(error, DeadKernelError) and "Kernel died" not in str(error):  # jupyter_client's, at its start
            raise
        raise UserError(
            f"{notebook.name}: the kernel died, most often for want of memory; close other programs or take a smaller "
            "batch, then run again: it goes on where it was"
        ) from None
    except TimeoutError as error:  # one of OSError
        raise UserError(f"{notebook.name}: {error}; close other programs, then run again") from None
    except BrokenPipeError:  # whoever read what is printed has gone
        raise
    except OSError as error:
        if error.errno in _OF_DISKS:
            raise disk_error(error, Path(error.filename or target)) from None
        raise UserError(f"{notebook.name} cannot be executed ({error}); run it again") from None
    finally:
        _take_keys_out(target)
    return target


def _take_keys_out(path: Path) -> None:
    """Of a copy as papermill has left it: it writes what cells print as it is. A copy that cannot be written goes."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")  # a disk that was full may have cut a character
        if redact(text) != text:
            replace_text(path, text)
    except FileNotFoundError:  # nothing was executed
        pass
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def copy_path(notebook: Notebook, profile: str, seed: object = None) -> Path:
    """Where a notebook's executed copy goes; one of another seed than its own lies apart."""
    place = outputs() / "notebooks" / profile
    return ((place / f"seed-{seed}" if seed is not None else place) / notebook.name.lstrip("/")).resolve()


def _set_environment(publish: bool) -> None:
    """For the kernels: this `common` and this interpreter before any other, quiet tokenizers, calm bars, and paths in
    full, since a kernel is in another folder."""
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    os.environ["JUPYTER_PATH"] = str(Path(sys.prefix) / "share" / "jupyter")  # always searched first
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"}
    os.environ["TEXT_TO_SQL_PUBLISHING"] = "1" if publish else ""
    folders = {"TEXT_TO_SQL_OUTPUTS": outputs(), "TEXT_TO_SQL_RESULTS": results()}
    folders |= {name: absolute(os.environ[name]) for name in _FOLDERS if os.environ.get(name)}
    os.environ |= {name: str(folder) for name, folder in folders.items() if os.environ.get(name)}
    if os.environ.get("SWEEP_STORAGE"):
        from common.sweeps import storage  # slow to import, and few runs have it

        os.environ["SWEEP_STORAGE"] = storage.in_full()
    # A thread that waits spins for some microseconds, then gives its core away. GNU's OpenMP spins for milliseconds, on
    # which anything else that runs slows a training tenfold; without any spinning it is a third slower when alone.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("TQDM_MININTERVAL", "1" if sys.stderr.isatty() else "20")


def run(notebooks: Sequence[Notebook], profile: str, texts: Mapping[str, str], *, publish: bool = False) -> None:
    """Execute the notebooks in order, then print and save the comparison of the records they went to.

    A parameter goes to the notebooks that have it; one that none of them has is refused. publish: records go to
    results/, and the README follows; refused before anything runs where the code or a notebook is not committed, and
    for other parameters than a notebook's own, its seed apart.
    """
    start = time.monotonic()
    check_known(texts, [notebook.path for notebook in notebooks])
    parts = [{name: texts[name] for name in texts if name in defaults(notebook.path)} for notebook in notebooks]
    for notebook, part in zip(notebooks, parts, strict=True):  # all of them before the first one runs
        values = parameters_for(notebook.path, {"PROFILE": profile, **part})
        if publish and values.keys() - {"SEED"}:
            raise UserError(
                f"results/ is for a notebook's own parameters, but {notebook.name} would be run with "
                f"{', '.join(f'{name}={value}' for name, value in values.items())}; `make run` takes others"
            )
    if publish:
        _check_commit(notebooks)
    folders = [_place(notebook, profile, part, publish) for notebook, part in zip(notebooks, parts, strict=True)]
    for number, (notebook, part, place) in enumerate(zip(notebooks, parts, folders, strict=True), 1):
        seconds = _seconds(notebook, place) or _seconds(notebook, folder(profile))
        note = f" · about {_minutes(seconds)} the last time" if seconds else ""
        print(f"[{number}/{len(notebooks)}] {notebook.name}{note}", flush=True)
        begin = time.monotonic()
        execute(notebook, profile, part, publish=publish)
        print(f"[{number}/{len(notebooks)}] {notebook.name} done in {_minutes(time.monotonic() - begin)}", flush=True)
    # Of what is committed at other seeds the comparison of the usual one's folder tells the spread.
    compared = [*([] if publish else folders), *map(places.usual_seed, folders)]
    figures = [figure for place in dict.fromkeys(compared) if (figure := _compare(place))]
    if publish:
        readme.follow(profile)
    where = f"records: {', '.join(map(relative, dict.fromkeys(folders)))}"
    where += f" · executed notebooks: {relative(outputs() / 'notebooks' / profile)}"
    where += f" · figure: {', '.join(map(relative, figures))}" if figures else ""
    print(f"done in {_minutes(time.monotonic() - start)} · {where}")


def _check_commit(notebooks: Sequence[Notebook]) -> None:
    """Raises UserError where what would be recorded in results/ is in no commit."""
    names = [notebook.name for notebook in notebooks if provenance.commit(notebook.name)[1]]
    if provenance.commit()[1]:
        names = ["common/ or requirements.txt"]
    if names:
        raise UserError(
            f"results/ is for what is committed, and {', '.join(names)} {'is' if len(names) == 1 else 'are'} not; "
            "commit first, or take `make run`, which writes to outputs/"
        )


def _place(notebook: Notebook, profile: str, texts: Mapping[str, str], publish: bool) -> Path:
    """Where a notebook's records will go."""
    usual = defaults(notebook.path)
    parameters = {name.lower(): value for name, value in (usual | parameters_for(notebook.path, texts)).items()}
    seed = int(parameters.pop("seed", places.SEED))
    if publish:
        return places.at_seed(folder(profile), seed, int(usual.get("SEED", places.SEED)))
    return places.place(notebook.name, profile, seed, parameters)


def _seconds(notebook: Notebook, place: Path) -> float:
    """What the notebook took the last time, by its records in a folder; 0 without any."""
    costs = [record["cost"] for record in read_records(place) if record["notebook"] == notebook.name]
    names = ("search_seconds", "train_seconds", "validation_seconds")
    training = [sum(cost.get(name, 0) for name in names) for cost in costs]
    return sum(cost["eval_seconds"] for cost in costs) + max(training, default=0)  # its records share one training


def _compare(place: Path) -> Path | None:
    """Save and print a folder's comparison; returns its figure, None where there is nothing to compare."""
    if not read_records(place):  # an audit is no run
        return None
    try:
        figure = save_comparison(place)[1]
        print(f"\n{plain(place)}\n")
        return figure
    except UserError as error:  # what was run is recorded all the same
        print(f"\nno comparison: {error}\n")
        return None


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min"
