"""Lines of remote models' answers: cut at every byte, doubled, of other calls or garbage, what is read is right or
nothing; and what replies say."""

import json
import time
from dataclasses import asdict
from email.utils import formatdate

import pytest

from common.data import Example
from common.preferences.calls import Answer, Call, Trouble, answer_in, answers_in, calls_of, line_of, outcome_of, report
from common.settings import UserError

SETTINGS = {"models": ["m", "n"], "answers": 2, "temperature": 1, "max_tokens": 9, "effort": {"n": "low"}}
EXAMPLES = [Example(f"e{n}", f"q{n}", "CREATE TABLE t (a)", "SELECT 1") for n in range(2)]
CALLS = calls_of(EXAMPLES, **SETTINGS)
CALL = next(iter(CALLS))
ANSWERS = {call: Answer(f"SELECT '\ud83dé\n{n}'", "" if n % 3 else "refused", n, 2 * n) for n, call in enumerate(CALLS)}
DATA = "".join(line_of(call, answer) for call, answer in ANSWERS.items()).encode()


def test_what_was_written_is_read():
    assert answers_in(DATA, CALLS) == ANSWERS and len(ANSWERS) == 8 and DATA.isascii() and DATA.count(b"\n") == 8
    assert [(call.example, call.model, call.number) for call in CALLS] == [
        (example, model, number) for example in ("e0", "e1") for model in ("m", "n") for number in (1, 2)
    ]
    assert {call.effort for call in CALLS if call.model == "n"} == {"low"} and CALL.effort is None


def test_a_file_cut_at_any_byte_holds_its_whole_lines():
    ends = [end for end, byte in enumerate(DATA) if byte == 10]
    for end in range(len(DATA) + 1):
        whole = sum(place <= end for place in ends)  # a line lacks nothing that lacks its line break alone
        assert answers_in(DATA[:end], CALLS) == dict(list(ANSWERS.items())[:whole])


def test_zeros_as_a_power_failure_leaves_them_give_no_wrong_answer():
    for start in range(0, len(DATA), 41):
        for end in range(start + 1, len(DATA) + 1, 43):
            answers = answers_in(DATA[:start] + b"\0" * (end - start) + DATA[end:], CALLS)
            assert answers.items() <= ANSWERS.items() and len(answers) < len(ANSWERS)


def line(call=None, answer=None, **more):
    entry = {"call": asdict(CALL) | (call or {}), "answer": asdict(ANSWERS[CALL]) | (answer or {}), **more}
    return json.dumps(entry).encode()


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"garbage", b"\xff\xfe", b"[]", b"3", b"null", b"{}", b"[" * 100_000, b'{"call": ' * 100_000),
        *(b'{"call": {}, "answer": {}}', b'{"call": "x", "answer": "y"}', b'{"call": null, "answer": null}'),
        *(line({"number": value}) for value in (True, "1", 1.0, 3, None)),
        *(line({"temperature": value}) for value in (1, 0.5, "1.0")),
        *(line({"prompt": "other"}), line({"model": "o"}), line({"example": "e9"}), line({"effort": "low"})),
        *(line({"max_tokens": 8}), line({"more": 1}), line(answer={"more": 1})),
        *(line(answer={"text": value}) for value in (None, 1, ["a"])),
        *(line(answer={"fault": None}), line(answer={"prompt_tokens": -1}), line(answer={"prompt_tokens": True})),
        *(line(answer={"completion_tokens": value}) for value in (1.0, "1", None)),
    ],
)
def test_a_foreign_line_is_ignored_and_the_others_are_read(data):
    assert answers_in(data + b"\n", CALLS) == {}
    assert answers_in(data + b"\n" + DATA + data, CALLS) == ANSWERS


def test_of_two_lines_the_first_counts():
    assert answers_in(DATA + line(answer={"text": "other"}), CALLS) == ANSWERS
    assert answers_in(line(answer={"text": "other"}) + b"\n" + DATA, CALLS)[CALL].text == "other"


def test_a_report_accounts_for_every_call():
    answers = {call: ANSWERS[call] for call in list(CALLS)[:4]}  # of e0; the first and the last were refused
    rest = list(CALLS)[4:]  # of e1: m, m, n, n
    outcome = report(
        CALLS, answers, requests={*rest[:1], list(CALLS)[1]}, failures={rest[0]: "timeout"}, drops={"n": ""}
    )
    assert (len(outcome.candidates), outcome.calls, outcome.answers, outcome.earlier) == (2, 2, 1, 3)
    assert outcome.failures == {"refused": 2, "timeout": 1, "not asked": 1, "model left out": 2}
    assert (outcome.prompt_tokens, outcome.completion_tokens, outcome.cost) == (0 + 1 + 2 + 3, 12, None)


@pytest.mark.parametrize("values", [{"models": []}, {"models": "m"}, {"answers": 0}, {"max_tokens": 0}])
def test_a_call_needs_models_and_sizes(values):
    with pytest.raises(UserError, match="^a call needs models"):
        calls_of(EXAMPLES, **SETTINGS | values)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "3", "null", "{}", "[" * 100_000, '{"choices": []}', '{"choices": [{}]}', '{"choices": 3}'),
        *('{"choices": [{"message": {}}]}', '{"choices": [{"message": "a"}]}', '{"choices": {"0": 1}}'),
        *('{"choices": [{"message": {"content": ["a"]}}]}', '{"choices": [{"message": {"content": 3}}]}'),
        '{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": "1"}}',
        '{"choices": [{"message": {"content": "a"}}], "usage": [1]}',
    ],
)
def test_a_body_of_another_form_is_trouble(text):
    assert answer_in(text) == Trouble("malformed body", "call")


def test_a_body_without_usage_is_an_answer():
    assert answer_in('{"choices": [{"message": {"content": "a"}}]}') == Answer("a", "", 0, 0)


@pytest.mark.parametrize(
    "text, seconds",
    [
        *(("2", 2), ("0.5", 0.5), (" 7 ", 7), ("900", 900)),
        *(("0", None), ("-3", None), ("nan", None), ("soon", None), ("", None), ("2 s", None)),
        *((formatdate(0, usegmt=True), None), ("Mon, 99 Foo 2026 99:99:99 GMT", None)),
    ],
)
def test_a_wait_is_in_seconds(text, seconds):
    outcome = outcome_of(429, {"retry-after": text}, "")
    assert (outcome.reason, outcome.scope) == ("rate limit", "limit")
    assert outcome.wait == seconds
    assert outcome_of(503, {"retry-after": text}, "").scope == ("limit" if seconds else "call"), (
        "so too where it is busy"
    )


def test_a_wait_is_up_to_a_date():
    # The date is of now: tests are collected up to a quarter of an hour before they run.
    outcome = outcome_of(429, {"retry-after": formatdate(time.time() + 600, usegmt=True)}, "")
    assert outcome.wait == pytest.approx(600, abs=60)


@pytest.mark.parametrize(
    "text", ["", "<html>busy</html>", "[]", '{"error": "no"}', '{"error": {"code": null}}', "[" * 9**5]
)
@pytest.mark.parametrize("status", [408, 409, 429, 498, 500, 502, 503])
def test_what_may_pass_is_tried_again_whatever_the_body(status, text):
    assert outcome_of(status, {}, text).scope == ("limit" if status == 429 else "call")


def test_a_call_is_the_same_for_equal_settings():
    assert calls_of(EXAMPLES, **SETTINGS | {"temperature": 1.0}) == CALLS and isinstance(CALL, Call)
