"""A model card says what its record says, in the form that the hub reads."""

import pytest

from common.results.cards import card, write_cards
from common.settings import UserError, outputs
from tests.unit import records
from tests.unit.records import predictions, record, write

place = records.place  # every test has a ledger of its own
MODEL = {"id": "org/small", "trainable_parameters": 1_234_567, "adapter": "lora", "weights_digest": "abc"}


def test_a_card():
    rows = predictions("yynn") + predictions("yyyn", "test_unseen")
    parameters = {"recipe": {"method": "lora", "learning_rate": 1e-3, "start": ""}}
    text = card(record("sft-dpo", rows, model=MODEL, parameters=parameters))
    assert text.startswith("---\nlicense: apache-2.0\nbase_model: org/small\nlibrary_name: peft\n")
    assert "\n# sft-dpo\n\norg/small adapted" in text and "from `sft-lora`. 1,234,567 parameters" in text
    assert "- `test`, 4 questions: robust match 0.500 [" in text
    assert "- `test_unseen`, 4 questions: robust match 0.750 [" in text
    assert "- learning_rate: `0.001`\n" in text and "- start" not in text
    assert "library_name: transformers" in card(record("x", rows, model=MODEL | {"adapter": "full"}))


def test_what_trained_nothing_has_none():
    with pytest.raises(UserError, match="'baseline' trained nothing"):
        card(record("baseline", predictions("yn")))


def test_cards_of_the_ledger(place, tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path / "outputs"))
    write("baseline", "yn")
    write("example-lora", "yn", model=MODEL)
    assert write_cards() == [outputs() / "cards" / "cpu" / "example-lora.md"]
    assert "# example-lora" in (outputs() / "cards" / "cpu" / "example-lora.md").read_text()
