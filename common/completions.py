"""A model's answers on disk, a line a row, so that a stopped evaluation goes on from them.

The first line names what all answers belong to; every other line names its row and its row's prompt, so that an answer
is never taken for another row's. What cannot be trusted is left behind and answered again: a line cut short at any
byte, one of another row or prompt, both of two lines of one row, and all lines below a first line of something else.
Covers one process's file; who may write to a folder is `common.locks`' affair.
"""

import json
import math
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from common.settings import replace_text, writing

SYNC_SECONDS = 1  # a killed process loses nothing that was written; a machine that stops loses no more than this


@dataclass(frozen=True)
class Answer:
    """A row's answer. new_tokens: generated ones, the end token included. seconds: since the answer before it, or since
    the start, so that all lines of a file add up to the time spent on them, over all sittings."""

    text: str
    new_tokens: int
    seconds: float


def read(data: bytes, heading: dict, prompts: Mapping[int, str]) -> dict[int, Answer]:
    """The answers by row that a file of these bytes holds for `heading` and for the rows' prompts, by their digests."""
    first, *lines = data.split(b"\n")[:-1] or [b""]  # what stands behind the last line break is cut short
    if first != _line(heading):
        return {}
    answers, counts = {}, Counter()
    for line in lines:
        try:
            entry = json.loads(line)
            row, prompt, answer = entry.pop("row"), entry.pop("prompt"), Answer(**entry)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue
        if type(row) is int and row in prompts and prompts[row] == prompt and _is_sound(answer):
            answers[row] = answer
            counts[row] += 1
    return {row: answer for row, answer in answers.items() if counts[row] == 1}


def _is_sound(answer: Answer) -> bool:
    return (
        isinstance(answer.text, str)
        and (type(answer.new_tokens), type(answer.seconds)) == (int, float)
        and answer.new_tokens >= 0 <= answer.seconds < math.inf
    )


def _line(content: dict) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


class Completions:
    """The file at `path` for as long as the block runs: `answers` by row, those that it holds and those that are added.

    heading: what all answers belong to. prompts: the digest of each row's prompt. Raises UserError where the disk
    refuses.
    """

    def __init__(self, path: Path, heading: dict, prompts: Mapping[int, str]):
        self._path, self._heading, self._prompts = path, heading, prompts
        self._file: BinaryIO | None = None
        self._synced = 0.0
        self.answers: dict[int, Answer] = {}

    def __enter__(self) -> "Completions":
        data = self._path.read_bytes() if self._path.exists() else b""
        self.answers = read(data, self._heading, self._prompts)
        lines = [_line(self._heading), *(self._entry(row) for row in self.answers)]
        whole = b"\n".join([*lines, b""])
        with writing(self._path):
            if whole != data:
                replace_text(self._path, whole.decode())
            self._file = self._path.open("ab", buffering=0)  # a line is one write, whole or at the end
        return self

    def add(self, row: int, answer: Answer) -> None:
        """Keep the answer, on disk first."""
        self.answers[row] = answer
        with writing(self._path):
            self._file.write(self._entry(row) + b"\n")
            if time.monotonic() - self._synced > SYNC_SECONDS:
                self._sync()

    def _entry(self, row: int) -> bytes:
        return _line({"row": row, "prompt": self._prompts[row], **asdict(self.answers[row])})

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def __exit__(self, *_) -> None:
        with self._file, writing(self._path):
            self._sync()
