"""The sandbox: frames, processes that die and are replaced, forks and threads, nothing left behind, layers in force."""

import gc
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common.sandbox import Job, Pool, SandboxError, frames
from common.sandbox.database import LIMITS, Database
from common.sandbox.guard import Guard
from common.sandbox.pool import _batches
from common.sandbox.process import ROOT, Worker
from common.sandbox.statements import Failure, check, split

TASK = "common.scoring.judge"
SCHEMA = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2), (3);"
# Many short steps, some hundredths of a second, within the step budget.
WORK = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 20000) SELECT count(*) FROM c"
# Takes some 15 seconds where nothing ends it.
LONG_STEP = "SELECT printf('%.*c', 2000000000, 'x')"
PATIENCE = 30.0  # seconds; one suffices on a machine that does nothing else


def job(*predictions: str, reference: str = "SELECT 1", schema: str = SCHEMA) -> Job:
    return Job({"schema": schema, "reference": reference}, [[sql, sql] for sql in predictions])


def outcomes(results: list[dict]) -> list[str]:
    return [result.get("killed") or result["outcome"] for result in results]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends_soon(pid: int, seconds: float = PATIENCE) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


@pytest.fixture
def pool():
    with Pool(TASK, workers=1) as pool:
        yield pool


# --- frames and statements ------------------------------------------------------------------------------------------


def test_frames_carry_any_text_and_bytes():
    message = ["\0", "\ud800 \udcff", "é\n\"'", {"k": None}, 2**63]
    data = frames.pack(message, b"\0\xff") + frames.pack("next")
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        position += size
        return data[position - size : position]

    assert frames.read(read) == (message, b"\0\xff")
    assert frames.read(read) == ("next", b"")
    assert frames.read(read) is None
    assert frames.read(lambda size: data[: min(size, 5)]) is None  # cut off


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("", 0),
        (" ; -- x\n; /* ; */ ;", 0),
        ("SELECT 1", 1),
        ("SELECT 1;", 1),
        (";SELECT 1;;", 1),
        ("SELECT ';', \";\", `;`, [;] -- ;\n /* ; */", 1),
        ("SELECT 'it''s;'; SELECT 2", 2),
        ("SELECT 1; SELECT 2 -- ;", 2),
        ("CREATE TRIGGER g AFTER DELETE ON t BEGIN SELECT 1; SELECT 2; END; SELECT 3", 2),
        ("create temp trigger if not exists g after delete on t begin select 1; end", 1),
        ("CREATE TABLE trigger_log (a); SELECT 1", 2),
        ("SELECT 'open; SELECT 2", 1),
        ("SELECT 1 /* open; SELECT 2", 1),
    ],
)
def test_split(sql, count):
    assert len(split(sql)) == count


