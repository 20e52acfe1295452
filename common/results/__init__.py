"""The ledger: one JSON record and one predictions file a run, and every table that is made from them.

`python -m common.results` has the verbs `table`, `rescore` and `readme`. Nothing here needs a model; records of runs
that differ in data, prompt, decoding or scorer are never put into one table.
"""

from common.results.comparison import compare, save_comparison
from common.results.ledger import (
    commit,
    folder,
    notebook_digest,
    read_predictions,
    read_record,
    read_records,
    scorer_digest,
    write_record,
)

__all__ = [
    "commit",
    "compare",
    "folder",
    "notebook_digest",
    "read_predictions",
    "read_record",
    "read_records",
    "save_comparison",
    "scorer_digest",
    "write_record",
]
