"""The parent's side: starting workers, handing them work, and going on when one of them dies."""

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from common.sandbox.process import DiedAtStart, SandboxError, Worker

MOST_ITEMS = 32  # in one message
MOST_CHARACTERS = 2_000_000  # in one message, but for a longer item, which goes alone
MOST_FILE_BYTES = 64 * 2**20  # of database files in one worker
LARGEST_FILE = 60 * 2**20  # bytes; SQLite's heap in a worker holds no more
MOST_STARTS = 3
_LOG = logging.getLogger(__name__)


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
class _Piece:
    """Some items of a job that go to one worker together."""

    job: Job
    rest: list[int]  # positions in job.items that are not answered yet
    results: list[dict[str, Any]]  # the whole job's, filled in place
    without: set[tuple[int, str]] = field(default_factory=set)  # positions and the stages they are done without


@dataclass
class _Slot:
    """The place of one worker: the process changes, the place stays."""

    worker: Worker | None = None
    files: dict[str, int] = field(default_factory=dict)  # file key -> bytes, oldest first

    def stop(self) -> None:
        worker, self.worker, self.files = self.worker, None, {}
        if worker is not None:
            worker.stop()

    def kill(self) -> None:
        worker = self.worker
        if worker is not None:
            worker.process.kill()


class Pool:
    """Workers that run a task module on untrusted input.

    The task has `run(shared, items, file, say)`, `hold(key, content)` and `drop(key)`; see `worker`. An item's result
    is what its stages gave, or {"killed": stage} where the worker died at one (both for an optional stage). What the
    CPU alarm ended is not tried again; after any other death (a crash, a kill, a silence) the item gets a second try.
    Threads may share a pool (they take turns); a forked child gets workers of its own.
    """

    def __init__(self, task: str, *, workers: int = 2, wall_seconds: float = 10.0):
        """Nothing is started yet.

        task: module name. workers: processes, started when first needed. wall_seconds: longest silence of one.
        """
        if workers < 1:
            raise ValueError(f"a pool needs at least one worker, not {workers}")
        self.missing: list[str] = []  # layers the platform lacks, known after the first start
        self._task, self._wall, self._count = task, wall_seconds, workers
        self._is_closed = False
        self._renew()

    def run(
        self,
        jobs: Sequence[Job],
        *,
        on_finish: Callable[[int], None] | None = None,
        meanwhile: Iterator[None] | None = None,
    ) -> list[list[dict[str, Any]]]:
        """Results of each job's items, in order. on_finish: called with the number of items just finished.

        meanwhile: work of the caller's own, in small steps, of which some are done whenever a worker is busy; it may
        not have come to its end. Raises SandboxError when our own machinery fails, never for anything an item contains.
        """
        if os.getpid() != self._process:
            self._renew()
        with self._lock:
            if self._is_closed:
                raise SandboxError("the pool is closed")
            results: list[list[dict[str, Any]]] = [[{} for _ in job.items] for job in jobs]
            self._meanwhile = meanwhile or iter(())
            self._run_all(_batches(jobs, results, self._count), on_finish or (lambda number: None))
            return results

    def pids(self) -> list[int]:
        """Process ids of the workers that run now."""
        return [slot.worker.process.pid for slot in self._slots if slot.worker is not None]

    def close(self) -> None:
        """End all workers and wait for them; a run in another thread raises SandboxError. Safe to call again."""
        self._is_closed = True
        if os.getpid() != self._process:
            self._renew()
        for slot in self._slots:
            slot.kill()
        with self._lock:
            _stop_all(self._slots, self._process)

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _renew(self) -> None:
        """New, empty places; after a fork the old ones belong to the parent and are only let go of."""
        if hasattr(self, "_finalizer"):
            self._finalizer.detach()
            for slot in self._slots:
                if slot.worker is not None:
                    slot.worker.abandon()
        self._process = os.getpid()
        self._lock, self._aside = threading.Lock(), threading.Lock()
        self._slots = [_Slot() for _ in range(self._count)]
        self._finalizer = weakref.finalize(self, _stop_all, self._slots, self._process)

    def _run_all(self, batches: "deque[list[_Piece]]", on_finish: Callable[[int], None]) -> None:
        errors: list[BaseException] = []

        def serve(slot: _Slot) -> None:
            try:
                while not errors:
                    try:
                        batch = batches.popleft()
                    except IndexError:
                        return
                    self._serve(slot, batch, on_finish, errors)
            except BaseException as error:
                slot.stop()  # it may be in the middle of something
                errors.append(error)

        others = [threading.Thread(target=serve, args=(slot,), daemon=True) for slot in self._slots[1 : len(batches)]]
        try:
            for thread in others:
                thread.start()
            serve(self._slots[0])
            for thread in others:
                thread.join()
        except BaseException as error:
            errors.append(error)
        if errors:
            for thread in others:
                while thread.is_alive():
                    for slot in self._slots:
                        slot.kill()  # wakes the thread that waits for it
                    thread.join(0.05)
            for slot in self._slots:
                slot.stop()
            raise errors[0]

    def _serve(
        self, slot: _Slot, batch: list[_Piece], on_finish: Callable[[int], None], errors: list[BaseException]
    ) -> None:
        retries: set[tuple[int, int | None, str | None]] = set()
        silent = 0
        while batch := [piece for piece in batch if piece.rest]:
            before = sum(len(piece.rest) for piece in batch)
            at, why = self._serve_once(slot, batch, on_finish)
            if why is None:
                return
            slot.stop()
            if self._is_closed or errors:
                raise SandboxError("stopped while it ran")
            if at is None:
                silent = 1 if sum(len(piece.rest) for piece in batch) < before else silent + 1
                if silent >= MOST_STARTS:
                    raise SandboxError(f"{silent} workers in a row died before they began: {why}")
                continue
            piece, item, stage = at
            key = (id(piece), item, stage)
            if why != "cpu" and key not in retries:
                retries.add(key)
                continue
            for position in list(piece.rest) if item is None else [item]:
                piece.results[position]["killed"] = stage
                if item is not None and stage in piece.job.optional:
                    piece.without.add((position, stage))
                else:
                    piece.rest.remove(position)
                    on_finish(1)

    def _serve_once(
        self, slot: _Slot, batch: list[_Piece], on_finish: Callable[[int], None]
    ) -> tuple[tuple[_Piece, int | None, str | None] | None, str | None]:
        """Send a batch and take its answers: what the worker was at when it died, and why (None: it did not)."""
        if slot.worker is None:
            slot.worker = self._start()
            if slot.worker.missing and not self.missing:
                _LOG.warning("the sandbox runs without what this platform lacks: %s", ", ".join(slot.worker.missing))
            self.missing = slot.worker.missing
        worker = slot.worker
        positions = [list(piece.rest) for piece in batch]
        worker.forget_steps()
        if not self._send(slot, batch):
            return None, worker.why_dead()
        if self._aside.acquire(blocking=False):  # one thread at a time
            try:
                for _ in islice(self._meanwhile, 2 * sum(map(len, positions))):
                    pass
            finally:
                self._aside.release()
        while (message := worker.receive(self._wall)) is not None:
            if message[0] == "end":
                return None, None
            if message[0] == "fatal":
                raise SandboxError(f"the worker failed: {message[1]}")
            _, number, results = message
            piece = batch[number]
            for position, parts in zip(positions[number], results, strict=True):
                piece.results[position].update(parts)
            piece.rest.clear()
            on_finish(len(results))
        why = worker.why_dead()
        step = worker.step()
        if step is None or not batch[step[0]].rest:  # between two pieces nothing foreign runs
            return None, why
        number, item, stage = step
        return (batch[number], None if item is None else positions[number][item], stage), why

    def _start(self) -> Worker:
        for _ in range(MOST_STARTS - 1):
            try:
                return Worker(self._task)
            except DiedAtStart:
                continue
        return Worker(self._task)

    def _send(self, slot: _Slot, batch: list[_Piece]) -> bool:
        pieces, drop, keys = [], [], set()
        for piece in batch:
            key = None
            if piece.job.file is not None:
                stat = piece.job.file.stat()
                key = f"{piece.job.file.resolve()}:{stat.st_mtime_ns}:{stat.st_size}"
                keys.add(key)
                if key not in slot.files:
                    content = piece.job.file.read_bytes()
                    if not slot.worker.send(["file", key], content):
                        return False
                    slot.files[key] = len(content)
            without = [(n, stage) for n, i in enumerate(piece.rest) for p, stage in piece.without if p == i]
            items = [piece.job.items[i] for i in piece.rest]
            pieces.append({"shared": piece.job.shared, "items": items, "file": key, "without": without})
        for key in list(slot.files):
            if sum(slot.files.values()) > MOST_FILE_BYTES and key not in keys:
                drop.append(key)
                del slot.files[key]
        return slot.worker.send(["run", pieces, drop])


