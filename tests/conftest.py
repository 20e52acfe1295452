"""What every test shares: a place of its own to write to, no hub, and the data that lies beside the repository.

The repository's outputs/ and results/ are never written: both move to a folder that is gone after the session, as do
temporary files. Tests of the committed results read them by path, `ROOT / "results"`. With `-n auto`, as `make test`
has it, several processes take the files of tests one by one; each has such a folder, and all share the models in it.
"""

import gc
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, chdir, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
MOST_WORKERS = 16  # more would wait for the longest files
WORKER_BYTES = 2 * 2**30  # what a process of tests and those it starts need, at most 1.5 GB, and a little more
_place: list[tempfile.TemporaryDirectory] = []
# The same cases everywhere, however long they take.
settings.register_profile("everywhere", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("everywhere")


def pytest_configure(config: pytest.Config) -> None:
    """Here and not in a fixture: it comes before any import, and the hub's client reads its variables when imported."""
    sys.path.insert(0, str(ROOT))  # for bench/, which is no part of the installed package
    gc.disable()  # until all is imported
    # A worker's folder lies in that of the process that has started it, whose environment it has.
    first = Path(os.environ["TEXT_TO_SQL_OUTPUTS"]) if hasattr(config, "workerinput") else None
    above = first.parent if first else None
    _place.append(tempfile.TemporaryDirectory(prefix="text-to-sql-tests-", dir=above, ignore_cleanup_errors=True))
    place = Path(_place[0].name)
    place.chmod(0o711)  # PostgreSQL runs as a user of its own
    for name in ("outputs", "results"):
        os.environ[f"TEXT_TO_SQL_{name.upper()}"] = str(place / name)
    if first:
        (first / "models").mkdir(parents=True, exist_ok=True)
        (place / "outputs").mkdir()
        (place / "outputs" / "models").symlink_to(first / "models")
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # pytest's own folders stay for a look
    os.environ["TMPDIR"] = str(place / "tmp")
    (place / "tmp").mkdir(mode=0o711)
    tempfile.tempdir = None  # looked up anew
    # The tests' products are too small to share: threads that wait for each other on a busy machine take ten times as
    # long. Several workers share the cores between them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("PYTHONHASHSEED", "0")  # in all workers, which must find the same tests in the same order
    if "not network" in config.option.markexpr:  # the default; `-m network` asks the real hub
        os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_unconfigure() -> None:
    while _place:
        _place.pop().cleanup()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A worker for each core that this process may use, as far as memory goes; 0, no other process, for one alone."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = _available_bytes()
    quota, period = (_limit("cpu.max").split() + ["", ""])[:2]
    if quota.isdigit():  # a container's share of the machine
        cores = min(cores, round(int(quota) / int(period)))
    workers = min(cores, free // WORKER_BYTES, MOST_WORKERS)
    return workers if workers > 1 else 0


def _available_bytes() -> int:
    """Memory that is free or can be freed, on the machine and in a container of its own limit."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    except OSError:  # not Linux
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    limit, used = _limit("memory.max"), _limit("memory.current")
    return min(free, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else free


def _limit(name: str) -> str:
    """A control group's file as a container sees it; empty where there is none."""
    try:
        return Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return ""


def pytest_collection_finish() -> None:
    """What the imports made stays: every training ends in looking for garbage, a third of a second in all of it."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the files, the slow kinds go first, so that all end at about the same time.

    Raises:
        pytest.UsageError: a test's name holds an object's address, which differs between the processes: they would
            refuse each other's list.
    """
    if names := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"{names[0]} has an address in its name: give its parameters ids")
    if hasattr(config, "workerinput"):
        tiers = ("notebooks", "tiny", "unit", "static")
        items.sort(key=lambda item: tiers.index(item.path.relative_to(ROOT / "tests").parts[0]))


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
    temporary = Path(tempfile.gettempdir())  # this process's own

    def look() -> dict[str, set]:
        gc.collect()
        places = {str(place): {path.name for path in place.iterdir()} for place in (temporary, Path("/"), *folders)}
        return {"descriptors": _descriptors(), "processes": _children()} | places

    # What names no folder would be written here; in the repository's, other processes of tests leave things too.
    with tempfile.TemporaryDirectory() as here, chdir(here):
        before = look()
        yield
        for name, found in look().items():
            assert found <= before[name], f"left in {name}: {found - before[name]}"
        assert not list(Path(here).iterdir()), f"left in the working folder: {list(Path(here).iterdir())}"


@pytest.fixture
def nothing_left() -> Callable[..., AbstractContextManager[None]]:
    """A context that fails where it ends with more open files, children (zombies too) or files than it began with.

    Looked at are the working folders of ours and of the workers, the folder for temporary files, which no other process
    has, and the folders that are given. Linux only.
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
