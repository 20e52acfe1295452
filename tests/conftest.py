"""What every test shares: a place of its own to write to, no hub, and the data that lies beside the repository.

The repository's outputs/ and results/ are never written: both move to a folder that is gone after the session. Tests of
the committed results read them by path, `ROOT / "results"`.
"""

import os
import sys
import tempfile
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
