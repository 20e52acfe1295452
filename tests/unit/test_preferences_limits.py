"""Failures and limits of a remote service: what is tried again and when, what is left for later, who is left out."""

import asyncio
import time

import pytest

from tests.unit import remote_service
from tests.unit.remote_service import BIG, CLOSE, HANG, SMALL, failure, question_of

DAY = (
    "Rate limit reached for model `m` in organization `o` on tokens per day (TPD): Limit 9. Please try again in 9m38s."
)

service, path, run = remote_service.service, remote_service.path, remote_service.run


def are_backoffs(sleeps):
    """From one second doubling to a minute, of which between a half and all is slept."""
    return all(min(60, 2**n) / 2 <= seconds <= min(60, 2**n) for n, seconds in enumerate(sleeps))


@pytest.mark.parametrize(
    "reply",
    [
        *(
            failure(503),
            failure(500),
            failure(498),
            CLOSE,
            HANG,
            (200, b"{", {}),
            (200, b"<html>", {"Content-Type": "a/b"}),
        ),
        *((200, [], {}), (200, {"choices": []}, {}), (200, b"{}", {"Content-Length": "9"}), failure(429)),
    ],
    ids=str,
)
def test_what_passes_is_tried_again(service, run, reply):
    service.script(reply)
    start = time.monotonic()
    report = run(timeout=0.3)
    assert [c.completion for c in report.candidates] == [f"SELECT 'q0' -- {BIG}"] and not report.failures
    assert len(service.requests) == 2 and len(run.sleeps) == 1 and are_backoffs(run.sleeps)
    assert time.monotonic() - start < 9, "what hangs takes 20 seconds"


def test_what_does_not_pass_is_left_for_the_next_run(service, run, path):
    service.plan = lambda body: failure(500) if question_of(body) == "q0" else None
    report = run(2)
    assert report.failures == {"status 500": 1} and [c.example for c in report.candidates] == ["e1"]
    assert service.count(question="q0") == 5, "attempts are ours alone, not the client's too"
    assert len(run.sleeps) == 4 and are_backoffs(run.sleeps) and len(path.read_bytes().splitlines()) == 1
    service.plan = lambda body: None
    assert (run(2).calls, run(2).calls) == (1, 0)


def test_a_service_that_is_down_is_not_asked_for_ever(service, run, capsys):
    service.plan = lambda body: CLOSE
    report = run(50)
    assert report.failures == {"no connection": 10, "model left out": 40} and len(service.requests) == 50
    assert report.drops == {BIG: "10 calls in a row failed, the last one by: no connection"}
    assert f"{BIG} is left out for the rest of this run: 10 calls" in capsys.readouterr().out


def test_a_wait_is_as_long_as_the_service_says(service, run):
    service.script(*(failure(429, retry_after=text) for text in ("2", "0.5")), failure(503, retry_after="3"))
    assert run().answers == 1 and run.sleeps == [2, 0.5, 3]


def test_a_wait_without_a_length_doubles_up_to_a_bound_and_ends(service, run, tmp_path):
    service.plan = lambda body: failure(429)
    report = run(3)
    assert report.drops == {BIG: "rate limit, 10 waits in a row without an answer"}
    assert len(run.sleeps) == 10 and are_backoffs(run.sleeps) and len(set(run.sleeps)) == 10
    first, run.sleeps = run.sleeps, []
    run(3, path=tmp_path / "other.jsonl")
    assert run.sleeps == first


def test_a_call_that_never_fits_does_not_hold_up_the_others(service, run):
    service.plan = lambda body: failure(429) if question_of(body) == "q0" else None
    report = run(100, concurrency=2)
    assert report.failures == {"rate limit": 1} and report.answers == 99
    assert service.count(question="q0") == 20


def test_the_whole_model_waits_and_no_other(service, run):
    naps, counts = [], []

    def plan(body):
        if body["model"] == BIG and service.count(BIG) == 1:
            return failure(429, retry_after="7")
        while (body["model"], question_of(body)) == (SMALL, "q1") and not naps:  # else both calls of BIG would be out
            time.sleep(0.005)

    async def sleep(seconds):
        naps.append(seconds)
        while service.count(SMALL) < 6 or service.active:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        counts.append(service.count(BIG))

    service.plan = plan
    assert len(run(6, models=[SMALL, BIG], concurrency=2, sleep=sleep).candidates) == 12
    assert (naps, counts, service.count(BIG)) == ([7], [1], 7), "nor a call that had stood in line for a slot"


@pytest.mark.parametrize(
    "reply, reason",
    [
        (failure(429, DAY, retry_after="578"), "its daily limit is reached"),
        (failure(429, "requests per day (RPD)"), "its daily limit is reached"),
        (failure(429, x_ratelimit_remaining_requests="0", retry_after="9"), "its daily limit is reached"),
        (failure(429, retry_after="901"), "the service asks for a wait of 901 seconds"),
        (failure(503, retry_after="inf"), "the service asks for a wait of inf seconds"),
        (failure(404, code="model_not_found"), "the service does not offer it (404 model_not_found)"),
        (failure(404), "the service does not offer it (404)"),
        (failure(400, code="model_decommissioned"), "the service does not offer it (400 model_decommissioned)"),
        (failure(403, code="model_permission_blocked_org"), "the service does not offer it (403 model_permission_"),
    ],
)
def test_a_model_that_cannot_go_on_is_left_out_with_a_line(service, run, path, capsys, reply, reason):
    service.plan = lambda body: reply if body["model"] == BIG and service.count(BIG) > 1 else None
    report = run(3, models=[BIG, SMALL])
    assert service.count(BIG) == 2 and [c.example for c in report.candidates if c.origin == SMALL] == ["e0", "e1", "e2"]
    assert [c.example for c in report.candidates if c.origin == BIG] == ["e0"]
    assert report.failures == {"model left out": 2} and report.drops[BIG].startswith(reason)
    assert f"{BIG} is left out for the rest of this run: {reason}" in capsys.readouterr().out
    assert len(path.read_bytes().splitlines()) == 4 and not run.sleeps
    assert run(3).failures == {"model left out": 2} and run(3, models=[SMALL]).calls == 0, "it alone is asked again"


def test_a_model_that_is_left_out_meanwhile_ends_all_waits(service, run):
    def plan(body):
        if question_of(body) == "q0":
            return failure(429, retry_after="800")
        while not naps:
            time.sleep(0.005)
        return failure(429, DAY)

    async def sleep(seconds):
        naps.append(seconds)
        await asyncio.sleep(9)

    naps, service.plan = [], plan
    start = time.monotonic()
    assert run(2, concurrency=2, sleep=sleep).failures == {"model left out": 2}
    assert naps == [800] and time.monotonic() - start < 8
