"""What the tests of the data do with files: a short digest, half of one, one of a row, and one that is refused."""

import hashlib
import json
from pathlib import Path

import pytest

from common.data import Example, load_examples, load_file
from common.settings import UserError

HEAD = "sql_prompt,sql_context,sql\n"
ROW = {"sql_prompt": "How many?", "sql_context": "CREATE TABLE t (a INT);", "sql": "SELECT COUNT(*) FROM t"}
READ = Example("rows-00000", ROW["sql_prompt"], ROW["sql_context"], ROW["sql"])
CELLS = ",".join(ROW.values()) + "\n"


def sha16(text: bytes | str) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:16]


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def file(folder: Path, suffix: str, content: str | bytes) -> Path:
    path = folder / f"rows{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def refused(path: Path, message: str) -> None:
    """The file is refused in one line, which begins with its path, by both ways in."""
    for ask in (lambda: load_file(path), lambda: load_examples(str(path), "train")):
        with pytest.raises(UserError) as error:
            ask()
        assert str(error.value).startswith(f"{path} {message}") and "\n" not in str(error.value)
