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
from functools import partial

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

from common import threads
from common.generation.attention import is_by_columns, key_block
from common.generation.capacity import capacity, column_bytes, free_bytes, probe
from common.generation.sampling import Choose

PREFILL = {"cpu": 512, "cuda": 16_384}  # positions read at once, rows × longest: enough for fast products
SLACK = 64  # columns beyond what one row can need: how many steps pass between two moves of the whole batch


@dataclass
class Columns:
    """Which columns the rows of the batch hold: row r from starts[r] up to `end`, where the next token goes."""

    width: int
    device: torch.device
    starts: list[int] = field(default_factory=list)
    end: int = 0

    @property
    def first(self) -> int:
        return min(self.starts)

    def mask(self) -> torch.Tensor:
        """(rows, columns from the first in use to the one that is written), true where a row has a token."""
        columns = torch.arange(self.first, self.end + 1, device=self.device)
        return columns >= torch.tensor(self.starts, device=self.device)[:, None]

    def positions(self) -> torch.Tensor:
        """(rows, 1): how many tokens a row has before the one that is written."""
        return torch.tensor([[self.end - start] for start in self.starts], device=self.device)


class BlockLayer(CacheLayerMixin):
    """One layer's keys and values, (slots, heads, columns, head size) each; a step writes in place.

    Outside the rows' columns the blocks are zero, always: what a row may not look at is weighed with 0, but 0 × inf is
    not a number, so what a row that overflowed left behind would spoil every later row of its slot.
    """

    def __init__(self, columns: Columns, slots: int, by_columns: bool):
        super().__init__()
        self._columns, self._slots, self._by_columns = columns, slots, by_columns

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        def block(like: torch.Tensor) -> torch.Tensor:
            return like.new_zeros(self._slots, like.shape[1], self._columns.width, like.shape[3])

        make = partial(key_block, slots=self._slots, columns=self._columns.width) if self._by_columns else block
        self.keys, self.values, self.is_initialized = make(key_states), block(value_states), True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_, **__):
        rows, first, end = len(key_states), self._columns.first, self._columns.end
        self.keys[:rows, :, end] = key_states[:, :, 0]
        self.values[:rows, :, end] = value_states[:, :, 0]
        return self.keys[:rows, :, first : end + 1], self.values[:rows, :, first : end + 1]

    def get_seq_length(self) -> int:
        return self._columns.end - self._columns.first

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return self._columns.width

    def write(self, slot: int, end: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """A stretch of one row's keys and values, (heads, length, head size), so that it ends at `end`."""
        stretch = slice(end - keys.shape[1], end)
        self.keys[slot, :, stretch], self.values[slot, :, stretch] = keys, values

    def _blocks(self) -> tuple[torch.Tensor, ...]:
        """None where the layer takes the keys and values of another one."""
        return (self.keys, self.values) if self.is_initialized else ()

    def evict(self, sources: torch.Tensor, targets: torch.Tensor, rest: int) -> None:
        """Rows move from the slots `sources` to `targets`; from slot `rest` on there is none any more."""
        first, end, rows = self._columns.first, self._columns.end, len(self._columns.starts)
        for block in self._blocks():
            used = block[:rows, :, first:end]
            if len(sources):
                used[targets] = used[sources]
            used[rest:] = 0

    def shift(self, by: int) -> None:
        """All rows `by` columns to the left."""
        first, end, rows = self._columns.first, self._columns.end, len(self._columns.starts)
        for block in self._blocks():
            used = block[:rows, :, first:end].clone()  # old and new columns may overlap
            block[:rows, :, first:end] = 0
            block[:rows, :, first - by : end - by] = used


class PrefixLayer(DynamicLayer):
    """One layer's keys and values in a prefill: the padding of each row, then those of the prefix, then its own.

    keys, values: the prefix's, (1, heads, length, head size). columns: (rows, columns), for each place where it comes
    from in prefix, padding and prompt, put end to end.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, columns: torch.Tensor):
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values = (states.expand(len(columns), -1, -1, -1) for states in (keys, values))
        self._columns = columns[:, None, :, None]

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_, **__):
        def joined(before: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
            states = torch.cat([before, states], dim=2)
            return states.gather(2, self._columns.expand(-1, states.shape[1], -1, states.shape[3]))

        self.keys, self.values = joined(self.keys, key_states), joined(self.values, value_states)
        return self.keys, self.values


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

    def prefill(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, DynamicCache]:
        """Read prompts, padded on the left: logits of each one's next token, (prompts, vocabulary), and all keys and
        values."""
        model, before, width = self._model, self._prefix_length, max(map(len, prompts))
        gaps = [width - len(prompt) for prompt in prompts]
        ids = torch.tensor([[0] * gap + list(p) for gap, p in zip(gaps, prompts, strict=True)], device=model.device)
        mask = torch.tensor([[0] * gap + [1] * (before + width - gap) for gap in gaps], device=model.device)
        cache = DynamicCache()  # of no config: a windowed layer would keep its window alone
        if before:
            columns = torch.tensor(
                [[*range(before, before + gap), *range(before), *range(before + gap, before + width)] for gap in gaps],
                device=model.device,
            )
            layers = [(layer.keys, layer.values) for layer in self._prefix.layers]  # None: it takes another layer's
            cache = Cache([PrefixLayer(k, v, columns) if k is not None else DynamicLayer() for k, v in layers])
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, before:]
        output = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1].float(), output.past_key_values

    def insert(self, row: Row, length: int, cache: DynamicCache, source: int) -> None:
        """A row with its first token, whose prompt of `length` tokens was read as row `source` of `cache`."""
        slot, end, length = len(self.rows), self.columns.end, length + self._prefix_length
        for layer, read in zip(self._layers, cache.layers, strict=False):  # the last ones may have none of their own
            if not read.is_initialized:
                continue  # as here
            if not layer.is_initialized:
                layer.lazy_initialization(read.keys, read.values)
            layer.write(slot, end, read.keys[source, :, -length:], read.values[source, :, -length:])
        self.rows.append(row)
        self.columns.starts.append(end - length)

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
        return logits.float()

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
    queue = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), prompts[i], i))
    longest = len(prompts[queue[0]]) + before
    width = longest + max_new_tokens + SLACK
    size = capacity(
        free_bytes(model.device),
        column_bytes=column_bytes(probe(model) if prefix is None else prefix),
        columns=width,
        batch_size=min(batch_size, len(prompts)),
    )
    positions = PREFILL.get(model.device.type, PREFILL["cuda"])
    batch = Batch(model, prefix, slots=size.slots, longest=longest, width=width)

    def next_prefill() -> list[int]:
        """The numbers of the queue's next rows that are read together: one, or as many as have slots and fit."""
        numbers, unique = [], set()
        width = len(prompts[queue[0]])
        for number in queue[: batch.free_slots]:
            unique.add(tuple(prompts[number]))
            if numbers and (len(unique) * width > positions or len(unique) * (before + width) > size.prefill):
                break
            numbers.append(number)
        return numbers

    def extend(rows: Sequence[Row], logits: torch.Tensor) -> list[bool]:
        """Give each row its next token; for each, whether it ends here."""
        # The largest logit is what can be chosen at all, and it is no number where any logit is none.
        finite = logits.amax(dim=-1).isfinite().tolist()
        tokens = choose(logits, [row.number for row in rows])
        last = []
        for row, token, is_finite in zip(rows, tokens, finite, strict=True):
            if is_finite:
                row.tokens.append(token)
            last.append(not is_finite or token in ends or len(row.tokens) == max_new_tokens)
        return last

    while queue or batch.rows:
        threads.adjust()
        # 1) Prefill once a quarter of the slots is free: a prefill of one prompt costs as much as one of several.
        if queue and (not batch.rows or batch.free_slots >= max(1, size.slots // 4)):
            rows = [Row(number) for number in next_prefill()]
            del queue[: len(rows)]
            unique: dict[tuple[int, ...], int] = {}  # equal prompts share one prefill
            sources = [unique.setdefault(tuple(prompts[row.number]), len(unique)) for row in rows]
            logits, cache = batch.prefill(list(unique))
            last = extend(rows, logits[sources])
            for row, source, is_last in zip(rows, sources, last, strict=True):
                if is_last:
                    yield row.number, row.tokens
                else:
                    batch.insert(row, len(prompts[row.number]), cache, source)
            del cache
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
