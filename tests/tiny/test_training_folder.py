"""A training's folder belongs to one training; what cannot be trained ends in one line and leaves nothing behind."""

import json
from dataclasses import replace

import pytest
import torch

from common.models import base_digest
from common.settings import UserError
from common.training import sft
from common.training.arguments import precision_arguments
from common.training.checkpoints import last_checkpoint
from common.training.losses import Loss
from common.training.recipe import Recipe
from common.training.sft import train_sft
from common.training.trainer import Clock, Diverged


def refusal(*args, **kwargs) -> str:
    with pytest.raises(UserError) as raised:
        train_sft(*args, **kwargs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "stopped"])
def test_a_folder_of_another_training_is_refused_in_one_line_and_stays_as_it_is(
    finished, rows, tiny, one, tmp_path, monkeypatch
):
    train, valid = rows
    with monkeypatch.context() as patch:
        if not finished:
            patch.setattr(Clock, "on_step_end", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                train_sft(tiny(), train, valid, one, folder=tmp_path)
        else:
            train_sft(tiny(), train, valid, one, folder=tmp_path)
    assert (tmp_path / "trained.json").exists() == finished
    before = contents(tmp_path)
    others = {
        "model": [
            (replace(tiny(), id="another"), train, valid, one),
            (replace(tiny(), revision="2"), train, valid, one),
        ],
        "recipe": [
            (tiny(), train, valid, one.with_values(values))
            for values in ({"learning_rate": 2.1e-2}, {"seed": 1}, {"lora_targets": ["q_proj"]}, {"method": "full"})
        ],
        "rows": [
            (tiny(), train[:-1], valid, one),
            (tiny(), train[::-1], valid, one),
            (tiny(), [replace(train[0], sql="SELECT 1;"), *train[1:]], valid, one),
            (tiny(), train, valid[:-1], one),
        ],
    }
    for name, cases in others.items():
        for case in cases:
            assert refusal(*case, folder=tmp_path) == (
                f"{tmp_path} holds a training with another {'set of rows' if name == 'rows' else name}; "
                "give another folder, or delete that one to train anew"
            )
    assert contents(tmp_path) == before


def test_what_names_a_training_says_no_more_than_it_needs(rows, tiny, one, tmp_path):
    train_sft(tiny(), *rows, one, folder=tmp_path)
    found = json.loads((tmp_path / "training.json").read_text())
    assert found.keys() == {"model", "start", "recipe", "rows", "answers", "code", "packages", "device"}
    assert found["model"] == f"{tiny().id} {tiny().revision}"
    assert found["start"] == base_digest(tiny().model)
    assert len(found["recipe"]) == len(found["code"]) == 16 and found["rows"].keys() == {"train", "validation"}
    assert found["answers"] == {} and found["packages"]["torch"] == torch.__version__ and found["device"] == "CPU"
    # A row's text that the model never reads does not matter.
    renamed = [replace(example, id=f"other-{example.id}", domain="none") for example in rows[0]]
    assert train_sft(tiny(), renamed, rows[1], one, folder=tmp_path).train_rows == 32


@pytest.mark.parametrize("text", ["", "{", "{}", '{"model": 1}'])
def test_a_folder_whose_name_tag_is_broken_is_refused(text, rows, tiny, one, tmp_path):
    (tmp_path / "training.json").write_text(text)
    line = "with another model; " if "model" in text else "whose files are damaged; "
    assert refusal(tiny(), *rows, one, folder=tmp_path).startswith(f"{tmp_path} holds a training {line}")


def test_a_finished_folder_holds_the_weights_and_the_facts_and_nothing_else(trained):
    for method in ("full", "lora", "prompt-random"):
        folder = trained(method).weights.parent
        names = {path.name for path in folder.iterdir()} - {"README.md"}  # the trainer's own model card
        assert names == {"trained.json", "training.json", "seconds.json", "weights"}
        facts = json.loads((folder / "trained.json").read_text())
        assert facts["last_step"] == facts["step"] == 8
        assert facts["curve"] == [
            {key: value for key, value in row.items() if value == value}
            for row in trained(method).curve.to_dict(orient="records")
        ]


def test_training_rows_that_are_validation_rows_too_are_left_out_and_counted(rows, tiny, one, tmp_path, capsys):
    """One such row in a hundred thousand must not end the protocol."""
    copied = replace(rows[0][5], id="validation-of-its-own")
    for held_out, leaks in ((rows[0][3:5], 2), ([*rows[1], copied], 1)):
        run = train_sft(tiny(), rows[0], held_out, one, folder=tmp_path / str(leaks))
        assert (run.train_rows, run.dropped_rows, run.leaked_rows) == (32 - leaks, leaks, leaks)
        line = f"{leaks} of 32 training rows are validation rows too and are left out\n"
        assert line in capsys.readouterr().out
    folder = tmp_path / "new"
    assert "all 2 training rows are also held-out" in refusal(tiny(), rows[0][:2], rows[0], one, folder=folder)
    assert not folder.exists()


def test_rows_that_are_all_too_long_are_refused(rows, tiny, tokens, one, tmp_path):
    folder = tmp_path / "new"
    line = "no row fits in max_length 10 tokens; raise it"
    assert refusal(tiny(), *rows, one.with_values({"max_length": 10}), folder=folder) == line
    lengths = [[len(row["input_ids"]) for row in tokens(part)] for part in rows]
    shortest = min(range(32), key=lambda i: lengths[0][i])
    longest = max(range(8), key=lambda i: lengths[1][i])
    limit = one.with_values({"max_length": lengths[0][shortest]})
    assert lengths[1][longest] > lengths[0][shortest]
    # Training rows that fit are not enough.
    assert "no row fits in max_length" in refusal(tiny(), rows[0], [rows[1][longest]], limit, folder=folder)
    assert not folder.exists()


@pytest.mark.parametrize("method", ["full", "lora"])  # virtual tokens of any length are normed before they are used
def test_a_loss_that_is_no_number_ends_in_one_line(method, rows, tiny, one, tmp_path):
    wild = one.with_values({"method": method, "learning_rate": 1e30, "warmup_ratio": 0.0})
    assert refusal(tiny(), *rows, wild, folder=tmp_path) == "the training loss is not a number; lower the learning rate"
    assert not (tmp_path / "trained.json").exists() and not (tmp_path / "weights").exists()
    # Its folder is free again, and what is not the training's stays there.
    (tmp_path / "mine.txt").write_text("kept")
    assert "not a number" in refusal(tiny(), *rows, wild, folder=tmp_path)
    assert not {path.name for path in tmp_path.iterdir()} - {"mine.txt", "README.md"}
    assert train_sft(tiny(), *rows, one.with_values({"method": method}), folder=tmp_path).rows == 32


def test_a_divergence_ends_the_training_at_once(rows, tiny, one, tmp_path, monkeypatch):
    ends = []
    real = Clock.on_step_end
    monkeypatch.setattr(Clock, "on_step_end", lambda *args, **kwargs: ends.append(1) or real(*args, **kwargs))
    wild = one.with_values({"learning_rate": 1e30, "warmup_ratio": 0.0, "epochs": 8})
    with pytest.raises(Diverged):
        train_sft(tiny(), *rows, wild, folder=tmp_path)
    assert len(ends) <= 3  # of 16


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_that_was_trained_already_is_not_trained_further(method, rows, tiny, one, tmp_path):
    """A cell that is executed twice: the second time the base weights are no more what they were."""
    recipe, loaded = one.with_values({"method": method}), tiny()
    done = train_sft(loaded, *rows, recipe, folder=tmp_path)
    line = "this tiny-random-qwen3 was trained already; load it anew with load_model"
    for again in (loaded, done.loaded):
        assert refusal(again, *rows, recipe, folder=tmp_path).startswith(line)
    assert train_sft(tiny(), *rows, recipe, folder=tmp_path).curve.equals(done.curve)


def test_what_the_machine_cannot_do_is_refused_before_the_folder_is_claimed(rows, tiny, one, tmp_path, monkeypatch):
    folder = tmp_path / "new"
    assert "needs a CUDA device" in refusal(tiny(), *rows, one.with_values({"optimizer": "adamw_8bit"}), folder=folder)
    assert "load_model(" in refusal(tiny(), *rows, one.with_values({"method": "qlora"}), folder=folder)
    half = tiny()
    half.model.to(torch.bfloat16)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (7, 5))
    assert "no bfloat16; take the profile t4" in refusal(half, *rows, one, folder=folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("dtype", "capability", "chosen"),
    [
        (torch.float32, None, set()),
        (torch.bfloat16, None, {"bf16"}),
        (torch.float32, (9, 0), set()),
        (torch.float16, (7, 5), {"fp16"}),
        (torch.float16, (9, 0), {"fp16"}),
        (torch.bfloat16, (8, 0), {"tf32", "bf16"}),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else str(value),
)
def test_precision_follows_the_weights_and_the_hardware(dtype, capability, chosen, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: capability is not None)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
    assert {name for name, on in precision_arguments(dtype).items() if on} == chosen


def test_float16_on_a_cpu_is_refused_in_one_line(rows, tiny, one, tmp_path):
    half = tiny()
    half.model.to(torch.float16)
    line = "a CPU trains in float32 or bfloat16; load the model with one of these"
    assert refusal(half, *rows, one, folder=tmp_path / "none") == line
    assert not (tmp_path / "none").exists()


def test_a_loss_that_is_no_number_for_one_evaluation_is_seen(rows, tiny, one, tmp_path, monkeypatch):
    real = sft.CompletionTrainer.evaluate

    def evaluate(self, *args, **kwargs):
        self._loss = lambda *_: Loss(torch.tensor(float("nan")), torch.tensor(1))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(sft.CompletionTrainer, "evaluate", evaluate)
    assert "not a number" in refusal(tiny(), *rows, one, folder=tmp_path)


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(UserError, match="^an effective batch of 6 cannot be made of device batches of 4; give a mult"):
        Recipe(effective_batch_size=6, per_device_train_batch_size=4)


def test_a_place_that_cannot_be_written_is_refused_in_one_line(rows, tiny, one, tmp_path):
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refusal(tiny(), *rows, one, folder=tmp_path / "file")
    assert (tmp_path / "file").read_text() == ""


def test_a_checkpoint_cut_short_is_taken_off_and_the_newest_whole_one_taken(tmp_path):
    whole = '{"global_step": 1, "log_history": []}'
    for step, text in ((4, whole), (10, whole), (9, whole), (12, '{"log_his'), (20, None), (30, "{}"), (40, "[]")):
        (tmp_path / f"checkpoint-{step}").mkdir()
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "pytorch_model.bin"):
            torch.save({}, tmp_path / f"checkpoint-{step}" / name)
        if text is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(text)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-4", "checkpoint-9"]
    assert last_checkpoint(tmp_path / "checkpoint-4") is None
