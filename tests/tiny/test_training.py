"""LoRA training on the tiny model: what moves, what does not, and that stopping changes nothing."""

import math
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from common import training
from common.data import load_examples
from common.models import load_model
from common.profiles import TINY_MODEL
from common.prompts import prompt_ids, render
from common.settings import UserError
from common.training import Recipe, completion_losses, row_order, tokenise, train_sft

RECIPE = Recipe(
    learning_rate=5e-3,
    epochs=2,
    effective_batch_size=8,
    per_device_train_batch_size=4,
    lora_rank=4,
    lora_alpha=8,
    lora_dropout=0.1,  # so that the state of the random numbers matters for going on
    save_every=2,
)


@pytest.fixture(scope="module")
def rows():
    return load_examples("embedded", "train", limit=32), load_examples("embedded", "validation", limit=8)


@pytest.fixture(scope="module")
def whole(rows, tmp_path_factory):
    """One training without a stop."""
    folder = tmp_path_factory.mktemp("whole")
    return train_sft(load_model(TINY_MODEL), *rows, RECIPE, folder=folder)


def test_labels_cover_the_completion_only(rows):
    loaded = load_model(TINY_MODEL)
    row = tokenise(rows[0][:1], loaded, max_length=1024)[0]
    prompt = prompt_ids(rows[0][0], loaded.tokenizer)
    taught = [token for token in row["labels"] if token != -100]
    assert row["input_ids"][: len(prompt)] == prompt
    assert row["labels"][: len(prompt)] == [-100] * len(prompt)
    assert taught == row["input_ids"][len(prompt) :]
    assert loaded.tokenizer.decode(taught[:-1]) == rows[0][0].sql
    assert taught[-1] == loaded.tokenizer.eos_token_id
    assert render(rows[0][0], loaded.tokenizer).endswith("<think>\n\n</think>\n\n")


def test_rows_too_long_are_left_out_whole(rows):
    loaded = load_model(TINY_MODEL)
    lengths = sorted(len(row["input_ids"]) for row in tokenise(rows[0], loaded, max_length=4096))
    kept = tokenise(rows[0], loaded, max_length=lengths[10])
    assert sorted(len(row["input_ids"]) for row in kept) == [n for n in lengths if n <= lengths[10]]


def test_row_order_holds_each_row_once_an_epoch_and_wastes_little_padding():
    lengths = [(37 * i) % 101 + 20 for i in range(203)]
    order = row_order(lengths, batch_size=4, epochs=3, seed=1)
    for epoch in range(3):
        assert sorted(order[epoch * 203 : (epoch + 1) * 203]) == list(range(203))
    assert order[:203] != order[203:406]
    assert order == row_order(lengths, batch_size=4, epochs=3, seed=1)
    assert order != row_order(lengths, batch_size=4, epochs=3, seed=2)
    first = order[:203]
    batches = [[lengths[i] for i in first[at : at + 4]] for at in range(0, 203, 4)]
    padded = sum(len(batch) * max(batch) for batch in batches)
    assert padded < 1.10 * sum(lengths)  # in random order it is above 1.3
    widest = [max(batch) for batch in batches]
    assert widest != sorted(widest)


def test_training_moves_the_adapter_and_nothing_else(rows, whole):
    base = load_model(TINY_MODEL).model.state_dict()
    adapter = load_file(whole.adapter / "adapter_model.safetensors")
    up = [tensor for name, tensor in adapter.items() if "lora_B" in name]
    assert len(up) == 2 * 7  # two layers of seven linear maps
    assert all(tensor.abs().max() > 1e-4 for tensor in up)  # they start at zero
    merged = whole.loaded.model.state_dict()
    moved = {name for name in base if not torch.equal(base[name], merged[name])}
    assert len(moved) == 14
    assert all("proj.weight" in name for name in moved)
    expected = sum(RECIPE.lora_rank * sum(base[name].shape) for name in moved)
    assert whole.trainable_parameters == expected
    assert whole.total_parameters == expected + sum(p.numel() for p in load_model(TINY_MODEL).model.parameters())


def test_the_loss_falls_and_is_recorded(rows, whole):
    losses = whole.curve["loss"].dropna()
    assert len(losses) == 8  # 32 rows, 2 epochs, 8 rows a step
    assert all(math.isfinite(loss) for loss in losses)
    assert losses.iloc[-1] < losses.iloc[0] - 0.1
    assert len(whole.curve["eval_loss"].dropna()) == 2
    assert (whole.rows, whole.train_rows, whole.valid_rows, whole.dropped_rows) == (64, 32, 8, 0)
    assert whole.tokens == 2 * sum(len(r["input_ids"]) for r in tokenise(rows[0], whole.loaded, max_length=4096))


