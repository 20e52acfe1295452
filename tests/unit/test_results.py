"""The ledger: what is written is read back, what is not comparable is refused, tables come from records alone."""

import hashlib
import json
import subprocess

import nbformat
import pandas
import pytest

from common import results
from common.results import __main__ as cli
from common.results import benches, comparison, ledger, readme
from common.settings import UserError
from common.statistics import metrics, outcomes, slices


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def predictions(right: str) -> list[dict]:
    """One row a letter: y matched, n did not, ? could not be scored."""
    return [
        {
            "id": f"row-{i}",
            "complexity": ("basic SQL", "CTEs")[i % 2],
            "task_type": "data retrieval",
            "completion": f"SELECT {i};",
            "sql": f"SELECT {i}",
            "new_tokens": 4,
            "published_match": letter == "y",
            "published_score": 1.0 if letter == "y" else 0.25,
            "match": {"y": True, "n": False, "?": None}[letter],
            "robust_match": None,
            "rouge_l": 0.5,
            "score": 1.0 if letter == "y" else 0.35,
            "outcome": {"y": "match", "n": "mismatch", "?": "reference_error"}[letter],
            "detail": "",
            "both_empty": False,
        }
        for i, letter in enumerate(right)
    ]


def record(method: str, rows: list[dict], **changes) -> dict:
    ids = "\n".join(row["id"] for row in rows)
    made = {
        "method": method,
        "profile": "cpu",
        "status": "complete",
        "notebook": f"{method}/{method}.ipynb",
        "seed": 42,
        "parameters": {"learning_rate": 1.23456789e-5},
        "code": {"commit": "", "dirty": True, "notebook_digest": "", "scorer_digest": "s1"},
        "data": {
            "source": "embedded",
            "revision": "r",
            "split": "test",
            "n": len(rows),
            "ids_hash": hashlib.sha256(ids.encode()).hexdigest()[:16],
            "prompt_hash": "p1",
        },
        "model": {"id": "m/small", "revision": "", "adapter": "", "trainable_parameters": 0, "total_parameters": 9},
        "scoring": {"databases": 0, "generator": "conservative", "seed": 0},
        "decoding": {"max_new_tokens": 96, "do_sample": False},
        "environment": {"python": "3.11", "packages": {}, "device": "CPU, 2 threads"},
        "stages": [],
        "metrics": metrics(rows),
        "slices": slices(rows),
        "outcomes": outcomes(rows),
        "cost": {
            "train_seconds": 0.0,
            "eval_seconds": 2.0,
            "train_rows_per_second": 0.0,
            "train_tokens_per_second": 0.0,
            "peak_memory_bytes": 0,
        },
        "curve": "",
    }
    for key, value in changes.items():
        made[key] = {**made[key], **value} if isinstance(value, dict) else value
    return made


def write(method: str, right: str, **changes):
    rows = predictions(right)
    return results.write_record(record(method, rows, **changes), rows)


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


def test_compare_by_hand():
    write("baseline", "nnnny?")
    write("lora", "yynyn?", model={"trainable_parameters": 1234}, cost={"train_seconds": 60.0})
    table = results.compare("cpu")
    assert list(table.index) == ["baseline", "lora"]
    assert table.loc["lora", "match"] == pytest.approx(3 / 5, abs=1e-6) and table.loc["lora", "scorable"] == 5
    # five scorable pairs: three turned right, one turned wrong
    assert table.loc["lora", "difference"] == pytest.approx(2 / 5)
    assert table.loc["lora", "p"] == table.loc["lora", "p_holm"] == pytest.approx(2 * (4 + 1) / 2**4)
    assert pandas.isna(table.loc["baseline", "difference"])
    assert table.loc["lora", "eval_rows_per_second"] == pytest.approx(6 / 2)
    assert list(results.compare("cpu", ["lora"]).index) == ["lora"]


@pytest.mark.parametrize(
    "changes, key",
    [
        ({"data": {"ids_hash": "other"}}, "data.ids_hash"),
        ({"data": {"prompt_hash": "other"}}, "data.prompt_hash"),
        ({"decoding": {"max_new_tokens": 512}}, "decoding"),
        ({"code": {"scorer_digest": "s2"}}, "code.scorer_digest"),
    ],
)
def test_what_is_not_comparable_shares_no_table(changes, key):
    write("baseline", "ny")
    write("lora", "yy", **changes)
    for table in (results.compare, comparison.by_complexity, comparison.markdown, results.save_comparison):
        with pytest.raises(UserError, match=f"cpu/baseline and cpu/lora differ in {key} "):
            table("cpu")
    assert list(results.compare("cpu", ["lora"]).index) == ["lora"]


