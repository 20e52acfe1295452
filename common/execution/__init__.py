"""What statements return and change, for a person to read; run in the sandbox as the scorer runs them.

Judges nothing. Clock, random numbers, limits and private copies are those of `common.scoring`, so what is shown is what
a verdict was given on. Rows leave the worker cut to a stated size, and say how many there were.
"""

from common.execution.batches import Batch, execute
from common.execution.executions import Change, Execution, Table, execute_one

__all__ = ["Batch", "Change", "Execution", "Table", "execute", "execute_one"]
