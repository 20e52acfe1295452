"""GRPO's shape: some samples of each of a few prompts, whose prompts are read once, against each sample as a row of its
own. Counts the positions of prompts that the model reads, and the seconds of all. Both draw the same random numbers.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from unittest import mock

from bench.measure import Ratio, Spread, measurement, timed
from common.generation import Sampling, complete
from common.models import LoadedModel


class Apart(tuple):
    """Tokens that equal no others, be they the same."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@contextmanager
def rows_of_their_own() -> Iterator[None]:
    """Within it, no row shares what it reads with another: no switch in the product for this alone."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch("common.generation.batching.tuple", Apart, create=True))
        stack.enter_context(mock.patch("common.generation.answers.shared_start", lambda _: 0))
        yield


@contextmanager
def counter(loaded: LoadedModel) -> Iterator[list[int]]:
    """Positions of each forward pass that reads prompts: a decoding step reads one a row."""
    counts: list[int] = []

    def count(_, inputs, __) -> None:
        if inputs[0].shape[1] > 1:
            counts.append(inputs[0].numel())

    hook = loaded.model.get_input_embeddings().register_forward_hook(count)
    try:
        yield counts
    finally:
        hook.remove()


def measure(
    loaded: LoadedModel, prompts: Sequence[list[int]], samples: int, max_new_tokens: int, batch_size: int
) -> list[dict]:
    """Lines of a record."""
    rows = [prompt for prompt in prompts for _ in range(samples)]
    options = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "sampling": Sampling(seed=1)}
    positions, seconds = [], []
    with counter(loaded) as counts:
        for apart in (False, True):
            counts.clear()
            with ExitStack() as stack:
                if apart:
                    stack.enter_context(rows_of_their_own())
                seconds.append(Spread((timed(lambda: complete(loaded, rows, **options))[0],)))
            positions.append(Spread((float(sum(counts)),)))
    shape = f"{len(prompts)} prompts × {samples} samples"
    return [
        measurement("group-positions", f"{shape}: positions of prompts read", "positions", positions[0]),
        measurement("group-positions-rows", "– each sample a row of its own", "positions", positions[1]),
        measurement("group-seconds", f"{shape}: seconds", "s", seconds[0]),
        measurement("group-seconds-rows", "– each sample a row of its own", "s", seconds[1]),
        measurement("group-speedup", "– times faster", "×", Ratio(seconds[1], seconds[0])),
    ]
