"""The batch that is kept full: slots, prefill, columns, what overflows, what fits, and oneDNN's layout."""

import math
import random
from collections import Counter

import pytest
import torch

from common.generation import Sampling, batching, complete, onednn
from common.generation.batching import SLACK, Columns, shared_start
from common.generation.capacity import Capacity, capacity, column_bytes, free_bytes, probe
from common.generation.onednn import laid_out
from common.generation.prefill import PREFILL
from common.generation.support import obstacle
from common.models import load_model
from common.profiles import TINY_MODEL
from tests.processor import needs_bfloat16

MOST = 40


@pytest.fixture
def talkative(talkative):
    """Its trial, which a model's first call makes, has steps and prefills of its own."""
    assert obstacle(talkative.model, MOST) == ""
    return talkative


@pytest.fixture
def steps(talkative, monkeypatch) -> list[int]:
    """Rows of each decoding step."""
    rows, step = [], batching.Batch.step
    monkeypatch.setattr(batching.Batch, "step", lambda batch: rows.append(len(batch.rows)) or step(batch))
    return rows


@pytest.fixture
def prefills(talkative, monkeypatch) -> list[int]:
    """Positions of each prefill."""
    positions, prefill = [], batching.Batch.prefill

    def watch(batch, prompts):
        positions.append(len(prompts) * max(map(len, prompts)))
        return prefill(batch, prompts)

    monkeypatch.setattr(batching.Batch, "prefill", watch)
    return positions


# The queue and the slots


def test_the_slot_of_a_finished_row_is_taken(talkative, prompts, steps):
    answers = complete(talkative, prompts, max_new_tokens=MOST, batch_size=4)
    # A row's first token comes with its prompt, each other one takes a step of its slot.
    assert sum(steps) == sum(answer.new_tokens - 1 for answer in answers)
    assert max(steps) == 4
    by_batches = sum(
        4 * (max(answer.new_tokens for answer in answers[i : i + 4]) - 1) for i in range(0, len(answers), 4)
    )
    assert sum(steps) < 0.8 * by_batches
    assert Counter(steps)[4] > Counter(steps)[1]


def test_prefill_has_a_budget_and_reads_equal_prompts_once(talkative, prompts, prefills, monkeypatch):
    monkeypatch.setitem(PREFILL, "cpu", 400)
    complete(talkative, prompts, max_new_tokens=3, batch_size=32)
    assert len(prefills) > 3
    assert max(prefills) <= max(400, *map(len, prompts))
    prefills.clear()
    monkeypatch.setitem(PREFILL, "cpu", 10_000)
    complete(talkative, [prompts[0]] * 8, max_new_tokens=3, batch_size=8, sampling=Sampling())
    assert prefills == [len(prompts[0])]


def test_what_all_prompts_begin_with_is_read_once(talkative, prompts, prefills):
    assert shared_start(prompts) > 20
    complete(talkative, prompts[:1] + prompts[4:5], max_new_tokens=2, batch_size=2)
    shared = shared_start([prompts[0], prompts[4]])
    assert prefills == [2 * (max(len(prompts[0]), len(prompts[4])) - shared)]


def test_the_shared_start_by_hand():
    assert shared_start([[1, 2, 3], [1, 2, 4, 5], [1, 2, 3]]) == 2
    assert shared_start([[1, 2], [1, 2, 3]]) == 1  # the shorter keeps a token of its own
    assert shared_start([[7], [7, 1]]) == 0
    assert shared_start([[1, 2, 3], [1, 2, 3]]) == 0 == shared_start([[1, 2, 3]])


# The columns


def test_columns_by_hand():
    columns = Columns(width=10, device=torch.device("cpu"), starts=[2, 4], end=5)
    assert columns.mask().tolist() == [[True] * 4, [False, False, True, True]]  # columns 2 to 5
    assert columns.positions().tolist() == [[3], [1]]


def test_room_is_left_on_the_left_for_the_longest_that_waits():
    batch = object.__new__(batching.Batch)
    batch.columns, batch.rows, batch._layers = Columns(10, torch.device("cpu"), starts=[6, 8], end=10), ["a", "b"], []
    batch.compact(longest=7)
    assert (batch.columns.starts, batch.columns.end) == ([3, 5], 7)
    batch.columns.end = 10
    batch.compact(longest=2)
    assert (batch.columns.starts, batch.columns.end) == ([0, 2], 7)


def test_the_batch_is_as_wide_as_a_row_may_need(talkative, prompts, monkeypatch):
    widths, init = [], batching.Batch.__init__
    monkeypatch.setattr(
        batching.Batch, "__init__", lambda *args, **kwargs: widths.append(kwargs["width"]) or init(*args, **kwargs)
    )
    complete(talkative, prompts[:4], max_new_tokens=7)
    assert widths == [max(map(len, prompts[:4])) + 7 + SLACK]


