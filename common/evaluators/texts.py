"""What is read off the texts of answer and reference: whether they are the same, and where the reference orders.

Texts are parted into tokens by the sandbox's pattern; nothing is parsed or run.
"""

from common.sandbox.statements import TOKEN
from common.scoring.ordering import has_outer

# Where a reference has ORDER BY, by a letter.
ORDERS = {"-": "nowhere", "i": "in a subquery or window only", "o": "outermost"}


def is_same_text(one: str, other: str) -> bool:
    """Whether two statements are the same but for white space, comments, the last semicolon, and the case of whatever
    does not stand in quotes."""
    return _words(one) == _words(other)


def order_of(reference: str) -> str:
    """The letter of ORDERS for a reference, a text of one or more statements."""
    words = _words(reference)
    if ("order", "by") not in zip(words, words[1:], strict=False):
        return "-"
    return "o" if has_outer(reference, "order") else "i"


def _words(sql: str) -> list[str]:
    tokens = [token for token in TOKEN.finditer(sql) if token.lastgroup not in ("comment", "space")]
    words = [t.group() if t.lastgroup in ("string", "name") else t.group().casefold() for t in tokens]
    while words and words[-1] == ";":
        words.pop()
    return words