def test_a_failed_run_keeps_its_row():
    write("baseline", "ny")
    rows = predictions("yy")
    failed = record("grpo", rows, status="failed", code={"scorer_digest": "older"}) | {
        "slices": {"complexity": {}, "task_type": {}}
    }
    failed["metrics"] = {name: {} for name in failed["metrics"]}
    results.write_record(failed, [])
    text = comparison.markdown("cpu")
    assert "| `grpo` (failed) | – | – | – |" in text


def test_markdown_says_what_the_records_say():
    write("baseline", "nnnny?")
    write(
        "lora",
        "yynyn?",
        model={"trainable_parameters": 1234},
        cost={"train_seconds": 90.0, "train_rows_per_second": 1.5},
    )
    text = comparison.markdown("cpu")
    sentence, table, _, slices_table = text.split("\n\n")
    assert sentence == (
        "Profile `cpu`: m/small on embedded data, split test, 6 rows, "
        "greedy decoding of at most 96 tokens; CPU, 2 threads."
    )
    baseline, lora = table.splitlines()[2:]
    assert "| 0.200 [" in baseline and "| – |" in baseline
    for part in ("`lora`", "0.600 [", "+0.400 [", "| 1,234 | 1.5 | 1.50 | 0.0 | 3.00 |", "| 0.740 |"):
        assert part in lora
    assert slices_table.splitlines()[0] == "| method | basic SQL (3) | CTEs (2) |"
    assert slices_table.splitlines()[3] == "| `lora` | 0.333 | 1.000 |"  # rows 0, 2, 4 are ynn; 1, 3 are yy


def test_plain_table_for_a_terminal():
    write("baseline", "nnnny?")
    write("lora", "yynyn?")
    head, baseline, lora = comparison.plain("cpu").splitlines()
    assert " ".join(head.split()) == (
        "robust match [95 %] robust match − baseline [95 %] strict match [95 %] score published score scorable"
    )
    assert baseline.startswith("baseline  0.200 [") and lora.startswith("lora      0.600 [") and " +0.400 [" in lora


def test_saved_comparison_is_a_table_and_a_figure_with_equal_bytes():
    write("baseline", "nnnny?")
    write("lora", "yynyn?")
    text, figure = results.save_comparison("cpu")
    first = figure.read_bytes()
    assert text.read_text() == comparison.markdown("cpu") + "\n"
    assert first.startswith(b"\x89PNG") and b"matplotlib" not in first.lower()
    results.save_comparison("cpu")
    assert figure.read_bytes() == first


