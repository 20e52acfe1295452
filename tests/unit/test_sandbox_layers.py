"""The sandbox's layers: a worker is locked down, and what escapes from SQL finds nothing but what its task may do."""

import os
import sys
from pathlib import Path

import pytest

from common.sandbox import Job, Pool
from common.sandbox.process import Worker

TASK = "common.scoring.judge"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, which only Linux has")
def test_a_worker_is_locked_down(monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "a-key-that-must-not-travel")
    worker = Worker(TASK)
    try:
        proc = Path(f"/proc/{worker.process.pid}")
        limits = {line[:25].strip(): line[25:].split()[:2] for line in proc.joinpath("limits").read_text().splitlines()}
        assert worker.missing == []
        assert limits["Max address space"] == [str(2**30)] * 2
        assert limits["Max file size"] == ["0", "0"]
        assert limits["Max core file size"] == ["0", "0"]
        assert limits["Max open files"][0] == "0"
        assert proc.joinpath("cwd").readlink() == Path("/")
        names = {entry.split(b"=")[0] for entry in proc.joinpath("environ").read_bytes().split(b"\0") if entry}
        assert names <= {b"TZ", b"LD_LIBRARY_PATH", b"LC_CTYPE", b"GLIBC_TUNABLES", b"glibc.malloc.tcache_count"}
        links = {path.readlink().as_posix().split(":")[0] for path in proc.joinpath("fd").iterdir()}
        assert links == {"pipe", "/dev/null"}
        assert os.getsid(worker.process.pid) == worker.process.pid  # Ctrl-C passes it by
    finally:
        worker.stop()


TASK_THAT_TRIES = """
import os, signal, time

def hold(key, content): pass
def drop(key): pass

def run(shared, items, file, say):
    for item, action in enumerate(items):
        say(item, "trying")
        try:
            if action == "write":
                open(shared["path"], "w").write("x")
            elif action == "read":
                open("/etc/passwd").read()
            elif action == "memory":
                bytearray(2 * 2**30)
            elif action == "spin":
                while True: pass
            elif action == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            elif action == "print":
                print("noise", flush=True)
            result = "done"
        except BaseException as error:
            result = type(error).__name__
        say(item, None, {"result": result})
"""


def test_what_escapes_from_sql_would_still_find(tmp_path, monkeypatch):
    (tmp_path / "escaping_task.py").write_text(TASK_THAT_TRIES)
    monkeypatch.syspath_prepend(tmp_path)
    target = tmp_path / "written"
    with Pool("escaping_task", workers=1) as pool:
        actions = ["write", "read", "memory", "print", "spin", "crash", "print"]
        results = pool.run([Job({"path": str(target)}, actions)])[0]
    assert not target.exists()
    expected = [{"result": "OSError"}, {"result": "OSError"}, {"result": "MemoryError"}, {"result": "done"}]
    assert results == [*expected, {"killed": "trying"}, {"killed": "trying"}, {"result": "done"}]


TASK_WITH_AN_EXTRA = """
def hold(key, content): pass
def drop(key): pass

def run(shared, items, file, say):
    for item, action in enumerate(items):
        say(item, "main")
        while action == "spin in main":
            pass
        say(item, None, {"main": "done"})
        if say(item, "extra"):
            while action == "spin in extra":
                pass
            say(item, None, {"extra": "done"})
"""


def test_an_item_is_done_without_the_optional_stage_that_it_dies_in(tmp_path, monkeypatch):
    (tmp_path / "extra_task.py").write_text(TASK_WITH_AN_EXTRA)
    monkeypatch.syspath_prepend(tmp_path)
    counts = []
    with Pool("extra_task", workers=1) as pool:
        items = ["", "spin in extra", "spin in main", ""]
        results = pool.run([Job({}, items, optional=("extra",))], on_finish=counts.append)[0]
    whole = {"main": "done", "extra": "done"}
    assert results == [whole, {"main": "done", "killed": "extra"}, {"killed": "main"}, whole]
    assert sum(counts) == 4


def test_a_long_piece_that_goes_on_is_not_taken_for_silent(tmp_path, monkeypatch):
    (tmp_path / "slow_task.py").write_text(
        "import time\ndef hold(key, content): pass\ndef drop(key): pass\n"
        "def run(shared, items, file, say):\n"
        "    for item in range(len(items)):\n"
        "        say(item, 'waiting')\n"
        "        time.sleep(0.05)\n"
        "        say(item, None, {'done': item})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with Pool("slow_task", workers=1, wall_seconds=0.5) as pool:  # the piece takes three times as long
        assert pool.run([Job({}, [0] * 30)])[0] == [{"done": item} for item in range(30)]
        assert len(pool.pids()) == 1
