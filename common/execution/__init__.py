"""What statements return and change, as texts for a person to read; run in the sandbox as the scorer runs them.

Judges nothing. Clock, random numbers, limits and private copies are those of `common.scoring`, so what is shown is what
a verdict was given on. Rows leave the worker cut to a stated size, and say how many there were. Only databases that a
schema makes: none of a file.
"""

from common.execution.batches import Batch, execute

__all__ = ["Batch", "execute"]
