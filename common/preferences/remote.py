"""Answers of large models behind Groq's service, for preference pairs, through its own async client.

Each answer is one call (see `calls`). What comes of it, an answer or a refusal for good, is a line of a file as soon as
it is there, and a later run asks only for what is missing: a process that is killed loses at most the calls in flight,
and nothing is paid for twice. A model waits as long as the service says; one that cannot go on today is left out for
the rest of the run. Not covered: reasoning that the service returns beside the content, as it does for gpt-oss; two
threads that write to one file.
"""

import asyncio
import os
import re
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import BinaryIO

import groq
from tqdm import tqdm

from common.data import Example
from common.locks import locked
from common.preferences.calls import (
    KEY,
    PRICES,
    Answer,
    Call,
    Report,
    Trouble,
    answer_in,
    answers_in,
    calls_of,
    line_of,
    outcome_of,
    report,
    spending,
    tokens_of,
)
from common.settings import UserError, key, redact, writing

MODELS = tuple(PRICES)
# The least reasoning that each model has: at the service's default, many an answer of 512 tokens would end within it.
EFFORT = {"openai/gpt-oss-120b": "low", "openai/gpt-oss-20b": "low", "qwen/qwen3.8-27b": "none"}

ATTEMPTS = 5  # failures of a call before it is left for the next run
LIMITS = 20  # times that a call meets the rate limit, likewise: one that never fits would hold up its model for ever
WAITS, FAILURES = 10, 10  # waits and failed calls in a row, without an answer, before a model is left out
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0  # seconds


def available() -> bool:
    """Whether there is a key to ask with."""
    return key(KEY) is not None


