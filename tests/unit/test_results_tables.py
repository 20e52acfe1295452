"""Tables of the records: compared by hand, never of what is not comparable, for a terminal, as text and as a figure."""

import pandas
import pytest

from common import results
from common.results.entries import select
from common.results.tables import COMMITTED, COUNTS, ONE_SEED, STALE, markdown, plain, short
from common.settings import UserError
from tests.unit import records
from tests.unit.records import predictions, record, trained, write

place = records.place


def test_compare_by_hand(place):
    write("baseline", "nnnny?")
    write("lora", "yynyn?", model={"trainable_parameters": 1234}, cost={"train_seconds": 60.0})
    table = results.compare(place / "cpu")
    assert list(table.index) == ["baseline", "lora"]
    assert table.loc["lora", "match"] == pytest.approx(3 / 5, abs=1e-6) and table.loc["lora", "scorable"] == 5
    # five scorable pairs: three turned right, one turned wrong
    assert table.loc["lora", "difference"] == pytest.approx(2 / 5)
    assert table.loc["lora", "p"] == table.loc["lora", "p_holm"] == pytest.approx(2 * (4 + 1) / 2**4)
    assert pandas.isna(table.loc["baseline", "difference"])
    assert table.loc["lora", "eval_rows_per_second"] == pytest.approx(6 / 2)
    assert list(results.compare(place / "cpu", ["lora"]).index) == ["lora"]


@pytest.mark.parametrize(
    "changes, key",
    [
        ({"data": {"ids_hash": "other"}}, "data.ids_hash"),
        ({"data": {"prompt_hash": "other"}}, "data.prompt_hash"),
        ({"splits": {"test_unseen": {"n": 2, "ids_hash": "other", "prompt_hash": ""}}}, "splits.ids_hash"),
        ({"decoding": {"max_new_tokens": 512}}, "decoding"),
        ({"scoring": {"databases": 4}}, "scoring.databases"),
        ({"scoring": {"sqlite": "3.45.0"}}, "scoring.sqlite"),
        ({"scoring": {"sqlglot": "1.0"}}, "scoring.sqlglot"),
        ({"code": {"scorer_digest": "s2"}}, "code.scorer_digest"),
    ],
)
def test_what_is_not_comparable_shares_no_table(place, changes, key):
    write("baseline", "ny", scoring={"sqlite": "3.40.1", "sqlglot": "30.30.0"})
    changes = {"scoring": {"sqlite": "3.40.1", "sqlglot": "30.30.0"}} | changes
    write("lora", "yy", **changes)
    for table in (results.compare, markdown, short, plain, results.save_comparison):
        with pytest.raises(UserError, match=f"cpu/baseline and cpu/lora differ in {key} "):
            table(place / "cpu")
    assert list(results.compare(place / "cpu", ["lora"]).index) == ["lora"]


def test_records_that_do_not_name_the_versions_of_their_scoring_share_a_table_with_those_that_do(place):
    write("baseline", "ny")
    write("lora", "yy", scoring={"sqlite": "3.40.1", "sqlglot": "30.30.0"})
    assert results.compare(place / "cpu").loc["lora", "difference"] == 0.5


def test_one_that_names_no_version_does_not_join_two_that_name_others(place):
    write("baseline", "ny")
    write("lora", "yy", scoring={"sqlite": "3.40.1"})
    write("dpo", "yn", scoring={"sqlite": "3.46.0"})
    with pytest.raises(UserError, match=r"cpu/dpo and cpu/lora differ in scoring\.sqlite "):
        results.compare(place / "cpu")


def test_the_committed_baseline_joins_runs_that_it_agrees_with_all_of(place):
    write("baseline", "ny", scoring={"sqlite": "3.46.0"})
    elsewhere = place / "elsewhere"
    write("dpo", "yn", elsewhere)
    assert [entry.method for entry in select(elsewhere)] == ["baseline", "dpo"]
    write("lora", "yy", elsewhere, scoring={"sqlite": "3.40.1"})
    assert [entry.method for entry in select(elsewhere)] == ["lora", "dpo"]


@pytest.mark.parametrize("changes", [{"id": "m/large"}, {"revision": "other"}])
def test_no_difference_is_taken_across_base_models(place, changes):
    write("baseline", "nnnn")
    write("lora", "yyyn")
    write("other", "yyyy", model=changes)
    table = results.compare(place / "cpu")
    assert table.loc["lora", "difference"] == 0.75
    assert table.loc["other", ["difference", "difference_low", "p", "p_holm"]].isna().all()
    line = next(line for line in markdown(place / "cpu").splitlines() if line.startswith("| `other`"))
    assert line.split(" | ")[2] == "–" and "1.000 [" in line


def test_costs_are_shown_of_one_environment_alone(place):
    cost = {"train_seconds": 60.0, "train_rows_per_second": 1.5}
    write("baseline", "ny", environment={"packages": {"torch": "2.13"}})
    write("a", "yy", cost=cost, environment={"packages": {"torch": "2.13", "trl": "1"}})
    write("b", "yy", cost=cost, environment={"packages": {"torch": "2.12"}})
    write("c", "yy", cost=cost, environment={"packages": {"torch": "2.13"}, "device": "NVIDIA H100"})
    costs = {line.split("`")[1]: line.split(" | ")[-4:] for line in markdown(place / "cpu").splitlines()[4:8]}
    assert costs["a"] == ["1.0", "1.50", "0.0", "1.00 |"]
    assert costs["b"] == costs["c"] == ["–", "–", "–", "– |"]