def test_splitting_hostile_text_takes_no_time():
    started = time.process_time()
    for piece in ("'", '"', "`", "[", "/*", "--", ";", "a;", "create trigger ;", "''", "-", "/"):
        split(piece * (20_000 // len(piece)))
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("sql", "outcome"), [("a\0b", "syntax_error"), ("\ud800", "syntax_error"), ("é" * 10_001, "too_large")]
)
def test_check(sql, outcome):
    with pytest.raises(Failure) as error:
        check(sql)
    assert error.value.outcome == outcome
    check("é" * 10_000)


def test_a_guard_forgets_the_last_statement():
    guard = Guard()
    guard.begin("read")
    for _ in range(199):
        assert not guard.tick()
    assert guard.tick() and guard.over_budget
    first = guard.random().random()
    guard.begin("read")
    assert not guard.tick() and not guard.over_budget and not guard.used_random
    assert guard.random().random() == first


@pytest.mark.parametrize(
    ("mode", "action", "first", "allowed"),
    [
        ("schema", "ATTACH", ":memory:", False),
        ("schema", "TRANSACTION", "BEGIN", True),
        ("schema", "PRAGMA", "foreign_keys", True),
        ("schema", "PRAGMA", "hard_heap_limit", False),
        ("published", "ATTACH", "/tmp/x", False),
        ("published", "ATTACH", None, False),  # an expression
        ("published", "ATTACH", ":memory:", True),
        ("published", "PRAGMA", "HARD_HEAP_LIMIT", False),
        ("published", "PRAGMA", "table_info", True),
        ("write", "ATTACH", ":memory:", False),
        ("write", "TRANSACTION", "BEGIN", False),
        ("write", "PRAGMA", "table_info", False),
        ("write", "DELETE", "t", True),
        ("read", "DELETE", "t", False),
        ("read", "UPDATE", "sqlite_master", True),  # json_each asks so and never does
        ("inspect", "PRAGMA", "table_info", True),
        ("inspect", "ATTACH", ":memory:", False),
        ("inspect", "DELETE", "t", False),
    ],
)
def test_what_each_mode_allows(mode, action, first, allowed):
    guard = Guard()
    guard.begin(mode)
    code = guard.authorize(getattr(sqlite3, f"SQLITE_{action}"), first, None, "main", None)
    assert (code == sqlite3.SQLITE_OK) == allowed


def test_an_unknown_action_is_refused_in_strict_modes():
    for mode in ("read", "write", "schema", "inspect"):
        guard = Guard()
        guard.begin(mode)
        assert guard.authorize(999, None, None, None, None) == sqlite3.SQLITE_DENY


def test_a_private_copy_has_limits_and_is_private():
    database = Database(schema=SCHEMA)
    with database.copy() as first, database.copy() as second:
        for opened in (first, second):
            assert {limit: opened.connection.getlimit(limit) for limit in LIMITS} == LIMITS
            opened.guard.begin("inspect")
            pages = opened.connection.execute("PRAGMA page_count").fetchone()[0]
            assert opened.connection.execute("PRAGMA max_page_count").fetchone()[0] == pages + 2048
        reader = database.reader.connection
        assert {limit: reader.getlimit(limit) for limit in LIMITS} == LIMITS
        first.guard.begin("write")
        first.connection.execute("DELETE FROM t")
        second.guard.begin("read")
        assert second.connection.execute("SELECT count(*) FROM t").fetchone() == (3,)
    database.close()


# --- processes ------------------------------------------------------------------------------------------------------


def test_results_come_in_order_over_jobs_and_workers():
    with Pool(TASK, workers=2) as pool:
        jobs = [job(*(f"SELECT {k % (j + 1)}" for k in range(40)), reference=f"SELECT {j}") for j in range(5)]
        for j, results in enumerate(pool.run(jobs)):
            assert outcomes(results) == ["match" if k % (j + 1) == j else "mismatch" for k in range(40)]
        assert len(pool.pids()) == 2
        assert pool.run([]) == [] and pool.run([job()]) == [[]]


def test_messages_are_bounded_in_items_and_in_text():
    def sizes(jobs: list[Job], workers: int = 1) -> list[list[int]]:
        batches = _batches(jobs, [[{} for _ in job.items] for job in jobs], workers)
        told = [(piece.job, position) for batch in batches for piece in batch for position in piece.left]
        assert told == [(job, position) for job in jobs for position in range(len(job.items))]
        return [[len(piece.left) for piece in batch] for batch in batches]

    assert sizes([Job({}, ["x"] * 70)]) == [[32], [32], [6]]
    assert sizes([Job({}, ["x"] * 5) for _ in range(40)]) == [[5] * 7] * 5 + [[5] * 5]
    assert sizes([Job({}, [["x" * 3_000_000, ""]] * 3)]) == [[1]] * 3
    assert sizes([Job({"a": "x" * 1_500_000}, ["x" * 200_000] * 4) for _ in range(2)]) == [[2], [2]] * 2
    assert sizes([]) == sizes([Job({}, [])]) == []


def test_a_killed_prediction_costs_one_row(pool):
    pool.run([job("SELECT 1")])
    before = pool.pids()
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    results = pool.run([job("SELECT 1", LONG_STEP, "SELECT 1"), job("SELECT 2", "SELECT 1")])
    assert [outcomes(r) for r in results] == [["match", "prediction", "match"], ["mismatch", "match"]]
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used < 3
    assert pool.pids() != before and ends_soon(before[0])


def test_workers_killed_from_outside_are_replaced_and_their_rows_tried_again():
    with Pool(TASK, workers=2) as pool:
        finished, killed, marks = 0, [], [5, 15, 25]

        def kill_now_and_then(number: int) -> None:
            nonlocal finished
            finished += number
            if marks and finished >= marks[0]:
                marks.pop(0)
                killed.extend(pool.pids())
                for pid in pool.pids():
                    os.kill(pid, signal.SIGKILL)

        jobs = [job(WORK, "SELECT 1", f"{WORK} -- {i}", reference="SELECT 20000") for i in range(12)]
        results = pool.run(jobs, done=kill_now_and_then)
        assert [outcomes(r) for r in results] == [["match", "mismatch", "match"]] * 12
        assert finished == 36 and len(killed) >= 3
        assert all(ends_soon(pid) for pid in killed)


def test_an_idle_worker_that_died_is_replaced(pool):
    assert outcomes(pool.run([job("SELECT 1")])[0]) == ["match"]
    os.kill(pool.pids()[0], signal.SIGKILL)
    assert outcomes(pool.run([job("SELECT 1")])[0]) == ["match"]


def test_a_silent_worker_is_ended_by_the_wall_clock():
    with Pool(TASK, workers=1, wall_seconds=0.5) as pool:
        pool.run([job("SELECT 1")])
        stopped = pool.pids()[0]
        stopper = threading.Timer(0.05, os.kill, (stopped, signal.SIGSTOP))
        stopper.start()
        started = time.monotonic()
        results = pool.run([job(*(f"{WORK} -- {i}" for i in range(20)), reference="SELECT 20000")])
        stopper.join()
        assert time.monotonic() - started < PATIENCE
        assert outcomes(results[0]) == ["match"] * 20  # a silence is not the row's fault: it is tried again
        assert ends_soon(stopped) and pool.pids() != [stopped]


def test_a_failure_of_our_own_raises(tmp_path, monkeypatch):
    with Pool("common.sandbox.no_such_module") as pool, pytest.raises(SandboxError, match="no_such_module"):
        pool.run([job("SELECT 1")])
    with Pool(TASK) as pool:
        with pytest.raises(SandboxError, match="KeyError"):
            pool.run([Job({"schema": SCHEMA}, [["SELECT 1", "SELECT 1"]])])
        assert outcomes(pool.run([job("SELECT 1")])[0]) == ["match"]  # and the pool is still of use
    with pytest.raises(SandboxError, match="closed"):
        pool.run([job("SELECT 1")])
    with pytest.raises(ValueError, match="at least one worker"):
        Pool(TASK, workers=0)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Pool(TASK) as pool, pytest.raises(SandboxError, match="did not start"):
        pool.run([job("SELECT 1")])


def test_nothing_is_left_after_close(nothing_left):
    with nothing_left():
        with Pool(TASK, workers=2) as pool:
            pool.run([job("SELECT 1", "SELECT 2") for _ in range(20)])
            pool.run([job(LONG_STEP), *(job("SELECT 1") for _ in range(20))])
            pids = pool.pids()
            assert pids and all(map(is_alive, pids))
        assert pool.pids() == []
        assert all(ends_soon(pid) for pid in pids)
    pool.close()


def test_a_forgotten_pool_ends_its_workers():
    pool = Pool(TASK, workers=1)
    pool.run([job("SELECT 1")])
    pid = pool.pids()[0]
    del pool
    gc.collect()
    assert ends_soon(pid)


def test_threads_share_a_pool_and_their_end_ends_no_worker():
    with Pool(TASK, workers=1) as pool:
        found: list[list[str]] = []
        threads = [
            threading.Thread(target=lambda: found.append(outcomes(pool.run([job("SELECT 1", "SELECT 2")])[0])))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [["match", "mismatch"]] * 4
        # Linux sends the parent's death signal when the starting thread ends: the worker must look twice.
        pid = pool.pids()[0]
        time.sleep(0.05)
        assert is_alive(pid)
        pool.run([job("SELECT 1")])
        assert pool.pids() == [pid]


def test_a_forked_child_gets_workers_of_its_own(pool):
    pool.run([job("SELECT 1")])
    mine = pool.pids()
    child = os.fork()
    if child == 0:
        fine = outcomes(pool.run([job("SELECT 1", "SELECT 2")])[0]) == ["match", "mismatch"] and pool.pids() != mine
        pool.close()
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert outcomes(pool.run([job("SELECT 1")])[0]) == ["match"]
    assert pool.pids() == mine


def test_a_worker_dies_with_its_parent_even_while_it_works():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from common.sandbox import Job, Pool\n"
        f"pool = Pool({TASK!r}, workers=1)\n"
        "first = Job({'schema': '', 'reference': 'SELECT 1'}, [['SELECT 1'] * 2])\n"
        "pool.run([first]); print(pool.pids()[0], flush=True)\n"
        f"pool.run([Job({{'schema': '', 'reference': 'SELECT 1'}}, [[{WORK!r}] * 2] * 10000)])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    assert ends_soon(pid)


def test_an_interrupt_ends_the_run_and_the_worker(pool):
    pool.run([job("SELECT 1")])
    pid = pool.pids()[0]
    told = []

    def interrupt_once(number: int) -> None:
        if not told:
            os.kill(os.getpid(), signal.SIGINT)
        told.append(number)

    with pytest.raises(KeyboardInterrupt):
        pool.run([job(*(f"{WORK} -- {i}" for i in range(2000)), reference="SELECT 20000")], done=interrupt_once)
    assert sum(told) < 2000
    assert ends_soon(pid) and pool.pids() == []
    assert outcomes(pool.run([job("SELECT 1")])[0]) == ["match"]


def test_closing_from_another_thread_ends_a_run():
    pool = Pool(TASK, workers=2)
    pool.run([job("SELECT 1")])
    threading.Timer(0.2, pool.close).start()
    with pytest.raises(SandboxError):
        pool.run([job(*(f"{WORK} -- {i}" for i in range(3000)), reference="SELECT 20000")])
    assert pool.pids() == []


# --- the layers -----------------------------------------------------------------------------------------------------


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
        assert names <= {b"TZ", b"LD_LIBRARY_PATH", b"LC_CTYPE"}
        links = {path.readlink().as_posix().split(":")[0] for path in proc.joinpath("fd").iterdir()}
        assert links == {"pipe", "/dev/null"}
        assert os.getsid(worker.process.pid) == worker.process.pid  # Ctrl-C passes it by
    finally:
        worker.stop()


def test_a_layer_that_the_platform_lacks_is_told_once(pool, monkeypatch, caplog):
    start = Pool._start

    def start_on_a_poorer_platform(self: Pool) -> Worker:
        worker = start(self)
        worker.missing = ["parent death signal", "RLIMIT_AS"]
        return worker

    monkeypatch.setattr(Pool, "_start", start_on_a_poorer_platform)
    for _ in range(2):
        assert outcomes(pool.run([job("SELECT 1")])[0]) == ["match"]
        os.kill(pool.pids()[0], signal.SIGKILL)
    assert pool.missing == ["parent death signal", "RLIMIT_AS"]
    said = "the sandbox runs without what this platform lacks: parent death signal, RLIMIT_AS"
    assert [record.message for record in caplog.records] == [said]


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
    counted = []
    with Pool("extra_task", workers=1) as pool:
        items = ["", "spin in extra", "spin in main", ""]
        results = pool.run([Job({}, items, optional=("extra",))], done=counted.append)[0]
    whole = {"main": "done", "extra": "done"}
    assert results == [whole, {"main": "done", "killed": "extra"}, {"killed": "main"}, whole]
    assert sum(counted) == 4


def test_a_long_piece_that_goes_on_is_not_taken_for_silent(tmp_path, monkeypatch):
    (tmp_path / "slow_task.py").write_text(
        "import time\ndef hold(key, content): pass\ndef drop(key): pass\n"
        "def run(shared, items, file, say):\n"
        "    for item in range(len(items)):\n"
        "        say(item, 'waiting')\n"
        "        time.sleep(0.25)\n"
        "        say(item, None, {'done': item})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with Pool("slow_task", workers=1, wall_seconds=0.5) as pool:  # the piece takes three times as long
        assert pool.run([Job({}, [0] * 6)])[0] == [{"done": item} for item in range(6)]
        assert len(pool.pids()) == 1
