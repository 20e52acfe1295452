"""Edits of a tree for the time of one rendering, the nodes to put there, and that rendering."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlglot import exp

# (owner, key, value): a node, the name of one of its arguments, and what to put there; without an owner another root.
Edit = tuple["exp.Expression | None", str, Any]
Mutations = Iterator[tuple[str, list[Edit]]]


def maybe_string(node: exp.Expression) -> bool:
    """Whether a column may be a string in double quotes: SQLite decides by the schema, which is not known here."""
    return node.key == "column" and node.this.args.get("quoted", False) and not node.table


def as_(node: exp.Expression, other: type, **arguments: Any) -> exp.Expression:
    """A node of another class with the same arguments, or some changed."""
    twin = other()
    twin.args = {**node.args, **arguments}
    twin.parent = node.parent
    return twin


def swap(node: exp.Expression, new: exp.Expression, **arguments: Any) -> list[Edit]:
    """Put a node where another is; `arguments` are set on the new one, whose parents stay as they are."""
    new.args.update(arguments)
    owner, key, index = node.parent, node.arg_key, node.index
    if owner is None or index is None:
        return [(owner, key, new)]
    values = owner.args[key]
    return [(owner, key, [*values[:index], new, *values[index + 1 :]])]


def without(owner: exp.Expression, key: str, index: int) -> list[Edit]:
    values = owner.args[key]
    return [(owner, key, [*values[:index], *values[index + 1 :]])]


def exchange(owner: exp.Expression, key: str, index: int) -> list[Edit]:
    values = list(owner.args[key])
    values[index], values[index + 1] = values[index + 1], values[index]
    return [(owner, key, values)]


def render(tree: exp.Expression, edits: list[Edit], generator: Any) -> str | None:
    """The text of a tree with some edits, which are taken back; None where it cannot be rendered.

    A copy of the tree for each change would cost ten times as much.
    """
    root = edits[0][2] if edits[0][0] is None else tree
    places = [(owner, key, owner.args.get(key)) for owner, key, _ in edits if owner is not None]
    try:
        for owner, key, value in edits:
            if owner is not None:
                owner.args[key] = value
        return generator.generate(root, copy=False)
    except Exception:  # one change that cannot be rendered does not cost the others
        return None
    finally:
        for owner, key, value in reversed(places):
            owner.args[key] = value
