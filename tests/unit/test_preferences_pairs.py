"""Which answers meet in a pair, what the pairs of real rows look like, and the file that holds them.

Not covered: whether a verdict is right (test_preferences and the scorer's tests), and training on the pairs.
"""

import errno
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data import Example, load_examples
from common.preferences import pairs as stage
from common.preferences.candidates import GROQ, MUTATION, REFERENCE, SAMPLED, mutated
from common.preferences.certification import Certificate, Judgement, certify
from common.preferences.files import card, check, questions_of, read, split_pairs, splits_of, write
from common.preferences.pairs import Pair, Selection, select
from common.prompts import messages
from common.scoring import Scorer
from common.scoring.scorer import REWARD_SEED
from common.settings import ROOT, UserError


def wrong(sql: str, length: int = 40, source: str = SAMPLED, error: str = "filter") -> Judgement:
    """An answer of so many characters."""
    return Judgement(sql.ljust(length, "-"), source, "made up", error)


def right(sql: str = "right", length: int = 40, source: str = REFERENCE) -> Judgement:
    return wrong(sql, length, source, "")


def selected(questions, *, limit: int = 10_000, **options) -> Selection:
    """questions: of each its complexity and its judgements."""
    examples = [Example(f"q{n}", "Which?", f"CREATE TABLE t{n} (a)", "", "", c) for n, (c, _) in enumerate(questions)]
    judgements = {each.id: list(some) for each, (_, some) in zip(examples, questions, strict=True)}
    return select(examples, Certificate(judgements, Counter()), limit=limit, **options)


def rejected(selection) -> list[str]:
    return sorted(pair.rejected.rstrip("-") for pair in selection.pairs)


@pytest.mark.parametrize(
    ("answers", "best"),
    [
        ([right("ref", 40, REFERENCE), right("groq", 40, GROQ), right("own", 40, SAMPLED)], "own"),
        ([right("ref", 40, REFERENCE), right("groq", 40, GROQ)], "groq"),
        ([right("ref", 40, REFERENCE)], "ref"),
        ([right("far", 60, SAMPLED), right("near", 45, SAMPLED)], "near"),  # of one source the one alike in length
        ([right("ref", 40, REFERENCE), right("own", 81, SAMPLED)], "ref"),  # an own answer too unlike is none
        ([right("ref", 81, REFERENCE), right("groq", 41, GROQ)], "groq"),
        ([right("own", 81, SAMPLED), right("groq", 40, GROQ)], "groq"),  # also where it says the reference
    ],
)
def test_the_models_own_right_answer_is_chosen_first(answers, best):
    (pair,) = selected([("basic", [*answers, wrong("bad")])]).pairs
    assert pair.chosen.rstrip("-") == best
    sources = {right.sql: right.source for right in answers}
    assert (pair.chosen_source, pair.rejected_source) == (sources[pair.chosen], SAMPLED)


def test_own_failures_come_before_near_misses_and_other_errors_before_the_same_again():
    misses = [wrong(f"miss{n}", source=MUTATION, error="order") for n in range(3)]
    own = [wrong("own1"), wrong("own2"), wrong("own3", error="tables")]
    for most, errors in ((1, 1), (2, 2), (3, 2)):
        few = selected([("basic", [right(), *misses, *own])], of_question=most)
        assert len(few.pairs) == most and {pair.rejected_source for pair in few.pairs} == {SAMPLED}
        assert len({pair.error for pair in few.pairs}) == errors and few.drops[stage.FURTHER] == 6 - most


@pytest.mark.parametrize(("length", "stays"), [(20, True), (19, False), (80, True), (81, False)])
def test_no_answer_is_more_than_twice_as_long_as_the_other(length, stays):
    others = [("basic", [right(length=200), wrong("same", 200)])] * 10  # so that the mean is no reason
    selection = selected([("basic", [right(), wrong("same"), wrong("other", length)]), *others])
    assert ("other" in rejected(selection)) is stays and selection.drops[stage.UNLIKE] == (not stays)


COMPLEXITIES, ERRORS = ("basic", "joins", "CTEs"), ("filter", "order")
LENGTHS, EQUAL = st.integers(20, 90), st.just(40)