def test_a_row_of_older_code_is_marked_and_a_line_says_what_the_mark_means(place):
    write("baseline", "ny")
    write("lora", "yy", code=trained("common.training.sft"))
    assert "†" not in markdown(place / "cpu") + plain(place / "cpu")
    write("lora", "yy", code=trained("common.training.sft", digest="older"))
    write("older", "yy", code={"answers_digest": ""})
    for text, quote in ((markdown(place / "cpu"), "`"), (plain(place / "cpu"), "")):
        rows = [line for line in text.splitlines() if "†" in line]
        assert [line for line in rows[:2] if f"lora{quote} †" in line or f"older{quote} †" in line] == rows[:2]
        assert rows[2:] == [STALE]


def test_a_folder_without_a_baseline_is_compared_with_the_committed_one_where_that_is_comparable(place, tmp_path):
    write("baseline", "nnnn")
    scratch = tmp_path / "outputs" / "cpu"
    write("lora", "yyyn", scratch)
    table = results.compare(scratch)
    assert list(table.index) == ["baseline", "lora"] and list(table["committed"]) == [True, False]
    assert table.loc["lora", "difference"] == 0.75
    assert plain(scratch).endswith(COMMITTED) and COMMITTED in markdown(scratch)
    write("baseline", "ynnn", scratch)
    assert results.compare(scratch).loc["lora", "difference"] == 0.5 and COMMITTED not in plain(scratch)
    for changes in ({"model": {"revision": "other"}}, {"data": {"ids_hash": "other"}}):
        write("alone", "yyyy", tmp_path / "alone", **changes)
        assert list(results.compare(tmp_path / "alone").index) == ["alone"]


def test_a_failed_run_keeps_its_row(place):
    write("baseline", "ny")
    rows = predictions("yy")
    failed = record("grpo", rows, status="failed", code={"scorer_digest": "older"}) | {
        "slices": {"complexity": {}, "task_type": {}}
    }
    failed["metrics"] = {name: {} for name in failed["metrics"]}
    results.write_record(place / "cpu", failed, [])
    text = markdown(place / "cpu")
    assert "| `grpo` (failed) | – | – | – |" in text


def test_markdown_says_what_the_records_say(place):
    write("baseline", "nnnny?")
    write(
        "lora",
        "yynyn?",
        model={"trainable_parameters": 1234},
        code=trained("common.training.sft"),
        cost={"train_seconds": 90.0, "train_rows_per_second": 1.5},
    )
    text = markdown(place / "cpu")
    sentence, table, _, _, _, slices_table, seeds = text.split("\n\n")
    assert sentence == (
        "Profile `cpu`: m/small on embedded data, 6 rows of `test`, "
        "greedy decoding of at most 96 tokens; CPU, 2 threads."
    )
    assert seeds == ONE_SEED
    baseline, lora = table.splitlines()[2:]
    assert "| 0.200 [" in baseline and "| – |" in baseline
    for part in ("`lora`", "0.600 [", "+0.400 [", "| 1,234 | 1.5 | 1.50 | 0.0 | 3.00 |", "| 0.740 |"):
        assert part in lora
    assert slices_table.splitlines()[0] == "| method | basic SQL (3) | CTEs (2) |"
    assert slices_table.splitlines()[3] == "| `lora` | 1/3 | 2/2 |"  # rows 0, 2, 4 are ynn; 1, 3 are yy


def test_a_line_below_says_what_was_refused_for_the_order_of_columns_alone(place):
    write("baseline", "nnnny?", column_order_refusals=0)
    write("older", "nnnny?")
    assert len(markdown(place / "cpu").split("\n\n")) == 7  # nothing to say
    write("lora", "yynyn?", column_order_refusals=2, strict_only_matches=1)
    order, strict = COUNTS.values()
    lines = [f"{order} lora 2 of 5; the others none.", f"{strict} lora 1 of 5."]
    assert set(lines) < set(markdown(place / "cpu").split("\n\n"))
    assert plain(place / "cpu").endswith("\n".join(lines))
    head, rule = markdown(place / "cpu").split("\n\n")[1].splitlines()[:2]
    assert head.count("|") == rule.count("|") == 14  # the table is as wide as before


def test_plain_table_for_a_terminal(place):
    write("baseline", "nnnny?")
    write("lora", "yynyn?")
    head, baseline, lora = plain(place / "cpu").splitlines()
    assert " ".join(head.split()) == (
        "robust match [95 %] robust match − baseline [95 %] p (Holm) strict match [95 %] score scorable"
    )
    assert baseline.startswith("baseline  0.200 [") and lora.startswith("lora      0.600 [") and " +0.400 [" in lora


def test_saved_comparison_is_a_table_and_a_figure_with_equal_bytes(place):
    write("baseline", "nnnny?")
    write("lora", "yynyn?")
    text, figure = results.save_comparison(place / "cpu")
    first = figure.read_bytes()
    assert text.read_text() == markdown(place / "cpu") + "\n"
    assert first.startswith(b"\x89PNG") and b"matplotlib" not in first.lower()
    results.save_comparison(place / "cpu")
    assert figure.read_bytes() == first
