"""Greedy answers to held-out questions on the way of a training by rewards: what they are worth, and their forms.

A reward that rises while answers lose their joins is no gain, so the share of answers with each form is reported beside
the matches.
"""

import math
import re
from collections.abc import Sequence

from common import distributed
from common.data import Example
from common.generation import complete
from common.generation.answers import end_tokens
from common.models import LoadedModel
from common.prompts import extract_sql, prompt_ids
from common.scoring import Scorer
from common.settings import UserError

FORMS = {"join": r"\bjoin\b", "over": r"\bover\b", "group_by": r"\bgroup\s+by\b", "having": r"\bhaving\b"}
_STRINGS = re.compile(r"'(?:[^']|'')*'")


def forms(sql: str) -> dict[str, bool]:
    """Which of FORMS a statement has, strings aside."""
    plain = _STRINGS.sub("''", sql)
    return {name: bool(re.search(pattern, plain, re.IGNORECASE)) for name, pattern in FORMS.items()}


def form_shares(statements: Sequence[str]) -> dict[str, float]:
    """The share of statements with each form."""
    each = [forms(sql) for sql in statements]
    return {name: sum(one[name] for one in each) / len(each) for name in FORMS}


def held_out_means(
    loaded: LoadedModel, examples: Sequence[Example], *, max_new_tokens: int, batch_size: int, databases: int = 0
) -> dict[str, float]:
    """`score` and `match` as `answer_means` has them, the mean `tokens` of an answer, the share `truncated`, and that
    of each form.

    Several processes share the rows; those that cannot be scored are left out. Raises UserError where none can.
    """
    numbers = range(distributed.rank(), len(examples), distributed.world())
    prompts = [prompt_ids(examples[number], loaded.tokenizer) for number in numbers]
    answers = complete(loaded, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)
    with Scorer(workers=1, databases=databases) as scorer:
        verdicts = scorer.score_batch([(examples[n], a.text) for n, a in zip(numbers, answers, strict=True)])
    ends = end_tokens(loaded)
    share = [
        (v.score, v.robust_match if databases else v.match, a.new_tokens, ends.isdisjoint(a.token_ids[-1:]), a.text)
        for v, a in zip(verdicts, answers, strict=True)
        if v.match is not None
    ]
    lines = [line for share in distributed.gathered(share) for line in share]
    if not lines:
        raise UserError("no validation row that is answered in training can be scored; give other rows")
    scores, matches, tokens, truncated, texts = zip(*lines, strict=True)
    count = len(lines)
    means = {"score": math.fsum(scores) / count, "match": sum(matches) / count}
    means |= {"tokens": sum(tokens) / count, "truncated": sum(truncated) / count}
    return means | form_shares([extract_sql(text) for text in texts])
