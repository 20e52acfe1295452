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
def away(place, tmp_path):
    """A folder of runs on Spider, beside those of the profile's own data, where two methods change places."""
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
    with pytest.raises(
        UserError, match="cpu/transfer.md differs from the records; `python -m common.results transfer`"
    ):
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
    with pytest.raises(UserError, match="there are no records"):
        transfer.save(tmp_path / "nothing")
    assert not (place / "cpu" / "transfer").exists()
    transfer.check(place / "cpu")  # a profile without other data has no page
    transfer.follow(place / "cpu")
    assert not (place / "cpu" / "transfer.md").exists()
