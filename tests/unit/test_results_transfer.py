"""Runs on other data as aggregates: figures of the rows, none of the rows themselves, and the order beside our own."""

import json

import pytest

from common.results import transfer, write_record
from common.settings import UserError
from tests.unit import records
from tests.unit.records import predictions, record

place = records.place
SCORES = {"baseline": 10, "example-lora": 30, "example-fullft": 20}
SPIDER = {
    "source": "spider",
    "revision": "r1",
    "split": "test",
    "n": 40,
    "ids_hash": "s",
    "prompt_hash": "p1",
    "seed": 42,
}


def write(folder, method: str, right: int, **changes) -> None:
    rows = predictions("y" * right + "n" * (40 - right))
    trained = {} if method == "baseline" else {"model": {"trainable_parameters": 8}}
    write_record(folder, record(method, rows, **trained, **changes), rows)


@pytest.fixture
def away(place, tmp_path, monkeypatch):
    """A folder of runs on Spider, beside those of the profile's own data, where two methods change places."""
    monkeypatch.setattr("common.results.transfer.model_name", lambda _: "m/small")  # the records' is the profile's
    for method, right in SCORES.items():
        write(tmp_path / "away", method, right, data=SPIDER)
    for method, right in {**SCORES, "example-fullft": 35}.items():
        write(place / "cpu", method, right)
    return tmp_path / "away"


def test_aggregates_hold_figures_and_no_row(away, place):
    path, page = transfer.save(away)
    assert (path, page) == (place / "cpu" / "transfer" / "spider.json", place / "cpu" / "transfer.md")
    text = path.read_text()
    content = json.loads(text)
    assert not any(secret in text for secret in ("row-0", "SELECT", "completion"))
    assert [run["method"] for run in content["runs"]] == ["baseline", "example-lora", "example-fullft"]
    assert [run["metrics"]["right"]["value"] for run in content["runs"]] == [0.25, 0.75, 0.5]
    pairs = {(pair["method"], pair["other"]): pair for pair in content["pairs"]}
    assert pairs["example-lora", "baseline"]["value"] == 0.5 and pairs["example-lora", "baseline"]["n"] == 40
    assert pairs["example-fullft", "example-lora"]["value"] == -0.25
    assert pairs["example-lora", "baseline"]["p"] == pytest.approx(2 / 2**20, rel=1e-3)


def test_the_page_sets_them_beside_our_own_data_and_counts_the_order(away, place):
    page = transfer.save(away)[1].read_text()
    (line,) = [line for line in page.splitlines() if line.startswith("| `example-fullft` | 0.500 [")]
    assert line.endswith("| 0.875 | – | – |") and "| +0.250 [" in line
    assert "Kendall's tau-b of the 3 runs' order here with that on the profile's own data: 0.333 with `test`." in page
    assert "## spider" in page and "40 rows of `test`" in page
    transfer.check(place / "cpu")
    write(place / "cpu", "example-fullft", 15)  # a record made anew
    with pytest.raises(UserError, match="cpu/transfer.md differs from the records; `python -m common.results readme`"):
        transfer.check(place / "cpu")
    transfer.follow(place / "cpu")
    transfer.check(place / "cpu")
    assert "1.000 with `test`" in (place / "cpu" / "transfer.md").read_text()


def test_what_is_no_transfer_is_refused_and_nothing_is_written(away, place, tmp_path):
    with pytest.raises(UserError, match="is on embedded, the profile's own data"):
        transfer.save(place / "cpu")
    (away / "baseline.json").unlink()
    with pytest.raises(UserError):
        transfer.save(away)
    for path in away.glob("*"):
        path.unlink()
    write_record(away, record("baseline", rows := predictions("??"), data=SPIDER), rows)
    with pytest.raises(UserError, match="has no record 'baseline' to compare the others with"):  # none can be scored
        transfer.save(away)
    with pytest.raises(UserError, match="there are no records"):
        transfer.save(tmp_path / "nothing")
    assert not (place / "cpu" / "transfer").exists()
    transfer.check(place / "cpu")  # a profile without other data has no page
    transfer.follow(place / "cpu")
    assert not (place / "cpu" / "transfer.md").exists()


def test_another_base_model_has_a_file_of_its_own_and_is_not_set_beside_ours(away, place, monkeypatch):
    first, page = transfer.save(away)
    for method in SCORES:
        path = away / f"{method}.json"
        content = json.loads(path.read_text())
        content["model"]["id"] = "m/other"
        path.write_text(json.dumps(content))
    second, _ = transfer.save(away)
    assert second.name.startswith("spider-") and first.exists() and len(transfer.sources(place / "cpu")) == 2
    part = page.read_text().split("m/other")[1]
    assert "Kendall" not in part and part.count("| – | – | – |") == 3
    first.unlink(), second.unlink()
    transfer.follow(place / "cpu")
    assert not page.exists()
    transfer.check(place / "cpu")


@pytest.mark.parametrize("source", ["my data", "my-data", "Данные", "../x"])
def test_every_source_has_a_file(away, place, source):
    for method, right in SCORES.items():
        write(away, method, right, data=SPIDER | {"source": source})
    path, _ = transfer.save(away)
    assert path.parent == place / "cpu" / "transfer" and path.stem != "" and path.is_file()
    assert (path.name == "my-data.json") == (source == "my-data")