def test_blocks_are_zero_outside_the_rows_columns(talkative, prompts, monkeypatch):
    monkeypatch.setattr(batching, "SLACK", 1)  # else nothing is moved to the left in so few steps
    compact, shift, counts = batching.Batch.compact, batching.BlockLayer.shift, Counter()

    def watch(batch, longest):
        compact(batch, longest)
        for block in (block for layer in batch._layers if layer.is_initialized for block in (layer.keys, layer.values)):
            outside = torch.ones(block.shape[0], block.shape[2], dtype=torch.bool)
            for slot, start in enumerate(batch.columns.starts):
                outside[slot, start : batch.columns.end] = False
                counts["held"] += block[slot, :, start : batch.columns.end].abs().amax(dim=(0, 2)).gt(0).all().item()
            counts["left"] += block.transpose(1, 2)[outside].any().item()

    monkeypatch.setattr(batching.Batch, "compact", watch)
    monkeypatch.setattr(batching.BlockLayer, "shift", lambda layer, by: counts.update(shifts=1) or shift(layer, by))
    complete(talkative, prompts, max_new_tokens=MOST, batch_size=5)
    assert counts["left"] == 0 < min(counts["held"], counts["shifts"])


# What overflows


def overflow_at(model, token: int, value: float):
    """Have the model read `token` as vectors of `value`."""

    def spoil(_, inputs, output):
        return output.masked_fill((inputs[0] == token)[..., None], value)

    return model.model.embed_tokens.register_forward_hook(spoil)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_row_that_overflows_ends_and_harms_no_other(talkative, prompts, dtype, value, capsys):
    talkative.model.to(dtype)
    sizes = {"max_new_tokens": MOST, "batch_size": 3}
    clean = complete(talkative, prompts[:24], **sizes)
    assert capsys.readouterr().out == ""
    # A token that one answer alone comes to, early enough for other rows to take its slot later.
    counts = Counter(token for answer in clean for token in set(answer.token_ids))
    counts.update(token for prompt in prompts for token in set(prompt))
    row, token, at = next(
        (row, token, at)
        for row, answer in enumerate(clean)
        for at, token in enumerate(answer.token_ids[:-1])
        if counts[token] == 1 and row not in sorted(range(24), key=lambda i: len(prompts[i]))[:6]
    )
    with overflow_at(talkative.model, token, value):
        answers = complete(talkative, prompts[:24], **sizes)
    assert "1 of 24 answers break off where the logits are no numbers" in capsys.readouterr().out
    assert answers[row].token_ids == clean[row].token_ids[: at + 1]
    assert answers[:row] + answers[row + 1 :] == clean[:row] + clean[row + 1 :]


def test_what_an_overflow_leaves_in_its_slot_harms_no_later_row(talkative):
    """The last of eight slots overflows; when row 0 has ended too, two short rows come, far right of what is left."""
    model, poison, end, rng = talkative.model, 5, 6, random.Random(3)
    prompts = [[rng.randrange(100, 1000) for _ in range(length)] for length in (*range(20, 12, -1), 3, 3)]
    counts = [14, *[40] * 7, 9, 9]

    def logits_of(poisoned: bool) -> list[list[torch.Tensor]]:
        """Of each row, for the tokens 11, 12, … whatever the model would have said."""
        logits: list[list[torch.Tensor]] = [[] for _ in prompts]

        def choose(batch: torch.Tensor, rows: list[int]) -> list[int]:
            for row, vector in zip(rows, batch, strict=True):
                logits[row].append(vector)
            steps = [len(logits[row]) for row in rows]
            tokens = [end if step == counts[row] else 10 + step for row, step in zip(rows, steps, strict=True)]
            return [poison if (row, step) == (7, 5) else t for row, step, t in zip(rows, steps, tokens, strict=True)]

        with torch.inference_mode(), overflow_at(model, poison, float("nan") if poisoned else 0.0):
            sizes = {"max_new_tokens": 40, "batch_size": 8}
            answers = dict(batching.decode(model, prompts, None, choose=choose, ends={end}, **sizes))
        assert [len(answers[row]) for row in range(10)] == [*counts[:7], 5 if poisoned else 40, 9, 9]
        return logits

    clean, poisoned = logits_of(False), logits_of(True)
    for row in (*range(7), 8, 9):
        assert torch.allclose(torch.stack(clean[row]), torch.stack(poisoned[row]), atol=1e-4)


def test_a_prompt_that_overflows_has_an_empty_answer(talkative, prompts, capsys):
    clean = complete(talkative, prompts[:6], max_new_tokens=8, batch_size=3)
    token = next(iter(set(prompts[2]) - {token for prompt in prompts[:2] + prompts[3:6] for token in prompt}))
    with overflow_at(talkative.model, token, float("nan")):
        answers = complete(talkative, prompts[:6], max_new_tokens=8, batch_size=3)
    assert (answers[2].text, answers[2].new_tokens, answers[2].token_ids) == ("", 0, ())
    assert answers[:2] + answers[3:] == clean[:2] + clean[3:]
    assert "1 of 6 answers" in capsys.readouterr().out


# What fits


