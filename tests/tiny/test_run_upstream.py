"""What a run goes on from, the records it needs and the folder named after them; and what leaves the machine."""

import json
from types import SimpleNamespace

import pandas
import pytest

from common.run import Run, start_run
from common.settings import UserError
from tests.models import with_models
from tests.unit.records import predictions

NOTEBOOK = "examples/train_lora.ipynb"


@pytest.fixture(autouse=True)
def own_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", with_models(tmp_path / "outputs"))
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("TEXT_TO_SQL_PUBLISHING", raising=False)


def start(name: str = "example-lora", **options) -> Run:
    return start_run(name, notebook=NOTEBOOK, profile="smoke", **options)


def pairs_record(files: str) -> None:
    """A record of pairs of the probe's model and data, as `rm_data_generation` leaves it."""
    start("rm-data").save_tables("preferences", {"counts": pandas.DataFrame({"n": {"a": 1}})}, facts={"files": files})


def test_a_runs_folder_is_named_after_what_it_goes_on_from():
    """New pairs make another training of it, which the old folder would refuse."""
    with pytest.raises(UserError, match="^there is no record 'rm-data' for profile smoke; `make run PROFILE=smoke"):
        start(needs=("rm-data",))
    pairs_record("one")
    one, other = start(needs=("rm-data",)), start()
    assert one.upstream("rm-data") == "one" and one.folder != other.folder
    assert start(needs=("rm-data",)).folder == one.folder
    pairs_record("two")
    assert start(needs=("rm-data",)).folder not in (one.folder, other.folder)


def test_pairs_serve_a_run_on_fewer_test_rows_and_none_of_other_data(tmp_path):
    pairs_record("one")
    assert start(needs=("rm-data",), test_rows=4).upstream("rm-data") == "one"
    rows = [
        {"sql_prompt": f"Which {n}?", "sql_context": f"CREATE TABLE t{n} (a INT)", "sql": f"SELECT a FROM t{n}"}
        for n in range(40)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(UserError, match="^there is no record 'rm-data' for profile smoke"):
        start(needs=("rm-data",), data=str(tmp_path / "mine.jsonl"))


def test_only_answers_to_the_studys_own_questions_are_tracked(tiny, tmp_path, monkeypatch):
    """Completions repeat references, and a question to one database is its owner's."""
    calls = []
    monkeypatch.setattr("common.run.log_record", lambda path, **about: calls.append((path.stem, about["tables"])))
    path = tmp_path / "mine.csv"
    path.write_text("sql_prompt,sql_context,sql,split\na,b,c,test\n")
    rows = predictions("y")
    answers = SimpleNamespace(rows=rows, seconds=1.0, new_tokens=1, code_module="common.generation", code_digest="x")
    start("of-mine", data=str(path)).save(answers, tiny())
    ours = SimpleNamespace(**vars(answers) | {"rows": predictions("y" * 16)})
    start("of-ours").save(ours, tiny())
    tables = dict(calls)
    assert tables["of-mine"] == {} and tables["of-ours"]["predictions"]["completion"][0] == "SELECT 0;"
    calls.clear()
    start("ask").save_tables("answers", {"answers": pandas.DataFrame({"first row": ["Ada"]})})
    assert calls == []
    start("judge").save_tables("reward", {"judges": pandas.DataFrame({"auc": [0.5]})})
    assert [name for name, _ in calls] == ["judge"]
