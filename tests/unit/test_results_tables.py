"""Tables of the records: compared by hand, never of what is not comparable, for a terminal, as text and as a figure."""

import pandas
import pytest

from common import results
from common.results import comparison
from common.settings import UserError
from tests.unit import records
from tests.unit.records import predictions, record, write

place = records.place


def test_compare_by_hand():
    write("baseline", "nnnny?")
    write("lora", "yynyn?", model={"trainable_parameters": 1234}, cost={"train_seconds": 60.0})
    table = results.compare("cpu")
    assert list(table.index) == ["baseline", "lora"]
    assert table.loc["lora", "match"] == pytest.approx(3 / 5, abs=1e-6) and table.loc["lora", "scorable"] == 5
    # five scorable pairs: three turned right, one turned wrong
    assert table.loc["lora", "difference"] == pytest.approx(2 / 5)
    assert table.loc["lora", "p"] == table.loc["lora", "p_holm"] == pytest.approx(2 * (4 + 1) / 2**4)
    assert pandas.isna(table.loc["baseline", "difference"])
    assert table.loc["lora", "eval_rows_per_second"] == pytest.approx(6 / 2)
    assert list(results.compare("cpu", ["lora"]).index) == ["lora"]


@pytest.mark.parametrize(
    "changes, key",
    [
        ({"data": {"ids_hash": "other"}}, "data.ids_hash"),
        ({"data": {"prompt_hash": "other"}}, "data.prompt_hash"),
        ({"decoding": {"max_new_tokens": 512}}, "decoding"),
        ({"code": {"scorer_digest": "s2"}}, "code.scorer_digest"),
    ],
)
def test_what_is_not_comparable_shares_no_table(changes, key):
    write("baseline", "ny")
    write("lora", "yy", **changes)
    for table in (results.compare, comparison.by_complexity, comparison.markdown, results.save_comparison):
        with pytest.raises(UserError, match=f"cpu/baseline and cpu/lora differ in {key} "):
            table("cpu")
    assert list(results.compare("cpu", ["lora"]).index) == ["lora"]


def test_a_failed_run_keeps_its_row():
    write("baseline", "ny")
    rows = predictions("yy")
    failed = record("grpo", rows, status="failed", code={"scorer_digest": "older"}) | {
        "slices": {"complexity": {}, "task_type": {}}
    }
    failed["metrics"] = {name: {} for name in failed["metrics"]}
    results.write_record(failed, [])
    text = comparison.markdown("cpu")
    assert "| `grpo` (failed) | – | – | – |" in text


def test_markdown_says_what_the_records_say():
    write("baseline", "nnnny?")
    write(
        "lora",
        "yynyn?",
        model={"trainable_parameters": 1234},
        cost={"train_seconds": 90.0, "train_rows_per_second": 1.5},
    )
    text = comparison.markdown("cpu")
    sentence, table, _, slices_table = text.split("\n\n")
    assert sentence == (
        "Profile `cpu`: m/small on embedded data, split test, 6 rows, "
        "greedy decoding of at most 96 tokens; CPU, 2 threads."
    )
    baseline, lora = table.splitlines()[2:]
    assert "| 0.200 [" in baseline and "| – |" in baseline
    for part in ("`lora`", "0.600 [", "+0.400 [", "| 1,234 | 1.5 | 1.50 | 0.0 | 3.00 |", "| 0.740 |"):
        assert part in lora
    assert slices_table.splitlines()[0] == "| method | basic SQL (3) | CTEs (2) |"
    assert slices_table.splitlines()[3] == "| `lora` | 0.333 | 1.000 |"  # rows 0, 2, 4 are ynn; 1, 3 are yy


def test_plain_table_for_a_terminal():
    write("baseline", "nnnny?")
    write("lora", "yynyn?")
    head, baseline, lora = comparison.plain("cpu").splitlines()
    assert " ".join(head.split()) == (
        "robust match [95 %] robust match − baseline [95 %] strict match [95 %] score published score scorable"
    )
    assert baseline.startswith("baseline  0.200 [") and lora.startswith("lora      0.600 [") and " +0.400 [" in lora


def test_saved_comparison_is_a_table_and_a_figure_with_equal_bytes():
    write("baseline", "nnnny?")
    write("lora", "yynyn?")
    text, figure = results.save_comparison("cpu")
    first = figure.read_bytes()
    assert text.read_text() == comparison.markdown("cpu") + "\n"
    assert first.startswith(b"\x89PNG") and b"matplotlib" not in first.lower()
    results.save_comparison("cpu")
    assert figure.read_bytes() == first
