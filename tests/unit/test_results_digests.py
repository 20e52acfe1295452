"""What a record says of the code that made it: its digests, what of it is older than today's, and no path."""

import pytest

from common import provenance
from common.paths import model_name, public
from common.provenance import closure, code, imports
from common.results.sections import (
    SCORER,
    computing_modules,
    data,
    scorer_digest,
    staleness,
)
from common.settings import ROOT, UserError
from tests.unit.records import record, trained


def test_the_scorers_digest_is_of_scoring_sandbox_and_extraction_and_not_of_what_trains_or_answers():
    modules = closure(SCORER)
    assert scorer_digest() == code(SCORER) and len(scorer_digest()) == 16
    assert {"common.scoring.judge", "common.scoring.suites.filling", "common.sandbox.worker", "common.prompts"} <= set(
        modules
    )
    assert not [name for name in modules if name.startswith(("common.training", "common.evaluation", "common.results"))]


def test_a_notebooks_modules_are_those_that_compute():
    modules = computing_modules("sft/lora.ipynb")
    assert {"common.training.sft", "common.evaluation", "common.sweeps.searching"} <= set(modules)
    assert not {"common.display", "common.notebook", "common.run", "common.results.audits"} & set(modules)
    assert "common.results.audits" in imports(ROOT / "baseline" / "data_audit.ipynb")
    assert "common.results.audits" not in computing_modules("baseline/data_audit.ipynb")
    with pytest.raises(UserError, match="notebook='sft/gone.ipynb', which is no file"):
        computing_modules("sft/gone.ipynb")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({}, ""),
        ({"answers_digest": ""}, "unknown"),
        ({"answers_digest": "older"}, "answers"),
        (trained("common.training.sft"), ""),
        (trained("common.training.sft", digest="older"), "training"),
        (trained("common.training.sft") | {"training_modules": ["common.gone"]}, "training"),
    ],
)
def test_what_of_a_record_is_older_than_todays_code(changes, reason):
    assert staleness(record("x", [], code=changes)) == reason


def test_a_trained_run_without_a_digest_of_its_training_may_be_old():
    assert staleness(record("x", [], model={"trainable_parameters": 7})) == "unknown"
    today = trained("common.training.sft")
    assert staleness(record("x", [], model={"trainable_parameters": 7}, code=today)) == ""


@pytest.mark.parametrize(
    "path, name", [("spider:/data/of/mine", "spider"), ("/data/of/mine/spider.csv", "spider.csv"), ("~/a.b.csv", "a.b")]
)
def test_no_folder_of_this_machine_reaches_a_record(path, name, tmp_path):
    (tmp_path / "weights").mkdir()
    parameters = public({"data": path, "model_id": str(tmp_path / "weights"), "rate": 1e-3})
    assert parameters == {"data": name, "model_id": "weights", "rate": 1e-3}
    path = tmp_path / "mine.csv"
    path.write_text("sql_prompt,sql_context,sql\n")
    values = data(str(path), [])
    assert (values.source, values.revision) == ("mine", provenance.files_digest([path]))
    assert public({"database": "/home/ada/shop.sqlite"}) == {"database": "shop.sqlite"}
    assert model_name("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B" and public({"data": ""}) == {"data": ""}
