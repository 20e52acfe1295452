"""Evaluate a model: greedy answers to every example of every split, scored in the sandbox; answers are kept by row.

An evaluation that was stopped goes on with the rows that are not answered yet. Those then have other company than they
would have had, which changes an answer only where two tokens are equally likely but for rounding. Scoring always runs
over all rows at the end: it costs milliseconds a row.
Of n processes number r answers the rows r, r + n, …; all of them have the report of all rows.
"""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from common import distributed, provenance
from common.completions import Answer, Completions
from common.data import Example
from common.generation import Completion, complete
from common.generation.answers import end_tokens
from common.locks import locked
from common.models import LoadedModel, base_digest
from common.prompts import extract_sql, prompt_ids
from common.scoring import Scorer, Verdict
from common.settings import UserError, writable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GENERATION = "common.generation"


@dataclass(frozen=True)
class Report:
    """The result of an evaluation. `rows` are the ledger's predictions rows, split by split in the examples' order,
    each with the key `split`; `seconds` is the time spent generating, over all sittings, scoring excluded; of several
    processes the slowest one's. `code_digest` is that of the code that answered, the closure of `code_module`."""

    rows: list[dict]
    seconds: float
    new_tokens: int
    code_digest: str
    code_module: str = GENERATION


def evaluate(
    loaded: LoadedModel,
    tests: Mapping[str, Sequence[Example]],
    *,
    folder: Path,
    max_new_tokens: int,
    batch_size: int,
    databases: int = 0,
    prompt: Callable[[Example, "PreTrainedTokenizerBase"], list[int]] = prompt_ids,
) -> Report:
    """Answer and score the examples of each split, all of them in one go. Answers are kept in
    `folder`/completions.jsonl and used again for the same row, prompt, weights and decoding, by the same code, packages
    and kind of device; `batch_size` may change. Each of several processes has a file of its own, used again by as many
    processes. prompt: an example's token ids, where they are not the study's own.

    References that cannot be scored are named on stdout before any time is spent. Raises UserError where none can be
    scored, where another job works in `folder`, and where the disk refuses.
    """
    examples = [example for rows in tests.values() for example in rows]
    if not examples:
        raise UserError("there are no rows to answer; give at least one")
    rank, world = distributed.rank(), distributed.world()
    distributed.from_main(lambda: report_unscorable(examples))
    prompts = [prompt(example, loaded.tokenizer) for example in examples]
    with contextlib.ExitStack() as stack:
        distributed.from_main(lambda: stack.enter_context(locked(folder)))
        name = "completions.jsonl" if world == 1 else f"completions-{rank}-of-{world}.jsonl"
        shares = distributed.gathered(
            _answers(
                loaded,
                {row: prompts[row] for row in range(rank, len(prompts), world)},
                writable(folder) / name,
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
            )
        )
    answer_of = {row: answer for share in shares for row, answer in share.items()}
    answers = [answer_of[row] for row in range(len(examples))]
    return Report(
        rows=distributed.from_main(lambda: _scored(tests, answers, databases)),
        seconds=max(sum(answer.seconds for answer in share.values()) for share in shares),
        new_tokens=sum(answer.new_tokens for answer in answers),
        code_digest=answers_code(),
    )


def judge(
    tests: Mapping[str, Sequence[Example]], texts: Sequence[str], *, module: str, seconds: float, databases: int = 0
) -> Report:
    """Score answers that no model gave, such as a look-up's: a text an example, split by split. module: whose code gave
    them, by its name. seconds: spent on all of them."""
    answers = [Answer(text, 0, seconds / len(texts)) for text in texts]
    return Report(_scored(tests, answers, databases), seconds, 0, answers_code(module), module)


def answers_code(module: str = GENERATION) -> str:
    """Digest of the code that answers."""
    return provenance.code(module, without=provenance.SCORING)