def questions(lengths, sources=(SAMPLED, GROQ, MUTATION)):
    """Up to 14 questions, each with a right answer, and up to 4 others, right or wrong."""
    numbers = st.integers(0, 9).map(str)
    answer = st.builds(wrong, numbers, lengths, st.sampled_from(sources), st.sampled_from(["", *ERRORS]))
    answers = st.lists(answer, min_size=1, max_size=4, unique_by=lambda answer: answer.sql)
    question = st.tuples(st.sampled_from(COMPLEXITIES), answers.map(lambda some: [right(), *some]))
    return st.lists(question, min_size=1, max_size=14).filter(lambda some: any(a.error for _, q in some for a in q))


@given(questions(LENGTHS), st.integers(1, 20), st.integers(1, 3))
def test_limits_lengths_and_counts_hold_for_any_answers(some, limit, of_question):
    try:
        selection = selected(some, limit=limit, of_question=of_question)
    except UserError:  # where all wrong answers are too long
        return
    assert 1 <= len(pairs := selection.pairs) <= limit
    assert max(Counter(pair.example.id for pair in pairs).values()) <= of_question
    assert len({(pair.example.id, pair.rejected) for pair in pairs}) == len(pairs)
    assert all(1 / 2 <= len(pair.chosen) / len(pair.rejected) <= 2 for pair in pairs)
    gap, length = mean(pair.difference for pair in pairs), mean(len(pair.chosen) for pair in pairs)
    assert len(pairs) == 1 or abs(gap) <= 0.05 * length
    failures = [sum(not a.is_right for a in answers) for _, answers in some]
    assert selection.drops[stage.NO_WRONG] == failures.count(0) and not selection.drops[stage.NO_RIGHT]
    answers_left_out = sum(count for reason, count in selection.drops.items() if reason != stage.NO_WRONG)
    assert len(pairs) + answers_left_out == sum(failures) and min(selection.drops.values()) >= 0


@given(questions(EQUAL, sources=(SAMPLED,)), st.integers(1, 40))
def test_cells_are_evenly_filled_as_far_as_they_have_pairs(some, limit):
    sizes, shares = (
        Counter((pair.example.complexity, pair.error) for pair in selected(some, limit=most, of_question=9).pairs)
        for most in (10_000, limit)
    )
    assert shares.total() == min(limit, sizes.total())
    for cell, size in sizes.items():
        assert shares[cell] == size or max(shares.values()) - shares[cell] <= 1


@given(questions(EQUAL), st.integers(1, 20))
def test_near_misses_are_a_minority_unless_there_is_nothing_else(some, limit):
    selection = selected(some, limit=limit)
    own = [answer for _, answers in some for answer in answers if answer.error and answer.source != MUTATION]
    share = mean(pair.rejected_source == MUTATION for pair in selection.pairs)
    assert share <= 0.3 if own else share == 1 and not selection.drops[stage.MUTATIONS]


def test_near_misses_stay_a_minority_where_own_failures_are_left_out():
    own, shorter = ([("basic", [right(), wrong("own", length)])] * 7 for length in (40, 30))
    misses = [(f"kind {n}", [right(), wrong("miss", source=MUTATION)]) for n in range(3)]
    assert rejected(selected(own + misses)) == rejected(selected(own + misses * 2)) == ["miss"] * 3 + ["own"] * 7
    for other in (selected(own + misses, limit=4), selected(own + shorter + misses * 2)):  # by cells, by lengths
        assert rejected(other).count("miss") <= 0.3 * len(other.pairs)


def test_pairs_that_differ_most_are_left_out_for_the_mean_lengths():
    equal = [("basic", [right(), wrong("same", 40)])] * 10
    some = [*equal, ("basic", [right(), wrong("less", 30)]), ("basic", [right(), wrong("least", 21)])]
    assert Counter(rejected(selected(some))) == {"same": 10, "less": 1}  # with "least" 29 of 12 × 40 characters
    some = [*equal, *equal, *[("basic", [right(), wrong("more", 60)])] * 6, ("basic", [right(), wrong("less", 30)])]
    assert Counter(rejected(selected(some))) == {"same": 20, "less": 1, "more": 2}  # with a third 50 of 24 × 40


def test_the_seed_decides_the_order_and_the_draw():
    some = [(COMPLEXITIES[n % 3], [right(), wrong(f"bad{n}")]) for n in range(30)]
    one, again, other = (selected(some, limit=10, seed=seed) for seed in (1, 1, 2))
    assert one == again and rejected(one) != rejected(other) and len(one.pairs) == len(other.pairs) == 10
    one, other = selected(some, seed=1), selected(some, seed=2)
    assert one.pairs != other.pairs and rejected(one) == rejected(other)