def test_the_recorded_validation_loss_is_the_mean_over_completion_tokens(rows, whole):
    """Worked out here from logits, on the merged model, row by row."""
    total = count = 0
    for row in tokenise(rows[1], whole.loaded, max_length=1024):
        with torch.inference_mode():
            logits = whole.loaded.model(torch.tensor([row["input_ids"]])).logits[0, :-1]
        targets = torch.tensor(row["labels"][1:])
        losses = torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="none")
        total, count = total + losses.sum().item(), count + (targets != -100).sum().item()
    assert whole.curve["eval_loss"].dropna().iloc[-1] == pytest.approx(total / count, abs=0.02)


def test_the_loss_is_trls_own(rows, tmp_path, monkeypatch):
    """Every loss of a training, beside what TRL computes over all positions of the same batch."""
    pairs = []
    ours = training._CompletionTrainer.compute_loss

    def both(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = ours(self, model, dict(inputs), return_outputs, num_items_in_batch)
        with torch.no_grad():
            theirs = training.SFTTrainer.compute_loss(self, model, dict(inputs), num_items_in_batch=num_items_in_batch)
        pairs.append((loss.item(), theirs.item()))
        return loss

    monkeypatch.setattr(training._CompletionTrainer, "compute_loss", both)
    train_sft(load_model(TINY_MODEL), *rows, replace(RECIPE, lora_dropout=0.0), folder=tmp_path)
    assert len(pairs) == 16 + 2  # 64 rows by four, and the validation rows in one batch after each epoch
    assert all(one == pytest.approx(other, abs=1e-5) for one, other in pairs)


@pytest.mark.parametrize("stop_after", [3, 5])
def test_stopped_and_gone_on_equals_not_stopped(rows, whole, tmp_path, monkeypatch, stop_after):
    class Stop(training._Clock):
        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control, **kwargs)
            if state.global_step == stop_after:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_Clock", Stop)
        with pytest.raises(KeyboardInterrupt):
            train_sft(load_model(TINY_MODEL), *rows, RECIPE, folder=tmp_path)
    assert not (tmp_path / "trained.json").exists()
    kept = max(tmp_path.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    broken = tmp_path / "checkpoint-99"  # as a kill in the middle of saving leaves it
    shutil.copytree(kept, broken)
    (broken / "trainer_state.json").write_text('{"log_hist')

    resumed_from = []
    load = training.SFTTrainer._load_from_checkpoint
    monkeypatch.setattr(
        training.SFTTrainer,
        "_load_from_checkpoint",
        lambda self, checkpoint, *args, **kw: (resumed_from.append(checkpoint), load(self, checkpoint, *args, **kw))[1],
    )
    again = train_sft(load_model(TINY_MODEL), *rows, RECIPE, folder=tmp_path)
    assert resumed_from == [str(kept)]
    one, other = (load_file(run.adapter / "adapter_model.safetensors") for run in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert again.curve.equals(whole.curve)


def test_a_finished_training_is_not_repeated(rows, whole, monkeypatch):
    monkeypatch.setattr(training, "_train", lambda *_: pytest.fail("trained again"))
    again = train_sft(load_model(TINY_MODEL), *rows, RECIPE, folder=whole.adapter.parent)
    one, other = whole.loaded.model.state_dict(), again.loaded.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_completion_losses_rank_a_learned_answer_first(rows, whole):
    table = completion_losses(whole.loaded, rows[0][0], [rows[0][0].sql, "zebra zebra"])
    assert table["loss"][0] < table["loss"][1]


def test_mistakes_end_in_one_line(rows, tmp_path):
    with pytest.raises(UserError, match="also in the training rows"):
        train_sft(load_model(TINY_MODEL), rows[0], rows[0][3:5], RECIPE, folder=tmp_path)
    with pytest.raises(UserError, match="give a multiple"):
        Recipe(effective_batch_size=6, per_device_train_batch_size=4)
    with pytest.raises(UserError, match="learning rate"):
        Recipe(learning_rate=0.0)
    short = Recipe(max_length=10, effective_batch_size=4, per_device_train_batch_size=4)
    with pytest.raises(UserError, match="max_length"):
        train_sft(load_model(TINY_MODEL), *rows, short, folder=tmp_path)


def test_a_loss_that_is_no_number_ends_in_one_line(rows, tmp_path):
    wild = Recipe(learning_rate=1e30, effective_batch_size=4, per_device_train_batch_size=4, lora_rank=4, lora_alpha=8)
    with pytest.raises(UserError, match="lower the learning rate"):
        train_sft(load_model(TINY_MODEL), *rows, wild, folder=tmp_path)
    assert not (tmp_path / "trained.json").exists()
