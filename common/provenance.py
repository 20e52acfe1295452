"""What a result stands on: the code that made it, the packages under that code, the commit, and the device.

The code of a result is the closure of its imports: the modules named, and all that they import of this repository, at
any depth of a function too, so that what is imported late is not missed. It is digested as syntax trees without
docstrings: a comment, a line break or a docstring changes nothing, any other change does. Imports for type checkers
alone are left out, since nothing runs differently with them. Not covered: what is imported by a name that is computed.

Run folders, kept answers, searches, suites, verdicts, audits and records all take their digests from here.
"""

import ast
import hashlib
import importlib.metadata
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from common.arithmetic import processor
from common.settings import ROOT

PACKAGE = "common"
# What a verdict stands on. A training stands on it only where answers are scored on the way, answers never do: a mended
# scorer asks for new verdicts, which cost no model.
# In two pieces, or they would count as imports of this module. Of prompts only what takes the SQL out of an answer.
SCORING = (f"{PACKAGE}.scoring", f"{PACKAGE}.extraction", f"{PACKAGE}.prose")
# What writes, compares and shows records. A record of tables stands on the rest of what its notebook imports.
RECORDS = tuple(f"{PACKAGE}.{name}" for name in ("results", "run", "releases", "tracking", "display", "pair_display"))
# Modules of values that a record holds by themselves: the recipe that trained, the sizes of the profile. Another
# default for one method makes no other training of the rest.
VALUES = (f"{PACKAGE}.profiles", f"{PACKAGE}.training.defaults")
# This module names code and computes no result. `digest`, by which samples are drawn, is fixed by a test.
_NAMING = f"{PACKAGE}.provenance"
# Imported, and without a say in any result: they show, write or fetch what others have computed.
IMMATERIAL = ("tqdm", "matplotlib", "wandb", "papermill", "nbformat", "nbclient", "IPython", "huggingface_hub")


def digest(*values: Any) -> str:
    """First 16 hex digits of the SHA-256 over values that JSON can hold; dicts are equal in any order of their keys."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def files_digest(paths: Iterable[Path]) -> str:
    """First 16 hex digits of the SHA-256 over the files' names and bytes, in name order; no compiled Python."""
    hashed = hashlib.sha256()
    for path in sorted(path for path in paths if path.is_file() and path.suffix != ".pyc"):
        with path.open("rb") as file:
            hashed.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return hashed.hexdigest()[:16]


def code(*modules: str, without: Iterable[str] = (), root: Path = ROOT) -> str:
    """Digest of the closure of `modules` (`common.evaluation`, …): equal only where the same code runs."""
    return _code(tuple(sorted(modules)), tuple(without), root)


@cache  # the code as it was when this process first asked: that is what it runs, whatever is edited meanwhile
def _code(modules: tuple[str, ...], without: tuple[str, ...], root: Path) -> str:
    sources = closure(*modules, without=without, root=root)
    trees = {name: _read(path).content for name, path in sources.items()}
    return digest(
        trees, {path.relative_to(root).as_posix(): files_digest([path]) for path in _data_files(sources, root)}
    )


def closure(*modules: str, without: Iterable[str] = (), root: Path = ROOT) -> dict[str, Path]:
    """The modules and all that they import of this repository, by name.

    without: modules and packages that are left out, with what they alone import; so are VALUES and this module, unless
    they are among `modules`. Raises KeyError for a module that is not there.
    """
    waiting, files = list(modules), {}
    without = {*without, *VALUES, _NAMING} - set(modules)
    while waiting:
        name = waiting.pop()
        if name in files or any(f"{name}.".startswith(f"{other}.") for other in without):
            continue
        path = _file(name, root)
        if path is None:
            raise KeyError(f"there is no module {name}")
        files[name] = path
        waiting += _parents(name)
        waiting += sorted({name for name in _read(path).modules if _file(name, root) is not None} - files.keys())
    return dict(sorted(files.items()))


def packages(*modules: str, without: Iterable[str] = (), root: Path = ROOT) -> dict[str, str]:
    """Versions of what the closure of `modules` imports from elsewhere, by distribution; SQLite's and Python's minor
    version with them. One that is not installed has the version "". IMMATERIAL ones are left out, and what this module
    imports to tell the device."""
    names: set[str] = set()
    for name, path in closure(*modules, without=without, root=root).items():
        if name != __name__:
            names |= _read(path).packages
    versions = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    if "sqlite3" in names:
        versions["sqlite"] = sqlite3.sqlite_version
    for name in sorted(names - sys.stdlib_module_names - {PACKAGE, *IMMATERIAL}):
        versions[name.replace("_", "-")] = _version(name)
    return versions


