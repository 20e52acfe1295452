"""The estimate of memory by hand: a toy decoder, the T4's budget, the warning's words, the command's table."""

from dataclasses import replace

import pytest

from common.profiles import PROFILES
from common.settings import UserError
from common.training.architecture import KNOWN, Decoder
from common.training.estimate import estimate, fit, fits, main, warning
from common.training.plan import MicroBatch, largest
from common.training.recipe import METHODS, Recipe

# 2 layers of width 8, 16 in the feed-forward, 4 query and 2 key-value heads of 4, 32 tokens, a tied head.
TOY = Decoder(2, 8, 16, 4, 2, 4, 32, True, True)
# A layer's linear weights: 2 × 8·16 of queries and output, 2 × 8·8 of keys and values, 3 × 8·16.
LINEAR = 2 * (256 + 128 + 384)
WEIGHTS = LINEAR + 32 * 8 + 2 * (2 * 8 + 2 * 4) + 8
UNTIED = WEIGHTS + 32 * 8  # with a head of its own
BATCH = MicroBatch(rows=2, width=10, labelled=6)


def test_weights_gradients_and_states_by_hand():
    full = estimate(TOY, Recipe(method="full"), BATCH, precision="float16", gpu=True)
    assert TOY.weights == WEIGHTS
    assert (full.weights, full.gradients, full.states) == (4 * WEIGHTS, 4 * WEIGHTS, 8 * WEIGHTS)
    assert full.copies == 2 * (LINEAR + 32 * 8)  # the head too
    adapters = 2 * 3 * (2 * (8 + 16) + 2 * (8 + 8) + 3 * (8 + 16))  # 2 layers of rank 3
    lora = estimate(TOY, Recipe(method="lora", lora_rank=3), BATCH, precision="float16", gpu=True)
    assert lora.weights == 2 * WEIGHTS + 4 * adapters and lora.copies == 2 * adapters
    assert (lora.gradients, lora.states) == (4 * adapters, 8 * adapters)
    some = Recipe(method="lora", lora_rank=3, lora_targets=("q_proj", "v_proj"))
    assert estimate(TOY, some, BATCH, precision="float32", gpu=False).gradients == 4 * 2 * 3 * (24 + 16)
    nf4 = estimate(TOY, Recipe(method="qlora", lora_rank=3), BATCH, precision="float16", gpu=True)
    assert nf4.weights == round(LINEAR * (4 + 8 / 64 + 32 / (64 * 256)) / 8 + 2 * (WEIGHTS - LINEAR) + 4 * adapters)
    prompt = estimate(TOY, Recipe(method="prompt-text", virtual_tokens=5), BATCH, precision="float32", gpu=False)
    assert (prompt.weights, prompt.gradients, prompt.copies) == (4 * WEIGHTS + 4 * 40, 4 * 40, 0)


@pytest.mark.parametrize(
    ("values", "gpu", "states", "step"),
    [
        ({"optimizer": "adamw"}, True, 8, 0),
        ({"optimizer": "adamw_8bit"}, True, 2, 0),
        ({"optimizer": "paged_adamw"}, True, 0, 0),
        ({"optimizer": "nadam"}, True, 8, 4 * UNTIED),
        ({"optimizer": "nadam", "weight_decay": 0.1}, True, 8, 4 * UNTIED),  # decoupled: no second gradient
        ({"optimizer": "adamax", "weight_decay": 0.1}, True, 8, 4 * UNTIED),
        ({"optimizer": "nadam"}, False, 8, 4 * 32 * 8),  # one weight after the other, the embedding is the largest
    ],
    ids=str,
)
def test_optimisers_by_hand(values, gpu, states, step):
    recipe = Recipe(method="full", **values)
    found = estimate(replace(TOY, tied=False), recipe, BATCH, precision="float32", gpu=gpu)
    assert (found.states, found.step) == (states * UNTIED, step)
    tied = estimate(TOY, recipe, BATCH, precision="float32", gpu=gpu)
    assert tied.step >= 3 * 4 * 32 * 8  # the head's gradient, the embedding's, and their sum
    assert estimate(TOY, Recipe(method="lora"), BATCH, precision="float32", gpu=gpu).step == 0


