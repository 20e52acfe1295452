"""What `verify` finds wrong with a record: a change of its figures, its answers, its code, its files."""

import json

import pytest

from common.data import ids_hash, load_examples
from common.data import revision as data_revision
from common.provenance import notebook_digest
from common.results.sections import prompt_hash, scorer_digest
from common.results.verify import verify
from common.settings import ROOT
from tests.unit import records
from tests.unit.records import write

place = records.place  # every test has a ledger of its own
NOTEBOOK = "examples/train_lora.ipynb"


@pytest.fixture
def path(place):
    rows = load_examples("embedded", "test", limit=4)
    data = {"revision": data_revision("embedded"), "ids_hash": ids_hash(rows), "prompt_hash": prompt_hash(rows)}
    code = {"scorer_digest": scorer_digest(), "notebook_digest": notebook_digest(ROOT / NOTEBOOK), "dirty": False}
    return write("own", "yynn", notebook=NOTEBOOK, code=code, data=data)


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


def test_answers_that_were_changed(path):
    answers = path.with_name("own.predictions.jsonl")
    answers.write_text(answers.read_text().replace('"match": false', '"match": true'))
    assert len(lines := verify(path)) == 1 and "is damaged or of another run than own.json" in lines[0]
