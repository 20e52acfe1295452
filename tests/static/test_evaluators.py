"""Other evaluators' committed verdicts: the text that is made of them, and a sample of them judged again."""

import warnings
from collections import defaultdict
from pathlib import Path

import pytest

from common.data import load_examples
from common.evaluators import EVALUATORS
from common.evaluators.verdicts import restated
from common.profiles import PROFILES
from common.results.entries import select
from common.results.evaluators import report, store
from common.results.readme import SCRATCH

ROOT = Path(__file__).resolve().parents[2]
PLACES = [path.parent for name in PROFILES if name != SCRATCH for path in ROOT.glob(f"results/{name}/{store.FILE}")]
SAMPLE = 15  # rows of each split, the first ones, which are drawn without those behind them


@pytest.fixture(autouse=True)
def committed(monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(ROOT / "results"))


def test_some_are_there():
    assert PLACES, "`python -m common.results evaluators` writes them"


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_the_text_is_what_the_records_give(place):
    text = (place / report.REPORT).read_text()
    assert text == report.markdown(place) + "\n", f"`{report.COMMAND}`"
    if "Not judged yet" in text:
        warnings.warn(f"{place.name}: some runs are not judged by other evaluators; `{report.COMMAND}`", stacklevel=1)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_a_sample_is_judged_as_committed(place):
    entries = [entry for entry in select(place) if entry.rows and entry.record["data"]["source"] == "embedded"]
    examples, count = {}, 0
    for entry in entries:
        table = store.tables(place, [entry]).get(entry.method)
        if table is None:
            continue
        rows = defaultdict(list)
        for row in entry.predictions:
            rows[row["split"]].append(row)
        for split in rows:
            if split not in examples:
                examples[split] = load_examples("embedded", split, limit=SAMPLE)
        answers = [row for split in rows for row in rows[split][:SAMPLE]]
        news = restated(answers, [example for split in rows for example in examples[split]], workers=1)
        for name in news.columns:
            assert list(news[name]) == list(table.loc[news.index, name]), (entry.method, name)
        count += len(answers)
    assert count, "no run of the embedded data is judged"


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_verdicts_imply_each_other_as_their_definitions_do(place):
    tables = store.tables(place, [entry for entry in select(place) if entry.rows])
    for method, table in tables.items():
        right = {name: table[name].to_numpy() == True for name in EVALUATORS}  # noqa: E712 - None is no verdict
        for one, other in (("robust", "strict"), ("text", "strict"), ("text", "bag"), ("text", "set")):
            assert not (right[one] & ~right[other]).any(), (method, one, other)
        reads = (table["relation"] != "w").to_numpy()
        same = table["relation"].isin(["=", "o"]).to_numpy()
        assert (right["set"][reads & same]).all() and not right["set"][(table["relation"] == "!").to_numpy()].any()
        assert (right["bag"][(table["relation"] == "=").to_numpy()]).all()
