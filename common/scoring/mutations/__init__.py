"""The single changes that make near misses: for a node of a parsed reference, its operators and their edits.

New nodes share the arguments of those that they stand for, whose parents are left as they are, so that a change costs
no copy and is undone by putting the owner's argument back. See `common.scoring.neighbours` for what uses them and for
what is not covered. `exp` is sqlglot's module of that name, imported there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.scoring.mutations import clauses, expressions
from common.scoring.mutations.edits import Mutations, maybe_string, rendered, swap

if TYPE_CHECKING:
    from sqlglot import exp

_CHANGES = clauses.CHANGES | expressions.CHANGES
_NEGATED = frozenset({"in", "exists", "like", "glob", "between", "is"})

__all__ = ["maybe_string", "of_node", "rendered"]


def of_node(node: exp.Expression, columns: list[exp.Expression], exp: Any) -> Mutations:
    """Operators and edits for one node. columns: the distinct columns of its scope."""
    if node.key in _CHANGES:
        yield from _CHANGES[node.key](node, columns, exp)
    if node.key in _NEGATED and node.parent and node.parent.key != "not":
        yield "negation", swap(node, exp.Not(), this=node)
