"""Token rows packed as a tree of prefixes: what several rows begin with alike is computed once.

The rows of a micro-batch are sorted and laid end to end, each without what it shares with the row before it, so a
token's subtree is the stretch of tokens behind it: from its own place up to its `end`. A token sees those before it in
whose stretch it lies. Positions are those that each row would have alone. Exact for a causal model whose attention
depends on positions alone: each token has the context that it has in its own row. Knows no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy


@dataclass(frozen=True)
class Tree:
    """Unique tokens in depth-first order, (tokens,) each: their ids, their positions in their rows, and the ends of
    their stretches. places: for each row, in the order given, where its tokens lie."""

    ids: numpy.ndarray
    positions: numpy.ndarray
    ends: numpy.ndarray
    places: list[numpy.ndarray]


def shared(one: numpy.ndarray, other: numpy.ndarray) -> int:
    """How many tokens two rows begin with alike."""
    count = min(len(one), len(other))
    differs = one[:count] != other[:count]
    first = int(differs.argmax()) if count else 0
    return first if count and differs[first] else count


def tree(rows: Sequence[Sequence[int]]) -> Tree:
    """The tree of token rows; equal rows lie in the same places."""
    arrays = [numpy.asarray(row, dtype=numpy.int64) for row in rows]
    order = sorted(range(len(rows)), key=lambda i: list(rows[i]))
    ids: list[numpy.ndarray] = []
    positions: list[numpy.ndarray] = []
    places: list[numpy.ndarray] = [numpy.empty(0, dtype=numpy.int64)] * len(rows)
    ends = numpy.zeros(sum(map(len, arrays)), dtype=numpy.int64)
    size, path, before = 0, numpy.empty(0, dtype=numpy.int64), numpy.empty(0, dtype=numpy.int64)
    for i in order:
        row, count = arrays[i], shared(before, arrays[i])
        ends[path[count:]] = size  # what this row does not go through has ended
        grown = numpy.arange(size, size + len(row) - count)
        path, before = numpy.concatenate([path[:count], grown]), row
        ids.append(row[count:])
        positions.append(numpy.arange(count, len(row)))
        places[i] = path
        size += len(grown)
    ends[path] = size
    return Tree(numpy.concatenate(ids), numpy.concatenate(positions), ends[:size], places)
