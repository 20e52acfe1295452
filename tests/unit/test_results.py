"""The ledger: what is written is read back or judged again, and what is damaged, or parted by a kill, is refused."""

import json
import signal
import sqlite3
import subprocess
import sys
from importlib.metadata import version

import pandas
import pytest

from common import results
from common.data.splits import TESTS
from common.results import ledger
from common.results.rescore import rescore
from common.results.sections import scorer_digest, thin_curve
from common.settings import ROOT, UserError
from tests.unit import records
from tests.unit.records import predictions, record, write

place = records.place


def test_written_is_read_back(place):
    rows = predictions("ynny?") + predictions("yn", "test_unseen")
    rows[0]["completion"] = "SELECT 'a\u2028b\nc';"
    values = record("lora", rows, cost={"eval_seconds": 1 / 3})
    curve, trials = pandas.DataFrame({"step": [1, 2], "loss": [0.5, 0.25]}), pandas.DataFrame({"loss": [float("inf")]})
    folder = place / "cpu"
    path = results.write_record(folder, values, rows, curve, trials)
    assert path == folder / "lora.json"
    read = results.read_record(folder, "lora")
    assert read["parameters"] == {"learning_rate": 1.23456789e-5}  # exactly
    assert read["cost"]["eval_seconds"] == 0.333333
    assert results.read_predictions(folder, "lora") == rows
    assert (folder / "lora.curve.csv").read_text() == "step,loss\n1,0.5\n2,0.25\n"
    assert path.read_text() == json.dumps(read, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert (folder / "lora.trials.csv").read_text() == "loss\ninf\n"
    names = ["lora.curve.csv", "lora.json", "lora.predictions.jsonl", "lora.trials.csv"]
    assert sorted(p.name for p in path.parent.iterdir()) == names


def test_a_record_that_lacks_a_key_or_holds_nan_is_not_written(place):
    rows = predictions("yn")
    broken = record("x", rows)
    del broken["data"]["ids_hash"], broken["curve"]
    with pytest.raises(KeyError, match=r"curve, data\.ids_hash"):
        results.write_record(place / "cpu", broken, rows)
    with pytest.raises(ValueError, match="JSON compliant"):
        results.write_record(place / "cpu", record("x", rows, cost={"eval_seconds": float("nan")}), rows)
    assert not place.exists() or not list(place.rglob("*.*"))


@pytest.mark.parametrize("name", ["../x", "", "A b", ".hidden", "x/y"])
def test_a_method_name_that_is_no_file_name(name):
    with pytest.raises(UserError, match="names a file"):
        write(name, "y")


def test_a_key_never_reaches_the_disk(place, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "gsk-very-secret")
    rows = predictions("y")
    rows[0]["completion"] = "SELECT 'gsk-very-secret'"
    results.write_record(place / "cpu", record("x", rows, parameters={"note": "gsk-very-secret"}), rows)
    assert not [p for p in place.rglob("*.*") if "gsk-very-secret" in p.read_text()]
    assert results.read_predictions(place / "cpu", "x")[0]["completion"] == "SELECT '<key>'"


def test_a_failed_write_leaves_the_old_record(place, monkeypatch):
    path = write("x", "yy")
    before = path.read_text()

    def refuse(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "replace", refuse)
    with pytest.raises(UserError, match="cannot write"):
        write("x", "nn")
    assert path.read_text() == before and not list(place.rglob(".*"))


def test_a_record_of_tables_is_no_damaged_run():
    for name in ("answers/ask", "audit/embedded", "preferences/rm-data"):
        with pytest.raises(UserError, match="is a record of tables, not of a run; name a run, such as baseline$"):
            ledger.load(ROOT / "results" / "cpu" / f"{name}.json")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"method": "x"}'])
def test_a_damaged_record_is_one_line(place, text):
    with pytest.raises(UserError, match="there is no record 'x' in cpu"):
        results.read_record(place / "cpu", "x")
    (place / "cpu").mkdir(parents=True)
    (place / "cpu" / "x.json").write_text(text)
    with pytest.raises(UserError, match="is no record"):
        results.read_record(place / "cpu", "x")


def test_only_folders_named_after_profiles_hold_records(place):
    path = write("baseline", "yn")
    for other in ("bench/scoring.json", "cpu/audit/embedded.json", "notes/x.json"):
        (place / other).parent.mkdir(parents=True, exist_ok=True)
        (place / other).write_text("{}")
    assert ledger.record_paths() == [path]
    assert [r["method"] for r in results.read_records(place / "cpu")] == ["baseline"]
    assert results.read_records(place / "t4") == []


