"""Answers on disk: cut at every byte, doubled, of something else or garbage, what is read is right or nothing."""

import json
import os
from types import SimpleNamespace

import pytest

from common import completions as module
from common.completions import Answer, Completions, read
from common.settings import UserError

HEADING = {"weights": "w", "decoding": {"max_new_tokens": 4}}
PROMPTS = {0: "a", 1: "b", 2: "c", 5: "f"}
ANSWERS = {
    1: Answer("SELECT '\u00e4\n';", 4, 0.5),
    0: Answer('{"row": 2, "prompt": "c"}\n', 3, 0.25),  # an answer that looks like a line
    5: Answer("", 0, 1e-9),
    2: Answer("SELECT 2;", 2, 0.125),
}


@pytest.fixture
def path(tmp_path):
    """A file with four answers."""
    path = tmp_path / "completions.jsonl"
    with Completions(path, HEADING, PROMPTS) as completions:
        for row, answer in ANSWERS.items():
            completions.add(row, answer)
    return path


def test_what_was_added_is_read_and_nothing_is_written_anew(path):
    data = path.read_bytes()
    assert read(data, HEADING, PROMPTS) == ANSWERS
    assert data.count(b"\n") == 1 + 4
    with Completions(path, HEADING, PROMPTS) as completions:
        assert completions.answers == ANSWERS
    assert path.read_bytes() == data


def test_a_file_cut_at_any_byte_holds_its_whole_lines_and_goes_on(path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a thousand of them take seconds
    data, order = path.read_bytes(), list(ANSWERS)
    for end in range(len(data) + 1):
        path.write_bytes(data[:end])
        count = max(0, data[:end].count(b"\n") - 1)
        with Completions(path, HEADING, PROMPTS) as completions:
            assert completions.answers == {row: ANSWERS[row] for row in order[:count]}
            for row in order[count:]:
                completions.add(row, ANSWERS[row])
        assert path.read_bytes() == data


def test_zeros_as_a_power_failure_leaves_them_give_no_wrong_answer(path):
    data = path.read_bytes()
    for start in range(0, len(data), 3):
        for end in range(start + 1, len(data) + 1, 7):
            answers = read(data[:start] + b"\0" * (end - start) + data[end:], HEADING, PROMPTS)
            assert answers == {row: ANSWERS[row] for row in answers} and len(answers) < len(ANSWERS)


def lines_of(path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def entry(row, prompt="a", text="", new_tokens=1, seconds=1.0, **more) -> bytes:
    values = {"row": row, "prompt": prompt, "text": text, "new_tokens": new_tokens, "seconds": seconds, **more}
    return json.dumps(values).encode() + b"\n"


@pytest.mark.parametrize(
    "line",
    [
        *(b"\n", b"garbage\n", b"\xff\xfe\n", b"[]\n", b"3\n", b'"row"\n', b"null\n", b"{}\n", b"[" * 100_000 + b"\n"),
        *(b'{"row": 0}\n', entry(0, more=1), entry(0, "b"), entry(0, None), entry(3, "d"), entry(-1), entry("0")),
        *(entry(0.0), entry(False), entry(None), entry([0]), entry(0, text=None), entry(0, new_tokens=True)),
        *(entry(0, new_tokens=-1), entry(0, new_tokens="1"), entry(0, seconds=-1.0), entry(0, seconds=float("nan"))),
        *(entry(0, seconds=float("inf")), entry(0, seconds=None)),
    ],
    ids=lambda line: line[:40].decode("latin-1").strip(),
)
def test_a_line_that_cannot_be_trusted_is_dropped_wherever_it_stands(path, line):
    assert read(lines_of(path)[0] + entry(0), HEADING, PROMPTS) == {0: Answer("", 1, 1.0)}  # else nothing is tested
    first, *lines = lines_of(path)
    for at in range(len(lines) + 1):
        path.write_bytes(b"".join([first, *lines[:at], line, *lines[at:]]))
        with Completions(path, HEADING, PROMPTS) as completions:
            assert completions.answers == ANSWERS
        assert lines_of(path) == [first, *lines]


def test_of_two_lines_of_one_row_neither_is_taken(path):
    first, *lines = lines_of(path)
    for at, row in enumerate(ANSWERS):
        rest = {other: answer for other, answer in ANSWERS.items() if other != row}
        assert read(b"".join([first, *lines, lines[at]]), HEADING, PROMPTS) == rest
        other = entry(row, PROMPTS[row], "another answer")
        path.write_bytes(b"".join([first, other, *lines]))
        with Completions(path, HEADING, PROMPTS) as completions:
            assert completions.answers == rest
            completions.add(row, ANSWERS[row])
        assert read(path.read_bytes(), HEADING, PROMPTS) == ANSWERS


@pytest.mark.parametrize("name", ["weights", "decoding", "more"])
def test_answers_of_something_else_are_left_behind(path, name):
    heading = HEADING | {name: "other"}
    with Completions(path, heading, PROMPTS) as completions:
        assert completions.answers == {}
        completions.add(0, ANSWERS[0])
    assert read(path.read_bytes(), HEADING, PROMPTS) == {}
    assert read(path.read_bytes(), heading, PROMPTS) == {0: ANSWERS[0]}
    path.write_bytes(b'{"asked": "0123"}\n{"seconds": 1.0, "answers": []}\n')  # as older code wrote it
    with Completions(path, HEADING, PROMPTS) as completions:
        assert completions.answers == {}


def test_a_row_is_on_disk_as_soon_as_it_is_added(tmp_path):
    path = tmp_path / "completions.jsonl"
    with pytest.raises(KeyboardInterrupt), Completions(path, HEADING, PROMPTS) as completions:
        for row, answer in list(ANSWERS.items())[:2]:
            completions.add(row, answer)
            assert read(path.read_bytes(), HEADING, PROMPTS)[row] == answer
        raise KeyboardInterrupt
    assert len(read(path.read_bytes(), HEADING, PROMPTS)) == 2


def test_the_disk_is_waited_for_once_a_second_and_at_the_end(tmp_path, monkeypatch):
    calls, clock = [], iter([10.0, 10.0, 10.5, 11.5, 11.5, 11.6, 11.7])
    monkeypatch.setattr(os, "fsync", calls.append)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    counts = []
    with Completions(tmp_path / "completions.jsonl", HEADING, PROMPTS) as completions:
        for row, answer in ANSWERS.items():
            completions.add(row, answer)
            counts.append(len(calls))
    assert (counts, len(calls)) == ([1, 1, 2, 2], 3)


def test_a_folder_in_the_files_place_is_refused_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="^cannot write "), Completions(tmp_path / "file" / "x", HEADING, PROMPTS):
        pass
