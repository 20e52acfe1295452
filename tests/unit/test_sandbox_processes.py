"""The sandbox's processes: results in order, those that die are replaced, forks and threads, nothing is left."""

import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common.sandbox import Job, Pool, SandboxError
from common.sandbox.guard import ORDINARY
from common.sandbox.messages import Queue
from common.sandbox.process import ROOT, Worker
from tests.unit.cases import LONG_STEP

TASK = "common.scoring.judge"
SCHEMA = "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2), (3);"
# Many short steps, some hundredths of a second, within the step budget.
WORK = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 20000) SELECT count(*) FROM c"
PATIENCE = 300.0  # seconds, to end a hang; one suffices on a machine that does nothing else


def job(*predictions: str, reference: str = "SELECT 1", schema: str = SCHEMA) -> Job:
    return Job({"schema": schema, "reference": reference}, [[sql, sql] for sql in predictions])


def outcomes(results: list[dict]) -> list[str]:
    return [result.get("killed") or result["outcome"] for result in results]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter where it goes between opening and reading
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


def test_results_come_in_order_over_jobs_and_workers():
    with Pool(TASK, workers=2) as pool:
        jobs = [job(*(f"SELECT {k % (j + 1)}" for k in range(40)), reference=f"SELECT {j}") for j in range(5)]
        for j, results in enumerate(pool.run(jobs)):
            assert outcomes(results) == ["match" if k % (j + 1) == j else "mismatch" for k in range(40)]
        assert len(pool.pids()) == 2
        assert pool.run([]) == [] and pool.run([job()]) == [[]]


def test_messages_are_bounded_in_items_and_in_text():
    def sizes(jobs: list[Job], workers: int = 1) -> list[list[int]]:
        queue = Queue(iter(jobs), total=sum(len(job.items) for job in jobs), workers=workers)
        messages = list(iter(queue.take, None))
        order = [(piece.job, position) for message in messages for piece in message.pieces for position in piece.rest]
        assert order == [(job, position) for job in jobs for position in range(len(job.items))]
        assert queue.results == [[{} for _ in job.items] for job in jobs]
        return [[len(piece.rest) for piece in message.pieces] for message in messages]

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
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used < 10 * ORDINARY.seconds
    assert pool.pids() != before and ends_soon(before[0])


def test_workers_killed_from_outside_are_replaced_and_their_rows_tried_again():
    with Pool(TASK, workers=2) as pool:
        # Once: on a busy machine a second time could meet the same row, which is tried again only once.
        total, victims, marks = 0, [], [10]

        def kill_now_and_then(number: int) -> None:
            nonlocal total
            total += number
            if marks and total >= marks[0]:
                marks.pop(0)
                victims.extend(pool.pids())
                for pid in pool.pids():
                    os.kill(pid, signal.SIGKILL)

        jobs = [job(WORK, "SELECT 1", f"{WORK} -- {i}", reference="SELECT 20000") for i in range(12)]
        results = pool.run(jobs, on_finish=kill_now_and_then)
        assert [outcomes(r) for r in results] == [["match", "mismatch", "match"]] * 12
        assert total == 36 and victims
        assert all(ends_soon(pid) for pid in victims)


def test_an_idle_worker_that_died_is_replaced(pool):
    assert outcomes(pool.run([job("SELECT 1")])[0]) == ["match"]
    os.kill(pool.pids()[0], signal.SIGKILL)
    assert outcomes(pool.run([job("SELECT 1")])[0]) == ["match"]


def test_a_silent_worker_is_ended_by_the_wall_clock():
    with Pool(TASK, workers=1, wall_seconds=0.5) as pool:
        stopped: list[int] = []

        def stop_once(number: int) -> None:
            if not stopped:
                stopped.extend(pool.pids())
                os.kill(stopped[0], signal.SIGSTOP)

        # Six messages of 32 rows, of which it has two at a time: it stands still before it is given the fourth.
        results = pool.run([job(*(f"SELECT 1 -- {i}" for i in range(192)))], on_finish=stop_once)
        assert outcomes(results[0]) == ["match"] * 192
        assert ends_soon(stopped[0]) and pool.pids() != stopped


TASK_THAT_STOPS = """
import os, signal

def hold(key, content): pass
def drop(key): pass

def run(shared, items, file, say):
    for item, action in enumerate(items):
        say(item, "working")
        if action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif action == "stop once" and os.path.isdir(shared["mark"]):
            os.rmdir(shared["mark"])
            os.kill(os.getpid(), signal.SIGSTOP)
        say(item, None, {"outcome": "done"})
"""


def test_an_item_at_which_a_worker_falls_silent_is_tried_again_once(tmp_path, monkeypatch):
    (tmp_path / "stopping_task.py").write_text(TASK_THAT_STOPS)
    (tmp_path / "mark").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with Pool("stopping_task", workers=1, wall_seconds=0.3) as pool:
        results = pool.run([Job({"mark": str(tmp_path / "mark")}, ["", "stop once", "", "stop", ""])])
    assert outcomes(results[0]) == ["done", "done", "done", "working", "done"]
    assert not (tmp_path / "mark").exists()


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
        results: list[list[str]] = []
        threads = [
            threading.Thread(target=lambda: results.append(outcomes(pool.run([job("SELECT 1", "SELECT 2")])[0])))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [["match", "mismatch"]] * 4
        # Linux sends the parent's death signal when the starting thread ends: the worker must look twice.
        assert all(ends_soon(thread.native_id) for thread in threads)
        pid = pool.pids()[0]
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
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    pool.run([job("SELECT 1")])
    pid = pool.pids()[0]
    counts = []

    def interrupt_once(number: int) -> None:
        if not counts:
            os.kill(os.getpid(), signal.SIGINT)
        counts.append(number)

    try:
        with pytest.raises(KeyboardInterrupt):
            pool.run(
                [job(*(f"{WORK} -- {i}" for i in range(2000)), reference="SELECT 20000")], on_finish=interrupt_once
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert sum(counts) < 2000
    assert ends_soon(pid) and pool.pids() == []
    assert outcomes(pool.run([job("SELECT 1")])[0]) == ["match"]


def test_closing_from_another_thread_ends_a_run():
    pool = Pool(TASK, workers=2)
    pool.run([job("SELECT 1")])
    closing, turn = threading.Thread(target=pool.close), threading.Lock()

    def close_once(number: int) -> None:
        with turn:  # both workers' threads wait here, so that no worker comes to its last row first
            if closing.ident is None:
                pids = pool.pids()
                closing.start()
                assert all(map(ends_soon, pids))

    with pytest.raises(SandboxError):
        pool.run([job(*(f"SELECT 1 -- {i}" for i in range(300)))], on_finish=close_once)
    closing.join()
    assert pool.pids() == []


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
    warning = "the sandbox runs without what this platform lacks: parent death signal, RLIMIT_AS"
    assert [record.message for record in caplog.records] == [warning]
