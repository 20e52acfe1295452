"""Which pairs are validated on: those of whole schemas, and of whole questions where there are few schemas."""

from dataclasses import replace

import pytest

from common.data import Example
from common.preferences.candidates import MUTATION, REFERENCE
from common.preferences.files import splits_of
from common.preferences.pairs import Pair


def test_a_schema_has_one_split_that_never_changes():
    examples = [Example(f"{n}", "Which?", f"CREATE TABLE t{n % 3_000} (a)", "SELECT 1") for n in range(6_000)]
    pairs = [Pair(each, "a", "b", REFERENCE, MUTATION, "", "") for each in examples]
    splits = splits_of(pairs)
    assert splits[:3_000] == splits[3_000:]
    assert splits.count("validation") / 6_000 == pytest.approx(0.15, abs=0.02)
    assert [n for n in range(30) if splits[n] == "validation"] == [14, 17, 25]
    assert splits_of(pairs, seed=1) != splits
    few = splits_of(
        pairs[:3] * 3 + [replace(pairs[0], example=replace(examples[0], question=f"{n}")) for n in range(40)]
    )
    assert set(few) == {"train", "validation"} and few[:3] == few[3:6]  # by the question
