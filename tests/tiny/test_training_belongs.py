"""Whose folder it is, and whose model: what names a training, damaged files, two processes, a model trained twice."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from common import provenance
from common.models import weights_digest
from common.settings import UserError
from common.training.checkpoints import last_checkpoint
from common.training.sft import train_sft
from common.training.trainer import Abandoned


def refusal(*args, **kwargs) -> str:
    with pytest.raises(UserError) as raised:
        train_sft(*args, **kwargs)
    return str(raised.value)


def test_answers_on_the_way_belong_to_a_training_only_where_there_are_any(rows, tiny, one, tmp_path):
    train_sft(tiny(), *rows, one, folder=tmp_path / "none", max_new_tokens=4)
    train_sft(tiny(), *rows, one, folder=tmp_path / "none", max_new_tokens=8, databases=2)
    scored, folder = one.with_values({"score_rows": 2}), tmp_path / "some"
    train_sft(tiny(), *rows, scored, folder=folder, max_new_tokens=4)
    train_sft(tiny(), *rows, scored, folder=folder, max_new_tokens=4, batch_size=1)
    for other in ({"max_new_tokens": 8}, {"max_new_tokens": 4, "databases": 2}):
        assert "holds a training with another way of answering" in refusal(
            tiny(), *rows, scored, folder=folder, **other
        )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("code", "0" * 16, "code (of another version of the repository)"),
        ("packages", {"torch": "1.0"}, "versions of its packages"),
        ("device_name", "NVIDIA H100", "device"),
    ],
)
def test_a_training_by_other_code_packages_or_device_is_another_training(
    name, value, words, rows, tiny, one, tmp_path, monkeypatch
):
    run = train_sft(tiny(), *rows, one, folder=tmp_path)
    assert run.code_digest == provenance.code(
        "common.training.sft", without=provenance.SCORING
    ) and run.code_modules == ("common.training.sft",)
    monkeypatch.setattr(provenance, name, lambda *_, **__: value)
    assert f"holds a training with another {words}; give another folder" in refusal(tiny(), *rows, one, folder=tmp_path)


@pytest.mark.parametrize("name", ["trained.json", "training.json", "weights/adapter_model.safetensors"])
@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"{}", None], ids=["half", "empty", "gone"]
)
def test_a_damaged_file_of_a_finished_training_is_one_line(name, damage, rows, tiny, short, trained, tmp_path):
    shutil.copytree(trained("lora").weights.parent, tmp_path, dirs_exist_ok=True)
    path, one = tmp_path / name, short
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    if name == "trained.json" and damage is None:  # as good as not finished: it is trained again
        assert train_sft(tiny(), *rows, one, folder=tmp_path).rows == 64
    else:
        line = f"{tmp_path} holds a training whose files are damaged; delete it to train anew"
        assert refusal(tiny(), *rows, one, folder=tmp_path) == line


def test_damaged_seconds_cost_no_training(rows, tiny, short, tmp_path):
    recipe, steps = short.with_values({"save_every": 1}), iter(range(100))
    with pytest.raises(Abandoned):
        train_sft(tiny(), *rows, recipe, folder=tmp_path, should_stop=lambda: next(steps) == 2)
    (tmp_path / "seconds.json").write_text("[1")
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text("{}")
    assert train_sft(tiny(), *rows, recipe, folder=tmp_path).step == 8


RECIPE = {"save_every": 1, "evaluations": 4}  # after steps 2, 4, 6 and 8


@pytest.fixture(scope="module")
def stopped(rows, tiny, short, tmp_path_factory):
    """The folder of a training that stopped after step 5: checkpoints 4 and 5, the best weights of step 4."""
    folder, steps = tmp_path_factory.mktemp("stopped"), iter(range(100))
    with pytest.raises(Abandoned):
        train_sft(tiny(), *rows, short.with_values(RECIPE), folder=folder, should_stop=lambda: next(steps) == 5)
    assert sorted(path.name for path in folder.glob("*-*")) == ["best-4", "checkpoint-4", "checkpoint-5"]
    return folder


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def changed(data: bytes) -> bytes:
    """The same length, another middle."""
    return half(data)[:-128] + bytes(128) + data[len(data) // 2 :]


FILES = ["optimizer.pt", "scheduler.pt", "rng_state.pth", "adapter_model.safetensors", "trainer_state.json"]
DAMAGES = [(name, damage) for name in FILES for damage in (half, lambda data: bytes(len(data)), lambda _: b"", None)]
DAMAGES += [("optimizer.pt", changed), ("../best-4/adapter_model.safetensors", half)]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_checkpoint_is_left_out(name, damage, stopped, tmp_path, capsys):
    folder = shutil.copytree(stopped, tmp_path / "copy")
    assert last_checkpoint(folder) == str(folder / "checkpoint-5")
    path = folder / "checkpoint-5" / name
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    assert last_checkpoint(folder) == (None if "best" in name else str(folder / "checkpoint-4"))
    line = f"{folder / 'checkpoint-5'} is cut short or damaged; the training goes on from before it\n"
    assert capsys.readouterr().err.startswith(line)


def test_a_training_goes_on_from_before_a_damaged_checkpoint_as_if_it_had_not_stopped(
    stopped, rows, tiny, short, tmp_path
):
    recipe = short.with_values(RECIPE)
    whole = train_sft(tiny(), *rows, recipe, folder=tmp_path / "whole")
    folder = shutil.copytree(stopped, tmp_path / "copy")
    (folder / "checkpoint-5" / "optimizer.pt").write_bytes(b"PK")
    again = train_sft(tiny(), *rows, recipe, folder=folder)
    assert again.curve.equals(whole.curve) and again.step == whole.step
    assert weights_digest(again.weights) == weights_digest(whole.weights)


def test_the_best_weights_of_a_checkpoint_are_part_of_it(stopped, tmp_path):
    """Those of an evaluation that a later one has beaten are gone: from there no training can go on."""
    folder = shutil.copytree(stopped, tmp_path / "copy")
    (folder / "best-4").rename(folder / "best-5")
    assert last_checkpoint(folder) is None and not list(folder.glob("checkpoint-*"))


def test_a_model_is_trained_once_whatever_the_folder(rows, tiny, one, trained, tmp_path):
    """A second training would not start from the base weights that its record names."""
    for method in ("full", "lora", "prompt-random"):
        loaded, recipe = tiny(), one.with_values({"method": method})
        run = train_sft(loaded, *rows, recipe, folder=tmp_path / method)
        for again in (loaded, run.loaded):
            line = refusal(again, *rows, recipe, folder=tmp_path / "other")
            assert line.startswith("this tiny-random-qwen3 was trained already; load it anew with load_model")
    assert not (tmp_path / "other").exists()


def test_one_step_has_a_rate(rows, tiny, one, tmp_path):
    """Its warm-up would else be the whole training."""
    assert train_sft(tiny(), rows[0][:16], rows[1], one, folder=tmp_path).step == 1


def test_a_start_that_is_refused_leaves_the_folder_to_another(rows, tiny, one, trained, tmp_path):
    other = one.with_values({"lora_rank": 8})
    assert "the recipe asks for 8" in refusal(tiny(), *rows, other, folder=tmp_path, start=trained("lora").weights)
    assert train_sft(tiny(), *rows, one, folder=tmp_path, start=str(trained("lora").weights)).rows == 32


def test_two_processes_in_one_folder_are_one_line(rows, tiny, one, tmp_path):
    code = "import sys; from pathlib import Path; from common.locks import hold; hold(Path(sys.argv[1])); "
    code += "print(1, flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    )
    try:
        assert other.stdout.readline() == b"1\n"
        assert refusal(tiny(), *rows, one, folder=tmp_path).startswith(f"another process works in {tmp_path}; ")
    finally:
        other.communicate(b"\n")
    assert train_sft(tiny(), *rows, one, folder=tmp_path).rows == 32


def test_what_is_saved_names_the_model_and_no_folder_of_this_machine(trained):
    for method in ("full", "lora", "qlora", "prompt-random", "prompt-text"):
        folder = trained(method).weights
        texts = [path.read_text() for path in folder.iterdir() if path.suffix in (".json", ".md")]
        assert texts and not any("/models/" in text for text in texts), method
        if method != "full":
            config = json.loads((folder / "adapter_config.json").read_text())
            assert config["base_model_name_or_path"] == "tiny-random-qwen3"
