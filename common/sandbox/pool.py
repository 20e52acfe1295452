"""The parent's side: starting workers, handing them work, and going on when one of them dies."""

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from common.sandbox.messages import Job, Message, Piece, Queue
from common.sandbox.process import DiedAtStart, SandboxError, Worker

MOST_IN_FLIGHT = 2  # messages of one worker, so that it need not wait for the next
MOST_FILE_BYTES = 64 * 2**20  # of database files in one worker
LARGEST_FILE = 60 * 2**20  # bytes; SQLite's heap in a worker holds no more
MOST_STARTS = 3
_LOG = logging.getLogger(__name__)


@dataclass
class _Slot:
    """The place of one worker: the process changes, the place stays."""

    worker: Worker | None = None
    files: dict[str, int] = field(default_factory=dict)  # file key -> bytes, oldest first
    sent: int = 0  # messages that the worker has and has not answered to their ends
    serial: int = 0  # of the last message

    def send(self, message: Message) -> bool:
        """Send what is not answered yet; False where that has to wait until the worker has answered what it has."""
        message.pieces = [piece for piece in message.pieces if piece.rest]
        keys = [_file_key(piece.job.file) for piece in message.pieces]
        files = {key: piece.job.file for key, piece in zip(keys, message.pieces, strict=True)}
        new = files.keys() - self.files.keys() - {None}
        if new and self.sent:  # or the content of several files would be in memory together
            return False
        for key in new:
            content = files[key].read_bytes()
            self.worker.send(["file", key], content)
            self.files[key] = len(content)
        drop = []
        for key in list(self.files):
            if sum(self.files.values()) > MOST_FILE_BYTES and key not in files:
                drop.append(key)
                del self.files[key]
        self.sent += 1
        self.serial += 1
        message.serial = self.serial
        message.positions = [list(piece.rest) for piece in message.pieces]
        pieces = [_sendable(piece, key) for piece, key in zip(message.pieces, keys, strict=True)]
        self.worker.send(["run", message.serial, pieces, drop])
        return True

    def stop(self) -> None:
        worker, self.worker, self.files, self.sent = self.worker, None, {}, 0
        if worker is not None:
            worker.stop()

    def kill(self) -> None:
        worker = self.worker
        if worker is not None:
            worker.process.kill()


def _file_key(file: Path | None) -> str | None:
    if file is None:
        return None
    stat = file.stat()
    return f"{file.resolve()}:{stat.st_mtime_ns}:{stat.st_size}"


