"""What workers are sent: jobs cut into messages, made one by one while the workers are busy.

A message has a bounded number of items and a bounded amount of text, so that every worker has something to do and none
holds much. Not covered: what a message looks like on the pipe (`frames`), who gets it and what comes of it (`pool`).
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_ITEMS = 32  # in one message
MOST_CHARACTERS = 2_000_000  # in one message, but for a longer item, which goes alone
Results = list[list[dict[str, Any]]]


@dataclass(frozen=True)
class Job:
    """Work that shares its preparation: `shared` and each of `items` are JSON-able, `file` is a database or None.

    optional: stages without which an item still has a result; an item that ends its worker there is done without.
    """

    shared: dict[str, Any]
    items: list[Any]
    file: Path | None = None
    optional: tuple[str, ...] = ()


@dataclass
class Piece:
    """Some items of a job that go to one worker together."""

    job: Job
    rest: list[int]  # positions in job.items that are not answered yet
    results: list[dict[str, Any]]  # the whole job's, filled in place
    without: set[tuple[int, str]] = field(default_factory=set)  # positions and the stages they are done without


@dataclass
class Message:
    """Pieces that one worker gets at once, and what has come of them so far.

    serial: its number among those of the worker that has it. positions: of each piece's items as they were sent.
    """

    pieces: list[Piece] = field(default_factory=list)
    serial: int = 0
    positions: list[list[int]] = field(default_factory=list)
    retries: set[tuple[int, int | None, str | None]] = field(default_factory=set)  # where a worker died once

    @property
    def size(self) -> int:
        """How many items are not answered yet."""
        return sum(len(piece.rest) for piece in self.pieces)


class Queue:
    """The messages for all workers, each made when it is first needed; threads may share one."""

    def __init__(self, jobs: Iterable[Job], *, total: int, workers: int):
        """total: how many items the jobs have, more or less."""
        self.results: Results = []  # of the jobs that have been cut so far, all of them at the end
        most = max(1, min(MOST_ITEMS, -(-total // (4 * workers))))
        self._messages = _cut(jobs, self.results, most)
        self._workers = workers
        self._ready: deque[Message] = deque()
        self._lock = threading.Lock()

    def prepare(self) -> int:
        """Make a message for each worker; how many there are."""
        with self._lock:
            return self._fill(self._workers)

    def take(self, *, ahead: bool = False) -> Message | None:
        """The next message, None where there is none.

        ahead: for a worker that has another to answer first. The last ones it does not get: whoever is free first does.
        """
        with self._lock:
            least = self._workers if ahead else 1
            return self._ready.popleft() if self._fill(least) >= least else None

    def _fill(self, number: int) -> int:
        while len(self._ready) < number and (message := next(self._messages, None)) is not None:
            self._ready.append(message)
        return len(self._ready)


def _cut(jobs: Iterable[Job], results: Results, most: int) -> Iterator[Message]:
    """Messages of about `most` items; a job's results are added to `results` before its first message."""
    message = Message()
    room, characters = most, MOST_CHARACTERS
    for job in jobs:
        results.append([{} for _ in job.items])
        shared = _characters(job.shared)
        piece: Piece | None = None
        for position, item in enumerate(job.items):
            size = _characters(item)
            is_full = piece is None or len(piece.rest) == MOST_ITEMS or size > characters
            if is_full and message.pieces and (room <= 0 or shared + size > characters):
                yield message
                message = Message()
                room, characters = most, MOST_CHARACTERS
            if is_full:
                piece = Piece(job, [], results[-1])
                message.pieces.append(piece)
                characters -= shared
            piece.rest.append(position)
            room -= 1
            characters -= size
    if message.pieces:
        yield message


def _characters(value: Any) -> int:
    """How much text there is in what JSON will carry."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        value = value.values()
    return sum(map(_characters, value)) if isinstance(value, Iterable) else 0
