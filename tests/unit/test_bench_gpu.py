"""What the GPU bench measures: sizes, rows, both recipes' steps, the loss of both paths, answers of known length."""

import math
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM

from bench import gpu_checks, gpu_generation, gpu_methods, gpu_model, gpu_training, published_generation
from bench.gpu_model import FULL, SMALL, Setting
from bench.training_flops import Products, products
from common.generation import complete
from common.training.rows import IGNORED

pytestmark = pytest.mark.usefixtures("one_thread")
NARROW = Setting(SMALL, 1.0)


def row(length):
    """Three tokens are taught."""
    ids = list(range(10, 10 + length))
    return {"input_ids": ids, "labels": [IGNORED] * (length - 3) + ids[-3:]}


ROWS = [row(length) for length in (12, 5, 9, 7, 6, 11, 8, 10)]


# Sizes


def test_the_architecture_is_qwen3_06bs():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(gpu_model.config(FULL.architecture))
    # Per layer: q and o 1024 × 2048, k and v 1024 × 1024, MLP 3 × 1024 × 3072, norms 2 × 1024 + 2 × 128.
    layer = 2 * 1024 * 2048 + 2 * 1024 * 1024 + 3 * 1024 * 3072 + 2 * 1024 + 2 * 128
    assert sum(p.numel() for p in model.parameters()) == 28 * layer + 151_936 * 1024 + 1024 == 596_049_920
    counted = products(model, frozen=True)
    weights = 28 * (layer - 2 * 1024 - 2 * 128)
    assert sum(a * b for a, b in counted.layers) == weights == 440_401_920
    assert counted.useful_flops(tokens=195, labelled=45) == 4 * weights * 195 + 4 * 151_936 * 1024 * 45


def test_useful_operations_of_prompt_tuning_train_no_weight():
    one = ((4, 8),)
    assert Products(one, (4, 100), frozen=True).useful_flops(tokens=10, labelled=2) == 4 * 32 * 10 + 4 * 400 * 2
    assert Products(one, (4, 100)).useful_flops(tokens=10, labelled=2) == 6 * 32 * 10 + 6 * 400 * 2


def test_rows_have_the_published_mean_length():
    lengths = gpu_model.row_lengths(20_000, seed=1)
    answers = gpu_model.answer_lengths(20_000, seed=1)
    for found, mean, deviation in ((lengths, 195, 75), (answers, 45, 25)):
        average = sum(found) / len(found)
        assert average == pytest.approx(mean, rel=0.02)
        assert math.sqrt(sum((n - average) ** 2 for n in found) / len(found)) == pytest.approx(deviation, rel=0.05)
    assert min(lengths) == 60 and max(lengths) <= 1024 and min(answers) >= 5 and max(answers) <= 512
    assert lengths == gpu_model.row_lengths(20_000, seed=1) != gpu_model.row_lengths(20_000, seed=2)


