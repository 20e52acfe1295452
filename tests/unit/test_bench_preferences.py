"""The bench of preference training: equal work by every trainer, the rates of its lines, and refused sizes."""

import math
import sys

import pytest

from bench import preferences, preferences_run
from common.models import load_model
from common.profiles import TINY_MODEL
from common.settings import UserError, run_cli
from tests.models import with_models

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def own_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", with_models(tmp_path))


@pytest.mark.parametrize("kind", preferences_run.KINDS)
def test_each_trainer_is_timed_on_the_pairs_after_the_first_step(kind, own_outputs):
    run = preferences_run.measure(kind, model_id=TINY_MODEL, count=16)
    assert (run["pairs"], run["model"].split()[0]) == (8, TINY_MODEL)
    assert run["seconds"] > 0 and run["peak"] > 0
    # As published the reference is computed in every step; else half of what was taken before is of the timed pairs.
    assert (run["reference_seconds"] > 0) == (kind != "published")


def test_trls_rows_are_ours(tmp_path):
    """The same prompt, both answers and the end token."""
    loaded, pairs = load_model(TINY_MODEL), preferences_run.pairs_of(4)
    trainer = preferences_run.trl_trainer("published", loaded, pairs, tmp_path)
    items = preferences_run.dpo.items(pairs, loaded, max_length=10**6)
    for row, (chosen, rejected) in zip(trainer.train_dataset, items, strict=True):
        for side, ours in (("chosen", chosen), ("rejected", rejected)):
            assert row["prompt_ids"] + row[f"{side}_ids"] == ours["input_ids"]


def test_a_line_has_pairs_over_all_seconds_and_its_ratios_behind_it():
    common = {"peak": 4e9, "pairs": 16}
    runs = {
        "published": [common | {"seconds": 40.0, "reference_seconds": 0.0}],
        "trl": [common | {"seconds": 12.0, "reference_seconds": 4.0}],
        "ours": [{"pairs": 16, "peak": 2e9, "seconds": 6.0, "reference_seconds": 2.0}],
    }
    lines = {line["name"]: line for line in preferences.lines_of(runs)}
    assert [lines[f"pairs-{kind}"]["value"] for kind in runs] == [0.4, 1.0, 2.0]
    assert math.isclose(lines["speedup-published"]["value"], 5) and lines["speedup-published"]["met"]
    assert math.isclose(lines["speedup-trl"]["value"], 2) and lines["memory-ratio-trl"]["value"] == 0.5
    names = list(lines)
    assert names[names.index("pairs-ours") + 1 :][:2] == ["speedup-published", "speedup-trl"]


@pytest.mark.parametrize("sizes", [["--pairs", "12"], ["--pairs", "8"], ["--repetitions", "0"]], ids=str)
def test_sizes_that_leave_nothing_to_time_end_in_one_line(sizes, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["preferences", *sizes])
    with pytest.raises(SystemExit) as stop:
        run_cli(preferences.main)
    assert stop.value.code == 2 and capsys.readouterr().err.startswith("error: --")


def test_too_many_pairs_are_refused(monkeypatch):
    monkeypatch.setattr(preferences_run, "neighbours", lambda sql: [])
    with pytest.raises(UserError, match="0 references have a near miss, 4 are needed"):
        preferences_run.pairs_of(4)