def ask(
    examples: Sequence[Example],
    *,
    path: Path,
    models: Sequence[str] = MODELS,
    answers: int = 1,
    temperature: float = 1.0,
    max_tokens: int = 512,
    effort: Mapping[str, str] = EFFORT,
    concurrency: int = 4,
    timeout: float = 60.0,
    base_url: str | None = None,
    progress: str = "Groq",
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Report:
    """Ask each model for `answers` answers to each example, as far as the file at `path` does not hold them.

    effort: reasoning_effort by model. concurrency: requests at a time, over all models. timeout: seconds for a request.
    progress: the name of a bar on stderr, "" for none. sleep: waits that many seconds. A model that is left out has a
    line on stdout. May be called while an event loop runs. An interrupt leaves in the file what came before it. Raises
    UserError without a key, where the service does not accept it, and where another process has the file's folder.
    """
    secret = key(KEY)
    if not secret:
        raise UserError(f"no {KEY}: put it into _config.py or the environment, or take candidates of another source")
    if not re.fullmatch(r"[!-~]+", secret):  # the client would quote it in an exception
        raise UserError(f"{KEY} has a blank or another character that no key has; copy it again")
    if concurrency < 1 or timeout <= 0:
        raise UserError("concurrency is at least 1, and timeout above 0 seconds")
    calls = calls_of(
        examples, models=models, answers=answers, temperature=temperature, max_tokens=max_tokens, effort=effort
    )
    with locked(path.parent), _open(path) as file:
        record = answers_in(path.read_bytes(), calls)
        style = {"desc": progress, "unit": "call", "file": sys.stderr, "disable": not progress}
        with tqdm(total=len(calls), initial=len(record), **style) as bar:
            run = _Run(calls, record, file, bar, timeout=timeout, sleep=sleep)
            _in_a_thread(run.finish(concurrency, api_key=secret, base_url=base_url))
    drops = {name: model.end for name, model in run.models.items() if model.end}
    return report(calls, run.answers, requests=run.requests, failures=run.failures, drops=drops)


def read(
    examples: Sequence[Example],
    *,
    path: Path,
    models: Sequence[str] = MODELS,
    answers: int = 1,
    temperature: float = 1.0,
    max_tokens: int = 512,
    effort: Mapping[str, str] = EFFORT,
) -> Report:
    """What the file at `path` holds of these calls; needs no key. Raises UserError where there is no file."""
    calls = calls_of(
        examples, models=models, answers=answers, temperature=temperature, max_tokens=max_tokens, effort=effort
    )
    if not path.is_file():
        raise UserError(f"there are no answers at {path}; common.preferences.remote.ask writes them, with a key")
    return report(calls, answers_in(path.read_bytes(), calls))


def _open(path: Path) -> BinaryIO:
    """The file for appending; what was cut short at its end gets a line of its own."""
    with writing(path):
        file = path.open("ab", buffering=0)  # a line is one write, whole or at the end
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")
    return file


def _in_a_thread(work: Coroutine[None, None, None]) -> None:
    """Run it in an event loop of its own, since this thread may have one that runs; an interrupt here cancels it."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)

    def finish() -> None:
        try:
            loop.run_until_complete(task)
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())  # the threads that looked up host names
            loop.close()

    with ThreadPoolExecutor(1) as pool:
        try:
            pool.submit(finish).result()
        except BaseException:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(task.cancel)
            raise


@dataclass
class _Model:
    """A model's calls that nobody has begun. gate: closed while it waits. naps: the waits. waits, failures: how many in
    a row, without an answer. end: why it is left out."""

    calls: Iterator[Call]
    gate: asyncio.Event
    naps: set[asyncio.Future] = field(default_factory=set)
    waits: int = 0
    failures: int = 0
    end: str = ""


class _Run:
    """The calls on their way. answers: those of the file and, as they come, the new ones. requests: calls that were
    made. failures: why a call has none."""

    def __init__(
        self,
        calls: Mapping[Call, list[dict[str, str]]],
        answers: dict[Call, Answer],
        file: BinaryIO,
        bar: tqdm,
        *,
        timeout: float,
        sleep: Callable[[float], Awaitable[None]],
    ):
        self._calls, self._file, self._bar, self._timeout, self._sleep = calls, file, bar, timeout, sleep
        self.answers, self.requests, self.failures = answers, set(), {}
        self._tokens = tokens_of(answers)
        queues: dict[str, list[Call]] = {}
        for call in calls:
            if call not in answers:
                queues.setdefault(call.model, []).append(call)
        self.models = {name: _Model(iter(queue), asyncio.Event()) for name, queue in queues.items()}

    async def finish(self, concurrency: int, **client: str | None) -> None:
        """Ask for all that is missing. Raises UserError where the account gets no answers at all."""
        self._slots = asyncio.Semaphore(concurrency)
        # Attempts and timeouts are counted here: the client's own timeout is one for each read, not for the answer.
        async with groq.AsyncGroq(max_retries=0, timeout=None, **client) as self._client:
            try:
                async with asyncio.TaskGroup() as group:
                    for model in self.models.values():
                        model.gate.set()
                        for _ in range(concurrency):  # a call that waits has no slot, so each model has as many
                            group.create_task(self._work(model))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None

    async def _work(self, model: _Model) -> None:
        for call in model.calls:
            if model.end:
                return
            await self._ask(call, model)

    async def _ask(self, call: Call, model: _Model) -> None:
        """Ask until there is an answer, or no attempt is left."""
        attempts = Counter()
        while True:
            await model.gate.wait()
            async with self._slots:
                if model.end:
                    return
                if not model.gate.is_set():  # closed while this call stood in line
                    continue
                self.requests.add(call)
                outcome = await self._request(call)
            if isinstance(outcome, Answer):
                return self._keep(call, model, outcome)
            attempts[outcome.scope] += 1
            if outcome.scope == "model":
                return self._end(call.model, outcome.reason)
            if attempts["call"] == ATTEMPTS or attempts["limit"] == LIMITS:
                return self._fail(call, model, outcome.reason)
            if outcome.scope == "limit":
                await self._wait(call, model, outcome)
            else:
                await self._sleep(_backoff(call, attempts["call"]))

    async def _request(self, call: Call) -> Answer | Trouble:
        options = {"reasoning_effort": call.effort} if call.effort else {}
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._client.chat.completions.with_raw_response.create(
                    messages=self._calls[call],
                    model=call.model,
                    temperature=call.temperature,
                    max_tokens=call.max_tokens,
                    **options,
                )
                text = await response.text()
            return answer_in(redact(text))
        except groq.APIStatusError as error:
            return outcome_of(error.status_code, error.response.headers, redact(error.response.text))
        except TimeoutError:
            return Trouble("timeout", "call")
        except groq.APIConnectionError:
            return Trouble("no connection", "call")

    async def _wait(self, call: Call, model: _Model, trouble: Trouble) -> None:
        """Let the whole model wait, as long as the longest of the waits that its calls were given."""
        if model.gate.is_set():
            model.gate.clear()
            model.waits += 1
        if model.waits > WAITS:
            return self._end(call.model, f"{trouble.reason}, {WAITS} waits in a row without an answer")
        nap = asyncio.ensure_future(self._sleep(trouble.wait or _backoff(call, model.waits)))
        model.naps.add(nap)
        try:
            await asyncio.wait({nap})  # also returns where `_end` cancels it
        finally:
            nap.cancel()
            model.naps.remove(nap)
            if not model.naps:
                model.gate.set()

    def _keep(self, call: Call, model: _Model, answer: Answer) -> None:
        model.waits = model.failures = 0
        self.answers[call] = answer
        with writing(Path(self._file.name)):
            self._file.write(line_of(call, answer).encode())
            os.fsync(self._file.fileno())  # an answer costs more than that
        self._tokens.update(tokens_of({call: answer}))
        self._bar.set_postfix_str(spending(self._tokens), refresh=False)
        self._bar.update()

    def _fail(self, call: Call, model: _Model, reason: str) -> None:
        self.failures[call] = reason
        self._bar.update()
        model.failures += 1
        if model.failures == FAILURES:
            self._end(call.model, f"{FAILURES} calls in a row failed, the last one by: {reason}")

    def _end(self, name: str, reason: str) -> None:
        model = self.models[name]
        if not model.end:
            self._bar.write(f"{name} is left out for the rest of this run: {reason}")
        model.end = model.end or reason
        for nap in model.naps:
            nap.cancel()
        model.gate.set()


def _backoff(call: Call, attempt: int) -> float:
    """Seconds before the next attempt: doubling, up to a bound, less a part that depends on call and attempt alone."""
    seconds = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (attempt - 1))
    return seconds * Random(f"{call}:{attempt}").uniform(0.5, 1)
