"""Damaged files of the ledger, of whatever kind: one line each, which names the file and says what to do."""

import json

import pytest

from common import overview
from common.results import audits, ledger, transfer
from common.results.measures import find_measures, load
from common.results.record import faults
from common.results.restamp import restamp
from common.settings import UserError
from tests.unit import records
from tests.unit.records import predictions, record, write

place = records.place
# Texts of no JSON, and JSON of no object.
TEXTS = ["", "{", '{"a": 1', "null", "[]", "5", '"x"', "[" * 100_000, b"\xff\xfe{}"]
ROWS = [*predictions("yn"), *predictions("y", "test_unseen")]
KINDS = [None, 5, 0.5, True, "x", [], ["x"], {"x": None}]


def put(path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def refused(name: str, function, *arguments) -> str:
    """The one line in which it ends."""
    with pytest.raises(UserError) as error:
        function(*arguments)
    text = str(error.value)
    assert name in text and "; " in text and "\n" not in text
    return text


def test_a_record_has_no_faults_and_numbers_may_go_without_a_point():
    whole = json.loads(json.dumps(record("x", ROWS)))
    assert faults(whole) == []
    whole["cost"]["eval_seconds"] = 2
    assert faults(whole | {"column_order_refusals": None, "search": {"rate": [1]}, "more": None}) == []


@pytest.mark.parametrize("key", sorted(record("x", ROWS)))
def test_a_record_of_which_a_section_is_something_else(place, key):
    whole = json.loads(json.dumps(record("x", ROWS)))
    for value in KINDS:
        content = whole | {key: value}
        if type(value) is type(whole[key]) and not (isinstance(value, dict) and key != "parameters"):
            continue
        put(place / "cpu" / "x.json", json.dumps(content))
        text = refused("x.json", ledger.load, place / "cpu" / "x.json")
        assert key in text and "delete it and run its notebook again" in text
        assert key in refused("x.json", ledger.read_records, place / "cpu")


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        (("data", "n"), "4", "data.n"),
        (("data", "n"), True, "data.n"),
        (("code", "training_modules"), "common", "code.training_modules"),
        (("code", "training_modules"), [5], "code.training_modules"),
        (("model", "trainable_parameters"), None, "model.trainable_parameters"),
        (("environment", "packages"), {"torch": None}, "environment.packages"),
        (("metrics", "match"), None, "metrics"),
        (("metrics", "right", "value"), "0.5", "metrics"),
        (("slices", "complexity"), [], "slices"),
        (("slices", "complexity", "CTEs", "right"), 0.5, "slices"),
        (("outcomes", "match"), None, "outcomes"),
        (("splits", "test_unseen"), None, "splits"),
        (("splits", "test_unseen", "n"), None, "splits.test_unseen.n"),
        (("splits", "test_unseen", "metrics"), {"right": []}, "splits.test_unseen.metrics"),
    ],
)
def test_what_is_of_another_kind_deeper_in_a_record(path, value, name):
    content = json.loads(json.dumps(record("x", ROWS)))
    section = content
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    assert faults(content) == [name]
    del section[path[-1]]
    assert faults(content) in ([], [name], [".".join(path)])  # a figure may be absent, and a section with a default


@pytest.mark.parametrize("content", [*TEXTS, "5\n", '{"id": "a"}\nnull\n', '{"other": 1}\n', "[]\n"])
def test_predictions_that_are_none(place, content):
    path = write("x", "yn").with_name("x.predictions.jsonl")
    if content == "":
        path.unlink()
        path.mkdir()
        assert "IsADirectoryError" in refused("x.predictions.jsonl", ledger.read_predictions, place / "cpu", "x")
        return
    put(path, content)
    record_path = path.with_name("x.json")
    record_path.write_text(record_path.read_text().replace('"predictions_digest": "', '"predictions_digest_": "'))
    refused("x.predictions.jsonl is damaged", ledger.read_predictions, place / "cpu", "x")


