"""What two records must have in common to stand in one table."""

import pytest

from common.results.comparable import disagreement
from common.results.entries import select
from common.settings import UserError
from tests.unit import records
from tests.unit.records import predictions, record, write

place = records.place


@pytest.mark.parametrize("source", ["mine", "gretel", "spider"])
def test_runs_on_other_references_do_not_stand_side_by_side(source, place):
    """Ids and prompts are equal where only the references have changed."""
    for method, revision in (("baseline", "old"), ("x", "new")):
        write(method, "yn", data={"source": source, "revision": revision})
    with pytest.raises(UserError, match="revision"):
        select(place / "cpu")


def test_the_embedded_datas_revision_is_of_code_and_parts_no_runs():
    one, other = (record("x", predictions("yn"), data={"revision": name}) for name in ("old", "new"))
    assert disagreement(one, other) is None
