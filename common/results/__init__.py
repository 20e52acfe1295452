"""The ledger: one JSON record and one predictions file a run, and every table that is made from them.

`record` is a record's shape, `sections` where its values come from, `ledger` its files, `places` the folder that a run
writes to, `comparable` what may stand side by side, `comparison`, `tables` and `figure` what is made of that, `audits`
the records of data sets, `evaluators` what other evaluators say, `rescore`, `readme` and `explorer` verbs of
`python -m common.results`. Nothing here needs a model; records of runs that differ in data, prompt, decoding or scorer
are never put into one table.
"""

from common.results.comparison import compare
from common.results.figure import save_comparison
from common.results.ledger import folder, read_predictions, read_record, read_records, write_record

__all__ = [
    "compare",
    "folder",
    "read_predictions",
    "read_record",
    "read_records",
    "save_comparison",
    "write_record",
]
