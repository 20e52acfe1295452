"""The planned pairs and the seeds: worked out by hand, left out where a record is missing, and never across models."""

import pandas
import pytest

from common import results
from common.results.entries import select
from common.results.ledger import record_paths, seed_paths
from common.results.planned import PLANNED, planned
from common.results.seeds import over_seeds
from common.results.tables import ONE_SEED, markdown, short
from tests.unit import records
from tests.unit.records import predictions, record, trained, write

place = records.place
TRAINED = {"code": trained("common.training.sft"), "model": {"trainable_parameters": 7}}


def pairs(place) -> pandas.DataFrame:
    return planned(select(place / "cpu"))


def test_what_the_rows_can_show_is_said_of_the_pairs_at_hand(place):
    write("baseline", "n" * 200 + "y" * 200)
    write("sft-lora", "y" * 60 + "n" * 140 + "n" * 20 + "y" * 180, **TRAINED)
    (smallest,) = pairs(place)["smallest"]
    assert (
        f"What 400 rows can show: one test at the 5 % level finds a true difference of {smallest:.3f} four times in"
        in (markdown(place / "cpu"))
    )
    write("sft-lora", "y" * 3 + "n" * 197 + "y" * 200, **TRAINED)
    assert "The rows are too few to show any difference." in markdown(place / "cpu")


def test_the_planned_pairs_are_those_of_which_both_are_there(place):
    assert len(set(PLANNED)) == len(PLANNED)
    write("baseline", "n" * 12)
    write("sft-lora", "y" * 9 + "nnn", **TRAINED)
    write("other", "y" * 8 + "nnnn", **TRAINED)
    assert list(pairs(place).index) == [("sft-lora", "baseline"), ("other", "baseline")]
    write("sft-qlora", "n" + "y" * 3 + "n" * 8, **TRAINED)
    table = pairs(place)
    assert list(table.index)[0] == ("sft-lora", "sft-qlora") and len(table) == 4
    line = table.loc[("sft-lora", "sft-qlora")]
    assert (line["value"], line["n"], line["groups"]) == (pytest.approx(6 / 12), 12, 12)
    assert line["discordant"] == pytest.approx(6 / 12) and line["p"] == pytest.approx(2 / 2**6)
    # Holm over four: .0039, .0078, .03125, .25; 9, 8, 6 and 3 rows differ, all one way.
    assert list(table["p"]) == pytest.approx([2 / 2**6, 2 / 2**9, 2 / 2**8, 2 / 2**3])
    assert list(table["p_holm"]) == pytest.approx([2 * 2 / 2**6, 4 * 2 / 2**9, 3 * 2 / 2**8, 2 / 2**3])
    assert list(results.compare(place / "cpu")["p_holm"].dropna()) == pytest.approx(list(table["p_holm"][1:]))


def test_a_trained_small_model_is_compared_with_the_larger_one_and_with_no_other_model(place):
    write("baseline", "nnnn")
    write("baseline-8b-nf4", "ynnn", model={"id": "m/large"})
    write("sft-lora", "yyyn", **TRAINED)
    write("sft-full", "yyyy", code=TRAINED["code"], model={"trainable_parameters": 7, "id": "m/other"})
    assert list(pairs(place).index) == [("sft-lora", "baseline-8b-nf4"), ("sft-lora", "baseline")]


def test_every_split_has_its_difference_and_no_other_splits_rows(place):
    for method, answers in {"baseline": ("nnnn", "nn", "yyn"), "sft-lora": ("yyyn", "yn", "nnn")}.items():
        rows = [
            row
            for parts in zip(("test", "test_unseen", "test_forms"), answers, strict=True)
            for row in predictions(parts[1], parts[0])
        ]
        results.write_record(place / "cpu", record(method, rows, **(TRAINED if method != "baseline" else {})), rows)
    line = pairs(place).iloc[0]
    assert [line[name] for name in ("value", "test_unseen", "test_forms")] == pytest.approx([0.75, 0.5, -2 / 3])
    text = markdown(place / "cpu")
    assert "4 rows of `test`, 2 rows of `test_unseen`, 3 rows of `test_forms`" in text
    head = next(line for line in text.splitlines() if line.startswith("| pair"))
    assert head.endswith("difference on test_unseen [95 %] | difference on test_forms [95 %] |")