def test_logits_by_hand():
    for gpu, precision in ((False, "float32"), (True, "float16")):
        found = estimate(TOY, Recipe(method="lora"), BATCH, precision=precision, gpu=gpu)
        assert found.logits == 3 * 4 * 6 * 32
    head = 4 * 32 * 8  # a trained head's gradient, in float32
    one = MicroBatch(1, 10, labelled=1)
    assert estimate(TOY, Recipe(method="full"), one, precision="float32", gpu=True).logits == 4 * 32 + head


def test_the_total_is_the_larger_of_the_two_moments():
    found = estimate(TOY, Recipe(method="full", optimizer="nadam"), BATCH, precision="float32", gpu=True)
    assert found.step < found.activations
    assert found.total == 16 * WEIGHTS + found.activations + found.copies + max(found.logits, found.backward)
    short = estimate(TOY, Recipe(method="full", optimizer="nadam"), MicroBatch(1, 1, 1), precision="float32", gpu=True)
    assert short.total == 20 * WEIGHTS


def test_the_largest_micro_batch_of_a_plan():
    widths, labelled = [[24], [15], [15], [11]], [4, 5, 3, 9]
    assert largest(widths, labelled, [[[0]], [[1, 2, 3]]]) == MicroBatch(3, 15, 5 + 3 + 9)
    assert largest(widths, labelled, [[[0], [3]]]) == MicroBatch(1, 24, 9)
    # Items of two rows, a pair's.
    assert largest([[24, 20], [15, 16]], [9, 8], [[[0]], [[1]]]) == MicroBatch(2, 24, 9)


QWEN, T4 = KNOWN["Qwen/Qwen3-0.6B"], PROFILES["t4"]
ON_T4 = {"room": 15 * 10**9, "precision": "float16", "gpu": True}
LARGEST = MicroBatch(T4.per_device_train_batch_size, T4.max_length, 512)


@pytest.mark.parametrize(
    ("method", "published", "recomputed"), [("full", 15.8, True), ("lora", 10.4, False), ("qlora", 8.8, False)]
)
def test_each_method_fits_on_a_t4_below_the_published_peak(method, published, recomputed):
    recipe = Recipe(method=method, per_device_train_batch_size=2)
    changed, found = fit(QWEN, recipe, LARGEST, **ON_T4)
    assert fits(found, ON_T4["room"]) and found.total < published * 10**9
    assert changed == recipe.with_values({"gradient_checkpointing": recomputed})
    assert warning(changed, found, ON_T4["room"], gpu=True) == ""


def test_nothing_is_recomputed_where_there_is_room_or_no_gpu():
    recipe = Recipe(method="full")
    assert fit(QWEN, recipe, LARGEST, **ON_T4 | {"room": 80 * 10**9})[0] == recipe
    assert fit(QWEN, recipe, LARGEST, room=10**9, precision="float32", gpu=False)[0] == recipe


def test_a_tenth_of_the_memory_is_held_back():
    found = estimate(QWEN, Recipe(method="lora"), LARGEST, precision="float16", gpu=True)
    assert fits(found, int(found.total / 0.9) + 1) and not fits(found, int(found.total / 0.91))


