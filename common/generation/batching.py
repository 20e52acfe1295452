"""Decoding in a batch that is kept full: a finished row is evicted, and a prompt of the queue takes its slot.

All rows of the batch write at one column, so a row of L tokens holds the L columns before it, wherever it began; keys
and values lie in blocks that are taken once. The queue has the longest prompts first, so a newcomer always fits behind
the column. What all prompts begin with is read once. Every row stands whole, padded on its left, so that the model's
code makes its own masks: sliding windows and chunks, which all layers' columns are kept for, ALiBi and plain causal
ones. Covers decoder-only models that cache keys and values alone, which `common.generation.support` finds out; which
token is chosen is `common.generation.sampling`'s.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from common import threads
from common.generation.attention import is_by_columns
from common.generation.capacity import capacity, column_bytes, free_bytes, probe
from common.generation.columns import BlockLayer, Columns
from common.generation.prefill import Reading, most_positions, read, read_padded, readings
from common.generation.sampling import Choose

NUMBERS = 2**19  # logits looked at together: larger tensors are handed out by the system page by page at every step
SLACK = 64  # columns beyond what one row can need: how many steps pass between two moves of the whole batch


@dataclass
class Row:
    """A prompt's number, and the tokens of its answer so far."""

    number: int
    tokens: list[int] = field(default_factory=list)


