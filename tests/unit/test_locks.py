"""The lock of a folder: one process at a time, as often as that one likes, and free again when it dies."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.locks import hold, locked
from common.settings import UserError

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from common.locks import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_process_is_refused_in_one_line_until_the_first_is_gone(holder, tmp_path):
    with pytest.raises(UserError, match="^another process works in .*; wait until it ends"), locked(tmp_path):
        raise AssertionError("two processes in one folder")
    holder.kill()
    holder.wait()
    with locked(tmp_path):
        pass


def test_a_process_may_take_a_folder_again_and_gives_it_back(tmp_path):
    with locked(tmp_path), locked(tmp_path / ".." / tmp_path.name):
        assert refused(tmp_path)
    assert not list(tmp_path.iterdir()) and not refused(tmp_path)
    hold(tmp_path)
    with locked(tmp_path):
        pass
    assert refused(tmp_path), "held until the process ends"


def test_the_process_may_change_its_folder_meanwhile(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with locked(Path("run")):
        monkeypatch.chdir("/")
    assert not list((tmp_path / "run").iterdir())


def test_a_forked_child_does_not_hold_its_parents_lock(tmp_path):
    code = "import os, sys, time; from pathlib import Path; from common.locks import hold; hold(Path(sys.argv[1]))\n"
    code += "os.fork() or time.sleep(60); print(1, flush=True); os._exit(0)"
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"1\n" and parent.wait() == 0  # the child sleeps on
    assert not refused(tmp_path)
    parent.stdout.close()


def refused(folder: Path) -> bool:
    code = f"from pathlib import Path; from common.locks import hold; hold(Path({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 or "another process works in" in done.stderr
    return done.returncode != 0