@pytest.mark.parametrize("folder", ["", "reward", "preferences", "answers", "audit"])
def test_restamp_names_what_is_no_record(place, folder):
    path = place / "cpu" / folder / "typo.json"
    refused("typo", restamp, path)
    for content in [*TEXTS, "{}", '{"notebook": 5, "code": {}}', '{"notebook": "a.ipynb", "code": null}']:
        put(path, content)
        refused("typo.json", restamp, path)


@pytest.mark.parametrize(
    "code",
    [{}, {"commit": 5}, {"commit": "--output=x", "dirty": False}, {"commit": "0" * 40}, {"dirty": False}]
    + [{"commit": "0" * 40, "dirty": False, "training_modules": 5}],
)
def test_restamp_wants_a_commit(place, code):
    path = place / "cpu" / "reward" / "x.json"
    put(path, json.dumps({"method": "x", "profile": "cpu", "notebook": "a.ipynb", "code": code}))
    assert "does not say which code made it; run its notebook again" in refused("x.json", restamp, path)


@pytest.mark.parametrize("content", [*TEXTS, "{}", '{"notebook": "a", "code": []}'])
def test_records_of_tables(place, content):
    path = place / "cpu" / "reward" / "x.json"
    put(path, content)
    refused("x.json", load, path)
    refused("x.json", lambda: find_measures("x", [place / "cpu"], base={}, source="embedded"))
    put(path, '{"notebook": "a", "code": {}}')
    assert find_measures("x", [place / "cpu"], base={}, source="embedded") == {}


@pytest.mark.parametrize("content", [*TEXTS, "{}", json.dumps(dict.fromkeys(audits.KEYS)), *map(json.dumps, KINDS)])
def test_audits(place, content):
    path = place / "cpu" / "audit" / "x.json"
    put(path, content)
    refused("x.json", audits.load, path)
    refused("x.json", audits.markdown)
    put(path, json.dumps({key: {} for key in audits.KEYS}))
    assert audits.load(path)["tables"] == {}
    assert "run its notebook again" in refused("x.json is damaged", audits.markdown)


RUN = {"method": "x", "metrics": {"right": {"value": 0.5, "low": 0.4, "high": 0.6}}}
AGGREGATES = {
    "profile": "cpu",
    "data": {"source": "spider", "split": "test", "n": 40},
    "model": {"id": "m/small", "revision": ""},
    "runs": [RUN],
    "pairs": [],
}


@pytest.mark.parametrize(
    "content",
    [
        *TEXTS,
        *(
            json.dumps({**AGGREGATES, key: value})
            for key in AGGREGATES
            if key != "profile"
            for value in (None, 5, ["x"])
        ),
        *(json.dumps({**AGGREGATES, "runs": [value]}) for value in (None, {}, RUN | {"metrics": {"right": None}})),
        json.dumps({**AGGREGATES, "data": {"source": "spider", "split": "test", "n": "x"}}),
        json.dumps({**AGGREGATES, "pairs": [{"method": "x", "other": "baseline", "value": 0.5}]}),
    ],
)
def test_aggregates_of_other_data(place, content):
    path = place / "cpu" / "transfer" / "x.json"
    put(path, content)
    for function in (transfer.markdown, transfer.check, transfer.follow):
        assert "python -m common.results transfer" in refused("transfer/x.json", function, place / "cpu")
    put(path, json.dumps(AGGREGATES))
    put(place / "cpu" / transfer.REPORT, b"\xff")
    refused("transfer.md differs from the records", transfer.check, place / "cpu")
    transfer.follow(place / "cpu")
    transfer.check(place / "cpu")


@pytest.mark.parametrize("content", ["", b"\xff\xfe", 'eval_match\n"1'])
def test_a_curve(place, content):
    path = place / "cpu" / "x.curve.csv"
    put(path, content)
    assert "run its notebook again" in refused("x.curve.csv", overview._curve, path)
