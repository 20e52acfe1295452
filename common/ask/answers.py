"""An answer to a question: written greedily, run at once, and held against a few samples."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import TextStreamer

from common.ask.copies import Copy
from common.ask.places import question_text
from common.ask.prompting import prompt_schema
from common.ask.votes import Answer, elected
from common.data import Example
from common.execution import Execution, execute_one
from common.generation import Sampling, complete
from common.generation.answers import end_tokens
from common.models import LoadedModel
from common.prompts import extract_sql, prompt_ids
from common.prose import BLANK
from common.settings import UserError

PROMPT_TOKENS = 1_500  # of the schema: about three seconds of reading on two cores
MOST_ROWS = 10_000  # all that a statement may return


def ask(
    loaded: LoadedModel,
    copy: Copy,
    question: str,
    *,
    max_new_tokens: int = 256,
    most_tokens: int = PROMPT_TOKENS,
    rows: int = 3,
    stream: bool = False,
) -> tuple[Answer, Example]:
    """The greedy answer, run on `copy`, and the example that it answers, which `agreed` takes samples of.

    most_tokens: of the schema in the prompt. rows: of each table in it, at most. stream: print the answer as it is
    written. Raises UserError for a question that is empty or not UTF-8, and where the prompt is longer than the model
    reads.
    """
    question = question_text(question)
    tokenizer = loaded.tokenizer
    schema = prompt_schema(
        copy, question, most=most_tokens, rows=rows, count=lambda text: len(tokenizer(text).input_ids)
    )
    example = Example(id="own", question=question, schema=schema, sql="", database=copy.path)
    ids = prompt_ids(example, tokenizer)
    longest = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
    if longest and len(ids) + max_new_tokens > longest:
        raise UserError(
            f"the question and its tables take {len(ids)} tokens, the model reads {longest - max_new_tokens}; "
            "ask about fewer tables, or shorten the question"
        )
    text, is_ended = _write(loaded, ids, max_new_tokens, stream)
    sql = extract_sql(text)
    execution = run_copy(copy, [sql])[0]
    is_cut = not is_ended and breaks_off(text, sql)
    return Answer(sql, execution, votes=0, cut=1) if is_cut else Answer(sql, execution), example


def agreed(
    loaded: LoadedModel,
    copy: Copy,
    example: Example,
    first: Answer,
    *,
    samples: int = 5,
    temperature: float = 0.7,
    seed: int = 42,
    max_new_tokens: int = 256,
) -> Answer:
    """The answer elected among `first` and `samples` further ones, see `votes.elected`; `first` where it ties, and
    where all others break off at the limit of tokens or fail. Those that break off have no vote."""
    ids = prompt_ids(example, loaded.tokenizer)
    sampling = Sampling(temperature=temperature, seed=seed)
    drawn = complete(loaded, [ids] * samples, max_new_tokens=max_new_tokens, sampling=sampling) if samples else []
    ends, texts = end_tokens(loaded), [] if first.is_cut else [first.sql]
    for completion in drawn:
        sql = extract_sql(completion.text)
        if ends.intersection(completion.token_ids[-1:]) or not breaks_off(completion.text, sql):
            texts.append(sql)
    executions = {} if first.is_cut else {first.sql: first.execution}
    different = [text for text in dict.fromkeys(texts) if text not in executions]
    executions |= zip(different, run_copy(copy, different), strict=True)
    best = elected([(text, executions[text]) for text in texts]) if texts else first
    if best.execution.outcome:  # all of them fail: the greedy answer is as good as one that comes more often
        votes = Counter(texts)
        best = replace(first, votes=votes.pop(first.sql, 0), others=tuple(votes.most_common()))
    return replace(best, of=samples + 1, cut=samples + 1 - len(texts))


def breaks_off(text: str, sql: str) -> bool:
    """Whether an answer that did not end by itself stops within its statement, not in what follows that."""
    try:
        return text.rstrip(BLANK).endswith(sql) and not sqlite3.complete_statement(sql)
    except ValueError:  # what SQLite takes no text with: a NUL, half of a character
        return True


def run_copy(copy: Copy, texts: Sequence[str]) -> list[Execution]:
    """What becomes of statements on the copy, in their order."""
    executions = execute_one(copy.path, texts, most_rows=MOST_ROWS)
    return [replace(each, detail=each.detail.replace(str(copy.path), str(copy.origin))) for each in executions]


@torch.inference_mode()
def _write(loaded: LoadedModel, ids: list[int], max_new_tokens: int, stream: bool) -> tuple[str, bool]:
    """The text, and whether the model ended it."""
    tokenizer = loaded.tokenizer
    inputs = torch.tensor([ids], device=loaded.model.device)
    options = {"streamer": TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)} if stream else {}
    ends = end_tokens(loaded)
    tokens = loaded.model.generate(
        input_ids=inputs,
        attention_mask=torch.ones_like(inputs),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=sorted(ends),
        **options,
    )
    return tokenizer.decode(tokens[0, len(ids) :], skip_special_tokens=True), tokens[0, -1].item() in ends
