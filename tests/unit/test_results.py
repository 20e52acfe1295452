"""The ledger: what is written is read back or judged again, what is damaged is refused, and what its digests name."""

import json
import subprocess

import nbformat
import pandas
import pytest

from common import results
from common.results import __main__ as cli
from common.results import ledger
from common.settings import UserError
from tests.unit import records
from tests.unit.records import predictions, record, write

place = records.place


def test_written_is_read_back(place):
    rows = predictions("ynny?")
    rows[0]["completion"] = "SELECT 'a\u2028b\nc';"
    made = record("lora", rows, cost={"eval_seconds": 1 / 3})
    curve, trials = pandas.DataFrame({"step": [1, 2], "loss": [0.5, 0.25]}), pandas.DataFrame({"loss": [float("inf")]})
    path = results.write_record(made, rows, curve, trials)
    assert path == place / "cpu" / "lora.json"
    read = results.read_record("cpu", "lora")
    assert read["parameters"] == {"learning_rate": 1.23456789e-5}  # exactly
    assert read["cost"]["eval_seconds"] == 0.333333
    assert results.read_predictions("cpu", "lora") == rows
    assert (place / "cpu" / "lora.curve.csv").read_text() == "step,loss\n1,0.5\n2,0.25\n"
    assert path.read_text() == json.dumps(read, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert (place / "cpu" / "lora.trials.csv").read_text() == "loss\ninf\n"
    names = ["lora.curve.csv", "lora.json", "lora.predictions.jsonl", "lora.trials.csv"]
    assert sorted(p.name for p in path.parent.iterdir()) == names


def test_a_record_that_lacks_a_key_or_holds_nan_is_not_written(place):
    rows = predictions("yn")
    broken = record("x", rows)
    del broken["data"]["ids_hash"], broken["curve"]
    with pytest.raises(KeyError, match=r"curve, data\.ids_hash"):
        results.write_record(broken, rows)
    with pytest.raises(ValueError, match="JSON compliant"):
        results.write_record(record("x", rows, cost={"eval_seconds": float("nan")}), rows)
    assert not place.exists() or not list(place.rglob("*.*"))


@pytest.mark.parametrize("name", ["../x", "", "A b", ".hidden", "x/y"])
def test_a_method_name_that_is_no_file_name(name):
    with pytest.raises(UserError, match="names a file"):
        write(name, "y")


def test_a_key_never_reaches_the_disk(place, monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", "gsk-very-secret")
    rows = predictions("y")
    rows[0]["completion"] = "SELECT 'gsk-very-secret'"
    results.write_record(record("x", rows, parameters={"note": "gsk-very-secret"}), rows)
    assert not [p for p in place.rglob("*.*") if "gsk-very-secret" in p.read_text()]


def test_a_failed_write_leaves_the_old_record(place, monkeypatch):
    path = write("x", "yy")
    before = path.read_text()

    def refuse(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "replace", refuse)
    with pytest.raises(UserError, match="cannot write"):
        write("x", "nn")
    assert path.read_text() == before and not list(place.rglob(".*"))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"method": "x"}'])
def test_a_damaged_record_is_one_line(place, text):
    with pytest.raises(UserError, match="there is no record 'x' for profile cpu"):
        results.read_record("cpu", "x")
    (place / "cpu").mkdir(parents=True)
    (place / "cpu" / "x.json").write_text(text)
    with pytest.raises(UserError, match="is no record"):
        results.read_record("cpu", "x")


def test_only_folders_named_after_profiles_hold_records(place):
    path = write("baseline", "yn")
    for other in ("bench/scoring.json", "cpu/audit/embedded.json", "notes/x.json"):
        (place / other).parent.mkdir(parents=True, exist_ok=True)
        (place / other).write_text("{}")
    assert ledger.record_paths() == ledger.record_paths("cpu") == [path]
    assert ledger.record_paths("bench") == ledger.record_paths("t4") == []
    assert [r["method"] for r in results.read_records()] == ["baseline"]


def notebook(*sources: str, tags: tuple[str, ...] = ()):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    if tags:
        cells.insert(1, nbformat.v4.new_code_cell("N = 2", metadata={"tags": list(tags)}))
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text"), *cells])


def test_notebook_digest_is_about_code_only(tmp_path):
    def digest(made):
        nbformat.write(made, tmp_path / "n.ipynb")
        return results.notebook_digest(tmp_path / "n.ipynb")

    plain = digest(notebook("N = 1", "print(N)"))
    executed = notebook("N = 1", "print(N)", tags=("injected-parameters",))
    executed.cells[0].source = "other words"
    executed.cells[1].outputs = [nbformat.v4.new_output("stream", text="1")]
    assert digest(executed) == plain
    assert digest(notebook("N = 1", "print(N )")) != plain
    assert digest(notebook("N = 1", "print(N)", tags=("parameters",))) != plain


def test_scorer_digest_follows_the_scorer_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "ROOT", tmp_path)
    for name in ("scoring/__init__.py", "scoring/compare.py", "sandbox.py", "prompts.py", "training.py"):
        path = tmp_path / "common" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    first = results.scorer_digest()
    (tmp_path / "common" / "training.py").write_text("2")
    assert results.scorer_digest() == first and len(first) == 16
    for name in ("scoring/compare.py", "sandbox.py", "prompts.py"):
        before = results.scorer_digest()
        (tmp_path / "common" / name).write_text("2")
        assert results.scorer_digest() != before