def test_rows_of_one_schema_are_tested_together(place):
    for method, answers in {"baseline": "nnnnnynnn", "sft-lora": "yyyynnnnn"}.items():
        rows = [row | {"schema": name} for row, name in zip(predictions(answers), "xxxyzzuvw", strict=True)]
        results.write_record(place / "cpu", record(method, rows, **(TRAINED if method != "baseline" else {})), rows)
    line = pairs(place).iloc[0]
    assert (line["groups"], line["n"]) == (6, 9)
    assert line["p"] == pytest.approx(6 / 8)  # schemas add 3, 1 and -1: of eight signings 5, 3, 3 and their negatives
    assert "Rows share 6 schemas, which are resampled and tested whole." in markdown(place / "cpu")


@pytest.mark.parametrize(("schemas", "words"), [("xxxxxx", "1 schema"), ("xyxyzz", "3 schemas")])
def test_too_few_schemas_are_named_below_the_pairs(place, schemas, words):
    for method, answers in {"baseline": "nnnnny", "sft-lora": "yyyynn"}.items():
        rows = [row | {"schema": name} for row, name in zip(predictions(answers), schemas, strict=True)]
        results.write_record(place / "cpu", record(method, rows, **(TRAINED if method != "baseline" else {})), rows)
    assert pairs(place).iloc[0]["low"] < pairs(place).iloc[0]["value"]
    text = f"Rows share {words}, too few to stand for others: intervals and p are about further questions to the same"
    assert text in markdown(place / "cpu")


def test_the_readme_leaves_the_pairs_to_its_sentences_and_to_the_whole_comparison(place):
    write("baseline", "n" * 40)
    write("sft-lora", "y" * 30 + "n" * 10, **TRAINED)
    write("sft-qlora", "y" * 24 + "n" * 16, **TRAINED)
    text, whole = short(place / "cpu"), markdown(place / "cpu")
    assert "planned pair" not in text and "`sft-lora` − `sft-qlora`" not in text
    (line,) = [line for line in whole.splitlines() if line.startswith("| `sft-lora` − `sft-qlora` | +0.150 [")]
    assert "| 0.031 |" in line  # 2 / 2^6, the largest p of three
    assert text.endswith(ONE_SEED)


# Seeds


def seeded(place, seed: int, right: str, **changes) -> None:
    write("example-lora", right, place / "cpu" / "seeds" / str(seed), seed=seed, **(TRAINED | changes))


def test_seeds_are_the_mean_and_the_spread_of_comparable_runs(place):
    write("baseline", "nnnn")
    write("example-lora", "yynn", **TRAINED)
    entries = select(place / "cpu")
    assert over_seeds(entries, place / "cpu").empty
    seeded(place, 44, "yyyn")
    seeded(place, 43, "yyyy")
    seeded(place, 45, "yyyy", data={"ids_hash": "other"})
    seeded(place, 46, "yyyy", model={"trainable_parameters": 7, "revision": "other"})
    (line,) = over_seeds(entries, place / "cpu").to_dict("index").values()
    assert (line["seeds"], line["values"]) == ("42, 43, 44", [0.5, 1.0, 0.75])
    assert (line["test"], line["test_sd"]) == (0.75, 0.25) and not line["stale"]
    assert "| `example-lora` | 42, 43, 44 | 0.500, 1.000, 0.750 | 0.750 ± 0.250 |" in markdown(place / "cpu")
    line = short(place / "cpu").split("\n\n")[-1]
    assert "Robust match over the seeds 42, 43, 44" in line and "`example-lora` 0.750 ± 0.250" in line
    assert line.endswith("Every other row is of one seed.")
    seeded(place, 44, "yyyn", code=trained("common.training.sft", digest="older"))
    assert "| `example-lora` † | 42" in markdown(place / "cpu")


def test_records_of_other_seeds_are_none_of_the_folders_own(place):
    write("baseline", "nnnn")
    seeded(place, 43, "yyyy")
    (place / "cpu" / "seeds" / "notes").mkdir()
    assert [path.name for path in record_paths()] == ["baseline.json"]
    assert [path.relative_to(place).as_posix() for path in seed_paths()] == ["cpu/seeds/43/example-lora.json"]
    assert list(results.compare(place / "cpu").index) == ["baseline"]
