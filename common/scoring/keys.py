"""What the outermost ORDER BY of a query sorts by, in terms that a query around it can rank by.

SQLite's rules for a key are followed: a whole number is a column's position; a lone name is an alias first; anything
else is an expression over FROM, in which an alias counts only where FROM has no column of that name. Behind DISTINCT
and in compounds a key must be made of columns of the result. Whatever is not understood gives None, never a guess.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.scoring.query import Core, Query, Token

RANKING = "ranked_rows_"
# Words of an expression that are no names.
_KEYWORDS = {
    *("and", "or", "not", "is", "null", "in", "like", "glob", "regexp", "match", "between", "escape"),
    *("isnull", "notnull", "case", "when", "then", "else", "end", "distinct", "from", "true", "false"),
    *("collate", "cast", "as", "current_date", "current_time", "current_timestamp"),
}
Describe = Callable[[str], list[str] | None]  # the names of a query's columns, or None where it does not run


@dataclass(frozen=True)
class Column:
    """A column of the result. position: from 1, or 0 where * hides it; tokens: its expression, none behind *."""

    position: int
    alias: str
    tokens: list[Token]
    path: tuple[str, ...]  # its table and name, or its name alone, where it is a plain column; else ()


@dataclass(frozen=True)
class Ranking:
    """A query without LIMIT whose rows are ranked by its keys.

    head: WITH the query as RANKING, its keys among the columns c1, c2, …; keys: an expression over these and how it is
    sorted (collation, direction, place of NULL).
    """

    head: str
    width: int
    keys: list[tuple[str, str]]

    def sql(self, *, each: bool = False) -> str:
        """Rows in order: the query's columns, the values of the keys, and the rank by all of them.

        each: the rank by each key in place of that.
        """
        terms = ["".join(key) for key in self.keys]
        ranks = [f"dense_rank() OVER (ORDER BY {term})" for term in (terms if each else [", ".join(terms)])]
        columns = [f"c{i}" for i in range(1, self.width + 1)] + [expression for expression, _ in self.keys] + ranks
        numbers = range(len(columns) - len(ranks) + 1, len(columns) + 1)
        return f"{self.head} SELECT {', '.join(columns)} FROM {RANKING} ORDER BY {', '.join(map(str, numbers))}"


def ranking_of(query: Query, width: int, describe: Describe) -> Ranking | None:
    """How the query's rows are ranked; None where a key is not understood."""
    core, simple = query.cores[0], len(query.cores) == 1
    lists = [_columns(query, each, width, describe) for each in query.cores]
    if core.insert is None and simple:
        return None
    keys, extras = [], []
    for term in query.terms:
        expression, direction = _direction(query, term)
        bare, collation = _bare(query, expression)
        alias = _by_alias(bare, lists[0])
        position = _position(bare, width) or (alias.position if alias else None)
        if position is None and (core.distinct or not simple):
            position = _matching(bare, lists)
        key: str | None = f"c{position}" if position else None
        if position is None and simple and core.distinct:
            key = _over_result(query, bare, lists[0], describe)
        elif position is None and simple and (text := _over_tables(query, bare, lists[0], describe)):
            extras.append(text)
            key = f"c{width + len(extras)}"
        if not key:
            return None
        keys.append((key, f"{collation}{direction}"))
    names = ", ".join([f"c{i}" for i in range(1, width + len(extras) + 1)])
    return Ranking(f"WITH {RANKING}({names}) AS (\n{_with_columns(query, extras)}\n)", width, keys)


def _columns(query: Query, core: Core, width: int, describe: Describe) -> list[Column]:
    """Columns of one SELECT; names come from SQLite, which knows what * stands for."""
    names = describe(f"{query.head}{query.sql[core.start : core.stop]}\nLIMIT 0") if core.insert is not None else None
    names = [name.casefold() for name in names] if names and len(names) == width else [""] * width
    stars = [i for i, item in enumerate(core.items) if item[-1].text == "*"]
    left, right = (stars[0], stars[-1]) if stars else (len(core.items), len(core.items))
    columns = []
    for i, item in enumerate(core.items):
        if i in stars:
            continue
        position = i + 1 if i < left else width - (len(core.items) - 1 - i) if i > right else 0
        alias, tokens = "", item
        if len(item) > 1 and item[-2].word == "as":
            alias, tokens = item[-1].plain, item[:-2]
        elif len(item) > 1 and position and item[-2].text != "." and item[-1].plain == names[position - 1]:
            alias, tokens = item[-1].plain, item[:-1]
        columns.append(Column(position, alias, tokens, _path(tokens)))
    if stars:
        star_positions = range(left + 1, width - (len(core.items) - 1 - right) + 1)
        columns += [Column(position, "", [], (names[position - 1],)) for position in star_positions]
    return columns


def _path(tokens: Sequence[Token]) -> tuple[str, ...]:
    """(name,) or (table, name) of a plain column, else ()."""
    names = tuple(token.plain for token in tokens[::2])
    dots = all(token.text == "." for token in tokens[1::2])
    plain = all(names) and not any(token.kind == "string" for token in tokens) and len(tokens) % 2
    return names[-2:] if dots and plain and tokens[0].word not in _KEYWORDS else ()


def _direction(query: Query, term: list[Token]) -> tuple[list[Token], str]:
    end = len(term)
    if end > 2 and term[end - 2].word == "nulls":
        end -= 2
    if end > 1 and term[end - 1].word in ("asc", "desc"):
        end -= 1
    return term[:end], " " + query.text(term[end:]) if term[end:] else ""


