"""A reward of one's own, as an example: short answers."""

from collections.abc import Sequence

from common.data import Example


def brevity(examples: Sequence[Example], completions: Sequence[str]) -> list[float]:
    """1 for an empty answer, one half for 100 characters, falling towards 0; the examples have no say."""
    return [1 / (1 + len(text) / 100) for text in completions]
