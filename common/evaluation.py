"""Evaluate a model: greedy answers to every example, scored in the sandbox, kept part by part.

An evaluation that was stopped goes on from the parts already answered and ends with the same rows, since the parts are
fixed in advance. Scoring always runs over all rows at the end: it costs milliseconds a row.
Of several processes each answers whole parts, number k mod n is its own; all of them have the report of all rows.
"""

import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from common import distributed
from common.data import Example
from common.generation import batch_plan, complete
from common.models import LoadedModel, base_digest
from common.prompts import extract_sql, prompt_ids
from common.scoring import Scorer
from common.settings import UserError, writable, writing

PART = 4  # batches that are answered between two writes to disk: fewer leave the batch half empty too often


@dataclass(frozen=True)
class Report:
    """What an evaluation found. `rows` are the ledger's predictions rows, in the examples' order; `seconds` is the
    time spent generating, over all sittings, scoring excluded; of several processes the slowest one's."""

    rows: list[dict]
    seconds: float
    new_tokens: int


def evaluate(
    loaded: LoadedModel,
    examples: Sequence[Example],
    *,
    folder: Path,
    max_new_tokens: int,
    batch_size: int,
    databases: int = 0,
) -> Report:
    """Answer and score `examples`; answers are kept in `folder`/completions.jsonl, and used again for the same weights,
    prompts and decoding only. Several processes keep a file each, which as many use again. References that cannot be
    scored are named on stdout before any time is spent. Raises UserError where none can be scored, and where the disk
    refuses."""
    rank, world = distributed.rank(), distributed.world()
    distributed.from_main(lambda: report_unscorable(examples))
    prompts = [prompt_ids(example, loaded.tokenizer) for example in examples]
    plan = batch_plan([len(prompt) for prompt in prompts], PART * batch_size)
    own = plan[rank::world]
    path = writable(folder) / ("completions.jsonl" if world == 1 else f"completions-{rank}-of-{world}.jsonl")
    parts = _answered(path, _asked(loaded, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size, part=PART))
    count = sum(map(len, own))
    with tqdm(total=count, desc=f"answering ({folder.name})", unit="row", file=sys.stderr, disable=rank > 0) as bar:
        bar.update(sum(len(part["answers"]) for part in parts))
        for indexes in own[len(parts) :]:
            start = time.perf_counter()
            answers = complete(
                loaded,
                [prompts[i] for i in indexes],
                max_new_tokens=max_new_tokens,
                places=batch_size,
                ended=lambda *_: bar.update(),
            )
            part = {"seconds": time.perf_counter() - start, "answers": [asdict(answer) for answer in answers]}
            parts.append(part)
            with writing(path), path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(part) + "\n")
                file.flush()
                os.fsync(file.fileno())
    gathered = distributed.gathered(parts)
    answer_of = {
        i: answer
        for process, found in enumerate(gathered)
        for indexes, part in zip(plan[process::world], found, strict=True)
        for i, answer in zip(indexes, part["answers"], strict=True)
    }
    answers = [answer_of[i] for i in range(len(examples))]
    rows = distributed.from_main(lambda: _scored(examples, answers, databases))
    seconds = max(sum(part["seconds"] for part in found) for found in gathered)
    return Report(rows, seconds, sum(a["new_tokens"] for a in answers))


def _scored(examples: Sequence[Example], answers: Sequence[dict], databases: int) -> list[dict]:
    with Scorer(workers=os.cpu_count() or 1, databases=databases) as scorer:
        verdicts = scorer.score_batch([(e, a["text"]) for e, a in zip(examples, answers, strict=True)])
    return [prediction_row(e, a, v) for e, a, v in zip(examples, answers, verdicts, strict=True)]


def mean_score(
    loaded: LoadedModel, examples: Sequence[Example], *, max_new_tokens: int, batch_size: int, databases: int = 0
) -> float:
    """Mean score of greedy answers to a few examples: what a training looks at on its way.

    Rows that cannot be scored are left out. Several processes share them. Raises UserError where none can.
    """
    prompts = [prompt_ids(example, loaded.tokenizer) for example in examples]
    own = range(distributed.rank(), len(examples), distributed.world())
    answers = complete(loaded, [prompts[i] for i in own], max_new_tokens=max_new_tokens, places=batch_size)
    rows = [(examples[i], answer.text) for i, answer in zip(own, answers, strict=True)]
    with Scorer(workers=1, databases=databases) as scorer:
        own = [verdict.score for verdict in scorer.score_batch(rows) if verdict.match is not None]
    scores = [score for found in distributed.gathered(own) for score in found]
    if not scores:
        raise UserError("no validation row that is answered in training can be scored; set score_rows to 0")
    # The exactly rounded sum does not depend on which process answered what.
    return math.fsum(scores) / len(scores)


def report_unscorable(examples: Sequence[Example]) -> None:
    """Print in one line which references cannot be scored, if any. Raises UserError where that is all of them."""
    with Scorer(workers=os.cpu_count() or 1) as scorer:
        verdicts = scorer.score_batch([(example, example.sql) for example in examples])
    bad = [f"{e.id} ({v.detail})" for e, v in zip(examples, verdicts, strict=True) if v.match is None]
    if len(bad) == len(examples):
        raise UserError(f"no reference can be scored; the first is {bad[0]}: mend sql_context and sql in the data")
    if bad:
        more = ", …" if len(bad) > 3 else ""
        first = ", ".join(bad[:3])
        print(f"{len(bad)} of {len(examples)} references cannot be scored, left out of means: {first}{more}")


def prediction_row(example: Example, answer: dict, verdict) -> dict:
    """One row of the ledger's predictions: enough to recompute every figure without the model."""
    return {
        "id": example.id,
        "complexity": example.complexity,
        "task_type": example.task_type,
        "completion": answer["text"],
        "sql": extract_sql(answer["text"]),
        "new_tokens": answer["new_tokens"],
        **asdict(verdict),
    }


def _asked(loaded: LoadedModel, prompts: Sequence[list[int]], **decoding: int) -> str:
    """Names the weights, the prompts and the decoding that answers belong to; the first line of their file."""
    about = json.dumps([base_digest(loaded.model), prompts, decoding], sort_keys=True)
    return json.dumps({"asked": hashlib.sha256(about.encode()).hexdigest()}) + "\n"


def _answered(path: Path, asked: str) -> list[dict]:
    """The whole parts that are on disk; a line cut short by a kill is taken off the file, and answers to anything
    else than was `asked` are left behind."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1] if text.startswith(asked) else asked
    if whole != text:
        with writing(path):
            path.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.removeprefix(asked).splitlines()]
