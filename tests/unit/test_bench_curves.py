"""The bench of loss curves: plain training has none of ours in it, differences by hand, curves are kept, a record."""

import json
import subprocess
import sys

import pytest
import torch

from bench import curves, curves_run, tables
from bench.curves_run import KINDS, RATES
from common.profiles import TINY_MODEL
from common.settings import UserError
from common.training import attention, layers


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(curves, "outputs", lambda: tmp_path / "outputs")
    return tmp_path


@pytest.fixture
def one_thread():
    """The tiny model's products are too small to share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_plain_and_ours_go_their_own_ways_through_the_same_steps(place, monkeypatch, one_thread):
    trees, norms, by_kind = [], [], {}
    blocks, normed = attention.blocks, layers._normed
    monkeypatch.setattr(attention, "blocks", lambda *a: trees.append(1) or blocks(*a))
    monkeypatch.setattr(layers, "_normed", lambda *a, **k: norms.append(1) or normed(*a, **k))
    monkeypatch.setenv("TEXT_TO_SQL_PRECISION", "bfloat16")
    calls = {}
    for kind in KINDS:
        trees.clear(), norms.clear()
        by_kind[kind] = curves_run.measure("lora", kind, model_id=TINY_MODEL, rows=12, folder=place / kind)
        calls[kind] = len(trees), len(norms)
        assert not (place / kind).exists()
    trial = 3  # trees that `attention.choice` reads, on one of a model's two candidates at the most
    assert calls["plain"] == (0, 0)
    assert calls["tree"][0] > 6 - trial and calls["tree"][1] > 0 and calls["native"] == calls["tree"]
    assert [by_kind[kind]["precision"] for kind in KINDS] == ["float32", "float32", "bfloat16"]
    plain, tree, native = (by_kind[kind]["losses"] for kind in KINDS)
    assert len(plain) == 6 and max(plain) - min(plain) > 0.01
    assert tree == pytest.approx(plain, abs=1e-5)
    assert native == pytest.approx(plain, abs=1e-2) and native != pytest.approx(plain, abs=1e-5)
    assert by_kind["tree"]["valid"] == pytest.approx(by_kind["plain"]["valid"], abs=1e-5)


def curve(losses: list[float], valid: float = 1.0, precision: str = "float32") -> dict:
    return {"losses": losses, "valid": valid, "seconds": 3.0, "precision": precision, "model": "m 1"}


def invented(method: str = "lora") -> dict:
    """100 steps: ours differs by 0.0005 in step 5 and by 0.002 in step 50, half precision by 0.03 in the last 20."""
    plain = [2.0] * 100
    tree, native = list(plain), list(plain)
    tree[4], tree[49] = 2.0005, 1.998
    native[80:] = [2.05, 2.01] * 10
    return {"plain": curve(plain), "tree": curve(tree, 1.1), "native": curve(native, 1.2, "bfloat16")}


def test_differences_by_hand():
    lines = {line["name"]: line for line in curves.figures("lora", invented())}
    values = {name.removeprefix("lora-"): line["value"] for name, line in lines.items()}
    assert values == {
        "first": pytest.approx(0.0005),
        "largest": pytest.approx(0.002),
        "mean": pytest.approx(0.000025),
        "native-mean": pytest.approx(0.006),
        "native-end": pytest.approx(0.03),
        "valid-plain": 1.0,
        "valid-tree": 1.1,
        "valid-native": 1.2,
    }
    assert "bfloat16" in lines["lora-native-end"]["what"] and "bfloat16" in lines["lora-valid-native"]["what"]


def test_a_curve_keeps_its_first_step_and_every_fifth():
    assert curves.steps(12) == [1, 5, 10]
    assert curves.thinned([i + 0.12345 for i in range(1, 13)]) == [1.1235, 5.1235, 10.1235]


def run_main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bench.curves", *arguments])
    return curves.main()


def test_a_bench_that_was_stopped_goes_on_with_what_is_missing(place, monkeypatch):
    calls, in_all = [], [(method, kind) for method in RATES for kind in KINDS]

    def train(method, kind, **options):
        calls.append((method, kind))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return invented()[kind]

    monkeypatch.setattr(curves, "train", train)
    with pytest.raises(KeyboardInterrupt):
        run_main(monkeypatch, "--model", TINY_MODEL)
    run_main(monkeypatch, "--model", TINY_MODEL)
    assert calls == in_all[:5] + in_all[4:]
    record = tables.load("curves")
    lines = {line["name"]: line for line in record["measurements"]}
    assert len(lines) == 8 * len(RATES) and lines["full-largest"]["met"] is False
    assert record["data"]["steps"] == [1, *range(5, 101, 5)] and record["data"]["native"] == "bfloat16"
    assert record["data"]["curves"]["qlora"]["tree"][:3] == [2.0, 2.0005, 2.0]
    assert all(f"| {line['what']} |" in tables.markdown("curves") for line in record["measurements"])
    figure = place / "results" / "bench" / "curves.png"
    first = figure.read_bytes()
    run_main(monkeypatch, "--model", TINY_MODEL)
    assert len(calls) == len(in_all) + 1 and figure.read_bytes() == first and first.startswith(b"\x89PNG")
    run_main(monkeypatch, "--model", TINY_MODEL, "--rows", "180", "--methods", "lora")
    assert len(calls) == len(in_all) + 1 + 3, "other rows are other curves"


def test_what_a_training_refuses_comes_through_in_one_line(place, monkeypatch):
    done = subprocess.CompletedProcess([], 2, "", "a warning\nerror: there is no model folder './x'; give a folder\n")
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, **k: commands.append(command) or done)
    with pytest.raises(UserError, match=r"^there is no model folder './x'; give a folder$"):
        curves.train("lora", "plain", model="./x", rows=40, folder=place)
    done.returncode = 1
    with pytest.raises(RuntimeError, match="a warning"):
        curves.train("lora", "plain", model="./x", rows=40, folder=place)
    done.returncode, done.stdout = 0, "noise\n" + json.dumps(curve([1.0]))
    assert curves.train("qlora", "native", model="m", rows=40, folder=place) == curve([1.0])
    assert commands[-1][3:5] == ["qlora", "native"] and commands[-1][-1] == str(place)


def test_rows_that_make_no_curve_are_refused(monkeypatch):
    for rows in ("41", "38", "0", "-40"):
        with pytest.raises(UserError, match="makes no curve; give a multiple of 2, at least 40"):
            run_main(monkeypatch, "--rows", rows)