def _bare(query: Query, tokens: list[Token]) -> tuple[list[Token], str]:
    """A key without parentheses and COLLATE around it, and that collation as text to put behind a column."""
    collation = ""
    while True:
        if len(tokens) > 2 and tokens[-2].word == "collate" and (_path(tokens[:-2]) or _is_unit(tokens[:-2])):
            collation = collation or " " + query.text(tokens[-2:])
            tokens = tokens[:-2]
        elif len(tokens) > 2 and tokens[0].text == "(" and _is_unit(tokens):
            tokens = tokens[1:-1]
        else:
            return tokens, collation


def _is_unit(tokens: list[Token]) -> bool:
    """One token, or one pair of parentheses with all between, a function's name before it or not."""
    if len(tokens) == 1:
        return True
    first = 1 if tokens[0].word and tokens[0].word not in _KEYWORDS else 0
    depth = tokens[first].depth
    return (
        tokens[first].text == "("
        and tokens[-1].text == ")"
        and all(token.depth > depth for token in tokens[first + 1 : -1])
    )


def _position(tokens: list[Token], width: int) -> int | None:
    while len(tokens) > 1 and (tokens[0].text == "+" or tokens[0].text == "(" and _is_unit(tokens)):
        tokens = tokens[1:] if tokens[0].text == "+" else tokens[1:-1]
    text = tokens[0].text
    if len(tokens) != 1 or tokens[0].kind != "number" or len(text) > 9:
        return None
    if text[:2].lower() == "0x":
        number = int(text, 16)
    else:
        number = int(text) if text.isdecimal() else 0
    return number if 1 <= number <= width else None


def _by_alias(tokens: list[Token], columns: list[Column]) -> Column | None:
    name = tokens[0].plain if len(tokens) == 1 and tokens[0].kind != "string" else ""
    return next((column for column in columns if name and column.alias == name), None)


def _matching(tokens: list[Token], lists: list[list[Column]]) -> int | None:
    """Position of the result's column that a key is: by alias, then by expression, SELECT by SELECT."""
    for columns in lists:
        alias = _by_alias(tokens, columns)
        position = alias.position if alias else _same_expression(tokens, columns)
        if position:
            return position
    return None


def _same_expression(tokens: list[Token], columns: list[Column]) -> int | None:
    path = _path(tokens)
    if path:
        matches = [column for column in columns if _same_path(column.path, path)]
        # Written out twice it is one column all the same; of those behind * two may come from two tables.
        certain = [column for column in matches if column.tokens] or (matches if len(matches) == 1 else [])
        return certain[0].position if certain else None
    texts = [token.normal for token in tokens]
    return next((c.position for c in columns if [token.normal for token in c.tokens] == texts), None)


def _same_path(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    size = min(len(left), len(right))
    return size > 0 and left[-size:] == right[-size:]


def _names(tokens: list[Token]) -> list[tuple[int, int]]:
    """Where an expression names columns: (first, behind the last) of its tokens."""
    spans, i = [], 0
    while i < len(tokens):
        stop = i + 1
        if tokens[i].kind == "name" or (tokens[i].word and tokens[i].word not in _KEYWORDS):
            while stop + 1 < len(tokens) and tokens[stop].text == "." and tokens[stop + 1].plain:
                stop += 2
            is_call = stop < len(tokens) and tokens[stop].text == "("
            if not is_call and not (i and tokens[i - 1].word in ("collate", "as")):
                spans.append((i, stop))
        i = stop
    return spans


def _over_result(query: Query, tokens: list[Token], columns: list[Column], describe: Describe) -> str | None:
    """A key of SELECT DISTINCT as an expression over the result's columns, or None where it needs others."""
    if any(token.word == "select" for token in tokens):
        return None
    pieces, cursor = [], tokens[0].start
    for first, stop in _names(tokens):
        name = tokens[first:stop]
        names = describe(_probe(query, query.text(name) if stop - first > 1 else _backticks(name[0])))
        if names is None and name[0].text.startswith('"') and not any(c.alias == name[0].plain for c in columns):
            continue  # a string in double quotes
        position = _same_expression(name, columns) if names is not None else _matching(name, [columns])
        if not position:
            return None
        pieces += [query.sql[cursor : name[0].start], f"c{position}"]
        cursor = name[-1].stop
    return "(" + "".join(pieces) + query.sql[cursor : tokens[-1].stop] + "\n)"


def _over_tables(query: Query, tokens: list[Token], columns: list[Column], describe: Describe) -> str | None:
    """A key as an expression that may stand among the columns, where aliases are not known."""
    aliases: dict[str, Column] = {}
    for column in columns:
        if column.alias:
            aliases.setdefault(column.alias, column)
    pieces, cursor = [], tokens[0].start
    for first, stop in _names(tokens):
        name = tokens[first]
        column = aliases.get(name.plain) if stop - first == 1 else None
        if column is None or describe(_probe(query, _backticks(name))) is not None:
            continue
        if any(token.word == "select" for token in tokens):
            return None  # the name may mean something else in there
        pieces += [query.sql[cursor : name.start], f"({query.text(column.tokens)}\n)"]
        cursor = name.stop
        if sum(map(len, pieces)) > len(query.sql) + 20_000:
            return None
    return "(" + "".join(pieces) + query.sql[cursor : tokens[-1].stop] + "\n)"


def _backticks(token: Token) -> str:
    """A name in quotes that, other than double ones, never mean a string."""
    return "`" + token.plain.replace("`", "``") + "`"


def _probe(query: Query, expression: str) -> str:
    return f"{_with_columns(query, [expression])}\nLIMIT 0"


def _with_columns(query: Query, extras: list[str]) -> str:
    """The query without ORDER BY and LIMIT, and with further columns in its only SELECT."""
    insert = query.cores[0].insert
    if not extras:
        return query.sql[: query.body_stop]
    return query.sql[:insert] + "".join(f"\n, {text}" for text in extras) + "\n" + query.sql[insert : query.body_stop]