def test_rows_are_prompt_and_answer_within_the_vocabulary():
    rows = gpu_model.make_rows(300, 1024, seed=3, longest_first=True)
    assert [len(row["input_ids"]) for row in rows] == [1024, *gpu_model.row_lengths(300, 3)[1:]]
    for row, answer in zip(rows, gpu_model.answer_lengths(300, 3), strict=True):
        ids, labels = row["input_ids"], row["labels"]
        taught = min(answer, len(ids) - 10)
        assert labels == [IGNORED] * (len(ids) - taught) + ids[-taught:]
        assert min(ids) >= 8 and max(ids) < 1024
    every = sorted(token for row in rows for token in row["input_ids"])
    assert every[len(every) // 2] < 100  # low ids are the commoner ones


# Both recipes' steps


def test_both_recipes_take_each_step_on_the_same_rows():
    plan = gpu_training.plan_of(ROWS, 4, 2)
    mine, theirs = gpu_training.our_steps(ROWS, plan, 0), gpu_training.published_steps(ROWS, plan, 0)

    def read(steps, at):
        return sorted(row[row > 0].tolist() for batch in steps.batches[at] for row in batch["input_ids"])

    for at in range(2):
        wanted = sorted(ROWS[i]["input_ids"] for batch in plan[at] for i in batch)
        assert read(mine, at) == read(theirs, at) == wanted
    assert mine.weights == [12, 12] and theirs.weights == [2, 2]
    assert [len(batch["input_ids"]) for step in theirs.batches for batch in step] == [2] * 4
    taught = [int((batch["labels"] != IGNORED).sum()) for batch in theirs.batches[0]]
    assert sum(taught) == sum(len(ROWS[i]["input_ids"]) for batch in plan[0] for i in batch)  # the prompt too
    widest = max(batch["input_ids"].numel() for step in mine.batches for batch in step)
    assert max(batch["input_ids"].numel() for batch in mine.largest().batches[0]) == widest
    # The same rows whatever the micro-batch.
    other = gpu_training.plan_of(ROWS, 4, 4)
    assert [sorted(sum(step, [])) for step in plan] == [sorted(sum(step, [])) for step in other]


def test_a_step_is_the_published_recipes_and_the_other_ours():
    told = gpu_training.recipe("lora", 4)
    rows, head, computed = NARROW.rows(4), [], []
    for make, steps_of in (
        (gpu_training.published, gpu_training.published_steps),
        (gpu_training.ours, gpu_training.our_steps),
    ):
        loaded = NARROW.load()
        training = make(loaded, told, None)
        loaded.model.get_output_embeddings().register_forward_hook(
            lambda m, a, out: head.append(out.shape[:-1].numel())
        )
        loaded.model.model.layers[0].self_attn.register_forward_hook(lambda m, a, out: computed.append(1))
        steps = steps_of(rows, gpu_training.plan_of(rows, 4, 4), 0)
        before = [p.detach().clone() for p in training.trained]
        training.step(steps.batches[0], steps.weights[0])
        assert any((a != b).any() for a, b in zip(before, training.trained, strict=True))
        positions = sum(batch["input_ids"].numel() for batch in steps.batches[0])
        taught = sum(label != IGNORED for row in rows for label in row["labels"])
        published = make is gpu_training.published
        assert sum(head) == (positions if published else taught)
        assert len(computed) == (2 if published else 1) * len(steps.batches[0])  # checkpointing computes it again
        head.clear(), computed.clear()


def test_ours_and_a_plain_loop_have_one_loss_curve():
    found = gpu_checks.loss(replace(NARROW, sizes=replace(SMALL, loss_steps=40)))
    assert 0 < found["values"]["loss"][0] < 0.01  # per cent, in float32; the target is 1
    assert "40 steps" in found["notes"][0]


def test_the_loss_curves_part_where_the_paths_do(monkeypatch):
    monkeypatch.setattr(gpu_training, "completion_loss", lambda *a: replace(loss := REAL(*a), total=1.05 * loss.total))
    assert gpu_checks.loss(NARROW)["values"]["loss"][0] > 4


REAL = gpu_training.completion_loss


def test_the_fastest_micro_batch_that_fits_is_taken(monkeypatch):
    monkeypatch.setattr(gpu_training, "free", lambda: None)
    seconds = {4: 3.0, 2: 1.0, 1: 2.0}

    class Fake:
        forgotten = 0

        def forget(self):
            self.forgotten += 1

    def took(training, steps):
        rows = len(steps.batches[0][0]["input_ids"])
        micro = next(m for m in (8, 4, 2, 1) if 8 // m == len(steps.batches[0]))
        if micro == 8:
            raise torch.OutOfMemoryError(f"{rows} rows")
        return seconds[micro]

    monkeypatch.setattr(gpu_training, "seconds_of", took)
    training = Fake()
    assert gpu_training.fastest_micro(training, ROWS, 8, 0, 60) == (2, "8 (too large), 4, 2, 1")
    assert training.forgotten == 1
    monkeypatch.setattr(gpu_training, "seconds_of", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(torch.OutOfMemoryError, match="row by row"):
        gpu_training.fastest_micro(training, ROWS, 8, 0, 60)


def test_rates_are_rows_tokens_and_operations_over_seconds(monkeypatch):
    """Both recipes' passes take 2 and 4 s, the card does 1 GFLOP/s."""
    monkeypatch.setattr(gpu_methods, "passes", lambda *a: ([2.0, 4.0], 3_000_000_000))
    monkeypatch.setattr(gpu_methods, "rates", lambda *a, **k: {"large": 1e9})
    monkeypatch.setattr(gpu_methods, "fastest_micro", lambda *a: (2, "4, 2"))
    monkeypatch.setattr(gpu_methods, "seconds_of", lambda *a: 0.01)
    found = gpu_methods.on_random_weights(Setting(SMALL, 60.0), "prompt")["values"]
    rows = NARROW.rows(8)
    tokens = sum(len(row["input_ids"]) for row in rows)
    taught = sum(label != IGNORED for row in rows for label in row["labels"])
    weights = 4 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)
    operations = 4 * weights * (tokens + 8 * 20) + 4 * 64 * 1024 * taught
    for suffix in ("", "-published"):
        assert found[f"prompt-rows{suffix}"] == [4, 2]
        assert found[f"prompt-tokens{suffix}"] == [tokens / 2, tokens / 4]
        assert found[f"prompt-utilisation{suffix}"] == pytest.approx([operations / 2e7, operations / 4e7])
        assert found[f"prompt-memory{suffix}"] == [3]


# Answers end where they should


def test_a_prompt_says_how_long_its_answer_gets_in_both_ways():
    loaded = NARROW.load()
    gpu_generation.count_down(loaded.model, loaded.tokenizer.eos_token_id)
    prompts, answers = gpu_generation.make_prompts(12, 1024, seed=5)
    ours = complete(loaded, prompts, max_new_tokens=512, batch_size=5)
    theirs = published_generation.complete(loaded, prompts, max_new_tokens=512)
    assert [one.new_tokens for one in ours] == answers == [one.new_tokens for one in theirs]
    assert len(set(answers)) > 8
    longest = [[20, 21, gpu_generation.LOWEST + 511]]
    assert complete(loaded, longest, max_new_tokens=600)[0].new_tokens == 512


def test_answers_that_end_elsewhere_are_refused(monkeypatch):
    monkeypatch.setattr(gpu_generation, "LONGEST_ANSWER", 6)
    loaded = NARROW.load()
    prompts, answers = gpu_generation.make_prompts(4, 1024, seed=5)
    with pytest.raises(RuntimeError, match="ended where they should"):
        gpu_generation.measure(loaded, prompts, prefix="generation", batch_size=4, seconds=1, lengths=answers)


def test_variants_that_fail_are_told_and_end_nothing(monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **told: None)
    found = gpu_checks.variants(NARROW)
    assert set(found["values"]) == {"variants-compile-rows", "variants-compile-memory"}
    assert "liger could not be measured (ModuleNotFoundError" in found["notes"][0]


def test_a_t4s_memory_without_bitsandbytes_and_with_a_method_that_does_not_fit(monkeypatch):
    monkeypatch.setattr(gpu_checks, "find_spec", lambda name: None)
    monkeypatch.setattr(gpu_checks, "fits", lambda train: train.__defaults__[0].method != "lora")
    monkeypatch.setattr(gpu_checks, "peak_bytes", lambda: 11_500_000_000)
    found = gpu_checks.t4(NARROW)
    assert found["values"] == {"t4-full-memory": [11.5]}
    assert found["notes"][1:] == ["t4: LoRA did not fit.", "t4: QLoRA takes bitsandbytes, not installed."]
