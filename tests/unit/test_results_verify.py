"""What `verify` finds wrong with a record: a change of its figures, its answers, its code, its files."""

import json

import pytest

from common.data import ids_hash, load_examples
from common.data import revision as data_revision
from common.provenance import notebook_digest
from common.results.ledger import write_record
from common.results.sections import prompt_hash, scorer_digest
from common.results.verify import MOST_LINES, verify
from common.settings import ROOT
from tests.unit import records
from tests.unit.records import predictions, record, write

place = records.place  # every test has a ledger of its own
NOTEBOOK = "examples/train_lora.ipynb"


@pytest.fixture
def path(place):
    rows = load_examples("embedded", "test", limit=4)
    data = {"revision": data_revision("embedded"), "ids_hash": ids_hash(rows), "prompt_hash": prompt_hash(rows)}
    code = {"scorer_digest": scorer_digest(), "notebook_digest": notebook_digest(ROOT / NOTEBOOK), "dirty": False}
    counts = {"column_order_refusals": 0, "strict_only_matches": 0}
    return write("own", "yynn", notebook=NOTEBOOK, code=code, data=data, **counts)


def change(path, *keys, value) -> list[str]:
    record = json.loads(path.read_text())
    section = record
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    path.write_text(json.dumps(record))
    return verify(path)


def test_a_sound_record(path):
    assert verify(path) == []


@pytest.mark.parametrize(
    ("keys", "value", "line"),
    [
        (("status",), "partial", "status partial: it is no whole run"),
        (("code", "dirty"), True, "made from code that was in no commit"),
        (("code", "answers_digest"), "older", "older code: what answered has changed"),
        (("code", "answers_digest"), "", "older code: it does not say which code made it"),
        (("code", "scorer_digest"), "older", "judged by an older scorer; rescore it"),
        (("code", "notebook_digest"), "older", f"{NOTEBOOK} was changed since"),
        (("notebook",), "gone.ipynb", "its notebook gone.ipynb is not there"),
        (("curve",), "own.curve.csv", "own.curve.csv is missing"),
        (("metrics", "match", "value"), 0.75, "test: match of the answers is 0.5, the record says 0.75"),
        (("data", "n"), 5, "test: 4 answers, the record says 5"),
        (("data", "prompt_hash"), "other", "test: the rows of today are not those that it answered"),
        (("data", "revision"), "older", "the embedded data are made by other code today"),
    ],
)
def test_what_was_changed_is_named(path, keys, value, line):
    lines = change(path, *keys, value=value)
    assert lines[0] == line and len(lines) == 1 + (keys == ("data", "n"))


@pytest.mark.parametrize(
    ("keys", "value", "line"),
    [
        (("metrics", "right", "low"), 0.45, "right low of the answers is 0.150039, the record says 0.45"),
        (("metrics", "right", "high"), 0.55, "right high of the answers is 0.849961, the record says 0.55"),
        (("metrics", "right", "n"), 5, "right n of the answers is 4, the record says 5"),
        (("metrics", "right", "n"), 4.0, "right n of the answers is 4, the record says 4.0"),
        (("metrics", "robust_match", "value"), 0.5, "robust_match of the answers is None, the record says 0.5"),
        (("metrics", "match", "value"), None, "match of the answers is 0.5, the record says None"),
        (("metrics", "another"), {"value": 1.0}, "another of the answers is absent, the record says 1.0"),
        (("slices", "complexity", "CTEs", "right", "value"), 1.0, "slices complexity CTEs right of the answers is 0.5"),
        (("slices", "task_type", "another"), {}, "slices task_type another of the answers is absent, the record says"),
        (("outcomes", "match"), 4, "outcomes match of the answers is 2, the record says 4"),
        (("outcomes", "another"), 0, "outcomes another of the answers is absent, the record says 0"),
        (("column_order_refusals",), 1, "column_order_refusals of the answers is 0, the record says 1"),
        (("strict_only_matches",), 1, "strict_only_matches of the answers is 0, the record says 1"),
        (("strict_only_matches",), None, "strict_only_matches of the answers is 0, the record says None"),
    ],
)
def test_every_figure_is_the_answers(path, keys, value, line):
    (fault,) = change(path, *keys, value=value)
    assert fault.startswith(f"test: {line}")


def test_a_figure_that_was_taken_out(path):
    record = json.loads(path.read_text())
    del record["slices"]["complexity"]["CTEs"]["right"]["low"]
    path.write_text(json.dumps(record))
    (fault,) = verify(path)
    assert fault.startswith("test: slices complexity CTEs right low of the answers is 0.")
    for section in (record["slices"]["complexity"]["CTEs"], record["metrics"]):
        del section["right"]
        path.write_text(json.dumps(record | {"metrics": record["metrics"] | {"right": {}}}))
    assert len(verify(path)) == MOST_LINES + 1 and "more figures are not those of the answers" in verify(path)[-1]


def test_a_record_from_before_a_figure_is_sound(path):
    record = json.loads(path.read_text())
    for name in ("outcomes", "column_order_refusals", "strict_only_matches"):
        del record[name]
    path.write_text(json.dumps(record))
    assert verify(path) == []


def test_the_other_splits_are_looked_at_too(path, monkeypatch):
    monkeypatch.setattr("common.results.verify._data", lambda _: [])
    rows = [*predictions("yynn"), *predictions("ynn", "test_forms")]
    values = json.loads(path.read_text()) | {"splits": record("own", rows)["splits"]}
    write_record(path.parent, values, rows)
    assert verify(path) == []
    low = values["splits"]["test_forms"]["metrics"]["right"]["low"]
    assert change(path, "splits", "test_forms", "metrics", "right", "low", value=low + 0.1)[0].startswith(
        "test_forms: right low of the answers is"
    )
    write_record(path.parent, values, rows)
    del values["splits"]["test_forms"]["outcomes"]
    write_record(path.parent, values, rows)
    assert [line.partition(" of the")[0] for line in verify(path)] == [
        *("test_forms: outcomes match", "test_forms: outcomes mismatch", "test_forms: outcomes")
    ]
    write_record(path.parent, values | {"splits": {}}, rows)
    assert verify(path) == ["test_forms: 3 answers, of which the record says nothing"]


def test_answers_that_give_no_figures(path):
    rows = [{name: value for name, value in row.items() if name != "match"} for row in predictions("yynn")]
    write_record(path.parent, json.loads(path.read_text()), rows)
    assert verify(path) == ["test: its answers give no figures (KeyError: 'match')"]


def test_answers_that_were_changed(path):
    answers = path.with_name("own.predictions.jsonl")
    answers.write_text(answers.read_text().replace('"match": false', '"match": true'))
    assert len(lines := verify(path)) == 1 and "is damaged or of another run than own.json" in lines[0]
