"""Keys and values of a batch: columns that all rows share, blocks that are taken once, and what a prefill starts from.

All rows write at one column, so a row of L tokens holds the L columns before it, wherever it began. Covers layers that
keep keys and values alone; which rows there are, and when they move, is `common.generation.batching`'s.
"""

from dataclasses import dataclass, field
from functools import partial

import torch
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

from common.generation.attention import key_block


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
