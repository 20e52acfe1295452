"""The built-in rewards: what each gives for one verdict, and how far a wrong answer can come above a right one.

Right means a robust match throughout, except that `strict` and `hybrid` have notions of their own. Sources of the
constants: 0.7 is the published study's; that an answer that runs gets a tenth, and overlap of operations at most three
tenths, keeps both far below a right answer, so that no sum of small credits is worth one.
"""

from common.data import Example
from common.prompts import extract_sql
from common.rewards.operations import overlap
from common.scoring import Verdict

NAMES = ("hybrid", "strict", "robust", "runs", "partial")
NEED_DATABASES = frozenset({"robust", "runs", "partial"})
RUNS = 0.1
PARTIAL = 0.3
# The least that a right answer has more than a wrong one. A lucky match is strict as well; the published metric refuses
# right answers in a fence and takes lucky ones.
GAPS = {"hybrid": -1.0, "strict": 0.0, "robust": 1.0, "runs": 1.0 - RUNS, "partial": 1.0 - PARTIAL}


def part(name: str, example: Example, completion: str, verdict: Verdict) -> float:
    """One of NAMES for one completion, in [0, 1]; 0.0 where the reference cannot be scored.

    hybrid: the published reward on the raw completion, 1.0 or 0.7 × ROUGE-L. strict: 1.0 for a match on the given
    database. robust: 1.0 for a robust match. runs: the same, else RUNS for what runs, be it a write where a query was
    asked for. partial: the same, else PARTIAL × `overlap` with the reference for what runs.
    """
    if verdict.match is None:
        return 0.0
    if name == "hybrid":
        return verdict.published_score
    if name == "strict":
        return float(verdict.match)
    if verdict.robust_match:
        return 1.0
    if name == "robust" or verdict.outcome not in ("match", "mismatch"):  # what does not run
        return 0.0
    return RUNS if name == "runs" else PARTIAL * overlap(example.sql, extract_sql(completion))
