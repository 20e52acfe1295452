"""Peak memory, and what is done to keep it low: recomputed activations change no loss, logits are kept where needed."""

import mmap
import sys
from pathlib import Path

import pytest
import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from common.training.memory import keep_freed, peak_bytes, reset_peak
from common.training.sft import CompletionTrainer, train_sft

MIB = 2**20


def can_reset() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return not torch.cuda.is_available()


only_where_it_can_be_reset = pytest.mark.skipif(
    not can_reset(),
    reason="the peak of a process can be reset on Linux alone, and on a GPU it is the GPU's that counts",
)


def touch(size: int) -> None:
    """Take so many bytes straight from the system, write to each page, and hand them back."""
    with mmap.mmap(-1, size) as block:
        for at in range(0, size, 4096):
            block[at] = 1


@only_where_it_can_be_reset
def test_the_peak_counts_what_was_held_and_a_reset_forgets_it():
    reset_peak()
    before = peak_bytes()
    touch(200 * MIB)
    held = peak_bytes() - before
    assert 195 * MIB < held < 210 * MIB
    touch(50 * MIB)
    assert peak_bytes() - before == pytest.approx(held, abs=5 * MIB)  # a peak, not a sum
    reset_peak()
    assert abs(peak_bytes() - before) < 20 * MIB


@only_where_it_can_be_reset
def test_the_peak_of_a_training_is_its_own(rows, tiny, short, tmp_path, monkeypatch):
    """Not what the process held before it; and what is held for a moment in it counts."""
    reset_peak()
    before = peak_bytes()
    touch(600 * MIB)
    quick = short.with_values({"epochs": 1, "evaluations": 1})
    plain = train_sft(tiny(), *rows, quick, folder=tmp_path / "plain").peak_memory_bytes
    assert plain - before < 400 * MIB
    real = CompletionTrainer.evaluate
    monkeypatch.setattr(CompletionTrainer, "evaluate", lambda self, *a, **k: (touch(600 * MIB), real(self, *a, **k))[1])
    more = train_sft(tiny(), *rows, quick, folder=tmp_path / "more").peak_memory_bytes
    assert 400 * MIB < more - plain < 700 * MIB


def test_the_peak_is_in_bytes():
    """An interpreter with torch holds more than 100 MiB and less than this machine has."""
    assert 100 * MIB < peak_bytes() < 2**42


def test_keeping_what_was_freed_harms_nothing(monkeypatch):
    keep_freed()
    assert sum(bytearray(b"\1" * 10)) == 10 and torch.ones(1 << 20).sum() == 1 << 20
    monkeypatch.setattr("ctypes.CDLL", lambda *_: object())  # a C library that is not glibc
    keep_freed()
    monkeypatch.setattr("ctypes.CDLL", lambda *_: (_ for _ in ()).throw(OSError("none")))
    keep_freed()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks glibc, which only Linux has")
def test_what_was_freed_is_kept(monkeypatch):
    calls = []

    class Library:
        gnu_get_libc_version = None

        def mallopt(self, what, value):
            calls.append((what, value))

    monkeypatch.setattr("ctypes.CDLL", lambda *_: Library())
    keep_freed()
    assert calls == [(-4, 0), (-1, -1)]  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h


@pytest.mark.parametrize(
    "values",
    [{"method": "full"}, {"method": "lora"}, {"method": "full", "shared_prefixes": False}, {"method": "prompt-random"}],
    ids=str,
)
def test_recomputed_activations_give_the_same_training(values, rows, tiny, short, tmp_path, monkeypatch):
    forwards = []
    real = GradientCheckpointingLayer.__call__

    def count(self, *args, **kwargs):
        forwards.append((self.gradient_checkpointing, self.training))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(GradientCheckpointingLayer, "__call__", count)
    runs = []
    for on in (False, True):
        forwards.clear()
        recipe = short.with_values(values | {"gradient_checkpointing": on})
        runs.append(train_sft(tiny(), *rows, recipe, folder=tmp_path / str(on)))
        assert {checkpointing for checkpointing, training in forwards if training} == {on}
    one, other = (run.curve.fillna(0).to_numpy() for run in runs)
    assert one.shape == other.shape and abs(one - other).max() < 1e-5
    now, then = (run.loaded.model.state_dict() for run in runs)
    assert all(torch.allclose(now[name], then[name], rtol=0, atol=1e-4) for name in now)


def test_logits_are_computed_where_something_is_taught_and_nowhere_else(rows, tiny, short, tmp_path, monkeypatch):
    shapes = []
    loss = CompletionTrainer.compute_loss

    def look(self, model, inputs, *args, **kwargs):
        taught = len(set(inputs["predictors"].tolist()))  # rows that go on unlike from one place share its logits
        head = model.get_base_model().lm_head
        handle = head.register_forward_hook(lambda _, __, logits: shapes.append((logits.numel() // 1024, taught)))
        found = loss(self, model, inputs, *args, **kwargs)
        handle.remove()
        assert taught < inputs["input_ids"].numel() / 2
        return found

    monkeypatch.setattr(CompletionTrainer, "compute_loss", look)
    quick = short.with_values({"epochs": 1, "evaluations": 1})
    for shared in (False, True):
        shapes.clear()
        train_sft(tiny(), *rows, quick.with_values({"shared_prefixes": shared}), folder=tmp_path / str(shared))
        assert len(shapes) >= 8 and all(made == taught for made, taught in shapes)