# Two files, one run


def test_a_kill_between_the_two_files_leaves_an_error_line_and_never_a_mixture(place):
    write("baseline", "nn")
    write("x", "ny")
    code = """
import os, signal
from common.results import ledger
from tests.unit.records import write
whole = ledger.replace_text
def replace_text(path, text):
    if path.suffix == ".json":
        os.kill(os.getpid(), signal.SIGKILL)
    whole(path, text)
ledger.replace_text = replace_text
write("x", "yy")
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -signal.SIGKILL
    assert results.read_record(place / "cpu", "x")["metrics"]["match"]["value"] == 0.5  # the old one
    for read in (lambda: results.read_predictions(place / "cpu", "x"), lambda: results.compare(place / "cpu")):
        with pytest.raises(UserError, match="x.predictions.jsonl is damaged or of another run than x.json; run its"):
            read()
    write("x", "yy")
    assert results.compare(place / "cpu").loc["x", "difference"] == 1


def test_predictions_are_those_that_the_record_names(place):
    path = write("x", "yn").with_name("x.predictions.jsonl")
    text = path.read_text()
    path.write_text(text.replace("SELECT 1;", "SELECT 2;"))
    with pytest.raises(UserError, match="damaged or of another run"):
        results.read_predictions(place / "cpu", "x")
    path.write_text(text)
    assert len(results.read_predictions(place / "cpu", "x")) == 2


def test_a_record_older_than_the_digest_is_read_as_before(place):
    path = write("x", "yn")
    old = json.loads(path.read_text())
    del old["predictions_digest"]
    path.write_text(json.dumps(old))
    predictions_path = path.with_name("x.predictions.jsonl")
    text = predictions_path.read_text().replace("SELECT 1;", "SELECT 2;")
    predictions_path.write_text(text.replace('"split": "test", ', ""))
    rows = results.read_predictions(place / "cpu", "x")
    assert [(row["completion"], row["split"]) for row in rows] == [("SELECT 0;", "test"), ("SELECT 2;", "test")]


def test_a_run_that_answers_nothing_leaves_no_predictions_of_an_earlier_one(place):
    write("x", "yn")
    write("x", "", status="failed")
    assert results.read_predictions(place / "cpu", "x") == []


# A curve in the ledger


def test_a_long_curve_keeps_its_ends_and_every_evaluation():
    evaluations = {1_003, 2_222, 6_000}
    steps = range(1, 6_001)
    curve = pandas.DataFrame(
        {"step": list(steps), "loss": 0.5, "eval_loss": [0.1 if step in evaluations else None for step in steps]}
    )
    thin = thin_curve(curve)
    assert len(thin) == 500
    assert {1, 6_000} | evaluations <= set(thin["step"]) and thin["step"].is_monotonic_increasing
    assert thin["step"].diff().max() <= 14  # 5,996 others in 496 places
    assert thin_curve(curve.head(500)) is not None and len(thin_curve(curve.head(500))) == 500
    everywhere = curve.assign(eval_loss=0.1)
    assert len(thin_curve(everywhere)) == 6_000


# Judged again


def test_rescore_judges_the_recorded_completions_again():
    from common.data import ids_hash, load_examples
    from common.results.sections import prompt_hash

    examples = load_examples("embedded", "test", limit=4)
    answers = [example.sql for example in examples[:3]] + ["SELECT 0"]
    rows = [
        {**row, "id": example.id, "completion": answer}
        for row, example, answer in zip(predictions("ynn?"), examples, answers, strict=True)
    ]
    hashes = {"ids_hash": ids_hash(examples), "prompt_hash": prompt_hash(examples)}
    changes = {"data": hashes, "scoring": {"databases": 2}, "curve": "x.curve.csv"}
    path = results.write_record(results.folder("cpu"), record("x", rows, **changes), rows)
    assert rescore(path) == "cpu/x: 4 of 4 verdicts changed"
    read = results.read_record(path.parent, "x")
    assert (read["metrics"]["match"]["value"], read["metrics"]["match"]["n"]) == (0.75, 4)
    assert read["metrics"]["robust_match"]["value"] == read["metrics"]["right"]["value"] == 0.75
    assert read["code"]["scorer_digest"] == scorer_digest()
    assert read["scoring"]["sqlite"] == sqlite3.sqlite_version and read["scoring"]["sqlglot"] == version("sqlglot")
    assert read["outcomes"] == {"match": 3, "mismatch": 1} and read["curve"] == "x.curve.csv"
    judged = results.read_predictions(path.parent, "x")
    assert [row["completion"] for row in judged] == answers
    assert [row["robust_match"] for row in judged] == [True, True, True, False]
    assert rescore(path) == "cpu/x: 0 of 4 verdicts changed"


def test_rescore_judges_every_split_against_its_own_rows():
    from common.data import ids_hash, load_examples
    from common.results.sections import prompt_hash

    rows, facts = [], {}
    for split, answers in {"test": "nn", "test_unseen": "nnn"}.items():
        examples = load_examples("embedded", split, limit=len(answers))
        facts[split] = {"ids_hash": ids_hash(examples), "prompt_hash": prompt_hash(examples)}
        rows += [
            {**row, "id": example.id, "completion": example.sql}
            for row, example in zip(predictions(answers, split), examples, strict=True)
        ]
    values = record("x", rows, seed=7, data=facts["test"] | {"seed": 42})  # the run's own seed has no say in the rows
    values["splits"]["test_unseen"] |= facts["test_unseen"]
    path = results.write_record(results.folder("cpu"), values, rows)
    assert rescore(path) == "cpu/x: 5 of 5 verdicts changed"
    read = results.read_record(path.parent, "x")
    assert read["metrics"]["match"] == {"value": 1.0, "n": 2, "high": 1.0, "low": pytest.approx(0.342, abs=1e-3)}
    assert (read["splits"]["test_unseen"]["metrics"]["match"]["value"], read["splits"]["test_unseen"]["n"]) == (1.0, 3)
    assert read["splits"]["test_unseen"]["outcomes"] == {"match": 3}
    values["splits"]["test_unseen"]["ids_hash"] = "other"
    results.write_record(results.folder("cpu"), values, rows)
    with pytest.raises(UserError, match="the data of today are not its rows"):
        rescore(path)


def test_rescore_takes_the_splits_in_the_order_of_their_rows(tmp_path):
    """A record's keys are sorted, its rows are in the study's order: test_unseen before test_forms."""
    from common.data import ids_hash, load_tests, revision
    from common.results.sections import prompt_hash

    path, lines = tmp_path / "mine.csv", ["sql_prompt,sql_context,sql,split"]
    lines += [f"q{n},CREATE TABLE t{n} (a),SELECT {n},{split}" for n, split in enumerate(("test", *TESTS))]
    path.write_text("\n".join(lines))
    tests = load_tests(str(path), limit=5, other_limit=5)
    facts = {split: {"ids_hash": ids_hash(e), "prompt_hash": prompt_hash(e)} for split, e in tests.items()}
    rows = [
        {**row, "id": example.id, "completion": example.sql}
        for split, examples in tests.items()
        for row, example in zip(predictions("n" * len(examples), split), examples, strict=True)
    ]
    values = record("x", rows, data={"source": "mine", "revision": revision(str(path))} | facts["test"])
    for split, section in values["splits"].items():
        section |= facts[split]
    written = results.write_record(results.folder("cpu"), values, rows)
    assert list(results.read_record(written.parent, "x")["splits"]) == ["test_forms", "test_unseen"]
    assert rescore(written, str(path)) == "cpu/x: 4 of 4 verdicts changed"
    with pytest.raises(UserError, match="there is no file"):
        rescore(written, str(tmp_path / "typo.csv"))
    path.write_text("\n".join(lines).replace("SELECT 0", "SELECT 9"))  # other references, the same prompts and ids
    with pytest.raises(UserError, match="mine.csv is not the file that x.json was made from"):
        rescore(written, str(path))


def test_rescore_refuses_rows_that_are_not_those_of_the_record():
    path = write("x", "yn")
    with pytest.raises(UserError, match="the data of today are not its rows"):
        rescore(path)


@pytest.mark.parametrize("source", ["spider", "rows"])
def test_rescore_asks_for_rows_that_a_record_does_not_place(source):
    path = write("x", "yn", data={"source": source})
    with pytest.raises(UserError, match=f"a record of '{source}' does not say where its rows are; give them as --data"):
        rescore(path)
