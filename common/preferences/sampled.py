"""Samples of the model that is to be trained, as candidates: what it gets right, and its own failures.

Answers are drawn at a temperature, several a question, in chunks of questions. They are kept on disk as they come; a
chunk that was stopped is drawn again, and its draws depend on the seed, the chunk and the row alone, so a killed run
ends with the samples of one that was not.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from common import provenance
from common.completions import Answer, Completions
from common.data import Example
from common.generation import Completion, complete
from common.generation.answers import end_tokens
from common.generation.sampling import Sampling
from common.locks import locked
from common.models import LoadedModel, base_digest
from common.preferences.candidates import SAMPLED, Candidate
from common.prompts import prompt_ids
from common.settings import UserError, writable

CHUNK = 48  # questions drawn together: enough to keep a batch full, few enough to lose little


def sampled(
    loaded: LoadedModel,
    examples: Sequence[Example],
    *,
    answers: int,
    folder: Path,
    max_new_tokens: int,
    batch_size: int,
    temperature: float = 1.0,
    seed: int = 42,
    origin: str = "",
) -> list[Candidate]:
    """`answers` samples of each example, example by example; kept in `folder`/samples.jsonl and used again for the same
    rows, weights and sampling.

    origin: the model's name in the pairs. Raises UserError where there is nothing to do, where another job works in
    `folder`, and where the disk refuses.
    """
    if answers < 1 or not examples:
        raise UserError("sampling needs at least 1 example and 1 answer each")
    prompts = [prompt_ids(example, loaded.tokenizer) for example in examples for _ in range(answers)]
    sampling = {"temperature": temperature, "seed": seed, "answers": answers, "chunk": CHUNK}
    heading = {
        "weights": base_digest(loaded.model),
        "decoding": {"max_new_tokens": max_new_tokens, "end_tokens": sorted(end_tokens(loaded))} | sampling,
        "basis": provenance.basis("common.generation", without=provenance.SCORING),
    }
    digests = {row: provenance.digest(prompt) for row, prompt in enumerate(prompts)}
    with (
        locked(folder),
        Completions(writable(folder) / "samples.jsonl", heading, digests) as completions,
        tqdm(total=len(prompts), desc=f"sampling {origin}".strip(), unit="row", file=sys.stderr) as bar,
    ):
        size = CHUNK * answers
        for chunk, first in enumerate(range(0, len(prompts), size)):
            rows = range(first, min(first + size, len(prompts)))
            if all(row in completions.answers for row in rows):
                bar.update(len(rows))
                continue
            start = time.perf_counter()

            def add(number: int, completion: Completion, rows=rows) -> None:
                nonlocal start
                seconds = time.perf_counter() - start
                row = rows[number]
                if row not in completions.answers:
                    completions.add(row, Answer(completion.text, completion.new_tokens, seconds))
                bar.update()
                start = time.perf_counter()

            complete(
                loaded,
                [prompts[row] for row in rows],
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                sampling=Sampling(temperature=temperature, seed=seed, stream=chunk),
                on_completion=add,
            )
        texts = [completions.answers[row].text for row in range(len(prompts))]
    return [
        Candidate(examples[row // answers].id, text, SAMPLED, origin or loaded.id) for row, text in enumerate(texts)
    ]
