"""The folders in which attempts train: never shared, taken over from an attempt that has ended, and gone at the end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.sweeps import folders
from common.sweeps.folders import attempt_folder, clear

ROOT = Path(__file__).resolve().parents[2]
TRIAL, VALUES = "sft-lora-s1-03", {"learning_rate": 1e-4, "betas": (0.9, 0.999)}
HOLDER = """
import sys, time
from pathlib import Path
from common.sweeps.folders import attempt_folder
with attempt_folder(Path(sys.argv[1]), "sft-lora-s1-03", {"learning_rate": 1e-4, "betas": (0.9, 0.999)}) as folder:
    folder.mkdir()
    (folder / "checkpoint").write_text("theirs")
    print("trains", flush=True)
    time.sleep(600)
"""


def interrupt(root: Path, text: str, trial: str = TRIAL, values: dict = VALUES) -> None:
    """An attempt that ends in an error, with a checkpoint."""
    with pytest.raises(RuntimeError), attempt_folder(root, trial, values) as folder:
        folder.mkdir(exist_ok=True)
        (folder / "checkpoint").write_text(text)
        raise RuntimeError


@pytest.fixture
def rival(tmp_path):
    """Another process that trains the trial."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"trains\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_an_attempt_takes_over_what_an_ended_one_has_left(tmp_path):
    interrupt(tmp_path, "half-way")
    with attempt_folder(tmp_path, TRIAL, VALUES) as folder:
        assert (folder / "checkpoint").read_text() == "half-way"
        assert not [path for path in tmp_path.glob("*/*") if path.parent != folder.parent], "moved, not copied"
    assert not folder.exists() and not list(tmp_path.glob("*/*")), "the outcome is kept"
    clear(tmp_path, TRIAL)
    assert not list(tmp_path.iterdir())


def test_the_newest_of_several_is_taken_over(tmp_path):
    one, two = (attempt_folder(tmp_path, TRIAL, VALUES) for _ in range(2))
    with pytest.raises(RuntimeError), one as new, two as old:
        for folder, text, time in ((new, "new", 1_700_000_020), (old, "old", 1_700_000_010)):
            folder.mkdir()
            (folder / "checkpoint").write_text(text)
            os.utime(folder, (time, time))
        raise RuntimeError
    with attempt_folder(tmp_path, TRIAL, VALUES) as folder:
        assert (folder / "checkpoint").read_text() == "new"


@pytest.mark.parametrize(
    "other", [{"trial": "sft-lora-s1-04"}, {"trial": "sft-lora-s1-033"}, {"values": VALUES | {"learning_rate": 1e-3}}]
)
def test_another_trial_or_one_with_other_values_is_left_alone(tmp_path, other):
    interrupt(tmp_path, "another", **other)
    with attempt_folder(tmp_path, TRIAL, VALUES) as folder:
        assert not folder.exists()
    assert [path.read_text() for path in tmp_path.glob("*/training/checkpoint")] == ["another"]


def test_one_that_trains_keeps_its_folder_and_is_taken_over_once_it_is_dead(tmp_path, rival):
    (theirs,) = tmp_path.glob("*/training/checkpoint")
    with pytest.raises(RuntimeError), attempt_folder(tmp_path, TRIAL, VALUES) as folder:
        assert not folder.exists() and theirs.exists()
        raise RuntimeError
    clear(tmp_path, TRIAL)
    assert theirs.read_text() == "theirs", "nor is it cleared away"
    rival.kill()
    rival.wait()
    with attempt_folder(tmp_path, TRIAL, VALUES) as folder:
        assert (folder / "checkpoint").read_text() == "theirs" and not theirs.exists()


def test_where_somebody_was_faster_the_attempt_begins_anew(tmp_path, monkeypatch):
    interrupt(tmp_path, "half-way")
    (training,) = tmp_path.glob("*/training")
    real = folders.locked

    def late(folder):
        if folder == training.parent and training.exists():
            training.rename(tmp_path / "theirs")
        return real(folder)

    monkeypatch.setattr(folders, "locked", late)
    with attempt_folder(tmp_path, TRIAL, VALUES) as folder:
        assert not folder.exists()
    assert (tmp_path / "theirs" / "checkpoint").read_text() == "half-way"
