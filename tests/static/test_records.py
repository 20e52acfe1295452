"""Committed records: whole, made by this code and these notebooks, and equal to what their predictions say."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from common import results
from common.data import ids_hash
from common.results import comparison, ledger
from common.results.readme import SCRATCH
from common.statistics import metrics, outcomes, slices

ROOT = Path(__file__).resolve().parents[2]
RECORDS = [path for path in sorted(ROOT.glob("results/*/*.json")) if path.parent.name != SCRATCH]
PROFILES = sorted({path.parent.name for path in RECORDS})
STATUS = ("complete", "partial", "failed")


@pytest.fixture(autouse=True)
def committed(monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(ROOT / "results"))


def test_some_records_are_there():
    assert RECORDS, "`make notebooks` writes them"


def flat(value: object, path: str = "") -> dict[str, object]:
    """A nested dict as one, so that a difference names its place."""
    if not isinstance(value, dict):
        return {path: value}
    return {name: item for key, inner in value.items() for name, item in flat(inner, f"{path}/{key}").items()}


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_record(path):
    record = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert not ledger.missing_keys(record)
    assert (record["profile"], record["method"]) == (path.parent.name, path.stem)
    assert record["status"] in STATUS
    notebook = ROOT / record["notebook"]
    assert notebook.is_file()
    assert record["code"]["notebook_digest"] == results.notebook_digest(notebook), (
        f"{notebook.name} was changed; run it"
    )
    assert record["code"]["scorer_digest"] == results.scorer_digest(), "python -m common.results rescore"
    if record["curve"]:
        assert (path.parent / record["curve"]).is_file()

    rows = results.read_predictions(record["profile"], record["method"])
    assert len(rows) == record["data"]["n"]
    assert ids_hash([SimpleNamespace(id=row["id"]) for row in rows]) == record["data"]["ids_hash"]
    for name, made in (("metrics", metrics), ("slices", slices), ("outcomes", outcomes)):
        wanted = {
            key: value if value is None else pytest.approx(value, rel=1e-5) for key, value in flat(made(rows)).items()
        }
        assert flat(record[name]) == wanted, name


@pytest.mark.parametrize("profile", PROFILES)
def test_saved_comparison_is_the_records(profile):
    assert (ROOT / "results" / profile / "comparison.md").read_text() == comparison.markdown(profile) + "\n"
    assert (ROOT / "results" / profile / "comparison.png").is_file()
