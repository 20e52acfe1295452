"""A query taken apart at its tokens, in linear time: its SELECTs, their columns, ORDER BY and OFFSET.

Nothing is parsed or rewritten: parts are pieces of the text, and what SQLite means by them stays what it is. The text
is one that SQLite has run; of another one the parts mean nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.sandbox.statements import TOKEN

_COMPOUND = {"union", "intersect", "except"}
_END_OF_COLUMNS = {"from", "where", "group", "having", "order", "limit", *_COMPOUND}


@dataclass(frozen=True)
class Token:
    """A token that is neither comment nor space; depth: of parentheses around it."""

    kind: str
    text: str
    start: int
    stop: int
    depth: int

    @property
    def word(self) -> str:
        """In lower case where it is no string and no quoted name, else ""."""
        return self.text.lower() if self.kind == "word" else ""

    @property
    def plain(self) -> str:
        """Without quotes and in one case; "" where it cannot name anything."""
        if self.kind == "word":
            return self.text.casefold()
        if self.kind in ("name", "string"):
            close = "]" if self.text[0] == "[" else self.text[0]
            return self.text[1:].removesuffix(close).replace(close * 2, close).casefold()
        return ""

    @property
    def normal(self) -> str:
        """As it compares with another token."""
        return self.text if self.kind == "string" else self.plain or self.text.lower()


@dataclass(frozen=True)
class Core:
    """One SELECT of a query. insert: where its list of columns ends, None for VALUES."""

    start: int
    stop: int
    items: list[list[Token]]
    distinct: bool
    insert: int | None


@dataclass(frozen=True)
class Query:
    """A query's parts. body_stop: where its ORDER BY begins; offset: the expression of OFFSET."""

    sql: str
    cores: list[Core]
    body_stop: int
    terms: list[list[Token]]
    offset: list[Token]

    @property
    def head(self) -> str:
        """WITH and its tables, or nothing."""
        return self.sql[: self.cores[0].start]

    def text(self, tokens: Sequence[Token]) -> str:
        """A piece of the query as it is written."""
        return self.sql[tokens[0].start : tokens[-1].stop]


def scan(sql: str) -> list[Token]:
    """The tokens of a statement without comments and space."""
    tokens, depth = [], 0
    for match in TOKEN.finditer(sql):
        kind, text = match.lastgroup, match.group()
        if kind in ("comment", "space") or text == "\ufeff":
            continue
        depth -= text == ")"
        tokens.append(Token(kind, text, match.start(), match.end(), depth))
        depth += text == "("
    return tokens


def parse(sql: str) -> Query | None:
    """The parts of a query with ORDER BY, or None for anything else."""
    tokens = scan(sql)
    tops = [(i, token.word) for i, token in enumerate(tokens) if token.depth == 0 and token.word]
    order = next((i for i, word in tops if word == "order"), None)
    if order is None or tops[0] not in ((0, "select"), (0, "with"), (0, "values")):
        return None
    starts = [i for i, word in tops if i < order and word in ("select", "values") and not _is_operand(tokens, i)]
    limit = next((i for i, word in tops if word == "limit" and i > order), len(tokens))
    terms = _parts(tokens[order + 2 : limit])
    if not starts or not all(terms):
        return None
    cores = []
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        stop = order
        if following is not None:  # without the UNION [ALL] between
            stop = max(i for i, word in tops if i < following and word in _COMPOUND)
        cores.append(_core(tokens[start:stop]))
    return Query(sql, cores, tokens[order].start, terms, _offset(tokens[limit + 1 :]))


def _is_operand(tokens: list[Token], i: int) -> bool:
    return i > 0 and tokens[i - 1].text == "."


def _parts(tokens: list[Token]) -> list[list[Token]]:
    """Tokens parted at the commas outside of parentheses."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.text == "," and token.depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _core(tokens: list[Token]) -> Core:
    start, stop = tokens[0].start, tokens[-1].stop
    if tokens[0].word == "values":
        return Core(start, stop, [], False, None)
    kind = tokens[1].word if len(tokens) > 1 else ""
    first = 2 if kind in ("distinct", "all") else 1
    end = next((i for i in range(first, len(tokens)) if _ends_columns(tokens, i)), len(tokens))
    items = _parts(tokens[first:end])
    return Core(start, stop, items, kind == "distinct", tokens[end - 1].stop)


def _ends_columns(tokens: list[Token], i: int) -> bool:
    token = tokens[i]
    if token.depth or not token.word:
        return False
    if token.word == "window":  # a column may have that name
        return i + 2 < len(tokens) and tokens[i + 2].word == "as"
    return token.word in _END_OF_COLUMNS and not (token.word == "from" and tokens[i - 1].word == "distinct")


def _offset(limit: list[Token]) -> list[Token]:
    """The expression of OFFSET, or the first of `LIMIT a, b`."""
    for i, token in enumerate(limit):
        if token.depth == 0 and token.text == ",":
            return limit[:i]
        if token.depth == 0 and token.word == "offset" and i:
            return limit[i + 1 :]
    return []
