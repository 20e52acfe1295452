"""What two records must have in common to stand in one table."""

import pytest

from common.results.comparable import disagreement
from common.results.entries import select
from common.settings import UserError
from tests.unit import records
from tests.unit.records import predictions, record, write

place = records.place


@pytest.mark.parametrize("source", ["mine", "spider"])
def test_runs_on_other_references_do_not_stand_side_by_side(source, place):
    """Ids and prompts are equal where only the references have changed."""
    for method, revision in (("baseline", "old"), ("x", "new")):
        write(method, "yn", data={"source": source, "revision": revision})
    with pytest.raises(UserError, match="revision"):
        select(place / "cpu")


@pytest.mark.parametrize("source", ["embedded", "gretel"])
def test_a_revision_of_more_than_the_rows_parts_no_runs(source):
    changes = [{"source": source, "revision": name} for name in ("old", "new")]
    assert disagreement(*(record("x", predictions("yn"), data=data) for data in changes)) is None