def test_where_no_pair_is_left_one_line_says_why():
    for some, reason in (
        ([("basic", [right()])] * 2, f"(2 {stage.NO_WRONG})"),
        ([("basic", [wrong("bad")]), ("basic", [])], f"(2 {stage.NO_RIGHT})"),
        ([("basic", [right(length=100), wrong("bad", 30)])], f"(1 {stage.UNLIKE})"),
    ):
        with pytest.raises(UserError) as error:
            selected(some)
        assert reason in str(error.value) and "\n" not in str(error.value)
    for sizes in ({"limit": 0}, {"of_question": 0}):
        with pytest.raises(UserError, match="at least 1"):
            selected([("basic", [right(), wrong("bad")])], **sizes)


# --- of real rows ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real():
    """Pairs of near misses alone, and what was left out before them."""
    examples = load_examples("embedded", "post", limit=80)
    certificate = certify(examples, mutated(examples, most=4, seed=42), workers=1)
    return select(examples, certificate, limit=1_000), certificate.drops


def sides(pairs) -> list[list[str]]:
    return [[pair.chosen for pair in pairs], [pair.rejected for pair in pairs]]


MARKS = {
    "a semicolon at the end": lambda sql: sql.endswith(";"),
    "<>": lambda sql: "<>" in sql,
    "!=": lambda sql: "!=" in sql,
    "NOT before its operand": lambda sql: re.search(r"NOT [\w.]+ (IN|BETWEEN|LIKE|IS)\b", sql) is not None,
    "lower case": lambda sql: re.search(r"\b(select|from|where|and|as|on)\b", sql) is not None,
    "white space": lambda sql: re.search(r"\s\s|\s$|[\n\t]", sql) is not None,
}


@pytest.mark.parametrize("mark", MARKS)
def test_no_mark_of_the_text_tells_the_sides_apart(real, mark):
    shares = [mean(MARKS[mark](sql) for sql in side) for side in sides(real[0].pairs)]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)


def test_the_sides_are_alike_in_length_and_case(real):
    assert len(real[0].pairs) > 100
    for size in (len, lambda sql: sum(map(str.isupper, sql)) / len(sql)):
        chosen, other = (mean(map(size, side)) for side in sides(real[0].pairs))
        assert other == pytest.approx(chosen, rel=0.05)


def test_the_scorer_says_the_same_again(real):
    rows = [(pair.example, sql) for pair in real[0].pairs for sql in (pair.chosen, pair.rejected)]
    with Scorer(workers=1, databases=4, seed=REWARD_SEED) as scorer:
        verdicts = scorer.score_batch(rows)
    assert {verdict.robust_match for verdict in verdicts[::2]} == {True}
    assert {verdict.match for verdict in verdicts[1::2]} == {False}


SPLITS = {"train": 300, "validation": 300, "test": 200, "test_unseen": 200, "test_forms": 60}


def test_no_row_of_the_study_is_among_them_and_one_that_is_gets_refused(real):
    others = [row for split, limit in SPLITS.items() for row in load_examples("embedded", split, limit=limit)]
    pairs, row = real[0].pairs, others[-1]
    check(pairs, others)
    check([replace(pairs[0], example=replace(row, schema="CREATE TABLE t (a)"))], others)
    for part in ({"sql": "SELECT 1"}, {"question": "Another question?"}):  # the same question, the same reference
        with pytest.raises(UserError, match="the pair of x"):
            check([*pairs, replace(pairs[0], example=replace(row, id="x", **part))], others)


CARD = {"policy": "base", "source": "embedded", "revision": "r7", "databases": 4, "model": "org/model"}


def test_what_was_written_is_read_in_its_order(real, tmp_path):
    pairs = real[0].pairs
    path = write(tmp_path / "new" / "base.parquet", pairs, "a card\n")
    assert sorted(file.name for file in path.parent.iterdir()) == ["base.md", "base.parquet"]
    assert path.with_suffix(".md").read_text() == "a card\n"
    assert read(path) == pairs and read(path, limit=7) == pairs[:7]
    assert (read(path, "train"), read(path, "validation")) == split_pairs(pairs) and all(split_pairs(pairs))
    assert read(path, "train", limit=5) == split_pairs(pairs)[0][:5]
    frame = pandas.read_parquet(path)
    assert [list(prompt) for prompt in frame["prompt"]] == [messages(pair.example) for pair in pairs]
    assert list(frame["split"]) == splits_of(pairs)
    assert questions_of(path) == {pair.example.id for pair in pairs}


