"""Every method on the tiny model: what moves and what does not, and losses and gradients worked out by hand."""

import math
from dataclasses import replace

import pandas
import pytest
import torch
from trl import SFTTrainer

from common.models import parameter_counts
from common.prompts import prompt_ids, render
from common.training import session
from common.training.adapters import adapt
from common.training.plan import step_plan
from common.training.recipe import METHODS, Recipe
from common.training.rows import completion_losses, tokenise
from common.training.sft import CompletionTrainer, train_sft
from common.training.trainer import Clock

# Embedding (also the output), two layers of attention, MLP and four norms, and the last norm.
TINY_SIZE = 1024 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64 + 2 * 16) + 64
# Rank 4 beside q, k, v, o, gate, up and down of two layers.
LORA_SIZE = 2 * 4 * ((64 + 64) + (64 + 32) + (64 + 32) + (64 + 64) + (64 + 128) + (64 + 128) + (128 + 64))
PROMPT_SIZE = 5 * 64
ADDED = {"full": 0, "lora": LORA_SIZE, "qlora": LORA_SIZE, "prompt-random": PROMPT_SIZE, "prompt-text": PROMPT_SIZE}


def prefix_of(weights, saved):
    """The virtual tokens of a folder, None where there are none."""
    return saved(weights).get("prompt_embeddings")


def plan_of(recipe, rows):
    return step_plan(
        [len(row["input_ids"]) for row in rows],
        epochs=recipe.epochs,
        effective_batch_size=recipe.effective_batch_size,
        per_device_train_batch_size=recipe.per_device_train_batch_size,
        seed=recipe.seed,
    )


@pytest.fixture
def unmerged(monkeypatch):
    """Trainings hand back the model as the trainer left it."""
    monkeypatch.setattr(session, "for_evaluation", lambda model, recipe, dtype: (model, False))


# Rows


def test_labels_cover_the_completion_only(rows, tiny):
    loaded = tiny()
    for example in rows[0][:4]:
        (row,) = tokenise([example], loaded, max_length=1024)
        prompt = prompt_ids(example, loaded.tokenizer)
        assert render(example, loaded.tokenizer).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
        assert row["input_ids"][: len(prompt)] == prompt
        assert row["labels"][: len(prompt)] == [-100] * len(prompt)
        taught = row["labels"][len(prompt) :]
        assert taught == row["input_ids"][len(prompt) :]
        assert loaded.tokenizer.decode(taught[:-1]) == example.sql
        assert taught[-1] == loaded.tokenizer.eos_token_id


def test_rows_too_long_are_left_out_whole(rows, tiny, tokens, short, tmp_path):
    lengths = [len(row["input_ids"]) for row in tokens(rows[0])]
    limit = sorted(lengths)[10]
    kept = tokenise(rows[0], tiny(), max_length=limit)
    assert [len(row["input_ids"]) for row in kept] == [n for n in lengths if n <= limit]
    one = short.with_values({"max_length": limit, "epochs": 1, "evaluations": 1})
    run = train_sft(tiny(), *rows, one, folder=tmp_path)
    assert (run.train_rows, run.dropped_rows, run.rows) == (len(kept), 32 - len(kept), len(kept))
    assert run.valid_rows == sum(len(row["input_ids"]) <= limit for row in tokens(rows[1])) < 8


# What moves


@pytest.mark.parametrize("method", METHODS)
def test_what_is_trained_moves_and_nothing_else_does(method, rows, tiny, short, tmp_path, unmerged):
    recipe = short.with_values({"method": method})
    torch.manual_seed(recipe.seed)
    before = adapt(tiny(recipe), recipe)
    start = {name: p.detach().clone() for name, p in before.named_parameters()}
    run = train_sft(tiny(recipe), *rows, recipe, folder=tmp_path)
    now = dict(run.loaded.model.named_parameters())
    assert now.keys() == start.keys()
    trained = {name for name, p in before.named_parameters() if p.requires_grad}
    for name, parameter in now.items():
        moved = (parameter.detach().float() - start[name].float()).abs().max().item()
        assert moved > 1e-3 if name in trained else torch.equal(parameter, start[name]), name
    if method == "full":
        assert trained == now.keys()
    elif "lora" in method:
        assert len(trained) == 2 * 2 * 7 and all(".lora_A." in name or ".lora_B." in name for name in trained)
    else:
        assert trained == {"prompt_encoder.default.embedding.weight"}
    assert all(now[name].dtype == torch.float32 for name in trained)


@pytest.mark.parametrize("method", METHODS)
def test_trainable_parameters_are_counted(method, trained):
    run = trained(method)
    assert run.trainable_parameters == (ADDED[method] or TINY_SIZE)
    assert run.total_parameters == TINY_SIZE + ADDED[method]


