"""The old name of `common.run`: the notebooks import it until they are executed anew. New code takes `common.run`."""

from common.run import cost_table, start_run

__all__ = ["cost_table", "start_run"]
