"""The changes of one node of a parsed reference: its operators, and the edits that each of them makes.

`exp` is sqlglot's module of that name, imported where the reference is parsed. Not here: which nodes are changed, and
what becomes of the texts (see `neighbours`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.mutations import clauses, expressions
from common.mutations.edits import Mutations, swap

if TYPE_CHECKING:
    from sqlglot import exp

_CHANGES = clauses.CHANGES | expressions.CHANGES
_CONDITIONS = frozenset({"in", "exists", "like", "glob", "between", "is"})


def of_node(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    """Operators and edits for one node. columns: the distinct columns of its scope."""
    if node.key in _CHANGES:
        yield from _CHANGES[node.key](node, columns, exp)
    if node.key in _CONDITIONS and node.parent and node.parent.key != "not":
        yield "negation", swap(node, exp.Not(), this=node)
