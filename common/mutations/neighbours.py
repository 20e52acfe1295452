"""Near misses of a reference: the same text with one operator, constant, column, key or clause changed.

They are what a set of databases has to tell from the reference, and what a study of lucky matches counts. Only a
reference is ever parsed here, never a completion. Neighbours are texts: some mean the same as the reference, some do
not run; whoever uses them executes them. Not made: changes of two places at once, other tables, other shapes of query
(a join for a subquery), triggers, and anything of a text that sqlglot's SQLite dialect does not parse.

sqlglot is imported when first needed, since a worker of the sandbox opens files at one moment only.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.mutations.changes import of_node
from common.mutations.edits import maybe_string, render

if TYPE_CHECKING:
    from sqlglot import exp

LONGEST = 20_000  # characters, the longest statement that the sandbox runs
MOST_OF_ONE_OPERATOR = 40  # of a statement: a list of a hundred VALUES is no reason for three hundred near misses
# Each has columns of its own; a column is only swapped with one of its scope.
_SCOPES = frozenset({"select", "update", "delete", "insert", "create"})


@dataclass(frozen=True)
class Neighbour:
    """One near miss. operator: what kind of change made it, e.g. `comparison`."""

    operator: str
    sql: str


def neighbours(sql: str, *, most: int = MOST_OF_ONE_OPERATOR) -> list[Neighbour]:
    """Near misses of a reference of one or more statements, in a fixed order, each text once.

    None equals the reference or its own rendering. Empty where the text cannot be parsed. most: of one operator in a
    statement, those nearest to its outside. Never raises.
    """
    if len(sql) > LONGEST:
        return []
    import sqlglot
    from sqlglot import exp

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of what it cannot parse; we return nothing
    misses: dict[str, Neighbour] = {}
    # sqlglot's own errors are not all it raises on odd texts, and deep ones end in RecursionError.
    try:
        trees = [_as_tree(tree, sqlglot) for tree in sqlglot.parse(sql, dialect="sqlite") if tree is not None]
        generator = sqlglot.Dialect.get_or_raise("sqlite").generator(comments=False)
        texts = [generator.generate(tree, copy=False) for tree in trees]
        originals = {"; ".join(texts), sql.strip().rstrip("; \n")}
        for number, tree in enumerate(trees):
            for operator, text in _of_statement(tree, most, generator, exp):
                whole = "; ".join([*texts[:number], text, *texts[number + 1 :]])
                if whole not in originals:
                    misses.setdefault(whole, Neighbour(operator, whole))
    except Exception:
        pass  # what there is so far is good
    return list(misses.values())


def _as_tree(tree: exp.Expression, sqlglot: Any) -> exp.Expression:
    """The tree; of REPLACE INTO, which sqlglot keeps as text, the tree of the same statement in its long form."""
    if tree.key == "command" and str(tree.this).upper() == "REPLACE":
        return sqlglot.parse_one(f"INSERT OR REPLACE {tree.expression.name}", dialect="sqlite")
    return tree


def _of_statement(tree: exp.Expression, most: int, generator: Any, exp: Any) -> Iterator[tuple[str, str]]:
    """Operator and text of each change."""
    counts: dict[str, int] = {}
    nodes, scopes = _walk(tree)
    for node, scope in nodes:
        for operator, edits in of_node(node, scopes[scope], exp):
            if counts.get(operator, 0) >= most:
                continue
            counts[operator] = counts.get(operator, 0) + 1
            text = render(tree, edits, generator)
            if text is not None:
                yield operator, text


def _walk(tree: exp.Expression) -> tuple[list[tuple[exp.Expression, int]], dict[int, list[exp.Expression]]]:
    """Every node with the id of its scope, outermost first, and each scope's distinct columns in order."""
    nodes: list[tuple[exp.Expression, int]] = []
    columns: dict[int, dict[tuple[str, str], exp.Expression]] = {id(tree): {}}
    level = [(tree, id(tree))]
    while level:  # by hand and not by sqlglot's recursion, so that depth costs nothing
        below = []
        for node, scope in level:
            if node.key in _SCOPES:
                scope = id(node)
                columns.setdefault(scope, {})
            nodes.append((node, scope))
            if node.key == "column" and not maybe_string(node):
                columns[scope].setdefault((node.table.casefold(), node.name.casefold()), node)
            below += [(child, scope) for child in node.iter_expressions()]
        level = below
    return nodes, {scope: list(scope_columns.values()) for scope, scope_columns in columns.items()}
