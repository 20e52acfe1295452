"""Tables of trainings by rewards, and of what changed: figures by hand from small curves and rows."""

import pandas
import pytest

from common.data import Example
from common.group_display import (
    before_and_after,
    change_table,
    exploit_table,
    look_table,
    measured_table,
    outcome_changes,
    phase_table,
    plot_rewards,
    sample_table,
)
from common.training.held_out import form_shares, forms

STEPS = [
    {
        "step": step,
        "reward": step / 10,
        "robust": 0.1 * step,
        "strict_minus_robust": 0.02,
        "published_minus_strict": -0.01,
        "both_empty": 0.0,
        "length": 20.0,
        "part_robust": 0.1 * step,
        "spread_robust": 0.3,
        "completions": 16.0,
        "sampling_seconds": 3.0,
        "reward_seconds": 0.04,
        "update_seconds": 0.96,
    }
    for step in range(1, 7)
]
LOOKS = [
    {"step": 0, "eval_loss": 0.0, "eval_match": 0.25, "eval_join": 0.5},
    {"step": 6, "eval_loss": 0.7, "eval_match": 0.5, "eval_join": 0.25},
]
CURVE = pandas.DataFrame([LOOKS[0], *STEPS, LOOKS[1]])


def row(name: str, right: bool, complexity: str = "joins", outcome: str = "") -> dict:
    return {
        "id": name,
        "split": "test",
        "schema": name,
        "complexity": complexity,
        "task_type": "",
        "match": right,
        "robust_match": right,
        "outcome": outcome or ("match" if right else "mismatch"),
        "sql": f"SELECT {int(right)}",
    }


BEFORE = [row("a", False), row("b", True), row("c", False, "basic"), row("d", True, "basic"), row("e", False)]
AFTER = [row("a", True), row("b", False, outcome="schema_error"), row("c", True, "basic"), row("d", True, "basic")]
AFTER += [row("e", True)]


def test_samples_are_means_over_stretches_of_steps():
    table = sample_table(CURVE, parts=3)
    assert list(table.index) == ["1–2", "3–4", "5–6"]
    assert list(table["reward"]) == pytest.approx([0.15, 0.35, 0.55])
    assert {"robustly right", "strict − robust", "mean of robust", "spread of robust"} <= set(table)
    assert len(sample_table(CURVE, parts=40)) == 6


def test_looks_stand_above_the_references_forms():
    table = look_table(CURVE, ["SELECT a FROM t JOIN u USING (a)", "SELECT 'join'"])
    assert list(table.index) == ["0", "6", "references"]
    assert list(table["JOIN"]) == [0.5, 0.25, 0.5] and list(table["held-out match"])[:2] == [0.25, 0.5]


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT a FROM t LEFT JOIN u ON 1", {"join"}),
        ("select 'x JOIN y' from t", set()),
        ("SELECT SUM(a) OVER (PARTITION BY b) FROM t", {"over"}),
        ("SELECT a FROM t GROUP  BY a HAVING COUNT(*) > 1", {"group_by", "having"}),
        ("SELECT 'it''s over', joined FROM t", set()),
        ("", set()),
    ],
)
def test_forms_are_words_outside_of_strings(sql, names):
    assert {name for name, has in forms(sql).items() if has} == names
    assert form_shares([sql, "SELECT 1"])["join"] == ("join" in names) / 2


def test_phases_add_up():
    values = phase_table(CURVE)["value"]
    assert values["sampling, s a step"] == 3.0 and values["reward, share of a step"] == pytest.approx(0.01)
    assert values["completions a second"] == 4.0


def test_exploits_are_of_the_first_and_the_last_third():
    table = exploit_table({"robust": CURVE})
    assert list(table.index) == ["robust, first steps", "robust, last steps"]
    assert list(table["robustly right"]) == pytest.approx([0.15, 0.55])


def test_changes_are_counted_by_slice():
    table = change_table(BEFORE, AFTER, by=("complexity",))
    joins, basic = table.loc[("complexity", "joins")], table.loc[("complexity", "basic")]
    assert (joins["n"], joins["became right"], joins["became wrong"]) == (3, 2, 1)
    assert (basic["n"], basic["became right"], basic["became wrong"], basic["difference"]) == (2, 1, 0, 0.5)


def test_outcomes_are_counted_before_and_after():
    table = outcome_changes(BEFORE, AFTER)
    assert dict(table["change"]) == {"match": 2, "schema_error": 1, "mismatch": -3}


def test_answers_are_shown_where_they_changed_losses_too():
    examples = [Example(name, f"question {name}", "", "SELECT 1") for name in "abcde"]
    table = before_and_after(examples, BEFORE, AFTER, count=3, seed="x")
    assert len(table) == 3 and list(table["change"]).count("became wrong") == 1 and "d" not in table.index
    assert list(before_and_after(examples, BEFORE, BEFORE).index) == []
    lost = table[table["change"] == "became wrong"]
    assert list(lost["before"]) == ["SELECT 1"] and list(lost["after"]) == ["SELECT 0"]


def test_a_records_table_comes_back():
    record = {"tables": {"judges": {"reward model": {"AUC": 0.81234, "n": 3}}}}
    assert measured_table(record, "judges").loc["reward model", "AUC"] == 0.812


def test_plots_take_curves_without_answers():
    plot_rewards({"one": CURVE, "other": CURVE.drop(columns=["eval_match"])})
