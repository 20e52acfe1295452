"""Large models' answers, by the real client from a server on this machine: limits, failures, crashes, interrupts."""

import asyncio
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest

from common.data import Example
from common.locks import NAME
from common.preferences import remote
from common.preferences.candidates import Candidate
from common.preferences.remote import ask, available, read
from common.prompts import messages
from common.settings import UserError
from tests.unit import remote_service
from tests.unit.remote_service import BIG, EXAMPLES, HANG, OTHER, SECRET, SMALL, failure, success

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import sys
from pathlib import Path
from common.data import Example
from common.preferences.remote import ask
examples = [Example(f"e{n}", f"q{n}", "CREATE TABLE t (a)", "SELECT 1") for n in range(12)]
ask(examples, path=Path(sys.argv[1]), models=["openai/gpt-oss-120b"], base_url=sys.argv[2], concurrency=3)
"""


service, path, run = remote_service.service, remote_service.path, remote_service.run


# What is asked, and what comes of it


def test_a_candidate_is_the_text_as_it_came_and_its_tokens_have_a_price(service, run, capsys):
    texts = ["<think>\nq?\n</think>\n\nSELECT 1;", "```sql\nSELECT 'é\ud83d'\n```"]
    service.script(*(success(text) for text in texts))
    report = run(2, temperature=0.5, max_tokens=77)
    assert report.candidates == [Candidate(f"e{n}", text, "groq", BIG) for n, text in enumerate(texts)]
    assert (report.calls, report.answers, report.earlier, report.failures, report.drops) == (2, 2, 0, {}, {})
    assert (report.prompt_tokens, report.completion_tokens) == (200, 20)
    assert report.cost == pytest.approx((200 * 0.15 + 20 * 0.60) / 1_000_000) and "$0.0000" in str(report)
    assert service.requests[1] == {
        "messages": messages(EXAMPLES[1]),
        **{"model": BIG, "temperature": 0.5, "max_tokens": 77, "reasoning_effort": "low"},
    }
    assert service.keys == {f"Bearer {SECRET}"}
    assert re.search(r"Groq: 100%.* 2/2 .*220 tokens, \$0\.0000", capsys.readouterr().err)


def test_a_model_without_a_price_has_tokens_and_no_cost(service, run):
    report = run(models=[BIG, OTHER])
    assert (report.prompt_tokens, report.cost, report.unpriced) == (200, None, (OTHER,))
    assert "unknown, no price of me/unknown" in str(report)
    assert "reasoning_effort" not in service.requests[1]


def test_nothing_is_asked_twice_and_what_is_missing_is_asked(service, run, path):
    first = run(2, answers=2)
    again = run(2, answers=2)
    assert (len(service.requests), again.calls, again.earlier) == (4, 0, 4)
    assert (again.candidates, again.cost) == (first.candidates, first.cost)
    assert read(EXAMPLES[:2], path=path, models=[BIG], answers=2) == again
    more = run(3, answers=3, models=[BIG, SMALL])
    assert (more.calls, more.earlier, len(service.requests)) == (3 * 3 * 2 - 4, 4, 18)
    assert path.read_bytes().count(b"\n") == 18 and not (path.parent / NAME).exists()
    for other in ({"temperature": 0.5}, {"max_tokens": 9}, {"effort": {}}):
        assert run(1, **other).calls == 1, "another setting is another call"
    changed = Example("e0", "q0", "CREATE TABLE other (a)", "SELECT 1")
    assert ask([changed], path=path, models=[BIG], base_url=service.url).calls == 1
    assert run(3, answers=3, models=[BIG, SMALL]).calls == 0


def test_candidates_are_in_order_whatever_the_order_of_arrival(service, run, path):
    def plan(body):
        if (body["model"], body["messages"][-1]["content"]) == (BIG, "q0"):
            while len(service.requests) < 6 or service.active > 1:
                time.sleep(0.005)
            time.sleep(0.05)

    service.plan = plan
    report = run(3, models=[BIG, SMALL], concurrency=6)
    last = json.loads(path.read_bytes().splitlines()[-1])["call"]
    assert (last["example"], last["model"]) == ("e0", BIG), "came last"
    assert [(c.example, c.origin) for c in report.candidates] == [(f"e{n}", m) for n in range(3) for m in (BIG, SMALL)]
    service.plan = lambda body: success(f"SELECT {len(service.requests)}")
    numbers = run(1, models=[OTHER], answers=3).candidates
    assert [c.completion for c in numbers] == ["SELECT 7", "SELECT 8", "SELECT 9"]


@pytest.mark.parametrize(
    "reply, reason",
    [
        *((success(text), "empty answer") for text in ("", " \n", None)),
        *((success(text, "length"), "cut off at max_tokens") for text in ("SELECT", None)),
        *((failure(status), f"refused ({status})") for status in (400, 413, 422)),
        (failure(400, "too long", "context_length_exceeded"), "refused (400 context_length_exceeded)"),
    ],
)
def test_what_would_come_again_is_no_candidate_and_is_not_asked_again(service, run, reply, reason):
    service.script(reply)
    report = run(2)
    assert [c.example for c in report.candidates] == ["e1"] and report.failures == {reason: 1}
    assert report.prompt_tokens == (200 if reply[0] == 200 else 100), "paid for, where the service counted it"
    again = run(2)
    assert (len(service.requests), again.failures, again.candidates) == (2, report.failures, report.candidates)
    assert not run.sleeps and not report.drops


# Keys, crashes, interrupts


@pytest.mark.parametrize(
    "reply",
    [failure(401, f"Invalid API Key {SECRET}"), failure(403, code=SECRET), (403, SECRET.encode(), {})]
    + [failure(400, code=code) for code in ("blocked_api_access", "organization_restricted")],
)
def test_an_account_without_access_is_one_line_and_loses_nothing(service, run, path, capsys, reply):
    service.plan = lambda body: reply if len(service.requests) == 3 else None
    with pytest.raises(
        UserError, match="^Groq answers nothing to this account .*the answers so far are on disk$"
    ) as raised:
        run(50, models=[BIG, SMALL])
    text = "".join(traceback.format_exception(raised.value)) + str(capsys.readouterr())
    assert SECRET not in text + path.read_text() and "\n" not in str(raised.value)
    assert len(service.requests) == 3 and len(path.read_bytes().splitlines()) == 2
    service.plan = lambda body: None
    assert run(50, models=[BIG, SMALL]).earlier == 2


def test_a_key_in_an_answer_is_taken_out(service, run, path):
    service.script(success(f"SELECT '{SECRET}'"), failure(400, code=SECRET))
    report = run(2)
    assert report.candidates[0].completion == "SELECT '<key>'" and report.failures == {"refused (400 <key>)": 1}
    assert run(2).candidates == report.candidates and SECRET not in path.read_text()


def test_requests_in_flight_are_as_many_as_wished_over_all_models(service, run):
    together = threading.Barrier(3)

    def plan(body):
        together.wait(5)  # breaks where fewer than three are in flight
        time.sleep(0.02)

    service.plan = plan
    assert run(6, models=[BIG, SMALL], concurrency=3).answers == 12
    assert service.peak == 3


def test_a_killed_process_loses_no_more_than_what_was_in_flight(service, run, path, tmp_path):
    service.plan = lambda body: HANG if len(service.requests) > 5 else None
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), service.url], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as child:
        try:
            while len(service.requests) < 8 and child.poll() is None:
                time.sleep(0.01)
            with pytest.raises(UserError, match="^another process works in"):
                run(12)
        finally:
            child.kill()
    assert len(path.read_bytes().splitlines()) == 5 and len(service.requests) == 8
    with path.open("ab") as file:
        file.write(b'{"answer": {"comp')  # as if it had died within a write
    service.plan = lambda body: None
    report = run(12)
    assert (report.earlier, report.calls, len(service.requests)) == (5, 7, 8 + 7)
    assert report.candidates == run(12, path=tmp_path / "other.jsonl").candidates
    assert run(12).earlier == 12 and len(path.read_bytes().splitlines()) == 13


def test_an_interrupt_ends_cleanly_and_loses_no_more_than_what_was_in_flight(service, run, path, monkeypatch):
    def plan(body):
        if len(service.requests) == 5:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            return HANG

    service.plan = plan
    threads = threading.active_count()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # some shells start jobs without one
    try:
        with pytest.raises(KeyboardInterrupt):
            run(9)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert [json.loads(line)["call"]["example"] for line in path.read_bytes().splitlines()] == ["e0", "e1", "e2", "e3"]
    service.end.set()
    assert not (path.parent / NAME).exists() and threading.active_count() <= threads + 1, "the server's connection"
    assert (run(9).earlier, len(service.requests)) == (4, 5 + 5)


def test_a_full_disk_is_one_line(service, run, path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="^cannot write .*groq.jsonl: no space left; free some space"):
        run(3)
    assert len(service.requests) == 1, "nothing is paid for that cannot be kept"


def test_it_works_while_an_event_loop_runs(service, run):
    async def cell():
        return run(3)

    assert asyncio.run(cell()).answers == 3


def test_without_a_key_it_says_what_to_do_and_files_are_read_all_the_same(service, run, path, monkeypatch):
    report = run(2)
    monkeypatch.delenv("GROQ_API_KEY")
    assert not available() and read(EXAMPLES[:2], path=path, models=[BIG]).candidates == report.candidates
    for value, reason in (("", "no GROQ_API_KEY: put it into"), (f"{SECRET} 2", "GROQ_API_KEY has a blank")):
        monkeypatch.setenv("GROQ_API_KEY", value)
        with pytest.raises(UserError, match=f"^{reason}") as raised:
            run(2)
        assert SECRET not in str(raised.value)
    monkeypatch.setenv("GROQ_API_KEY", SECRET)
    assert available()
    with pytest.raises(UserError, match="^there are no answers at"):
        read(EXAMPLES, path=path.with_name("other.jsonl"))
    with pytest.raises(UserError, match="^concurrency is at least 1"):
        run(concurrency=0)
    assert set(remote.EFFORT) == set(remote.MODELS)
