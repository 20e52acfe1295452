"""The benches' own parts: spreads, targets, rows, the published recipe; and that the scoring bench gives its record."""

import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench import measure, published, scoring, tables, workload
from bench.measure import Ratio, Spread, measurement
from common.scoring import Scorer
from common.settings import ROOT, UserError, run_cli

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")


def test_spreads_and_ratios_by_hand():
    ours, theirs = Spread((30.0, 10.0, 20.0)), Spread((2.0, 1.0, 4.0, 2.0, 2.0))
    assert (ours.median, ours.low, ours.high, ours.repetitions) == (20.0, 10.0, 30.0, 3)
    assert ours.map(lambda value: value / 10) == Spread((3.0, 1.0, 2.0))
    ratio = Ratio(ours, theirs)
    assert (ratio.median, ratio.low, ratio.high, ratio.repetitions) == (10.0, 2.5, 30.0, 3)


def test_a_measurement_says_whether_its_median_meets_the_target():
    spread = Spread((9.0, 1.0, 2.3456789))
    line = measurement("x", "words", "s", spread, {"at_most": 2})
    assert (line["value"], line["low"], line["high"], line["repetitions"]) == (2.34568, 1.0, 9.0, 3)
    assert line["met"] is False and "NOT MET" in measure.show(line)
    assert measurement("x", "words", "s", spread, {"at_least": 2})["met"] is True
    assert measurement("x", "words", "s", spread)["met"] is None
    missing = measurement("x", "words", "s", None, {"at_most": 2})
    assert (missing["value"], missing["repetitions"], missing["met"]) == (None, 0, None)
    assert measure.show(missing) == "words: not measured"
    assert set(line) == set(tables.MEASUREMENT_KEYS)


def test_the_warm_up_is_not_counted():
    calls = []
    assert measure.repeat(lambda: calls.append(1), 3).repetitions == 3
    assert len(calls) == 4


@linux
def test_peak_memory_is_the_processs_own():
    size = 80_000_000
    code = (
        "import sys; print('ready', flush=True); input(); b = b'x' * int(sys.argv[1]); b = None; "
        "print('done', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(size)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        child.stdout.readline()
        assert child.pid in measure.children()
        before = measure.peak_bytes(child.pid)
        print(file=child.stdin, flush=True)
        child.stdout.readline()
        after = measure.peak_bytes(child.pid)
        print(file=child.stdin, flush=True)
    assert 0.95 * size < after - before < 1.05 * size  # a high-water mark: the bytes are gone again
    assert before < 50_000_000  # as getrusage would have it, it would be at least this process's own size
    assert measure.peak_bytes(child.pid) is None


def test_completions_of_a_prompt_are_of_every_kind_and_all_different():
    rows = workload.examples(40)
    groups = workload.groups(rows)
    assert groups == workload.groups(workload.examples(40))
    assert len(groups) == 40 * len(workload.KINDS)
    for number, example in enumerate(rows):
        part = groups[number * 8 : number * 8 + 8]
        assert {(row["schema"], row["reference"]) for row in part} == {(example.schema, example.sql)}
        assert len({row["prediction"] for row in part}) == 8
        assert part[0]["prediction"] == example.sql


def test_the_mix_is_what_it_says():
    rows = workload.independent(workload.examples(160))
    with Scorer(workers=2) as scorer:
        verdicts = scorer.score_batch(rows)
    outcomes = [Counter(v.outcome for v in verdicts[kind::8]) for kind in range(8)]
    assert [dict(counts) for counts in outcomes[:2]] == [{"match": 20}, {"match": 20}]
    assert outcomes[2]["mismatch"] > 10 and outcomes[3]["mismatch"] > 10
    assert outcomes[4]["schema_error"] > 10
    assert sum(counts["match"] for counts in outcomes[6:]) < 4


def test_near_misses_differ_in_one_place():
    sql = "SELECT name FROM t WHERE a > 5 ORDER BY name DESC LIMIT 3;"
    texts = workload.near_misses(sql)
    assert "SELECT name FROM t WHERE a < 5 ORDER BY name DESC LIMIT 3;" in texts
    assert "SELECT name FROM t WHERE a > 5 ORDER BY name LIMIT 3;" in texts
    assert "SELECT name FROM t ORDER BY name DESC LIMIT 3;" in texts
    assert sql not in texts and len(texts) == len(set(texts)) >= 5
    assert workload.near_misses("DROP TABLE t") == []


def test_many_rows_are_the_same_rows_kept_apart():
    base = workload.independent(workload.examples(3))
    copies = list(workload.many(base, 7))
    assert [row["reference"] for row in copies] == [base[i % 3]["reference"] for i in range(7)]
    assert len({(row["schema"], row["reference"]) for row in copies}) == 7


@pytest.mark.parametrize(
    "reference, prediction, match, score",
    [
        ("SELECT a FROM t", "SELECT a FROM t WHERE 1", True, 1.0),
        ("SELECT a FROM t", "SELECT b FROM t", False, 0.7 * 3 / 4),
        ("SELECT a FROM t", "```sql\nSELECT a FROM t\n```", False, 0.7 * 8 / 9),
        ("DROP TABLE t", "DROP TABLE t", False, 0.7),
        ("DELETE FROM t", "SELECT 1 WHERE 0", True, 1.0),
    ],
)
def test_the_published_recipe_by_hand(reference, prediction, match, score):
    schema = "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 2)"
    assert published.score(schema=schema, reference=reference, prediction=prediction) == (match, pytest.approx(score))


def test_the_published_recipe_and_the_scorer_agree_on_every_kind():
    rows = workload.groups(workload.examples(3))
    with Scorer(workers=1) as scorer:
        verdicts = scorer.score_batch(rows)
    for row, verdict in zip(rows, verdicts, strict=True):
        assert published.score(**row) == (verdict.published_match, pytest.approx(verdict.published_score, abs=1e-12))


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bench.scoring", *arguments])
    return scoring.main()


def test_a_record_is_written_unless_it_was_a_quick_look(monkeypatch, tmp_path):
    line = measurement("x", "words", "s", Spread((1.0,)))
    sizes_of = []
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path))
    monkeypatch.setattr(scoring, "against_published", lambda rows, sizes: sizes_of.append(sizes) or ([line], {}, ["a"]))
    monkeypatch.setattr(scoring, "grpo", lambda sizes: [])
    monkeypatch.setattr(scoring, "bulk", lambda sizes: [])
    monkeypatch.setattr(scoring, "volume", lambda sizes: ([], ["b"]))
    run_main(monkeypatch, "--quick")
    assert not list(tmp_path.iterdir())
    run_main(monkeypatch, "--largest", "10000")
    assert tables.load("scoring")["notes"] == ["a", "b"]
    assert [sizes.volumes for sizes in sizes_of] == [scoring.QUICK.volumes, (1_000, 10_000)]
    with pytest.raises(UserError, match="leaves nothing to compare"):
        run_main(monkeypatch, "--largest", "1000")


