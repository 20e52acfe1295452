"""Tables for a reader: the figures are the statistics' own, the order is that of size."""

import matplotlib.pyplot as plt
import pandas
import pytest

from common.data import Example
from common.display import (
    OUTCOMES,
    data_table,
    outcome_table,
    plot_curve,
    plot_trials,
    read_outcomes,
    read_some,
    reading_table,
    score_table,
    slice_table,
)
from common.scoring import Verdict
from tests.unit.records import predictions


def rows(right: str, tasks: str) -> list[dict]:
    return [row | {"task_type": task} for row, task in zip(predictions(right), tasks, strict=True)]


def test_slices_by_complexity_and_by_task_type_one_below_the_other():
    reports = {"a": rows("yynny", "rrrrw"), "b": rows("ynnn?", "rrrrw")}
    by = [slice_table(reports, name) for name in ("complexity", "task_type")]
    assert by[0].to_dict("index") == {
        "basic SQL": {"a": "2/3", "b": "1/2", "n": 3},
        "CTEs": {"a": "1/2", "b": "0/2", "n": 2},
    }
    assert list(by[1].index) == ["r", "w"] and list(by[1]["a"]) == ["2/4", "1/1"]
    both = slice_table(reports, by=("complexity", "task_type"))
    assert [both.loc[name].equals(table) for name, table in zip(("complexity", "task_type"), by, strict=True)] == [
        True,
        True,
    ]


def test_scores_are_of_the_test_rows_with_the_other_splits_beside_them():
    base = predictions("nnnnnnnnyy") + predictions("nnnn", "test_unseen")
    good = predictions("yyyyyyyyny") + predictions("yyyn", "test_unseen")
    table = score_table({"baseline": base, "lora": good})
    assert list(table["n"]) == [10, 10]
    assert table.loc["lora", "robust match [95 %]"].startswith("0.900 [")
    assert table.loc["lora", "robust match − baseline [95 %]"].startswith("+0.700 [")
    # McNemar: nine pairs differ, one of them for the worse: 2 (1 + 9) / 2^9.
    assert list(table["p (Holm)"]) == ["–", f"{2 * 10 / 2**9:.3f}"]
    assert [text[:5] for text in table["test_unseen, n = 4 [95 %]"]] == ["0.000", "0.750"]
    alone = score_table({"lora": good})
    assert not [column for column in alone if "−" in column or "Holm" in column]


def test_slices_and_outcomes_are_of_the_test_rows_alone():
    answers = {"a": predictions("ynn" * 20) + predictions("yyyy", "test_unseen")}
    assert list(slice_table(answers)["a"]) == ["0.333", "0.333"]  # 30 rows each, no counts
    assert outcome_table(answers).to_dict("index") == {
        "match": {"a": 20, "meaning": "the reference's result on the given database"},
        "mismatch": {"a": 40, "meaning": "runs, with another result"},
    }


def test_every_outcome_has_its_meaning():
    names = Verdict.__doc__.partition("outcome: ")[2].partition(".")[0].replace(" or ", ", ").split(",")
    assert {name.strip() for name in names if name.strip()} == set(OUTCOMES)


def test_what_is_read_is_of_every_kind_and_not_the_same_for_every_method():
    letters = "y" * 20 + "n" * 20
    answers = predictions(letters)
    for row in answers[36:38]:
        row["outcome"] = "schema_error"
    answers[39] |= {"match": True, "robust_match": False}
    examples = [Example(f"row-{n}", "q", "CREATE TABLE t (a);", "SELECT 1") for n in range(40)]
    places = {seed: read_some(examples, answers, seed=seed) for seed in ("lora", "full", "qlora")}
    assert places["lora"] == read_some(examples, answers, seed="lora") and len(set(map(tuple, places.values()))) == 3
    for chosen in places.values():
        assert all(place < 20 for place in chosen[:2]) and all(20 <= place < 39 for place in chosen[2:5])
        assert chosen[4] in (36, 37) and chosen[5] == 39
    assert read_some(examples[:1], answers, seed="lora") == [0]


def test_the_first_answers_of_each_outcome_are_read_in_the_outcomes_order():
    answers = predictions("nynynynynn")
    answers[8]["outcome"] = "syntax_error"
    examples = [Example(row["id"], "q", "CREATE TABLE t (a);", "SELECT 1") for row in answers]
    assert read_outcomes(examples, answers) == [1, 3, 5, 0, 2, 4, 8]
    assert read_outcomes(examples[:1], answers, 2) == [0]


def test_a_set_of_few_rows_is_read_as_far_as_it_goes():
    """Notebooks read the first five rows of a test set, which may have one."""
    examples = [Example(f"row-{n}", f"question {n}", "CREATE TABLE t (a);", "SELECT 1") for n in range(2)]
    answers = rows("yn", "rr")
    assert list(data_table(examples)["question"]) == ["question 0", "question 1"]
    assert list(data_table(examples[:1])["question"]) == ["question 0"]
    assert list(reading_table(examples, answers, range(5)).index) == ["row-0", "row-1"]
    assert list(reading_table(examples, answers, (1, 7))["question"]) == ["question 1"]


@pytest.fixture
def figures(monkeypatch):
    """The figures that were shown."""
    monkeypatch.setattr(plt, "close", lambda figure: None)
    monkeypatch.setattr(plt, "show", lambda: None)
    yield lambda: [plt.figure(number) for number in plt.get_fignums()]
    monkeypatch.undo()
    plt.close("all")


def test_a_curve_shows_held_out_match_where_rows_were_answered(figures):
    curve = pandas.DataFrame({"step": [1, 2, 2, 4], "loss": [3.0, 2.0, None, 1.0]})
    curve["eval_loss"] = [None, None, 2.5, 2.25]
    plot_curve(curve)
    plot_curve(curve.assign(eval_match=[None, None, 0.5, 0.75]))
    silent, answered = figures()
    assert len(silent.axes) == 1 and len(answered.axes) == 2
    (line,) = answered.axes[1].lines
    assert list(line.get_xdata()) == [2, 4] and list(line.get_ydata()) == [0.5, 0.75]
    assert answered.axes[1].get_ylabel() == "held-out match"


def test_trials_are_joined_over_the_stages_and_the_best_is_ringed(figures):
    lines = [
        (1, "a-s1-00", 1e-3, 4, 0.5, False),
        (1, "a-s1-01", 1e-2, 8, 0.4, True),
        (2, "a-s2-00", 1e-2, 8, 0.3, True),
    ]
    names = ["stage", "trial", "learning_rate", "effective_batch_size", "loss", "promoted"]
    trials = pandas.DataFrame(lines, columns=names)
    trials.insert(4, "train_rows", 9)
    plot_trials(trials)
    axes = figures()[0].axes[0]
    assert sorted(len(line.get_xdata()) for line in axes.lines) == [1, 2], "the second candidate has two stages"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["batch 4", "batch 8", "best"]
    ring = axes.collections[-1]
    assert ring.get_offsets().tolist() == [[1e-2, 0.3]]
