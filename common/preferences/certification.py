"""Which candidates are right and which are wrong, said by the scorer on databases of the reward seed.

Right is a robust match: on the given database and on every generated one. Wrong is no match on the given database: a
candidate that agrees there and differs on a generated one alone is neither, so that no pair hangs on a doubtful
verdict. Candidates are taken without fences and reasoning, each statement once a question, all with the reference's
end. Which candidates meet in a pair is `pairs`' affair.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common import distributed
from common.data import Example
from common.preferences.candidates import MUTATION, REFERENCE, Candidate, normal
from common.preferences.errors import error_kind
from common.prompts import extract_sql
from common.scoring import Scorer
from common.scoring.scorer import REWARD_SEED

DATABASES = 4
NO_SQL = "no SQL in it"
NO_QUESTION = "of no example"
UNSCORABLE = "its reference cannot be scored"
DUPLICATE = "the same statement again"
DOUBTFUL = "agrees on the given database alone"
EQUIVALENT = "a near miss that means the same"
SLOW = "stopped for its running time"
REFUSED = "a reference that does not match itself"


@dataclass(frozen=True)
class Judgement:
    """A candidate's statement and the verdict on it. error: what is wrong with it, see `errors`; "" where it is
    right."""

    sql: str
    source: str
    origin: str
    error: str = ""

    @property
    def is_right(self) -> bool:
        return not self.error


@dataclass(frozen=True)
class Certificate:
    """The judgements on each example's candidates, by its id, and how many candidates were left out, by source and
    reason."""

    judgements: Mapping[str, list[Judgement]]
    drops: Counter


def certify(
    examples: Sequence[Example],
    candidates: Iterable[Candidate],
    *,
    databases: int = DATABASES,
    workers: int = 0,
    progress: bool = False,
) -> Certificate:
    """Judge the candidates, and the references of `examples` with them.

    databases: generated ones, of the reward seed. workers: processes; 0 takes one a processor. progress: a bar on
    stderr.
    """
    by_id = {example.id: example for example in examples}
    drops: Counter = Counter()
    statements: dict[tuple[str, str], Candidate] = {}
    references = [Candidate(example.id, example.sql, REFERENCE) for example in examples]
    for candidate in [*references, *candidates]:
        sql = extract_sql(candidate.completion)
        key = (candidate.example, normal(sql))
        if candidate.example not in by_id:
            drops[candidate.source, NO_QUESTION] += 1
        elif not sql:
            drops[candidate.source, NO_SQL] += 1
        elif key in statements and not _replaces(candidate, statements[key]):
            drops[candidate.source, DUPLICATE] += 1
        else:
            statements[key] = candidate
    rows = [(by_id[candidate.example], extract_sql(candidate.completion)) for candidate in statements.values()]
    with Scorer(workers=workers or distributed.cpus(), databases=databases, seed=REWARD_SEED) as scorer:
        verdicts = scorer.score_batch(rows, progress=progress)
    judgements: dict[str, list[Judgement]] = {example.id: [] for example in examples}
    for candidate, (example, sql), verdict in zip(statements.values(), rows, verdicts, strict=True):
        reason = _reason(candidate, verdict)
        if reason:
            drops[candidate.source, reason] += 1
            continue
        error = "" if verdict.robust_match else error_kind(example.sql, sql, verdict.outcome)
        judgements[example.id].append(Judgement(_ended(sql, example.sql), candidate.source, candidate.origin, error))
    return Certificate(judgements, drops)


def _ended(sql: str, reference: str) -> str:
    """The statement in one line and with the reference's end, semicolon or none: both would tell a right answer, which
    may be the reference, from a wrong one."""
    return normal(sql) + (";" if reference.rstrip().endswith(";") else "")


def _replaces(candidate: Candidate, other: Candidate) -> bool:
    """Whether an equal statement counts as this candidate's: a model's own before the reference, which comes first."""
    return other.source == REFERENCE and candidate.source not in (REFERENCE, MUTATION)


def _reason(candidate: Candidate, verdict) -> str:
    """Why a candidate is left out; "" where it stays."""
    if verdict.match is None:
        return UNSCORABLE
    if verdict.outcome == "timeout":
        return SLOW  # which depends on the machine's load
    if verdict.match and not verdict.robust_match:
        return REFUSED if candidate.source == REFERENCE else DOUBTFUL
    if verdict.robust_match and candidate.source == MUTATION:
        return EQUIVALENT
    return ""