def test_capacity_by_hand():
    """A slot of 50 columns takes 5,000 bytes; of 60,000 bytes half are 6 slots, a quarter 150 columns of a prefill."""
    sizes = {"column_bytes": 100, "columns": 50}
    assert capacity(60_000, batch_size=32, **sizes) == Capacity(6, 150)
    assert capacity(59_999, batch_size=32, **sizes) == Capacity(5, 149)
    assert capacity(60_000, batch_size=4, **sizes) == Capacity(4, 150)
    assert capacity(0, batch_size=32, **sizes) == Capacity(1, 0)
    assert capacity(None, batch_size=32, **sizes) == Capacity(32, math.inf)


def test_bytes_of_a_column_by_hand(tiny):
    """2 layers, keys and values, 2 heads of 16: 128 numbers. Autocast does not halve them, a norm in float32 does."""
    model = tiny().model
    with torch.inference_mode():
        assert column_bytes(probe(model)) == 128 * 4
        with torch.autocast("cpu", torch.bfloat16):
            assert column_bytes(probe(model)) == 128 * 4
        assert column_bytes(probe(model.bfloat16())) == 128 * 2


def test_free_memory_is_what_the_system_says():
    assert 2**20 < free_bytes(torch.device("cpu")) < 2**50
    assert free_bytes(torch.device("meta")) is None


def test_little_memory_changes_no_answer(talkative, prompts, steps, prefills, monkeypatch):
    answers = complete(talkative, prompts, max_new_tokens=MOST, batch_size=16)
    assert max(steps) == 16
    assert max(prefills) > max(map(len, prompts))  # several prompts at once
    slot = 512 * (max(map(len, prompts)) + MOST + SLACK)
    for free, slots in ((2 * 3 * slot, 3), (4 * 512, 1), (0, 1)):
        steps.clear()
        monkeypatch.setattr(batching, "free_bytes", lambda device, free=free: free)
        assert complete(talkative, prompts, max_new_tokens=MOST, batch_size=16) == answers
        assert max(steps) == slots


def test_a_prefill_fits_into_its_share_with_what_stands_before_the_prompts(talkative, prompts, prefills, monkeypatch):
    monkeypatch.setitem(PREFILL, "cpu", 10_000)
    rows = [prompts[0][:100] + prompt[-60 - number :] for number, prompt in enumerate(prompts[:16])]
    shared, longest = shared_start(rows), max(map(len, rows))
    assert 3 * (longest - shared) < 2 * longest + 50  # a third prompt would fit if that were not counted
    for prefill, count in ((2 * longest + 50, 2), (longest - 1, 1), (0, 1)):
        prefills.clear()
        monkeypatch.setattr(batching, "capacity", lambda *_, prefill=prefill, **__: Capacity(16, prefill))
        complete(talkative, rows, max_new_tokens=1, batch_size=16)
        assert prefills[0] == count * (longest - shared)
    assert len(prefills) == 16


# oneDNN's layout


@pytest.mark.parametrize("precision", ["float32", pytest.param("bfloat16", marks=needs_bfloat16)])
@pytest.mark.parametrize("quantisation", ["", "nf4"])
def test_products_in_another_layout_are_the_same(prompts, quantisation, precision, monkeypatch):
    model = load_model(TINY_MODEL, precision=precision, quantisation=quantisation).model
    ids = torch.tensor([prompts[0]])
    products = []
    multiply = torch.ops.mkldnn._linear_pointwise
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *args: products.append(1) or multiply(*args))
    with torch.inference_mode():
        plain = model(ids).logits
        assert not products
        with laid_out(model):
            other = model(ids).logits
        assert torch.equal(model(ids).logits, plain)
    assert len(products) == 2 * 7 + 1  # seven linear layers a decoder layer, and the head
    assert (plain - other).abs().max() < {"float32": 1e-4, "bfloat16": 0.02}[precision] < plain.abs().max()


def test_layers_that_cannot_be_laid_out_are_left():
    half = torch.nn.Linear(4, 4).half()
    with laid_out(half):
        assert "forward" not in vars(half)
    doubling = type("Doubling", (torch.nn.Linear,), {"forward": lambda self, x: 2 * x @ self.weight.T})(
        4, 3, bias=False
    )
    with laid_out(doubling):  # a router or a quantising layer does more than multiply
        assert "forward" not in vars(doubling)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), pytest.param(torch.bfloat16, 0.03, marks=needs_bfloat16)]
)
def test_a_layer_with_a_bias_is_laid_out(dtype, tolerance):
    biased, inputs = torch.nn.Linear(4, 3, dtype=dtype), torch.randn(2, 5, 4, dtype=dtype)
    with torch.inference_mode(), laid_out(biased):
        assert "forward" in vars(biased)
        assert torch.allclose(biased(inputs), inputs @ biased.weight.T + biased.bias, atol=tolerance)


@pytest.mark.parametrize("missing", onednn.OPERATIONS)
def test_a_pytorch_that_lacks_an_operation_multiplies_as_ever(missing, monkeypatch):
    layer = torch.nn.Linear(4, 4)
    with laid_out(layer):
        assert "forward" in vars(layer)
    monkeypatch.setattr(onednn, "OPERATIONS", [name.replace(missing, "_no_such_name") for name in onednn.OPERATIONS])
    with laid_out(layer):
        assert "forward" not in vars(layer)