@pytest.mark.parametrize("method", METHODS)
def test_what_was_saved_is_what_is_handed_over(method, trained, saved):
    run, files = trained(method), saved(trained(method).weights)
    assert all(tensor.dtype == torch.float32 for tensor in files.values())
    now = run.loaded.model.state_dict()
    if method == "full":
        assert all(torch.equal(tensor, now[name]) for name, tensor in files.items())
        assert sum(tensor.numel() for tensor in files.values()) == TINY_SIZE
    elif method == "qlora":
        assert len(files) == 28
        assert all(torch.equal(t, now[n.replace(".weight", ".default.weight")]) for n, t in files.items())
    elif method == "lora":
        assert len(files) == 28 and not any("lora" in name for name in now)
    else:
        assert torch.equal(files["prompt_embeddings"], run.loaded.model.prompt_encoder["default"].embedding.weight)
    assert not run.loaded.model.training


# Losses


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_falls_and_is_recorded(method, rows, tiny, short, trained, tokens, loss_by_hand):
    run = trained(method)
    losses, seen = run.curve["loss"].dropna(), run.curve["eval_loss"].dropna()
    assert list(run.curve["step"]) == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]  # 32 rows twice, 8 a step
    assert len(losses) == 8 and len(seen) == 2
    assert all(math.isfinite(loss) for loss in (*losses, *seen))
    untrained = loss_by_hand(tiny().model, tokens(rows[1]))
    assert untrained - run.eval_loss > {"full": 0.7, "lora": 0.1, "qlora": 0.1}.get(method, 0.01)
    assert (run.step, run.eval_loss, run.eval_score) == (8, seen.iloc[-1], None)
    assert (run.rows, run.train_rows, run.valid_rows, run.dropped_rows) == (64, 32, 8, 0)
    assert run.tokens == 2 * sum(len(row["input_ids"]) for row in tokens(rows[0]))
    assert run.seconds > 0 and run.evaluation_seconds > 0
    assert run.peak_memory_bytes > 100 * 2**20


@pytest.mark.parametrize("method", METHODS)
def test_the_validation_loss_is_the_one_worked_out_row_by_row(method, rows, tiny, trained, tokens, saved, loss_by_hand):
    run = trained(method)
    prefix = prefix_of(run.weights, saved)
    model = tiny().model if method.startswith("prompt") else run.loaded.model
    close = 1e-3 if method == "qlora" else 1e-5  # bitsandbytes evaluates 4-bit weights in bfloat16 where a CPU has it
    assert run.eval_loss == pytest.approx(loss_by_hand(model, tokens(rows[1]), prefix), abs=close)


@pytest.mark.parametrize("method", METHODS)
def test_the_first_step_has_the_loss_and_the_gradients_of_its_rows(
    method, rows, tiny, short, tokens, tmp_path, monkeypatch, loss_by_hand
):
    """One mean over the taught tokens of the 8 rows, however they were spread over micro-batches."""
    found = {}

    def look(self, args, state, control, model=None, **kwargs):
        if not state.global_step:
            found.update({name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad})

    monkeypatch.setattr(Clock, "on_pre_optimizer_step", look, raising=False)
    recipe = short.with_values({"method": method, "max_grad_norm": 1e9, "epochs": 1, "evaluations": 1})
    run = train_sft(tiny(recipe), *rows, recipe, folder=tmp_path)

    torch.manual_seed(recipe.seed)
    model, taught = adapt(tiny(recipe), recipe), tokens(rows[0])
    first = [taught[i] for batch in plan_of(recipe, taught)[0] for i in batch]
    total = count = 0
    for row in first:
        labels = torch.tensor(row["labels"])[1:]
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0, -len(row["labels"]) : -1]
        total = total + torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        count += (labels != -100).sum().item()
    (total / count).backward()
    assert run.curve["loss"][0] == pytest.approx((total / count).item(), abs=1e-5)
    if method in ("full", "lora"):  # an adapter starts as no change
        assert run.curve["loss"][0] == pytest.approx(loss_by_hand(tiny().model, first), abs=1e-5)
    expected = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert found.keys() == expected.keys()
    close = 2e-2 if method == "qlora" else 1e-4  # there the products with 4-bit weights differ by the batch
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= close * gradient.norm() + 1e-9, name
    assert sum(gradient.norm() for gradient in expected.values()) > 1e-3


