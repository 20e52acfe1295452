"""Prompts are read once and a bounded number of positions at a time, whatever waits for them; positions are counted."""

import pytest
import torch

from common.generation import Sampling, batching, complete
from common.generation.batching import shared_start
from common.generation.prefill import PREFILL
from common.generation.support import obstacle

NEW = 6


@pytest.fixture
def forwards(talkative) -> list[tuple[int, int]]:
    """(rows, positions of each) of every forward pass from here on; a model's first call makes more."""
    assert obstacle(talkative.model, 300) == ""
    shapes: list[tuple[int, int]] = []
    talkative.model.model.embed_tokens.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    return shapes


def of_prompts(shapes) -> int:
    """Positions of prompts: decoding steps read one a row."""
    return sum(rows * length for rows, length in shapes if length > 1)


@pytest.mark.parametrize("batch_size", [3, 5, 8, 32])
def test_a_group_reads_its_prompt_once_however_few_slots_there_are(talkative, prompts, forwards, batch_size):
    groups = [prompt for prompt in prompts[:4] for _ in range(8)]
    answers = complete(talkative, groups, max_new_tokens=NEW, batch_size=batch_size, sampling=Sampling(seed=3))
    shared = shared_start(prompts[:4])
    least = shared + sum(len(prompt) - shared for prompt in prompts[:4])
    # Padding where prompts are read together, and nothing else.
    assert least <= of_prompts(forwards) <= shared + 4 * (max(map(len, prompts[:4])) - shared)
    alone = complete(talkative, groups, max_new_tokens=NEW, batch_size=1, sampling=Sampling(seed=3))
    assert answers == alone and len({answer.token_ids for answer in answers[:8]}) > 1


def test_rows_of_a_group_take_a_slot_as_soon_as_it_is_free(talkative, prompts, forwards, monkeypatch):
    """Nothing has to be read for them, so they do not wait for a quarter of the slots."""
    rows, step = [], batching.Batch.step
    monkeypatch.setattr(batching.Batch, "step", lambda batch: rows.append(len(batch.rows)) or step(batch))
    complete(talkative, [prompts[0]] * 24, max_new_tokens=40, batch_size=8, sampling=Sampling(seed=1))
    full = [count == 8 for count in rows]
    assert sum(full) > 8 and full == sorted(full, reverse=True)  # full until the queue is empty


def test_a_long_prompt_is_read_in_stretches(talkative, prompts, forwards, monkeypatch):
    expected = complete(talkative, prompts[:5], max_new_tokens=NEW, log_probabilities=True)
    assert max(rows * length for rows, length in forwards) > 40
    forwards.clear()
    monkeypatch.setitem(PREFILL, "cpu", 16)
    answers = complete(talkative, prompts[:5], max_new_tokens=NEW, log_probabilities=True)
    assert max(rows * length for rows, length in forwards) <= 16 < shared_start(prompts[:5])
    for one, other in zip(answers, expected, strict=True):
        assert one.token_ids == other.token_ids
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-4)


def test_what_waits_holds_nothing_of_other_prompts(talkative, prompts, monkeypatch):
    """The prompt that is kept for the rest of its group is a copy, no view of all that was read with it."""
    rows = [sorted(prompts, key=len)[len(prompts) // 2], *[min(prompts, key=len)] * 4]
    states, insert = [], batching.Batch.insert

    def watch(batch, row, reading):
        states.append((row.number, reading.states[0][0]))
        return insert(batch, row, reading)

    monkeypatch.setattr(batching.Batch, "insert", watch)
    complete(talkative, rows, max_new_tokens=3, batch_size=2, sampling=Sampling(seed=1))
    storage = {number: keys.untyped_storage().nbytes() / keys.nbytes for number, keys in states}
    assert max(storage.values()) > 1.5 and storage[4] == 1
    assert torch.equal(*(keys for number, keys in states if number in (3, 4)))