def test_commit_and_dirty(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert results.commit() == ("", True)

    def git(*arguments):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    assert results.commit() == ("", True)
    for name in ("common/a.py", "n.ipynb", "other.md", "requirements.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    git("add", ".")
    git("commit", "-m", "x", "--no-verify")
    (tmp_path / "other.md").write_text("2")
    sha, dirty = results.commit("n.ipynb")
    assert len(sha) == 40 and not dirty
    (tmp_path / "n.ipynb").write_text("2")
    assert results.commit("n.ipynb") == (sha, True) and results.commit() == (sha, False)
    (tmp_path / "common" / "new.py").write_text("1")
    assert results.commit() == (sha, True)


def test_rescore_judges_the_recorded_completions_again():
    from common.data import ids_hash, load_examples

    examples = load_examples("embedded", "test", limit=4, seed=42)
    answers = [example.sql for example in examples[:3]] + ["SELECT 0"]
    rows = [
        {**row, "id": example.id, "completion": answer}
        for row, example, answer in zip(predictions("ynn?"), examples, answers, strict=True)
    ]
    changes = {"data": {"ids_hash": ids_hash(examples)}, "scoring": {"databases": 2}, "curve": "x.curve.csv"}
    path = results.write_record(record("x", rows, **changes), rows)
    assert cli.rescore(path) == "cpu/x: 4 of 4 verdicts changed"
    read = results.read_record("cpu", "x")
    assert (read["metrics"]["match"]["value"], read["metrics"]["match"]["n"]) == (0.75, 4)
    assert read["metrics"]["robust_match"]["value"] == read["metrics"]["right"]["value"] == 0.75
    assert read["code"]["scorer_digest"] == results.scorer_digest()
    assert read["outcomes"] == {"match": 3, "mismatch": 1} and read["curve"] == "x.curve.csv"
    judged = results.read_predictions("cpu", "x")
    assert [row["completion"] for row in judged] == answers
    assert [row["robust_match"] for row in judged] == [True, True, True, False]
    assert cli.rescore(path) == "cpu/x: 0 of 4 verdicts changed"


def test_rescore_refuses_rows_that_are_not_those_of_the_record():
    path = write("x", "yn")
    with pytest.raises(UserError, match="not the rows it was run on"):
        cli.rescore(path)