@pytest.mark.parametrize("content", ["missing", "text", "cut", "empty", "foreign"])
def test_what_is_no_file_of_pairs_is_said_in_a_line(real, tmp_path, content):
    path = tmp_path / "base.parquet"
    if content == "foreign":
        pandas.DataFrame({"chosen": ["a"], "rejected": ["b"]}).to_parquet(path)
    elif content != "missing":
        data = write(path, real[0].pairs, "").read_bytes()
        path.write_bytes({"text": b"id,split\n", "cut": data[: len(data) // 2], "empty": b""}[content])
    with pytest.raises(UserError) as error:
        read(path)
    assert "base.parquet" in str(error.value) and "\n" not in str(error.value)
    assert ("there are no pairs" in str(error.value)) is (content == "missing")


def test_a_file_is_whole_or_absent_where_the_disk_is_full(real, tmp_path, monkeypatch):
    def fill(_, file, **__):
        Path(file).write_bytes(b"PAR1 half a file")
        raise OSError(errno.ENOSPC, "No space left on device")

    path = write(tmp_path / "old" / "base.parquet", real[0].pairs[:3], "the old card")
    monkeypatch.setattr(pandas.DataFrame, "to_parquet", fill)
    for place in (path, tmp_path / "new" / "base.parquet"):
        with pytest.raises(UserError, match="cannot write"):
            write(place, real[0].pairs, "the new card")
    assert (read(path), path.with_suffix(".md").read_text()) == (real[0].pairs[:3], "the old card")
    files = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file())
    assert files == ["old/base.md", "old/base.parquet"]


def rows_of(text: str, title: str) -> dict[str, int]:
    """The card's table of that title."""
    table = text.split(f"| {title} | number |\n", 1)[1].split("\n\n", 1)[0]
    return {name: int(count.replace(",", "")) for name, count in re.findall(r"^\| (.+) \| ([\d,]+) \|$", table, re.M)}


def test_the_cards_numbers_add_up(real):
    selection, drops = real
    pairs, text = selection.pairs, card(selection.pairs, drops + selection.drops, **CARD)
    (train, valid), examples = map(len, split_pairs(pairs)), len({pair.example.id for pair in pairs})
    assert f"{len(pairs)} pairs of {examples} questions: {train} to train on, {valid} to validate on" in text
    titles = ("Rejected answers by source", "Chosen answers by source", "Errors", "Complexities")
    assert [sum(rows_of(text, title).values()) for title in titles] == [len(pairs)] * 4
    assert [*rows_of(text, titles[0]), *rows_of(text, titles[1])] == [MUTATION, REFERENCE]
    assert rows_of(text, "Errors") == Counter(pair.error for pair in pairs)
    left_out = {f"{source}: {reason}": count for (source, reason), count in drops.items()}
    left_out |= {reason: count for reason, count in selection.drops.items() if count}
    assert rows_of(text, "Left out") == left_out and len(left_out) > 3
    assert "license: apache-2.0" in text and "`embedded` (revision r7)" in text and "`base`" in text
    assert "samples of org/model" in text and "4 generated databases" in text
    chosen, other = (mean(map(len, side)) for side in sides(pairs))
    assert f"chosen {chosen:.0f}, rejected {other:.0f}." in text


def test_card_and_file_name_no_folder_and_no_key(real, tmp_path, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "gsk_0123456789")
    here = Example("x", "Which?", "CREATE TABLE t (a)", "SELECT a", database=tmp_path / "data.sqlite")
    pairs = [*real[0].pairs, Pair(here, "SELECT a", "SELECT b", REFERENCE, SAMPLED, "org/model", "columns")]
    others = {"source": f"spider:{tmp_path}", "model": f"{tmp_path}/model", "revision": "gsk_0123456789"}
    path = write(tmp_path / "base.parquet", pairs, card(pairs, Counter(nothing=0), **CARD | others))
    text, rows = path.with_suffix(".md").read_text(), pandas.read_parquet(path).to_dict("records")
    whole = f"{text}{rows}{path.read_bytes()!r}"
    assert not [word for word in ("gsk_0123456789", str(tmp_path), str(ROOT)) if word in whole]
    assert "license: apache-2.0" not in text and "nothing" not in text  # the rows are Spider's