def test_the_loss_is_trls_own(rows, tiny, short, tmp_path, monkeypatch):
    """Every loss of a training, beside what TRL computes over all positions of the same batch."""
    pairs = []
    ours = CompletionTrainer.compute_loss

    def both(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss = ours(self, model, dict(inputs), return_outputs, num_items_in_batch)
        with torch.no_grad():
            labels = torch.full_like(inputs["input_ids"], -100)
            labels.view(-1)[inputs["predictors"] + 1] = inputs["targets"]
            mask = torch.ones_like(labels)  # its loss does not read it here: padding is on the right
            plain = {"input_ids": inputs["input_ids"], "labels": labels, "attention_mask": mask}
            theirs = SFTTrainer.compute_loss(self, model, plain, num_items_in_batch=num_items_in_batch)
        pairs.append((loss.item(), theirs.item()))
        return loss

    monkeypatch.setattr(CompletionTrainer, "compute_loss", both)
    train_sft(tiny(), *rows, short.with_values({"shared_prefixes": False}), folder=tmp_path)
    assert len(pairs) == 16  # 64 rows in micro-batches of four on average
    assert all(one == pytest.approx(other, abs=1e-5) for one, other in pairs)
    assert len({round(one, 3) for one, _ in pairs}) > 8


@pytest.mark.parametrize(
    "values",
    [
        *({"shared_prefixes": False, "per_device_train_batch_size": rows} for rows in (1, 4, 8)),
        *({"micro_batch_tokens": tokens} for tokens in (64, 4096)),
        {"micro_batch_tokens": 4096, "gradient_checkpointing": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_how_rows_are_batched_changes_no_loss(method, values, rows, tiny, short, trained, saved, tmp_path, monkeypatch):
    forms, micro = set(), CompletionTrainer.training_step

    def look(self, model, inputs, *args, **kwargs):
        forms.add("ends" in inputs)
        return micro(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(CompletionTrainer, "training_step", look)
    run = train_sft(tiny(), *rows, short.with_values({"method": method, **values}), folder=tmp_path)
    assert forms == {values.get("shared_prefixes", True)}
    pandas.testing.assert_frame_equal(run.curve, trained(method).curve, rtol=0, atol=2e-5)
    one, other = saved(run.weights), saved(trained(method).weights)
    assert all(torch.allclose(one[name], other[name], rtol=0, atol=1e-3) for name in one)


def test_evaluations_change_nothing_in_the_training(rows, tiny, short, trained, saved, tmp_path, monkeypatch):
    modes = []
    monkeypatch.setattr(
        Clock, "on_pre_optimizer_step", lambda self, *_, model=None, **kw: modes.append(model.training), raising=False
    )
    many = train_sft(tiny(), *rows, short.with_values({"evaluations": 8}), folder=tmp_path)
    assert modes == [True] * 8
    one, other = saved(trained("lora").weights), saved(many.weights)
    assert all(torch.equal(one[name], other[name]) for name in one) and many.step == 8
    assert list(many.curve["eval_loss"].dropna())[3::4] == list(trained("lora").curve["eval_loss"].dropna())


def test_dropout_is_on_in_training_and_off_in_evaluation(rows, tiny, short, trained, tokens, loss_by_hand, tmp_path):
    run = train_sft(tiny(), *rows, short.with_values({"lora_dropout": 0.5}), folder=tmp_path)
    assert not run.curve["loss"].dropna().equals(trained("lora").curve["loss"].dropna())
    assert run.eval_loss == pytest.approx(loss_by_hand(run.loaded.model, tokens(rows[1])), abs=1e-5)


def test_the_seed_decides_the_training(rows, tiny, short, trained, saved, tmp_path):
    again = train_sft(tiny(), *rows, short, folder=tmp_path / "again")
    other = train_sft(tiny(), *rows, short.with_values({"seed": 7}), folder=tmp_path / "other")
    first, second, third = (saved(run.weights) for run in (trained("lora"), again, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], third[name]) for name in first)


def test_a_finished_training_is_not_repeated(tiny, rows, short, trained, monkeypatch):
    monkeypatch.setattr(session.Session, "_train", lambda *_: pytest.fail("trained again"))
    for method in METHODS:
        run = trained(method)
        recipe = short.with_values({"method": method})
        again = train_sft(tiny(recipe), *rows, recipe, folder=run.weights.parent)
        one, other = run.loaded.model.state_dict(), again.loaded.model.state_dict()
        names = [name for name in one if method != "qlora" or "lora" in name]  # its base: test_training_adapters
        assert names and all(torch.equal(one[name], other[name]) for name in names), method
        pandas.testing.assert_frame_equal(again.curve, run.curve, check_exact=True)
        assert replace(again, loaded=run.loaded, curve=run.curve) == run
        assert parameter_counts(again.loaded.model)[1] == parameter_counts(run.loaded.model)[1]


def test_completion_losses_rank_a_learned_answer_first(rows, trained, tokens, loss_by_hand):
    run = trained("full")
    table = completion_losses(run.loaded, rows[0][0], [rows[0][0].sql, "zebra zebra"])
    assert list(table["completion"]) == [rows[0][0].sql, "zebra zebra"]
    assert table["loss"][0] == pytest.approx(loss_by_hand(run.loaded.model, tokens(rows[0][:1])), abs=6e-4)
    assert table["loss"][0] < table["loss"][1] - 1


def test_all_weights_are_trained_in_float32_whatever_they_were_loaded_in(tiny):
    loaded = tiny()
    loaded.model.to(torch.bfloat16)
    model = adapt(loaded, Recipe(method="full"))
    assert {(parameter.dtype, parameter.requires_grad) for parameter in model.parameters()} == {(torch.float32, True)}
