"""Audit records: what is written, what is not, and their Markdown; the committed ones are of today's notebook."""

import json
import warnings
from pathlib import Path

import pandas
import pytest

from common import results
from common.provenance import code, notebook_digest
from common.results import audits
from common.results.readme import BLOCKS
from common.results.sections import computing_modules, scorer_digest
from common.settings import UserError, outputs

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "baseline/data_audit.ipynb"
COMMITTED = sorted(path for path in ROOT.glob(f"results/*/{audits.FOLDER}/*.json") if path.parents[1].name != "smoke")


def line(**shares: float | None) -> dict:
    ends = {f"{name}_{end}": value for name, value in shares.items() for end in ("low", "high")}
    return {"n": 7, **shares, **ends}


def tables() -> dict[str, pandas.DataFrame]:
    verdicts = {"published": 0.5, "strict": 0.25, "robust": None}
    frames = {
        "references": {"reference fails": {"n": 2, "share": 0.2}, "reads the clock": {"n": 0, "share": 0.0}},
        "floor": {
            "SELECT 1": {"published_match": 0.125, "match": 0.1, "robust_match": 0.0},
            "(nothing)": {"published_match": 1 / 3, "match": 0.0, "robust_match": 0.0},
        },
        "mutants": {"all": line(**verdicts), "two changes": line(**verdicts)},
        "mutants_like_given": {"all": line(published=0.4, strict=0.0, robust=0.0)},
        "rewrites": {"all": line(published=0.9, strict=1.0, robust=1.0)},
        "readings": {"all": line(published=0.8, strict=1.0, robust=0.95), "layout": line(robust=0.0)},
        "hard_coded": {"all": line(published=1.0, strict=1.0, robust=0.02)},
        "duplicates": {"question, schema and sql": {"equal or near": 0.01}},
    }
    return {name: pandas.DataFrame.from_dict(lines, orient="index") for name, lines in frames.items()}


OWN = ""  # the DATA of the notebook's own parameters, which stands for the profile's


def saved(data: str = "spider:/data/of/mine", **changes) -> Path:
    arguments = {
        "profile": "cpu",
        "source": data or "embedded",
        "notebook": NOTEBOOK,
        "seed": 42,
        "parameters": {"data": data, "rows": 0},
        "data": {"revision": "r", "split": "test", "n": 10, "ids_hash": "h", "train_rows": 5},
        "tables": tables(),
    }
    return audits.save_audit(**{**arguments, **changes})


@pytest.fixture
def ledger(monkeypatch, tmp_path):
    """The committed ledger, and `make notebooks` at work: what has the notebook's own parameters goes there."""
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path))
    monkeypatch.setenv("TEXT_TO_SQL_PUBLISHING", "1")
    return tmp_path


def test_an_audit_of_other_data_or_by_make_run_leaves_the_ledger_alone(ledger, monkeypatch):
    other = saved()
    assert other.parts[-3].startswith("cpu@") and other.parts[-2:] == ("audit", "spider.json")
    assert other.is_relative_to(outputs() / "results")
    monkeypatch.setenv("TEXT_TO_SQL_PUBLISHING", "")
    assert saved(OWN) == outputs() / "results" / "cpu" / "audit" / "embedded.json"
    assert not list(ledger.iterdir())


def test_a_record_lies_beside_the_runs_and_is_none(ledger, capsys):
    path = saved(OWN)
    assert path == ledger / "cpu" / "audit" / "embedded.json"
    assert capsys.readouterr().out.startswith("record: ")
    record = audits.load(path)
    assert set(audits.KEYS) <= record.keys() and record["tables"]["mutants"]["all"]["robust"] is None
    assert record["tables"]["floor"]["(nothing)"]["published_match"] == 0.333333
    assert "/data/of/mine" not in saved().read_text()
    assert results.read_records(ledger / "cpu") == [] and audits.audit_paths() == [path]


def test_markdown_by_hand(ledger):
    saved(OWN)
    text = audits.markdown()
    assert "`embedded`, split test, 10 references, of these: reference fails 2. " in text
    assert "among 5 training rows: 1.0%." in text and "reads the clock" not in text
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines() if row.startswith("|")]
    by_verdict = {row[0]: row[1:] for row in rows[2:]}
    assert by_verdict["published"][:2] == ["33.3% `(nothing)`", "50.0% [50.0%, 50.0%]"]
    assert by_verdict["strict"][0] == "10.0% `SELECT 1`" and by_verdict["robust"][:2] == ["0.0%", "–"]
    assert by_verdict["robust"][-3:] == ["2.0% [2.0%, 2.0%]", "100.0% [100.0%, 100.0%]", "95.0% [95.0%, 95.0%]"]
    assert rows[0][-3:] == ["written-out results accepted", "right queries kept", "other right readings kept"]
    assert "right n = 7 · other readings n = 7" in text and "robust is strict" not in text


def test_references_without_generated_databases_are_told(ledger):
    path = saved(OWN)
    record = json.loads(path.read_text())
    record["data"]["strict_only"] = 3
    path.write_text(json.dumps(record))
    assert "For 3 of them no databases could be generated; robust is strict there." in audits.markdown()


def test_an_audit_from_before_the_other_readings_has_a_dash_for_them(ledger):
    path = saved(OWN)
    record = json.loads(path.read_text())
    record["tables"] = {
        name: table for name, table in record["tables"].items() if name not in ("readings", "hard_coded")
    }
    path.write_text(json.dumps(record))
    text = audits.markdown()
    assert "| 100.0% [100.0%, 100.0%] | – |" in text and "other readings n" not in text


def test_without_records_the_block_says_so(ledger):
    assert BLOCKS["audit"]() == "No data set is audited yet; `make notebooks` does it."
    saved(OWN, profile="smoke")
    assert "No data set" in audits.markdown()  # scratch is not shown


def test_a_missing_table_and_a_damaged_record_are_refused(ledger):
    with pytest.raises(ValueError, match="rewrites is missing"):
        saved(tables={name: table for name, table in tables().items() if name != "rewrites"})
    path = saved()
    path.write_text("{}")
    with pytest.raises(UserError, match="lacks source"):
        audits.load(path)


def test_some_audit_is_committed():
    assert COMMITTED


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parents[1].name}/{path.stem}")
def test_committed_audit(path):
    record = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert set(audits.KEYS) <= record.keys() and set(audits.TABLES) <= record["tables"].keys()
    assert (record["profile"], record["source"]) == (path.parents[1].name, path.stem)
    notebook = ROOT / record["notebook"]
    assert record["code"]["notebook_digest"] == notebook_digest(notebook), f"{notebook.name} was changed; run it"
    kept = record["tables"]["rewrites"]["all"]
    assert kept["strict"] == kept["robust"] == 1.0, "a right answer was refused"
    # Like a bench, an audit of an older scorer is stale, but a changed comment is no reason to measure again.
    measuring = code(*computing_modules(record["notebook"]))
    digests = {"scorer_digest": scorer_digest(), "certify_digest": measuring}
    if stale := [name for name, digest in digests.items() if record["code"][name] != digest]:
        warnings.warn(f"{path.stem}: {', '.join(stale)} of older code; run {record['notebook']} again", stacklevel=1)
