"""An answer that breaks off at the limit of tokens: it says so, and has no vote."""

import pytest

from common.ask import Answer, agreed, answers, ask, open_copy
from common.ask.__main__ import _as_json, _votes
from common.ask.answers import breaks_off
from common.ask.hints import CUT, hint
from common.ask.shop import write_shop
from common.generation import Completion
from common.generation.answers import end_tokens
from common.models import load_model
from common.profiles import TINY_MODEL

WHOLE, PART = "SELECT count(*) FROM customers", "SELECT count(*) FROM customers WHERE city = 'Lyon'"


@pytest.fixture(scope="module")
def tiny():
    return load_model(TINY_MODEL)


@pytest.fixture
def copy(tmp_path):
    with open_copy(write_shop(tmp_path)) as copy:
        yield copy


@pytest.mark.parametrize(
    ("text", "sql", "expected"),
    [
        (PART, PART, True),
        (f"```sql\n{PART}\n", PART, True),
        (f"```sql\n{PART}\n```\nThis counts the", PART, False),
        (f"{PART}; It", f"{PART};", False),
        (f"{PART};", f"{PART};", False),
        ("SELECT 'a;", "SELECT 'a;", True),
        ("CREATE TRIGGER r DELETE ON t BEGIN SELECT 1;", "CREATE TRIGGER r DELETE ON t BEGIN SELECT 1;", True),
        ("<think>Which", "", True),
        ("SELECT \0;", "SELECT \0;", True),
        ("SELECT \ud800;", "SELECT \ud800;", True),
    ],
)
def test_only_what_stops_within_the_statement_breaks_off(text, sql, expected):
    assert breaks_off(text, sql) == expected


def test_the_model_ends_a_text_or_the_limit_does(tiny, monkeypatch):
    _, is_ended = answers._write(tiny, [5, 6, 7], 3, False)
    assert not is_ended
    (completion,) = answers.complete(tiny, [[5, 6, 7]], max_new_tokens=3)
    monkeypatch.setattr(tiny.model.generation_config, "eos_token_id", completion.token_ids[-1])
    assert answers._write(tiny, [5, 6, 7], 3, False)[1]


def put(monkeypatch, tiny, copy, first: tuple[str, bool], samples: list[tuple[str, bool]]) -> tuple[Answer, Answer]:
    """The first answer and the elected one where the model writes these texts, and ends them or does not."""
    end = min(end_tokens(tiny))
    drawn = [Completion(text, 1, (end if is_ended else end + 1,)) for text, is_ended in samples]
    monkeypatch.setattr(answers, "_write", lambda *_: first)
    monkeypatch.setattr(answers, "complete", lambda *_, **__: drawn)
    answer, example = ask(tiny, copy, "How many live in Lyon on a Monday?")
    return answer, agreed(tiny, copy, example, answer, samples=len(drawn))


def test_an_answer_that_broke_off_says_so_and_is_overruled(tiny, copy, monkeypatch):
    first, answer = put(monkeypatch, tiny, copy, (PART, False), [(PART, False), (PART, False), (WHOLE, True)])
    assert first.is_cut and first.execution.tables and (first.votes, first.of, first.cut) == (0, 1, 1)
    assert hint(copy, first.sql, first.execution, is_cut=first.is_cut) == CUT
    assert (answer.sql, answer.votes, answer.of, answer.cut, answer.others) == (WHOLE, 1, 4, 3, ())
    line = "3 of 4 answers broke off at the limit of their tokens, without a vote.\n1 of 4 answers are whole and agree"
    assert not answer.is_cut and _votes(answer, first).startswith(line)
    assert _as_json(answer, "")["cut"] == 3


def test_samples_that_broke_off_have_no_vote(tiny, copy, monkeypatch):
    first, answer = put(monkeypatch, tiny, copy, (WHOLE, True), [(PART, False), (PART, False), (WHOLE, True)])
    assert (first.votes, first.of, first.cut) == (1, 1, 0) and not first.is_cut
    assert (answer.sql, answer.votes, answer.of, answer.cut) == (WHOLE, 2, 4, 2)
    assert _votes(answer, first).endswith("\n2 of 4 answers have this result.")
    first, answer = put(monkeypatch, tiny, copy, (WHOLE, True), [(f"{PART};", False), (PART, True)])
    assert (answer.sql, answer.votes, answer.cut) == (PART + ";", 2, 0)
    assert _votes(answer, first) == f"2 of 3 answers read the file and agree on another result:\n{PART};"


def test_where_no_other_runs_the_first_stays(tiny, copy, monkeypatch):
    first, answer = put(monkeypatch, tiny, copy, (PART, False), [(WHOLE, False), (WHOLE, False)])
    assert answer.sql == first.sql and answer.is_cut and (answer.votes, answer.of, answer.cut) == (0, 3, 3)
    line = "No answer has a vote: 3 of 3 broke off at the limit of their tokens"
    assert _votes(answer, first) == f"{line}."
    first, answer = put(monkeypatch, tiny, copy, (PART, False), [("SELECT", True), ("SELECT", True)])
    assert answer.sql == first.sql and answer.is_cut and (answer.votes, answer.of, answer.cut) == (0, 3, 1)
    assert _votes(answer, first) == f"{line.replace('3 of', '1 of')}, the rest does not run."


def test_where_all_fail_the_first_stays_however_often_another_comes(tiny, copy, monkeypatch):
    first, answer = put(monkeypatch, tiny, copy, ("SELECT", True), [("SELEC 1", True), ("SELEC 1", True)])
    assert (answer.sql, answer.votes, answer.of, answer.others) == ("SELECT", 1, 3, (("SELEC 1", 2),))
    assert _votes(answer, first) == "1 of 3 answers have this result."


def test_answers_that_would_change_the_file_are_not_said_to_read_it(tiny, copy, monkeypatch):
    write = "DELETE FROM customers"
    first, answer = put(monkeypatch, tiny, copy, ("SELECT", True), [(write, True), (write, True)])
    assert answer.sql == write and answer.execution.writes
    assert _votes(answer, first) == f"2 of 3 answers would change the file and agree on another result:\n{write}"