def basis(*modules: str, without: Iterable[str] = (), root: Path = ROOT) -> str:
    """Digest of the code, its packages and the device: what is kept on disk is used again only on the same ones."""
    parts = {"without": tuple(without), "root": root}
    return digest(code(*modules, **parts), packages(*modules, **parts), device_name(threads=False))


def device_name(*, threads: bool = True) -> str:
    """The GPU's name, or the processor with its number of threads; without `threads` the kind of device alone: "CPU"
    stands for all of them, since another one changes rounding only. Nothing that names the machine."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{processor()}, {_most_threads()} threads" if threads else "CPU"


@cache
def _most_threads() -> int:
    """As many as there were when it was first asked; later a training may have given some away."""
    import torch

    return torch.get_num_threads()


def notebook_digest(path: Path) -> str:
    """First 16 hex digits of the SHA-256 over the sources of a notebook's code cells, injected parameters left out, or
    over a script."""
    if path.suffix == ".py":
        return files_digest([path])
    sources = [source for source, tags in code_cells(path) if "injected-parameters" not in tags]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def code_cells(path: Path) -> list[tuple[str, list[str]]]:
    """(source, tags) of a notebook's code cells. Plain JSON: nbformat takes seconds to import."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [
        ("".join(cell["source"]), cell["metadata"].get("tags", []))  # a text, or a list of lines
        for cell in cells
        if cell["cell_type"] == "code"
    ]


def imports(path: Path) -> list[str]:
    """The modules of this repository that a notebook or a script imports itself, by name."""
    sources = [path.read_text(encoding="utf-8")] if path.suffix == ".py" else [text for text, _ in code_cells(path)]
    names = set().union(*(_source(source).modules for source in sources))
    return sorted(name for name in names if _file(name, ROOT) is not None)


def commit(*paths: str | Path) -> tuple[str, bool]:
    """The repository's commit, and whether common/, the requirements or `paths` differ from it.

    ("", True) where there is no git or no commit.
    """
    watched = ["common", "requirements.txt", *(str(path) for path in paths if str(path))]
    try:
        return _git("rev-parse", "--verify", "HEAD"), bool(_git("status", "--porcelain", "--", *watched))
    except (OSError, subprocess.CalledProcessError):
        return "", True


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _file(name: str, root: Path) -> Path | None:
    """The file of a module of this repository, None for any other name."""
    if name != PACKAGE and not name.startswith(f"{PACKAGE}."):
        return None
    path = root.joinpath(*name.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _parents(name: str) -> list[str]:
    """The packages that Python runs before it runs a module."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def _read(path: Path) -> "_Source":
    return _source(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class _Source:
    """What a module stands for: what it imports, the packages among that, and the digest of its tree.

    modules: with what of this package the source names in full as a text; workers get their module so.
    """

    modules: frozenset[str]
    packages: frozenset[str]
    content: str


@cache
def _source(text: str) -> _Source:
    """All at once: parsing and walking all of common/ is most of what a short process does here."""
    tree, modules, others = _without_docstrings(ast.parse(text)), set(), set()
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
            others |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
            others.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A module's name alone, or a line of Python for an interpreter of its own.
            modules |= {word for word in node.value.split() if word.startswith(f"{PACKAGE}.")}
    return _Source(frozenset(modules), frozenset(others), digest(_plain(tree)))


def _nodes(tree: ast.AST) -> Iterable[ast.AST]:
    """All nodes but what stands below `if TYPE_CHECKING`."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            node.body
            and isinstance(node.body[0], ast.Expr)
            and isinstance(getattr(node.body[0].value, "value", None), str)
        ):
            del node.body[0]
    return tree


def _plain(node: Any) -> Any:
    """A tree as lists, the same for every version of Python: `ast.dump` names fields that only newer ones have."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind"))
        parts = [[name, _plain(value)] for name, value in fields if value is not None and value != []]
        return [type(node).__name__, *parts]
    if isinstance(node, list):
        return [_plain(item) for item in node]
    return node if isinstance(node, str | int | bool | None) else repr(node)


def _data_files(sources: dict[str, Path], root: Path) -> list[Path]:
    """What lies beside the code of the closure's packages and is no Python: word lists, domains."""
    folders = {path.parent for name, path in sources.items() if path.name == "__init__.py" and name != PACKAGE}
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    visible = (path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts))
    return sorted(path for path in visible if path.suffix not in (".py", ".pyc"))


@cache
def _version(name: str) -> str:
    """A distribution's version by the name that is imported, "" where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        distributions = importlib.metadata.packages_distributions().get(name, [])
        return importlib.metadata.version(distributions[0]) if distributions else ""
