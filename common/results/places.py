"""Where a run's records go: to `results/` by `make notebooks` alone, else to `outputs/results/`; and what decides it.

A run whose rows, data or model are not its notebook's gets a folder named after those three, so that runs of the same
three meet there and no others; a run at another seed has the same rows, and a folder of its seed below that of the
usual one, so that their spread can be told. A notebook's own parameters are the literals in its cell tagged
`parameters`, as committed; a script has no such cell, so for it they are the defaults of `start_run`.
"""

import ast
import dataclasses
import json
import shlex
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from common.profiles import PROFILES, Profile
from common.provenance import digest
from common.results.ledger import SEEDS, folder
from common.settings import ROOT, UserError, outputs, publishing

SEED = 42
_OVERRIDES = ("model_id", "data", "test_rows")  # parameters that stand for the profile's, where they are not empty
_NOT_OURS = ("outputs", "tests")
# What a file raises that is no notebook, or whose parameters are no Python, in place of its parameters.
_DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, SyntaxError, RecursionError)


def with_overrides(profile: Profile, parameters: Mapping[str, object]) -> Profile:
    """The profile with the model, the data and the number of test rows of `parameters`, where they name any; of each
    other split it then takes as many fewer rows, at least one."""
    changes = {key: parameters[key] for key in _OVERRIDES if parameters.get(key)}
    others, share = profile.other_test_rows, changes.get("test_rows", profile.test_rows) / profile.test_rows
    others = min(others, max(1, round(others * share)))
    return dataclasses.replace(profile, **changes, other_test_rows=others)


def place(notebook: str, profile: str, seed: int, parameters: Mapping[str, object]) -> Path:
    """The folder of a run's records. notebook: its path from the repository's root; parameters: by their names in small
    letters, `seed` and `profile` apart."""
    defaults = {name.lower(): value for name, value in committed_parameters(notebook).items()}
    usual = {"seed": SEED, **defaults}
    changes = [key for key in parameters.keys() & defaults.keys() - {"profile"} if parameters[key] != defaults[key]]
    if publishing() and notebook.endswith(".ipynb") and not changes:
        return at_seed(folder(profile), seed, usual["seed"])
    facts, others = (_facts(profile, named) for named in (parameters, usual))
    name = profile if facts == others else f"{profile}@{digest(facts)[:8]}"
    return at_seed(outputs() / "results" / name, seed, usual["seed"])


def _facts(profile: str, parameters: Mapping[str, object]) -> list:
    sizes = with_overrides(PROFILES[profile], parameters)
    return [sizes.model_id, sizes.data, sizes.test_rows]


def at_seed(place: Path, seed: int, usual: int = SEED) -> Path:
    """Where the records of a seed lie, `place` being where those of the usual one do."""
    return place if seed == usual else place / SEEDS / str(seed)


def usual_seed(place: Path) -> Path:
    """Where the records of the same rows, data and model at the usual seed lie."""
    return place.parents[1] if place.parent.name == SEEDS else place


def command(method: str, profile: Profile) -> str:
    """The command that writes a method's record where a run of this profile, at whatever seed, looks for it."""
    usual = PROFILES[profile.name]
    pairs = {name: getattr(profile, name) for name in _OVERRIDES if getattr(profile, name) != getattr(usual, name)}
    words = ["make run", f"PROFILE={profile.name}"]
    words += [f"NOTEBOOKS={notebook}"] if (notebook := notebook_of(method)) else []
    words += [_make_variable("ARGS", shlex.join(_options(pairs)))] if pairs else []
    return f"`{' '.join(words)}`"


def _options(pairs: Mapping[str, object]) -> list[str]:
    return [word for name, value in pairs.items() for word in ("-p", f"{name.upper()}={value}")]


def _make_variable(name: str, text: str) -> str:
    """`NAME="text"` for the shell that calls make: make takes the text, doubles of `$` apart, to a shell of its own."""
    text = text.replace("$", "$$")
    return shlex.quote(f"{name}={text}") if set(text) & set('"$`\\!') else f'{name}="{text}"'


def notebook_paths() -> list[Path]:
    """Every notebook of the study: those in the repository's folders that have a RUN_NAME, but for outputs/, tests/ and
    hidden ones."""
    return [path for path, name in _run_names().items() if name]


def strays() -> list[Path]:
    """Files in the same folders that are no notebook of the study: without a RUN_NAME, such as the Untitled.ipynb of an
    editor."""
    return [path for path, name in _run_names().items() if not name]


def _run_names() -> dict[Path, str]:
    paths = [path.relative_to(ROOT) for path in sorted(ROOT.glob("*/**/*.ipynb"))]
    ours = [p for p in paths if p.parts[0] not in _NOT_OURS and not any(part.startswith(".") for part in p.parts)]
    return {path: _run_name(ROOT / path) for path in ours}


def _run_name(path: Path) -> str:
    """A notebook's name for its record, "" for a stray. Raises UserError for a damaged one: it may be the study's."""
    try:
        return str(_literals(path.read_text(encoding="utf-8")).get("RUN_NAME") or "")
    except (OSError, LookupError, TypeError, AttributeError):  # a folder, a link to nothing, JSON of another shape
        return ""
    except _DAMAGED as error:
        raise UserError(f"{path} is no notebook ({type(error).__name__}); mend it, or move it away") from None


def notebook_of(method: str) -> str:
    """The notebook that makes a method's record, from the repository's root: its RUN_NAME is the method's name or
    begins it; "" where there is none, or where one is damaged: this is for advice, and others say so."""
    names: dict[str, str] = {}
    with suppress(UserError):
        names = {name: path.as_posix() for path, name in _run_names().items() if name}
    fitting = [name for name in names if method == name or method.startswith(f"{name}-")]
    return names[max(fitting, key=len)] if fitting else ""


def parameters(path: Path) -> dict[str, object]:
    """A notebook's parameters with their values, by name; {} for a script. Raises UserError for what is no notebook."""
    try:
        return {} if path.suffix == ".py" else _literals(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no notebook {path}; `python -m common.study list` names them all") from None
    except _DAMAGED as error:
        raise UserError(f"{path} is no notebook ({type(error).__name__})") from None


def committed_parameters(notebook: str) -> dict[str, object]:
    """A notebook's parameters as committed; where it is not, or there is no git, as they stand in its file."""
    try:
        show = ["git", "show", f"HEAD:{notebook}"]
        text = subprocess.run(show, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout
        return {} if notebook.endswith(".py") else _literals(text)
    except (*_DAMAGED, subprocess.CalledProcessError):
        return parameters(ROOT / notebook)


def _literals(text: str) -> dict[str, object]:
    """The assignments of the cell tagged `parameters`. Raises one of _DAMAGED for no notebook."""
    for cell in json.loads(text)["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            return dict(filter(None, map(_pair, ast.parse("".join(cell["source"])).body)))
    return {}


def _pair(statement: ast.stmt) -> tuple[str, object] | None:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            return name, ast.literal_eval(value)
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, ast.literal_eval(value)
    return None