def _sendable(piece: Piece, file: str | None) -> dict[str, Any]:
    without = [(n, stage) for n, i in enumerate(piece.rest) for p, stage in piece.without if p == i]
    items = [piece.job.items[i] for i in piece.rest]
    return {"shared": piece.job.shared, "items": items, "file": file, "without": without}


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
        jobs: Iterable[Job],
        *,
        total: int | None = None,
        on_finish: Callable[[int], None] | None = None,
        meanwhile: Iterator[None] | None = None,
    ) -> list[list[dict[str, Any]]]:
        """Results of each job's items, in order. on_finish: called with the number of items just finished.

        jobs: a list, or an iterator of which each job is made when its turn comes, with `total` items, more or less;
        what it does is done while the workers are busy, by one thread at a time, but not always the same.
        meanwhile: work of the caller's own, in small steps, of which some are done whenever a worker is busy; it may
        not have come to its end. Raises SandboxError when our own machinery fails, never for anything an item contains.
        """
        if os.getpid() != self._process:
            self._renew()
        with self._lock:
            if self._is_closed:
                raise SandboxError("the pool is closed")
            total = sum(len(job.items) for job in jobs) if total is None else total
            queue = Queue(jobs, total=total, workers=self._count)
            self._meanwhile = meanwhile or iter(())
            self._run_all(queue, on_finish or (lambda number: None))
            return queue.results

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

    def _run_all(self, queue: Queue, on_finish: Callable[[int], None]) -> None:
        errors: list[BaseException] = []

        def serve(slot: _Slot) -> None:
            try:
                self._serve(slot, queue, on_finish, errors)
            except BaseException as error:
                slot.stop()  # it may be in the middle of something
                errors.append(error)

        others: list[threading.Thread] = []
        try:
            slots = self._slots[1 : queue.prepare()]
            others += [threading.Thread(target=serve, args=(slot,), daemon=True) for slot in slots]
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

    def _serve(self, slot: _Slot, queue: Queue, on_finish: Callable[[int], None], errors: list[BaseException]) -> None:
        """Have messages answered until there are no more. A second one is sent before the first is answered."""
        flight: deque[Message] = deque()  # not answered to their ends, in the order in which a worker gets them
        silent = 0
        while not errors:
            while len(flight) < MOST_IN_FLIGHT and (message := queue.take(ahead=bool(flight))):
                flight.append(message)
            if not flight:
                return
            before = flight[0].size
            at, why = self._answer(slot, flight, on_finish)
            if why is None:
                flight.popleft()
                slot.sent -= 1
                silent = 0
                continue
            slot.stop()
            if self._is_closed or errors:
                raise SandboxError("stopped while it ran")
            if at is None:
                silent = 1 if flight[0].size < before else silent + 1
                if silent >= MOST_STARTS:
                    raise SandboxError(f"{silent} workers in a row died before they began: {why}")
            else:
                silent = 0
                _blame(flight[0], *at, why, on_finish)
            if not flight[0].size:
                flight.popleft()

    def _answer(
        self, slot: _Slot, flight: "deque[Message]", on_finish: Callable[[int], None]
    ) -> tuple[tuple[Piece, int | None, str | None] | None, str | None]:
        """Take the first message's answers: what the worker was at when it died, and why (None: it did not).

        All that is in flight is sent first. After a death all of it is sent again, but for what has been answered.
        """
        if slot.worker is None:
            slot.worker = self._start()
            if slot.worker.missing and not self.missing:
                _LOG.warning("the sandbox runs without what this platform lacks: %s", ", ".join(slot.worker.missing))
            self.missing = slot.worker.missing
        worker, message = slot.worker, flight[0]
        for following in list(flight)[slot.sent :]:
            if not slot.send(following):
                break
        if self._aside.acquire(blocking=False):  # one thread at a time
            try:
                for _ in islice(self._meanwhile, 2 * message.size):
                    pass
            finally:
                self._aside.release()
        while (answer := worker.receive(self._wall)) is not None:
            if answer[0] == "fatal":
                raise SandboxError(f"the worker failed: {answer[1]}")
            _, answers, is_last = answer
            for number, results in answers:
                piece = message.pieces[number]
                for position, parts in zip(message.positions[number], results, strict=True):
                    piece.results[position].update(parts)
                piece.rest.clear()
                on_finish(len(results))
            if is_last:
                return None, None
        why = worker.why_dead()
        step = worker.step()
        if step is None or step[0] != message.serial:  # between two messages nothing foreign runs
            return None, why
        _, number, item, stage = step
        piece = message.pieces[number]
        if not piece.rest:  # nor between two pieces
            return None, why
        return (piece, None if item is None else message.positions[number][item], stage), why

    def _start(self) -> Worker:
        for _ in range(MOST_STARTS - 1):
            try:
                return Worker(self._task)
            except DiedAtStart:
                continue
        return Worker(self._task)


def _blame(
    message: Message, piece: Piece, item: int | None, stage: str | None, why: str, on_finish: Callable[[int], None]
) -> None:
    """What a worker died at is done: by another try, without that stage, or as killed."""
    key = (id(piece), item, stage)
    if why != "cpu" and key not in message.retries:
        message.retries.add(key)
        return
    for position in list(piece.rest) if item is None else [item]:
        piece.results[position]["killed"] = stage
        if item is not None and stage in piece.job.optional:
            piece.without.add((position, stage))
        else:
            piece.rest.remove(position)
            on_finish(1)


def _stop_all(slots: list[_Slot], process: int) -> None:
    if os.getpid() == process:
        for slot in slots:
            slot.stop()
