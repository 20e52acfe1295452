"""Untrusted SQL executed for its rows: what a person reads beside a verdict, or as an answer.

Statements run in the study's sandbox, under the scorer's limits, on a private copy. Covers no judgement: whether two
results agree is `common.scoring`'s business.
"""

from common.execution.executions import Execution, Request, Table, execute

__all__ = ["Execution", "Request", "Table", "execute"]
