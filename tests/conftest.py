"""What every test shares: a place of its own to write to, no hub, and the data that lies beside the repository.

The repository's outputs/ and results/ are never written: both move to a folder that is gone after the session. Tests of
the committed results read them by path, `ROOT / "results"`.
"""

import gc
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_place: list[tempfile.TemporaryDirectory] = []


def pytest_configure(config: pytest.Config) -> None:
    """Here and not in a fixture: it comes before any import, and the hub's client reads its variables when imported."""
    sys.path.insert(0, str(ROOT))  # for bench/, which is no part of the installed package
    _place.append(tempfile.TemporaryDirectory(prefix="text-to-sql-tests-", ignore_cleanup_errors=True))
    for name in ("outputs", "results"):
        os.environ[f"TEXT_TO_SQL_{name.upper()}"] = str(Path(_place[0].name, name))
    if "not network" in config.option.markexpr:  # the default; `-m network` asks the real hub
        os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_unconfigure() -> None:
    while _place:
        _place.pop().cleanup()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of Spider and of gretel's sample, which are no part of the repository."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data (Spider and a sample of gretel), which lies beside the repository")
    return folder


def _descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}


def _children() -> set[int]:
    """Process ids of our children, zombies too."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}


@contextmanager
def _nothing_left(*folders: Path) -> Iterator[None]:
    def look() -> dict[str, set]:
        gc.collect()
        places = {str(place): {path.name for path in place.iterdir()} for place in (Path.cwd(), Path("/"), *folders)}
        # Other programs write here too; these are the names that SQLite and our tests' texts would choose.
        temporary = Path(tempfile.gettempdir())
        places |= {"temporary files": {path.name for p in ("etilqs_*", "*leaked*") for path in temporary.glob(p)}}
        return {"descriptors": _descriptors(), "processes": _children()} | places

    before = look()
    yield
    for name, found in look().items():
        assert found <= before[name], f"left in {name}: {found - before[name]}"


@pytest.fixture
def nothing_left() -> Callable[..., AbstractContextManager[None]]:
    """A context that fails where it ends with more open files, children (zombies too) or files than it began with.

    Looked at are the working folders of ours and of the workers, what SQLite or our texts would put into the folder for
    temporary files, and the folders that are given. Linux only.
    """
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("reads /proc, which only Linux has")
    return _nothing_left


@pytest.fixture(scope="session")
def in_one_call() -> Callable:
    """Scores a table's cases (schema, reference, prediction) in one call and in an order of its own."""

    def score(scorer, cases: Sequence, *, seed: int) -> list:
        order = random.Random(seed).sample(range(len(cases)), len(cases))
        asked = (cases[i] for i in order)
        verdicts = scorer.score_batch(
            {"schema": case.schema, "reference": case.reference, "prediction": case.prediction} for case in asked
        )
        return [verdict for _, verdict in sorted(zip(order, verdicts, strict=True), key=lambda pair: pair[0])]

    return score


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for outputs, caches among them."""
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))
    return tmp_path
