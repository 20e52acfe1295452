"""How much two SQL texts do the same: the F1 of the operations in their parse trees, where ROUGE compares words.

An operation is a pair (kind, text): a table that is read, a join, a condition, an aggregate, a key of grouping or
order with its direction, a window's parts, a limit, a set operation, a selected expression, what a statement writes. To
ROUGE-L `pay < 3` and `pay > 3` are the same words; here they are two operations. Names are compared without case, and

- aliases of tables stand for their tables, those of columns in GROUP BY, HAVING and ORDER BY for their expressions;
- `5 < a` is `a > 5`, BETWEEN is two comparisons, NOT is drawn into a comparison, and what AND, OR, + and * join has no
  order; the condition of an inner join counts like one in WHERE;
- a column that one side writes without its table is compared without it, if several tables could have it.

Not covered: which subquery an operation stands in, columns of subqueries by another name, equivalent queries of another
shape, strings in double quotes, and the schema, which is not read. Equal operations are no proof of equal queries.
After the atomic reward of FINER-SQL (arXiv 2605.03465), which counts operations of its own choice.
"""

import logging
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.tokens import TokenType

from common.rewards.reading import Operations, Reader

LONGEST = 20_000  # characters, the longest statement that the sandbox runs
# Brackets within brackets. sqlglot's time doubles with each `date(` in another; no reference of Spider, gretel's sample
# or the embedded data goes deeper than 3.
DEEPEST = 8


def overlap(one: str, other: str) -> float:
    """F1 of the operations of two SQL texts, in [0, 1]; symmetric, 1.0 for a text that can be parsed and itself.

    0.0 where either cannot be parsed or holds no operation, is longer than LONGEST or nests deeper than DEEPEST. Never
    raises. Takes a millisecond, and at worst 3 s: for LONGEST characters of calls in calls that are named like types.
    """
    try:
        readers = [_read(text) for text in (one, other)]
        bare = frozenset(readers[0].unresolved | readers[1].unresolved)
        if bare:
            readers = [_read(text, bare) for text in (one, other)]
    except Exception:  # as in `operations`
        return 0.0
    sides = [reader.operations for reader in readers]
    total = sum(side.total() for side in sides)
    return 2 * (sides[0] & sides[1]).total() / total if total else 0.0


def operations(sql: str) -> Operations:
    """How often which operation, a pair (kind, text), stands in a SQL text of one or more statements; empty where
    `overlap` would be 0.0. Never raises."""
    try:
        return _read(sql).operations
    except Exception:  # sqlglot's own errors are not all it raises on odd texts; what nests deep is a RecursionError
        return Counter()


def _read(sql: str, bare: Iterable[str] = frozenset()) -> Reader:
    """bare: names of columns to compare without their tables. Raises for what cannot be parsed."""
    reader = Reader(bare)
    for tree in _trees(sql):
        reader.read(tree)
    return reader


@lru_cache(maxsize=4)  # a group's reference stays, while one completion after another goes
def _trees(sql: str) -> list[exp.Expression]:
    """The statements of a text. Raises sqlglot's errors, ValueError and RecursionError."""
    if len(sql) > LONGEST:
        raise ValueError("too long")
    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of what it keeps as text, which is fine here
    trees: list[exp.Expression] = []
    for tree in _parse(sql):
        if isinstance(tree, exp.Command) and str(tree.this).upper() == "REPLACE":  # kept as text, unlike its long form
            trees += _parse(f"INSERT OR REPLACE {tree.expression.name}")
        else:
            trees.append(tree)
    return trees


def _parse(sql: str) -> list[exp.Expression]:
    dialect = sqlglot.Dialect.get_or_raise("sqlite")
    tokens = dialect.tokenize(sql)
    depth = 0
    for token in tokens:
        depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if depth > DEEPEST:
            raise ValueError("too deep")
    return [tree for tree in dialect.parser().parse(tokens, sql) if tree is not None]
