"""Single changes of a statement: what its near misses are made of, as texts or as edits of a parsed tree.

`neighbours` gives the near misses of a reference, which a suite of databases has to tell from it and which a study of
lucky matches counts. `clauses` and `expressions` hold the changes, `changes` those of one node; `edits` is how a change
is made and taken back without a copy of the tree: new nodes share the arguments of those that they stand for, whose
parents are left as they are. Not covered: changes of two places at once, other tables, other shapes of query, and
whether a changed statement runs or means something else.
"""

from common.mutations.neighbours import Neighbour, neighbours

__all__ = ["Neighbour", "neighbours"]
