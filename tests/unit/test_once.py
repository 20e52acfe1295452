"""A folder that is made once: whole or absent, also where two processes finish it at the same time."""

import errno
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from common.settings import ROOT, UserError, once

# Writes its name into the folder and waits until the other has done so too: both then stand before the same rename.
SCRIPT = """
import sys, time
from pathlib import Path
from common.settings import once

name, place = sys.argv[1], Path(sys.argv[2])

def make(folder):
    folder.mkdir()
    for n in range(20):
        (folder / f"{n}").write_text(name)
    (place / f"ready-{name}").touch()
    while len(list(place.glob("ready-*"))) < 2:
        time.sleep(.001)

folder = once(place / "deep" / "folder", make)
print({path.read_text() for path in folder.iterdir()}.pop(), len(list(folder.iterdir())))
"""


def test_two_processes_that_finish_at_once_use_one_folder(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, name, str(tmp_path)],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for name in ("one", "two")
    ]
    texts = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], texts
    assert texts[0] == texts[1] and texts[0][0] in ("one 20\n", "two 20\n")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["folder"]


def test_two_threads_make_it_in_places_of_their_own(tmp_path):
    barrier = Barrier(2)

    def make(folder: Path) -> None:
        folder.mkdir()
        barrier.wait(timeout=300)
        (folder / "file").write_text("whole")
        barrier.wait(timeout=300)

    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: once(tmp_path / "folder", make), range(2)))
    assert folders == [tmp_path / "folder"] * 2 and (folders[0] / "file").read_text() == "whole"
    assert list(tmp_path.iterdir()) == folders[:1]


def test_what_is_there_is_not_made_again(tmp_path):
    calls = []

    def make(folder: Path) -> None:
        calls.append(folder)
        folder.mkdir()

    assert once(tmp_path / "folder", make) == once(tmp_path / "folder", make) == tmp_path / "folder"
    assert len(calls) == 1 and calls[0].parent == tmp_path


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (ZeroDivisionError("ours"), ZeroDivisionError, "ours"),
        (OSError(errno.ENOSPC, "No space left on device"), UserError, "cannot write .*folder: No space left on device"),
    ],
)
def test_what_fails_leaves_nothing_behind(tmp_path, fault, kind, message):
    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise fault

    with pytest.raises(kind, match=message):
        once(tmp_path / "folder", make)
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_folders_place_is_one_line(tmp_path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(UserError, match="cannot write .*folder: Not a directory; free some space, or set TEXT_TO_SQL"):
        once(tmp_path / "folder", Path.mkdir)