def test_the_warning_says_the_numbers_and_only_what_can_be_changed():
    recipe = Recipe(method="full", gradient_checkpointing=True)
    found = estimate(QWEN, recipe, LARGEST, precision="float16", gpu=True)
    assert warning(recipe, found, 6 * 10**9, gpu=True) == (
        f"this training needs about {found.total / 1e9:.1f} GB and has 6.0 GB, of which a tenth should stay free; it "
        "may run out of memory. Try a shorter max_length, per_device_train_batch_size below 2, optimizer='adamw_8bit' "
        "or method='lora'"
    )
    least = Recipe(method="qlora", per_device_train_batch_size=1, gradient_checkpointing=True)
    assert warning(least, found, 10**9, gpu=True).endswith("out of memory. Try a shorter max_length")
    plain = Recipe(method="lora", per_device_train_batch_size=1)
    assert warning(plain, found, 10**9, gpu=False).endswith(
        "Try a shorter max_length, gradient_checkpointing=True or method='qlora'"
    )


def run_command(monkeypatch, capsys, *words: str) -> str:
    monkeypatch.setattr("sys.argv", ["estimate", *words])
    assert main() == 0
    return capsys.readouterr().out


def test_the_command_says_what_fits_on_a_t4(monkeypatch, capsys):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the sizes are known without a network"))
    lines = run_command(monkeypatch, capsys, "--profile", "t4").splitlines()
    assert lines[0].startswith("Qwen/Qwen3-0.6B, float16, 2 rows of 1024 tokens, adamw, rank 64; 15 GB")
    rows, (nothing, *hours) = lines[2 : 2 + len(METHODS)], lines[2 + len(METHODS) :]
    assert [(line.split()[0], line.split()[1]) for line in rows] == [
        ("full", "yes"),
        *((method, "no") for method in METHODS[1:]),
    ]
    assert all(line.endswith("  fits") for line in rows)
    assert nothing == "" and hours[0].startswith("Hours of a notebook, by arithmetic: 16 candidates on 4,096 rows")
    blank = hours.index("")
    assert [line.split()[0] for line in hours[3:blank]] == list(METHODS)
    assert hours[blank + 2].split() == ["notebook", "t4", "h100"]
    notebooks = {line.split()[0]: [float(part) for part in line.split()[1:]] for line in hours[blank + 3 :]}
    assert {"baseline/baseline.ipynb", "examples/train_lora.ipynb", "sft/fullft.ipynb"} <= notebooks.keys()
    assert all(t4 > h100 >= 0 for t4, h100 in notebooks.values())
    parts = [float(part) for part in lines[2].split()[2:-1]]
    assert len(parts) == len(lines[1].split()) - 2
    assert parts[-1] == pytest.approx(sum(parts[:6]), abs=0.04)  # the logits are more than a layer's gradients
    assert "does not fit\n" in run_command(monkeypatch, capsys, "--gigabytes", "8", "--method", "full")
    for number in ("nan", "inf", "0", "-1"):
        with pytest.raises(UserError, match="is no memory; give a number above 0"):
            run_command(monkeypatch, capsys, f"--gigabytes={number}")
    assert run_command(monkeypatch, capsys, "--profile", "cpu").count("Hours") == 1  # no card of its own
    less = run_command(monkeypatch, capsys, "--method", "full", "--optimizer", "adamw_8bit", "--batch", "1")
    assert less.splitlines()[2].split()[1:5] == ["no", "2.38", "2.38", "1.19"]  # 596,049,920 × 4, 4 and 2 bytes


def test_the_command_reads_a_folder_and_refuses_what_it_does_not_know(monkeypatch, capsys, tmp_path):
    from transformers import AutoConfig

    AutoConfig.for_model("llama", num_hidden_layers=1).save_pretrained(tmp_path / "llama")
    assert str(tmp_path) in run_command(monkeypatch, capsys, "--model", str(tmp_path / "llama"))
    AutoConfig.for_model("gpt2").save_pretrained(tmp_path / "gpt2")
    (tmp_path / "empty").mkdir()
    for name, message in (("gpt2", "is no Llama- or Qwen-style decoder"), ("empty", "cannot be had")):
        with pytest.raises(UserError, match=message):
            run_command(monkeypatch, capsys, "--model", str(tmp_path / name))