@linux
@pytest.mark.slow
def test_the_scoring_bench_runs_and_its_record_makes_a_table(tmp_path, monkeypatch):
    path = tmp_path / "bench" / "scoring.json"
    command = [sys.executable, "-m", "bench.scoring", "--quick", "--out", str(path)]
    environment = os.environ | {"HF_HOME": str(tmp_path / "hub")}
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    record = json.loads(path.read_text())
    assert not tables.missing_keys(record)
    lines = {line["name"]: line for line in record["measurements"]}
    assert all(line["value"] > 0 for line in lines.values())
    targets = {name: line["target"] for name, line in lines.items() if line["target"]}
    assert targets == {
        "strict-speedup": {"at_least": 300},
        "robust-speedup": {"at_least": 100},
        "suite": {"at_most": 40},
        "grpo-speedup": {"at_least": 2},
        "bulk": {"at_most": 8},
        "linear": {"at_most": 1.2},
        "flat-parent": {"at_most": 1.1},
        "flat-worker": {"at_most": 1.1},
    }
    assert record["data"]["published_agree"] == record["data"]["published_rows"] == scoring.QUICK.published
    assert lines["strict"]["repetitions"] == lines["published"]["repetitions"] == scoring.QUICK.repetitions
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path))
    assert all(f"| {line['what']} |" in tables.markdown("scoring") for line in record["measurements"])


@pytest.mark.parametrize("bench", ["curves", "generation", "grpo", "layouts", "preferences", "scoring", "training"])
def test_a_place_that_takes_no_record_is_refused_before_anything_is_measured(bench, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", [bench, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        run_cli(importlib.import_module(f"bench.{bench}").main)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith(f"error: --out {tmp_path} is a folder; give the path of a .json")


def test_ratios_stand_in_one_table_named_after_what_they_compare(monkeypatch, tmp_path):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path))
    assert tables.ratios() == "Not measured yet; `make bench` does it."
    lines = [
        measurement("rows-published", "published recipe: rows", "rows/s", Spread((2.0,))),
        measurement("rows", "ours: rows", "rows/s", Spread((6.0,))),
        measurement("speedup", "– against the published recipe", "×", Spread((2.0, 4.0)), {"at_least": 3}),
        measurement("growth", "– at 100,000 rows against 1,000", "×", Spread((1.1,))),
    ]
    measure.write(measure.record("training", lines, packages=["numpy"], data={}, notes=[]))
    head, _, line, *notes = tables.ratios().splitlines()
    assert line == "| training: ours: rows | 3× | 2 – 4 | 2 | ≥ 3× | yes |"
    assert notes[-1].startswith(
        "Against the published recipe, in the same run. scoring: not measured yet; training at `"
    )
    assert notes[-1].endswith("generation: not measured yet.") and len(notes) == 2