def _answers(
    loaded: LoadedModel, prompts: dict[int, list[int]], path: Path, *, max_new_tokens: int, batch_size: int
) -> dict[int, Answer]:
    """Answers by row, those of the file at `path` and those that were missing there. prompts: token ids by row."""
    heading = {
        "weights": base_digest(loaded.model),
        "decoding": {"max_new_tokens": max_new_tokens, "do_sample": False, "end_tokens": sorted(end_tokens(loaded))},
        # The code that answers, its packages, the kind of device.
        "basis": provenance.basis("common.generation", without=provenance.SCORING),
    }
    digests = {row: provenance.digest(prompt) for row, prompt in prompts.items()}
    with (
        Completions(path, heading, digests) as completions,
        tqdm(
            total=len(prompts),
            desc=f"answering ({path.parent.name})",
            unit="row",
            file=sys.stderr,
            disable=not distributed.is_main(),
            initial=len(completions.answers),
        ) as bar,
    ):
        queue = [row for row in prompts if row not in completions.answers]
        start = time.perf_counter()

        def add(number: int, completion: Completion) -> None:
            nonlocal start
            seconds = time.perf_counter() - start
            completions.add(queue[number], Answer(completion.text, completion.new_tokens, seconds))
            bar.update()
            start = time.perf_counter()

        complete(
            loaded,
            [prompts[row] for row in queue],
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            on_completion=add,
        )
    return completions.answers


def _scored(tests: Mapping[str, Sequence[Example]], answers: Sequence[Answer], databases: int) -> list[dict]:
    rows = [(split, example) for split, examples in tests.items() for example in examples]
    with Scorer(workers=distributed.cpus(), databases=databases) as scorer:
        verdicts = scorer.score_batch([(e, a.text) for (_, e), a in zip(rows, answers, strict=True)])
    return [prediction_row(s, e, a, v) for (s, e), a, v in zip(rows, answers, verdicts, strict=True)]


def answer_means(
    loaded: LoadedModel, examples: Sequence[Example], *, max_new_tokens: int, batch_size: int, databases: int = 0
) -> dict[str, float]:
    """Mean `score` and `match` (robust where `databases` are generated) of greedy answers to a few examples: what a
    training looks at on its way.

    Rows that cannot be scored are left out. Several processes share them. Raises UserError where none can.
    """
    rows = range(distributed.rank(), len(examples), distributed.world())
    prompts = [prompt_ids(examples[row], loaded.tokenizer) for row in rows]
    answers = complete(loaded, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)
    pairs = [(examples[row], answer.text) for row, answer in zip(rows, answers, strict=True)]
    with Scorer(workers=1, databases=databases) as scorer:
        verdicts = [verdict for verdict in scorer.score_batch(pairs) if verdict.match is not None]
    matches = [verdict.robust_match if databases else verdict.match for verdict in verdicts]
    share = list(zip((verdict.score for verdict in verdicts), matches, strict=True))
    pairs = [pair for share in distributed.gathered(share) for pair in share]
    if not pairs:
        raise UserError("no validation row that is answered in training can be scored; set score_rows to 0")
    # The exactly rounded sum does not depend on which process answered what.
    scores, matches = zip(*pairs, strict=True)
    return {"score": math.fsum(scores) / len(pairs), "match": sum(matches) / len(pairs)}


def report_unscorable(examples: Sequence[Example]) -> None:
    """Print in one line which references cannot be scored, if any. Raises UserError where that is all of them."""
    with Scorer(workers=distributed.cpus()) as scorer:
        verdicts = scorer.score_batch([(example, example.sql) for example in examples])
    bad = [f"{e.id} ({v.detail})" for e, v in zip(examples, verdicts, strict=True) if v.match is None]
    if len(bad) == len(examples):
        raise UserError(f"no reference can be scored; the first is {bad[0]}: mend sql_context and sql in the data")
    if bad:
        more = ", …" if len(bad) > 3 else ""
        first = ", ".join(bad[:3])
        print(f"{len(bad)} of {len(examples)} references cannot be scored, left out of means: {first}{more}")


def prediction_row(split: str, example: Example, answer: Answer, verdict: Verdict) -> dict:
    """One row of the ledger's predictions: enough to recompute every figure without the model. `schema` is a digest:
    rows of one schema have the same."""
    return {
        "id": example.id,
        "split": split,
        "schema": provenance.digest(example.schema)[:8],
        "complexity": example.complexity,
        "task_type": example.task_type,
        "completion": answer.text,
        "sql": extract_sql(answer.text),
        "new_tokens": answer.new_tokens,
        **asdict(verdict),
    }