def _batches(jobs: Sequence[Job], results: list[list[dict[str, Any]]], workers: int) -> "deque[list[_Piece]]":
    """Pieces in messages of a size that keeps every worker busy and fits into its memory."""
    total = sum(len(job.items) for job in jobs)
    most = max(1, min(MOST_ITEMS, -(-total // (4 * workers))))
    batches: deque[list[_Piece]] = deque()
    room = characters = 0
    for job, job_results in zip(jobs, results, strict=True):
        shared = _characters(job.shared)
        piece: _Piece | None = None
        for position, item in enumerate(job.items):
            size = _characters(item)
            is_full = piece is None or len(piece.rest) == MOST_ITEMS or size > characters
            if is_full and (room <= 0 or shared + size > characters):
                batches.append([])
                room, characters = most, MOST_CHARACTERS
            if is_full:
                piece = _Piece(job, [], job_results)
                batches[-1].append(piece)
                characters -= shared
            piece.rest.append(position)
            room -= 1
            characters -= size
    return batches


def _characters(value: Any) -> int:
    """How much text there is in what JSON will carry."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        value = value.values()
    return sum(map(_characters, value)) if isinstance(value, Iterable) else 0


def _stop_all(slots: list[_Slot], process: int) -> None:
    if os.getpid() == process:
        for slot in slots:
            slot.stop()
