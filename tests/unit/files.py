"""What the tests of the data do with files: a short digest, and half of one."""

import hashlib
from pathlib import Path


def sha16(text: bytes | str) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:16]


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
