"""Decoding in a batch that is never idle: a row that has ended leaves it, and a waiting one takes its place.

All rows of the batch write at one column, so a row of L tokens holds the L columns before it, wherever it began; keys
and values lie in blocks that are taken once. Rows wait longest first, so a newcomer always fits behind the column. What
all prompts begin with is read once. Covers decoder-only models with ordinary attention; what is chosen from the logits
is the caller's affair, see `common.generation`.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

SLACK = 64  # columns beyond what one row can need: how many steps pass between two moves of the whole batch
PREFILL = {"cpu": 512, "cuda": 16_384}  # positions read at once: enough for fast products, and a bound on memory
Choose = Callable[[torch.Tensor, list[int]], list[int]]  # (logits (rows, vocabulary), row numbers) → a token a row


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
        """(rows, 1, 1, columns from the first in use to the one that is written), true where a row may look."""
        columns = torch.arange(self.first, self.end + 1, device=self.device)
        return (columns >= torch.tensor(self.starts, device=self.device)[:, None])[:, None, None]

    def positions(self) -> torch.Tensor:
        """(rows, 1): how many tokens a row has before the one that is written."""
        return torch.tensor([[self.end - start] for start in self.starts], device=self.device)


class BlockLayer(CacheLayerMixin):
    """One layer's keys and values, (places, heads, columns, width of a head) each; a step writes in place."""

    def __init__(self, columns: Columns, places: int):
        super().__init__()
        self._columns, self._places = columns, places

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        def block(like: torch.Tensor) -> torch.Tensor:  # zeros: what a row may not look at is weighed 0, and NaN stays
            return like.new_zeros(self._places, like.shape[1], self._columns.width, like.shape[3])

        self.keys, self.values, self.is_initialized = block(key_states), block(value_states), True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_, **__):
        rows, at, end = len(key_states), self._columns.first, self._columns.end
        self.keys[:rows, :, end] = key_states[:, :, 0]
        self.values[:rows, :, end] = value_states[:, :, 0]
        return self.keys[:rows, :, at : end + 1], self.values[:rows, :, at : end + 1]

    def get_seq_length(self) -> int:
        return self._columns.end - self._columns.first

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return self._columns.width

    def put(self, place: int, end: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """A stretch of one row's keys and values, (heads, length, width of a head), so that it ends at `end`."""
        at = slice(end - keys.shape[1], end)
        self.keys[place, :, at], self.values[place, :, at] = keys, values

    def move(self, source: int, target: int, by: int = 0) -> None:
        """A row to another place, or all columns of it `by` to the left."""
        start, end = self._columns.starts[source], self._columns.end
        for block in (self.keys, self.values):
            row = block[source, :, start:end]
            block[target, :, start - by : end - by] = row.clone() if by else row


@dataclass
class _Row:
    number: int
    made: list[int]


class Batch:
    """The rows that are being answered. prefix: keys and values that stand before every prompt, one row of them."""

    def __init__(self, model: PreTrainedModel, prefix: DynamicCache | None, *, places: int, longest: int, width: int):
        self.columns = Columns(width, model.device, end=longest)
        self.rows: list[_Row] = []
        self._model, self._prefix, self._places = model, prefix, places
        self._before = prefix.get_seq_length() if prefix is not None else 0
        layers = model.config.get_text_config().num_hidden_layers
        self._layers = [BlockLayer(self.columns, places) for _ in range(layers)]
        self._cache = Cache(layers=self._layers)

    @property
    def free(self) -> int:
        return self._places - len(self.rows)

    def read(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, DynamicCache]:
        """Read prompts, padded on the left: logits of each one's next token, and all keys and values."""
        model, count, before = self._model, len(prompts), self._before
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=model.device)
        mask = torch.tensor([[1] * before + [0] * (width - len(p)) + [1] * len(p) for p in prompts], device=ids.device)
        cache = DynamicCache(config=model.config)
        for number, layer in enumerate(self._prefix.layers if before else ()):
            cache.update(layer.keys.expand(count, -1, -1, -1), layer.values.expand(count, -1, -1, -1), number)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, before:]
        found = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return found.logits[:, -1].float(), found.past_key_values

    def join(self, number: int, token: int, length: int, cache: DynamicCache, source: int) -> None:
        """A row whose prompt of `length` tokens was read as row `source` of `cache`, and its first token."""
        place, end, before = len(self.rows), self.columns.end, self._before
        for layer, read in zip(self._layers, cache.layers, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(read.keys, read.values)
            keys, values = read.keys[source], read.values[source]
            layer.put(place, end, keys[:, keys.shape[1] - length :], values[:, values.shape[1] - length :])
            layer.put(place, end - length, keys[:, :before], values[:, :before])
        self.rows.append(_Row(number, [token]))
        self.columns.starts.append(end - length - before)

    def step(self) -> torch.Tensor:
        """Read each row's last token; logits of its next one."""
        logits = self._model(
            input_ids=torch.tensor([[row.made[-1]] for row in self.rows], device=self._model.device),
            attention_mask=self.columns.mask(),
            position_ids=self.columns.positions(),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        self.columns.end += 1
        return logits.float()

    def leave(self, place: int) -> None:
        """Take the row from its place; the last one fills it."""
        last = len(self.rows) - 1
        if place != last:
            for layer in self._layers:
                layer.move(last, place)
            self.rows[place], self.columns.starts[place] = self.rows[last], self.columns.starts[last]
        self.rows.pop()
        self.columns.starts.pop()

    def tidy(self, longest: int) -> None:
        """Make room on the right where there is none; longest: tokens of the longest row that waits, its prefix too."""
        columns = self.columns
        if not self.rows:
            columns.end = longest
        elif columns.end == columns.width:
            by = min(columns.first, columns.end - longest)
            for layer in self._layers:
                for place in range(len(self.rows)):
                    layer.move(place, place, by)
            columns.starts = [start - by for start in columns.starts]
            columns.end -= by


def shared_start(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with; each keeps at least one of its own. 0 where there is one prompt only."""
    different = set(map(tuple, prompts))
    if len(different) < 2:
        return 0
    return min(len(os.path.commonprefix([min(different), max(different)])), min(map(len, different)) - 1)


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    prefix: DynamicCache | None,
    *,
    choose: Choose,
    ends: set[int],
    max_new_tokens: int,
    places: int,
) -> Iterator[tuple[int, list[int]]]:
    """(number, tokens) of every prompt as it ends, the end token included where it came; at most `places` at a time.

    prefix: what stands before every prompt. Prompts that are equal are read once.
    """
    before = prefix.get_seq_length() if prefix is not None else 0
    waiting = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), prompts[i], i))
    places = min(places, len(prompts))
    longest = len(prompts[waiting[0]]) + before
    batch = Batch(model, prefix, places=places, longest=longest, width=longest + max_new_tokens + SLACK)
    budget = PREFILL.get(model.device.type, PREFILL["cuda"])

    def over(made: list[int]) -> bool:
        return made[-1] in ends or len(made) == max_new_tokens

    while waiting or batch.rows:
        # A pass over few prompts is as dear as one over some: wait until a quarter of the batch is free.
        if waiting and (not batch.rows or batch.free >= max(1, places // 4)):
            group = _group(prompts, waiting, batch.free, budget)
            different = list(dict.fromkeys(tuple(prompts[i]) for i in group))
            logits, cache = batch.read(different)
            sources = [different.index(tuple(prompts[i])) for i in group]
            tokens = choose(logits[sources], group)
            del waiting[: len(group)]
            for number, token, source in zip(group, tokens, sources, strict=True):
                if over([token]):
                    yield number, [token]
                else:
                    batch.join(number, token, len(prompts[number]), cache, source)
        else:
            tokens = choose(batch.step(), [row.number for row in batch.rows])
            for row, token in zip(batch.rows, tokens, strict=True):
                row.made.append(token)
            for place in reversed(range(len(batch.rows))):
                row = batch.rows[place]
                if over(row.made):
                    batch.leave(place)
                    yield row.number, row.made
        batch.tidy(len(prompts[waiting[0]]) + before if waiting else 0)


def _group(prompts: Sequence[Sequence[int]], waiting: Sequence[int], free: int, budget: int) -> list[int]:
    """The next rows to read together: at most `free`, and `budget` positions unless one row alone has more."""
    group, different = [], set()
    for number in waiting[:free]:
        different.add(tuple(prompts[number]))
        if group and len(different) * len(prompts[group[0]]) > budget:
            break
        group.append(number)
    return group
