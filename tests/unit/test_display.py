"""Tables for a reader: the figures are the statistics' own, the order is that of size."""

from common.data import Example
from common.display import data_table, reading_table, slice_table
from tests.unit.records import predictions


def rows(right: str, tasks: str) -> list[dict]:
    return [row | {"task_type": task} for row, task in zip(predictions(right), tasks, strict=True)]


def test_slices_by_complexity_and_by_task_type_one_below_the_other():
    reports = {"a": rows("yynny", "rrrrw"), "b": rows("ynnn?", "rrrrw")}
    by = [slice_table(reports, name) for name in ("complexity", "task_type")]
    assert by[0].to_dict("index") == {
        "basic SQL": {"a": 0.667, "b": 0.5, "n": 3},
        "CTEs": {"a": 0.5, "b": 0.0, "n": 2},
    }
    assert list(by[1].index) == ["r", "w"] and list(by[1]["a"]) == [0.5, 1.0]
    both = slice_table(reports, by=("complexity", "task_type"))
    assert [both.loc[name].equals(table) for name, table in zip(("complexity", "task_type"), by, strict=True)] == [
        True,
        True,
    ]


def test_a_set_of_few_rows_is_read_as_far_as_it_goes():
    """Notebooks read the first five rows of a test set, which may have one."""
    examples = [Example(f"row-{n}", f"question {n}", "CREATE TABLE t (a);", "SELECT 1") for n in range(2)]
    answers = rows("yn", "rr")
    assert list(data_table(examples)["question"]) == ["question 0", "question 1"]
    assert list(data_table(examples[:1])["question"]) == ["question 0"]
    assert list(reading_table(examples, answers, range(5)).index) == ["row-0", "row-1"]
    assert list(reading_table(examples, answers, (1, 7))["question"]) == ["question 1"]
