"""Threads by load: the number by hand, what counts as others' load, and who has the last word."""

import subprocess
import sys
import time

import pytest
import torch

from common import threads
from common.threads import Look, number


def test_threads_are_the_cpus_that_others_leave():
    sizes = {"cpus": 8, "most": 8}
    assert [number(8, others, **sizes) for others in (0, 0.5, 1, 2.4, 7, 8, 20)] == [8, 8, 7, 6, 1, 1, 1]
    assert [number(1, others, **sizes) for others in (0, 0.4, 1, 2.4, 6.6, 8)] == [8, 8, 7, 6, 1, 1]
    assert number(4, 3, **sizes) == 5
    assert number(4, 0, cpus=8, most=4) == 4  # as many as it began with, though more CPUs are free
    # Two threads and a busy loop share two CPUs fairly: two thirds of one are the loop's.
    assert number(2, 2 / 3, cpus=2, most=2) == 1 == number(1, 1, cpus=2, most=2)
    assert number(1, 0.1, cpus=2, most=2) == 2


@pytest.mark.parametrize("processes, cpus", [(2, 16), (3, 4), (3, 16), (4, 2), (5, 8)])
def test_processes_of_a_job_agree(processes, cpus):
    """Each sees the others' fair share of the CPUs; from all threads and from one each they come to rest."""
    for current in (cpus, 1):
        history = [current]
        for _ in range(10):
            wanted = current * processes
            others = current * (processes - 1) * min(1, cpus / wanted)
            current = number(current, others, cpus=cpus, most=cpus, processes=processes)
            history.append(current)
        assert len(set(history[-6:])) == 1, history
        assert all(processes * threads <= cpus + processes for threads in history[1:]), history
        assert max(1, round(cpus / processes) - 1) <= current <= max(1, round(cpus / processes)), history


def test_a_burst_is_no_load_and_a_load_is_one_soon():
    assert threads.average(0, Look(0, 0, 0), Look(0.5, 1, 0.5)) < 0.25  # one CPU for half a second
    others = 0.0
    for step in range(4):
        others = threads.average(others, Look(step / 2, step, step / 2), Look(step / 2 + 0.5, step + 1, step / 2 + 0.5))
    assert others > 0.6
    assert threads.average(0, Look(0, 0, 0), Look(30, 50, 20)) == pytest.approx(1, abs=1e-3)  # a long step in between
    assert threads.average(0, Look(0, 0, 0), Look(1, 1, 1.01)) == 0  # clocks of two kinds


STAT = """cpu  900 900 900 900 900 900 900 900 0 0
cpu0 100 20 30 9000 500 1 2 3 7 7
cpu1 1000 0 0 9000 500 0 0 0 0 0
cpu2 50 0 0 9000 500 0 0 0 0 0
intr 5
"""


def test_busy_seconds_by_hand(monkeypatch):
    monkeypatch.setattr(threads, "TICKS", 100)
    lines = STAT.splitlines()
    assert threads.busy_seconds(lines, {0, 2}, is_nice=True) == pytest.approx(2.06)
    assert threads.busy_seconds(lines, {0, 2}, is_nice=False) == pytest.approx(1.86)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_childs_time_is_no_load_of_others():
    """A child that takes a fifth of a second, while it lives and afterwards."""
    code = "import time\nwhile time.process_time() < .2: pass\nprint(flush=True)\ninput()"
    before, mine = threads.take_look(), time.process_time()
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        assert child.pid in threads.children("self")
        after = threads.take_look()
        mine = time.process_time() - mine
        assert after.process - before.process >= 0.15 + mine - 0.05
        assert after.busy - before.busy >= 0.1 and after.time > before.time
    finally:
        child.communicate(b"\n")
    assert threads.process_seconds() >= after.process - 0.02  # ended, it still counts
    assert child.pid not in threads.children("self")


@pytest.fixture
def load(monkeypatch):
    """A process that began with two threads on two CPUs, and looks that are handed in."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads.distributed, "cpus", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(threads, "INTERVAL", 0)
    yield threads.Load(None)
    torch.set_num_threads(before)


def look(monkeypatch, *values):
    monkeypatch.setattr(threads, "take_look", lambda: Look(*values))


def test_torch_gets_the_number_and_gives_it_back(load, monkeypatch):
    look(monkeypatch, 0, 0, 0)
    load.adjust()
    assert torch.get_num_threads() == 2
    look(monkeypatch, 10, 20, 10)
    load.adjust()
    assert torch.get_num_threads() == 1
    look(monkeypatch, 20, 30, 20)
    load.adjust()
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", threads.VARIABLES)
def test_a_number_that_the_user_has_fixed_stays(load, monkeypatch, name):
    look(monkeypatch, 0, 0, 0)
    load.adjust()
    with monkeypatch.context() as patch:
        patch.setenv(name, "2")
        look(monkeypatch, 10, 20, 10)
        load.adjust()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(3)
    load.adjust()
    assert torch.get_num_threads() == 3


def test_a_gpus_work_and_a_silent_system_change_nothing(load, monkeypatch):
    monkeypatch.setattr(threads, "take_look", lambda: None)
    load.adjust()
    look(monkeypatch, 0, 0, 0)
    load.adjust()
    look(monkeypatch, 10, 20, 10)
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        load.adjust()
    assert torch.get_num_threads() == 2


def test_a_look_is_taken_now_and_then_only(load, monkeypatch):
    monkeypatch.setattr(threads, "INTERVAL", 3600)
    count = []
    monkeypatch.setattr(threads, "take_look", lambda: count.append(1) or Look(time.monotonic(), 0, 0))
    for _ in range(5):
        load.adjust()
    assert len(count) == 1
