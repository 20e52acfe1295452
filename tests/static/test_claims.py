"""What the study says of its committed runs, checked on the committed predictions."""

import json

import pytest

from common.settings import ROOT
from common.statistics import paired_difference, paired_rows

CPU = ROOT / "results" / "cpu"


def rows(method):
    with (CPU / f"{method}.predictions.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_lora_learns_and_leaves_room():
    base, lora = paired_rows(rows("baseline"), rows("example-lora"))
    difference = paired_difference([row["match"] for row in base], [row["match"] for row in lora])
    assert len(base) == 160
    assert difference.value >= 0.25
    assert difference.low > 0
    assert 0.45 <= sum(row["match"] for row in lora) / 160 <= 0.80


@pytest.mark.parametrize("method", ["baseline", "baseline-nf4", "example-lora"])
def test_every_row_of_the_embedded_data_can_be_scored(method):
    assert all(row["match"] is not None for row in rows(method))
