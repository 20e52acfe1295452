"""A worker with two messages: none is lost, none is counted twice, whichever it dies at and whoever stops it."""

import fcntl
import os
import signal
import struct
import termios
import threading
import time
from collections import Counter

import pytest

from common.sandbox import Job, Pool, SandboxError

PATIENCE = 300.0  # seconds, to end a hang
# "next" goes on when the next message is in the worker's pipe: from then on two are in flight. A folder is made for
# each time that an item is run, since no file may be written.
TASK = """
import os, signal, sys, time

def hold(key, content): pass
def drop(key): pass

def run(shared, items, file, say):
    for item, action in enumerate(items):
        say(item, "working")
        if "place" in shared:
            name = f"{shared['place']}/{shared['job']}-{item}-"
            os.mkdir(name + str(sum(os.path.isdir(name + str(n)) for n in range(9))))
        words = action[:40].split()
        if "next" in words:
            assert sys.stdin.buffer.peek(1)
        if "once" in words and os.path.isdir(shared["mark"]):
            os.rmdir(shared["mark"])
            os.kill(os.getpid(), signal.SIGKILL)
        if "die" in words:
            os.kill(os.getpid(), signal.SIGKILL)
        if "spin" in words:
            while True: pass
        if "interrupt" in words:
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(600)
        if "sleep" in words:
            os.mkdir(shared["mark"])
            time.sleep(600)
        say(item, None, {"echo": action})
"""


@pytest.fixture
def new_pool(tmp_path, monkeypatch):
    (tmp_path / "flying_task.py").write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)
    pools = []

    def new(**options) -> Pool:
        pools.append(Pool("flying_task", **options))
        return pools[-1]

    yield new
    for pool in pools:
        pool.close()


def jobs(tmp_path, *actions: str) -> list[Job]:
    """A job an action; eight of them are four messages for one worker."""
    place = tmp_path / "runs"
    place.mkdir(exist_ok=True)
    shared = {"place": str(place), "mark": str(tmp_path / "mark")}
    return [Job({**shared, "job": number}, [action]) for number, action in enumerate(actions)]


def runs(tmp_path) -> list[int]:
    """How often each job was run."""
    counts = Counter(int(path.name.split("-")[0]) for path in (tmp_path / "runs").iterdir())
    return [counts[number] for number in range(max(counts) + 1)]


def done(action: str) -> list[dict]:
    return [{"echo": action}]


@pytest.mark.parametrize("victim", range(8))
def test_a_worker_that_is_killed_costs_no_row_of_either_message(tmp_path, new_pool, victim):
    actions = ["next" if number < 6 else "" for number in range(8)]
    actions[victim] += " once"
    (tmp_path / "mark").mkdir()
    finished = []
    results = new_pool(workers=1).run(jobs(tmp_path, *actions), on_finish=finished.append)
    assert results == [done(action) for action in actions]
    assert sum(finished) == 8 and not (tmp_path / "mark").exists()
    counts = runs(tmp_path)
    # Messages of two: what was answered to its end before, and all that comes after, is run once.
    assert counts[victim] == 2
    assert all(count == 1 for number, count in enumerate(counts) if number // 2 != victim // 2)


@pytest.mark.parametrize(("end", "tries"), [("spin", 1), ("die", 2)])
@pytest.mark.parametrize("victim", [0, 1, 2, 3])
def test_a_row_that_ends_its_worker_costs_itself_alone(tmp_path, new_pool, victim, end, tries):
    actions = ["next" if number < 6 else "" for number in range(8)]
    actions[victim] += f" {end}"
    finished = []
    results = new_pool(workers=1).run(jobs(tmp_path, *actions), on_finish=finished.append)
    assert results == [
        [{"killed": "working"}] if number == victim else done(action) for number, action in enumerate(actions)
    ]
    assert finished.count(0) == 0 and sum(finished) == 8
    assert runs(tmp_path)[victim] == tries and runs(tmp_path)[4:] == [1, 1, 1, 1]


def test_what_an_earlier_message_announced_is_blamed_on_no_later_one(tmp_path, new_pool):
    pool = new_pool(workers=1)
    pool.run([Job({}, ["a"])])
    os.kill(pool.pids()[0], signal.SIGKILL)
    (tmp_path / "mark").mkdir()
    # The row dies once itself; the death before it was not its own, so it has its second try still.
    assert pool.run(jobs(tmp_path, "once")) == [done("once")]


def test_both_messages_may_end_their_workers(tmp_path, new_pool):
    actions = ["next die", "next", "next", "next die", "", "die", "die", ""]
    pool = new_pool(workers=1)
    finished = []
    results = pool.run(jobs(tmp_path, *actions), on_finish=finished.append)
    assert [bool(result[0].get("killed")) for result in results] == ["die" in action for action in actions]
    assert sum(finished) == 8 and len(pool.pids()) == 1


def test_an_interrupt_in_flight_ends_the_run(tmp_path, new_pool):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    pool = new_pool(workers=1)
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.run(jobs(tmp_path, "next", "next interrupt", "", "", "", ""))
    finally:
        signal.signal(signal.SIGINT, before)
    assert pool.pids() == []
    assert pool.run([Job({}, ["a", "b"])]) == [done("a") + done("b")]


def test_closing_in_flight_ends_the_run(tmp_path, new_pool):
    pool = new_pool(workers=1)

    def close_soon() -> None:
        deadline = time.monotonic() + PATIENCE
        while not (tmp_path / "mark").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        pool.close()

    closing = threading.Thread(target=close_soon)
    closing.start()
    with pytest.raises(SandboxError):
        pool.run(jobs(tmp_path, "next sleep", "next", "", "", "", ""))
    closing.join()
    assert pool.pids() == [] and (tmp_path / "mark").exists()


def test_messages_and_answers_that_fill_the_pipes_pass_each_other(new_pool):
    texts = [f"{number} " + "x" * 500_000 for number in range(12)]
    for workers in (1, 2):
        results = new_pool(workers=workers, wall_seconds=PATIENCE).run([Job({}, [text]) for text in texts])
        assert results == [done(text) for text in texts]


def test_jobs_are_made_when_their_turn_comes(new_pool):
    count = 0

    def jobs_in_turn():
        nonlocal count
        for number in range(40):
            count += 1
            yield Job({}, [str(number)] if number % 10 else [])

    sizes = []
    results = new_pool(workers=1).run(jobs_in_turn(), total=36, on_finish=lambda number: sizes.append(count))
    assert results == [done(str(number)) if number % 10 else [] for number in range(40)]
    assert sizes[0] < 40 and count == 40 and len(sizes) == 36


def test_announcements_are_read_while_all_is_well(new_pool):
    pool = new_pool(workers=1)
    pool.run([Job({}, [""] * 32) for _ in range(200)])  # 100 kB of them, more than a pipe holds
    size = struct.unpack("i", fcntl.ioctl(pool._slots[0].worker._steps, termios.FIONREAD, b"0000"))[0]
    assert size < 16_384