def test_readme_blocks(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    with pytest.raises(UserError, match="no line"):
        readme.update(check=True)
    path = tmp_path / "README.md"
    path.write_text(
        "# T\n<!-- results:begin -->\nold\n<!-- results:end -->\nmiddle\n"
        "<!-- results:cpu:begin -->\n<!-- results:cpu:end -->\nend\n"
    )
    with pytest.raises(UserError, match="'cpu', which has no records"):
        readme.update(check=False)
    write("baseline", "nnnny?")
    rows = predictions("y")
    results.write_record(record("x", rows, profile="smoke"), rows)
    assert readme.update(check=True) == 1 and "old" in path.read_text()
    assert readme.update(check=False) == 0
    text = path.read_text()
    assert text.startswith("# T\n<!-- results:begin -->\nProfile `cpu`") and "old" not in text and "smoke" not in text
    assert text.count("| `baseline` | 0.200 [") == 2 and "\nmiddle\n" in text and text.endswith("-->\nend\n")
    assert readme.update(check=True) == 0
    write("baseline", "ynnny?")
    assert readme.update(check=True) == 1
    assert "README.md differs from the records" in capsys.readouterr().out


def test_only_folders_named_after_profiles_hold_records(place):
    path = write("baseline", "yn")
    for other in ("bench/scoring.json", "cpu/audit/embedded.json", "notes/x.json"):
        (place / other).parent.mkdir(parents=True, exist_ok=True)
        (place / other).write_text("{}")
    assert ledger.record_paths() == ledger.record_paths("cpu") == [path]
    assert ledger.record_paths("bench") == ledger.record_paths("t4") == []
    assert [r["method"] for r in results.read_records()] == ["baseline"]


def measurement(**changes) -> dict:
    made = {
        "name": "strict",
        "what": "strict against published",
        "unit": "×",
        "value": 412.3,
        "low": 398.1,
        "high": 1420.0,
        "repetitions": 5,
        "target": {"at_least": 300},
        "met": True,
    }
    return made | changes


def bench(*lines: dict, **code) -> dict:
    return {
        "name": "scoring",
        "code": {"commit": "0123456789abcdef", "dirty": False, "scorer_digest": "s", **code},
        "environment": {"python": "3.11.2", "packages": {"sqlite": "3.40.1"}, "device": "A CPU, 2 cores"},
        "data": {},
        "measurements": list(lines),
        "notes": ["One note."],
    }


def write_bench(place, text):
    (place / "bench").mkdir(parents=True, exist_ok=True)
    (place / "bench" / "scoring.json").write_text(text)


def test_bench_block_by_hand(place):
    assert readme.block("bench-scoring") == "Not measured yet; `make bench` does it."
    lines = [
        measurement(),
        measurement(what="build", unit="ms", value=44.123, low=40, high=50.0, target={"at_most": 40}, met=False),
        measurement(
            what="long", unit="s", value=0.01234, low=0.01234, high=0.01234, repetitions=1, target=None, met=None
        ),
        measurement(what="robust", value=None, low=None, high=None, repetitions=0, met=None),
    ]
    write_bench(place, json.dumps(bench(*lines, dirty=True)))
    assert readme.block("bench-scoring").splitlines()[2:] == [
        "| strict against published | 412× | 398 – 1,420 | 5 | ≥ 300× | yes |",
        "| build | 44.1 ms | 40 – 50 | 5 | ≤ 40 ms | **no** |",
        "| long | 0.0123 s | – | 1 | – | – |",
        "| robust | – | – | 0 | ≥ 300× | not measured |",
        "",
        "Measured at commit `0123456789ab` with uncommitted changes; A CPU, 2 cores, Python 3.11.2, SQLite 3.40.1.",
        "",
        "One note.",
    ]


@pytest.mark.parametrize(
    "text, why",
    [
        ("{", "cannot be read"),
        ("[]", "lacks name"),
        ('{"name": "scoring", "measurements": [{}]}', "lacks code, .*measurements.unit"),
    ],
)
def test_a_damaged_bench_record_is_one_line(place, text, why):
    write_bench(place, text)
    with pytest.raises(UserError, match=why):
        readme.block("bench-scoring")


@pytest.mark.parametrize(
    "value, target, expected",
    [(300, {"at_least": 300}, True), (299.9, {"at_least": 300}, False), (8, {"at_most": 8}, True)]
    + [(8.1, {"at_most": 8}, False), (None, {"at_most": 8}, None), (8, None, None)],
)
def test_a_target_is_met_or_not(value, target, expected):
    assert benches.met(value, target) is expected


def test_each_named_block_ends_at_its_own_end(place):
    text = "<!-- results:bench-scoring:begin -->\n<!-- results:end -->\n<!-- results:bench-scoring:end -->"
    assert readme.generated(text).count("end -->") == 1
    with pytest.raises(UserError, match="asks for the results of 'coffee'"):
        readme.generated(text.replace("bench-scoring", "coffee"))


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


def test_a_run_updates_the_readme_only_where_it_shows_the_run(place, tmp_path, monkeypatch):
    path = tmp_path / "README.md"
    path.write_text("<!-- results:begin -->\nold\n<!-- results:end -->\n")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    write("baseline", "nnnny?")
    with monkeypatch.context() as patch:
        patch.setattr(readme, "results", lambda: tmp_path / "elsewhere")
        readme.follow("cpu")
    assert "old" in path.read_text()
    readme.follow("smoke")
    assert "old" in path.read_text()
    readme.follow("cpu")
    assert "old" not in path.read_text() and "| `baseline` |" in path.read_text()