class Batch:
    """The rows that are being answered, one a slot. prefix: keys and values that stand before every prompt, one row."""

    def __init__(self, model: PreTrainedModel, prefix: Cache | None, *, slots: int, longest: int, width: int):
        self.columns = Columns(width, model.device, end=longest)
        self.rows: list[Row] = []
        self._model, self._prefix, self._slots = model, prefix, slots
        self._prefix_length = prefix.get_seq_length() if prefix is not None else 0
        layers = model.config.get_text_config().num_hidden_layers
        self._layers = [BlockLayer(self.columns, slots, is_by_columns(model)) for _ in range(layers)]
        self._cache = Cache(layers=self._layers)

    @property
    def free_slots(self) -> int:
        return self._slots - len(self.rows)

    def prefill(self, prompts: Sequence[Sequence[int]]) -> list[Reading]:
        """Read prompts at once; a single one may be longer than what is read at once."""
        if len(prompts) == 1:
            ids = torch.tensor([list(prompts[0])], device=self._model.device)
            return readings(*read(self._model, {"input_ids": ids}, self._prefix), [self._prefix_length + ids.shape[1]])
        return read_padded(self._model, prompts, self._prefix)

    def insert(self, row: Row, reading: Reading) -> None:
        """A row with its first token, whose prompt was read."""
        slot, end = len(self.rows), self.columns.end
        for layer, states in zip(self._layers, reading.states, strict=False):  # the last ones may have none
            if states is None:
                continue  # as here
            if not layer.is_initialized:
                layer.lazy_initialization(*(each[None] for each in states))
            layer.write(slot, end, *states)
        self.rows.append(row)
        self.columns.starts.append(end - reading.length)

    def step(self) -> torch.Tensor:
        """Read each row's last token; logits of its next one, (rows, vocabulary)."""
        logits = self._model(
            input_ids=torch.tensor([[row.tokens[-1]] for row in self.rows], device=self._model.device),
            attention_mask=self.columns.mask(),
            position_ids=self.columns.positions(),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        self.columns.end += 1
        return logits

    def evict(self, slots: Sequence[int]) -> None:
        """Take the rows from these slots; those of the last slots move into the gaps."""
        if not slots:
            return
        rest = len(self.rows) - len(slots)
        sources = sorted(set(range(rest, len(self.rows))) - set(slots))
        targets = [slot for slot in slots if slot < rest]
        indexes = [torch.tensor(places, dtype=torch.long, device=self.columns.device) for places in (sources, targets)]
        for layer in self._layers:
            layer.evict(*indexes, rest)
        for source, target in zip(sources, targets, strict=True):
            self.rows[target], self.columns.starts[target] = self.rows[source], self.columns.starts[source]
        del self.rows[rest:], self.columns.starts[rest:]

    def compact(self, longest: int) -> None:
        """Make room on the right where there is none; longest: tokens of the queue's longest prompt with its prefix."""
        columns = self.columns
        if not self.rows:
            columns.end = longest
        elif columns.end == columns.width:
            by = min(columns.first, columns.end - longest)
            for layer in self._layers:
                layer.shift(by)
            columns.starts = [start - by for start in columns.starts]
            columns.end -= by


def shared_start(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with; each keeps at least one of its own. 0 where there is one prompt only."""
    unique = set(map(tuple, prompts))
    if len(unique) < 2:
        return 0
    return min(len(os.path.commonprefix([min(unique), max(unique)])), min(map(len, unique)) - 1)


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    prefix: Cache | None,
    *,
    choose: Choose,
    ends: set[int],
    max_new_tokens: int,
    batch_size: int,
) -> Iterator[tuple[int, list[int]]]:
    """(number, tokens) of every prompt as it ends, the end token included where it came.

    prefix: what stands before every prompt. batch_size: the most rows at a time; fewer where the memory does not hold
    as many. A row whose logits are not finite ends at once, with the tokens that it has, and harms no other row.
    """
    before = prefix.get_seq_length() if prefix is not None else 0
    prompts = list(map(tuple, prompts))
    queue = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), prompts[i], i))
    longest = len(prompts[queue[0]]) + before
    width = longest + max_new_tokens + SLACK
    size = capacity(
        free_bytes(model.device),
        column_bytes=column_bytes(probe(model) if prefix is None else prefix),
        columns=width,
        batch_size=min(batch_size, len(prompts)),
    )
    positions = most_positions(model.device)
    batch = Batch(model, prefix, slots=size.slots, longest=longest, width=width)
    ready: dict[tuple[int, ...], Reading] = {}  # the prompt that waiting rows have in common with some that have come

    def admission() -> list[int]:
        """The numbers of the queue's next rows: those whose prompt is already read, and those that are read together:
        one, or as many as have slots and fit. None where too few slots are free to read for."""
        is_worth = not batch.rows or batch.free_slots >= max(1, size.slots // 4)
        numbers: list[int] = []
        unique: dict[tuple[int, ...], None] = {}  # the longest comes first
        for number in queue[: batch.free_slots]:
            if prompts[number] not in ready:
                unique[prompts[number]] = None
                width = len(next(iter(unique)))
                fits = len(unique) * width <= positions and len(unique) * (before + width) <= size.prefill
                if not is_worth or (len(unique) > 1 and not fits):
                    break
            numbers.append(number)
        return numbers

    def extend(rows: Sequence[Row], logits: torch.Tensor) -> list[bool]:
        """Give each row its next token; for each, whether it ends here."""
        last, size = [], max(1, NUMBERS // logits.shape[-1])
        for at in range(0, len(rows), size):
            part, vectors = rows[at : at + size], logits[at : at + size].float()
            # The largest logit is what can be chosen at all, and it is no number where any logit is none.
            finite = vectors.amax(dim=-1).isfinite().tolist()
            tokens = choose(vectors, [row.number for row in part])
            for row, token, is_finite in zip(part, tokens, finite, strict=True):
                if is_finite:
                    row.tokens.append(token)
                last.append(not is_finite or token in ends or len(row.tokens) == max_new_tokens)
        return last

    while queue or batch.rows:
        threads.adjust()
        # 1) Prefill once a quarter of the slots is free: a prefill of one prompt costs as much as one of several.
        if numbers := admission():
            rows = [Row(number) for number in numbers]
            del queue[: len(rows)]
            unique = [prompt for prompt in dict.fromkeys(prompts[number] for number in numbers) if prompt not in ready]
            ready |= dict(zip(unique, batch.prefill(unique), strict=True)) if unique else {}
            sources = [ready[prompts[number]] for number in numbers]  # equal prompts share one
            last = extend(rows, torch.stack([reading.logits for reading in sources]))
            for row, reading, is_last in zip(rows, sources, last, strict=True):
                if is_last:
                    yield row.number, row.tokens
                else:
                    batch.insert(row, reading)
            following = prompts[queue[0]] if queue else ()  # equal prompts stand side by side
            ready = {following: ready[following]} if following in ready else {}
            if following in unique and following in ready:
                ready[following] = ready[following].clone()
            del sources, reading  # with what it was read with
        # 2) Otherwise decode one token for every row, 3) and evict the rows that end with it.
        else:
            last = extend(batch.rows, batch.step())
            slots = [slot for slot, is_last in enumerate(last) if is_last]
            rows = [batch.rows[slot] for slot in slots]
            batch.evict(slots)
            for row in rows:
                yield row.number, row.tokens
        # 4) Compact the cache where it has come to its right edge.
        batch.compact(len(prompts[queue[0]]) + before if queue else 0)
