"""An upper estimate of how many SmolLM2 tokens a piece of SQL has, without the tokenizer."""

import re

MOST_TOKENS = 80  # of a reference
WORDS = "SELECT FROM WHERE AND OR NOT IN IS NULL AS ON BY LIMIT INT TEXT TABLE INTO VALUES NUMBER"
WHOLE = frozenset(re.findall(r"\w+", WORDS))  # one token each
PIECES = re.compile(r"[A-Za-z]+|[0-9]|[^A-Za-z0-9\s]|\s(?=[0-9])")


def most_tokens(sql: str) -> int:
    """Never below the true number on generated references (a test holds it to that where the tokenizer is
    installed)."""
    return sum(_word(piece) for piece in PIECES.findall(sql))


def _word(piece: str) -> int:
    if not piece.isalpha() or piece in WHOLE:
        return 1
    return -(-len(piece) // (2 if piece.isupper() else 3))  # capitals fall into more pieces
