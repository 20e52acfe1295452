"""Calls of Groq's models, each made once: what is asked, what its reply says, the line that keeps it, what it cost.

A call is an example's prompt, a model, the settings and the number of the answer. Each line of a file names its call
in full. What is no line of a wanted call is ignored: one cut short, garbage, one of other settings or of another
prompt, the second of two. Nothing is asked and nothing is written here.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime

from common.data import Example
from common.preferences.candidates import GROQ, Candidate
from common.prompts import messages
from common.provenance import digest
from common.settings import UserError

# US dollars for a million prompt tokens and a million completion tokens: https://groq.com/pricing as
# github.com/anomalyco/models.dev quotes it, on 2026-05-27 for gpt-oss and on 2026-08-29 for qwen. A prompt in the
# service's cache costs less, so sums of these are upper bounds.
PRICES = {
    "openai/gpt-oss-120b": (0.15, 0.60),
    "openai/gpt-oss-20b": (0.075, 0.30),
    "qwen/qwen3.8-27b": (0.80, 4.00),
}

KEY = "GROQ_API_KEY"
LONGEST_WAIT = 15 * 60  # seconds; a model that is to wait longer is left out
_DAY = re.compile(r"per day|\b[RT]PD\b", re.IGNORECASE)
# Of this prompt with these settings: they come again however often one asks. A 413 may be of the account's plan: with a
# larger one, delete its line.
_REFUSALS = (400, 413, 422)
_ACCOUNT = ("blocked_api_access", "organization_restricted")  # codes of a 400 that is not about the prompt


@dataclass(frozen=True)
class Call:
    """What is asked once. example: its id. prompt: the digest of its messages. number: of the answer, from 1. effort:
    the model's reasoning_effort, None for the service's default."""

    example: str
    prompt: str
    model: str
    number: int
    temperature: float
    max_tokens: int
    effort: str | None


@dataclass(frozen=True)
class Answer:
    """What came of a call. text: the content as it came. fault: why it is no candidate, "" for one that is. Raises
    ValueError for values of other types."""

    text: str
    fault: str
    prompt_tokens: int
    completion_tokens: int

    def __post_init__(self):
        counts = self.prompt_tokens, self.completion_tokens
        texts = isinstance(self.text, str) and isinstance(self.fault, str)
        if not texts or not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError("no answer")


@dataclass(frozen=True)
class Trouble:
    """Why a request gave no answer. scope: "call" where another attempt may help; "limit" where the model is to wait
    first; "model" where it has no more answers in this run. wait: the seconds that the service names."""

    reason: str
    scope: str
    wait: float | None = None


@dataclass(frozen=True)
class Report:
    """Candidates in the order of the examples, then of the models, then of the answers' numbers, and what they took.

    calls: made in this run. answers: candidates among them. earlier: calls that the file held before. failures: how
    many calls have no candidate, by reason; with the candidates they are all calls. drops: why a model was left out.
    Tokens, and the cost in US dollars, are of all answers, earlier ones included. cost: None where `unpriced`, the
    models that have tokens and no price, names any.
    """

    candidates: list[Candidate]
    calls: int
    answers: int
    earlier: int
    failures: dict[str, int]
    drops: dict[str, str]
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    unpriced: tuple[str, ...]

    def __str__(self) -> str:
        """One line for a notebook."""
        failures = ", ".join(f"{count} {reason}" for reason, count in self.failures.items())
        cost = f"unknown, no price of {', '.join(self.unpriced)}" if self.cost is None else f"at most ${self.cost:.4f}"
        return (
            f"{len(self.candidates)} candidates; {self.calls} calls made, {self.earlier} known before; "
            f"without a candidate: {failures or 'none'}; {self.prompt_tokens:,} prompt and "
            f"{self.completion_tokens:,} completion tokens, cost {cost}"
        )


def calls_of(
    examples: Sequence[Example],
    *,
    models: Sequence[str],
    answers: int,
    temperature: float,
    max_tokens: int,
    effort: Mapping[str, str],
) -> dict[Call, list[dict[str, str]]]:
    """Each call's messages, in the order of a report. Raises UserError for no models and for sizes below 1."""
    if isinstance(models, str) or not models or answers < 1 or max_tokens < 1:
        raise UserError("a call needs models (a list of names), answers of at least 1 and max_tokens of at least 1")
    calls = {}
    for example in examples:
        prompt = messages(example)
        name = digest(prompt)
        for model in models:
            for number in range(1, answers + 1):
                call = Call(example.id, name, model, number, float(temperature), max_tokens, effort.get(model))
                calls[call] = prompt
    return calls


def answers_in(data: bytes, calls: Collection[Call]) -> dict[Call, Answer]:
    """What a file of these bytes holds of the calls."""
    names = {_text(asdict(call)): call for call in calls}  # compared as text: True and 1 are equal otherwise
    answers = {}
    for line in data.split(b"\n"):
        try:
            entry = json.loads(line)
            call, answer = names.get(_text(entry["call"])), Answer(**entry["answer"])
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if call:
            answers.setdefault(call, answer)
    return answers


def line_of(call: Call, answer: Answer) -> str:
    """The line, in ASCII, that `answers_in` reads."""
    return _text({"call": asdict(call), "answer": asdict(answer)}) + "\n"


def _text(content: dict) -> str:
    return json.dumps(content, sort_keys=True)


def tokens_of(answers: Mapping[Call, Answer]) -> Counter[tuple[str, int]]:
    """Tokens by model and side: 0 for prompts, 1 for completions."""
    tokens = Counter()
    for call, answer in answers.items():
        tokens[call.model, 0] += answer.prompt_tokens
        tokens[call.model, 1] += answer.completion_tokens
    return tokens


def spending(tokens: Counter[tuple[str, int]]) -> str:
    """Tokens and cost for a progress bar."""
    cost, _ = cost_of(tokens)
    return f"{tokens.total():,} tokens, " + ("cost unknown" if cost is None else f"${cost:.4f}")


def cost_of(tokens: Counter[tuple[str, int]]) -> tuple[float | None, tuple[str, ...]]:
    """US dollars, None where a model has no price; and the models that have none."""
    unpriced = tuple(dict.fromkeys(model for (model, _), count in tokens.items() if count and model not in PRICES))
    if unpriced:
        return None, unpriced
    return sum(count * PRICES[model][side] / 1e6 for (model, side), count in tokens.items() if count), ()


def report(
    calls: Collection[Call],
    answers: Mapping[Call, Answer],
    *,
    requests: Collection[Call] = (),
    failures: Mapping[Call, str] | None = None,
    drops: Mapping[str, str] | None = None,
) -> Report:
    """What the answers are worth. requests: calls made in this run. failures: the reasons of those without an answer.
    drops: why a model was left out, by its name."""
    failures, drops = failures or {}, drops or {}
    candidates, reasons = [], Counter()
    for call in calls:
        answer = answers.get(call)
        if answer and not answer.fault:
            candidates.append(Candidate(call.example, answer.text, GROQ, call.model))
        elif answer:
            reasons[answer.fault] += 1
        else:
            reasons[failures.get(call, "model left out" if call.model in drops else "not asked")] += 1
    tokens = tokens_of(answers)
    cost, unpriced = cost_of(tokens)
    return Report(
        candidates,
        calls=len(requests),
        answers=sum(call in answers and not answers[call].fault for call in requests),
        earlier=sum(call not in requests for call in answers),
        failures=dict(reasons),
        drops=dict(drops),
        prompt_tokens=sum(count for (_, side), count in tokens.items() if side == 0),
        completion_tokens=sum(count for (_, side), count in tokens.items() if side == 1),
        cost=cost,
        unpriced=unpriced,
    )


def answer_in(text: str) -> Answer | Trouble:
    """What the body of a success says. Without text, or cut off, it is kept and is no candidate."""
    try:
        body = json.loads(text)
        choice, usage = body["choices"][0], body.get("usage") or {}
        content = choice["message"]["content"] or ""
        fault = "" if content.strip() else "empty answer"
        if choice.get("finish_reason") == "length":
            fault = "cut off at max_tokens"
        return Answer(content, fault, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return Trouble("malformed body", "call")


def outcome_of(status: int, headers: Mapping[str, str], text: str) -> Answer | Trouble:
    """What a reply without success says, see https://console.groq.com/docs/errors. headers: in any case, as httpx's.
    Raises UserError where the account gets no answers at all."""
    code = ""
    with suppress(ValueError, TypeError, LookupError, RecursionError):
        code = str(json.loads(text)["error"]["code"] or "")
    name, wait = f"{status} {code}".strip(), _seconds(headers.get("retry-after"))
    if status == 404 or code.startswith("model_"):  # not there any more, or not for this account
        return Trouble(f"the service does not offer it ({name})", "model")
    if status in (401, 403) or code in _ACCOUNT:
        raise UserError(
            f"Groq answers nothing to this account ({name}): look at https://console.groq.com, mend {KEY} in "
            "_config.py or the environment, and run this again; the answers so far are on disk"
        )
    if status in _REFUSALS:
        return Answer("", f"refused ({name})", 0, 0)
    # This header always counts the requests of a day: https://console.groq.com/docs/rate-limits.
    if status == 429 and (_DAY.search(text) or headers.get("x-ratelimit-remaining-requests") == "0"):
        return Trouble("its daily limit is reached", "model")
    if wait and wait > LONGEST_WAIT:
        return Trouble(f"the service asks for a wait of {wait:.0f} seconds", "model")
    if status == 429:
        return Trouble("rate limit", "limit", wait)
    return Trouble(f"status {name}", "limit" if wait else "call", wait)


def _seconds(text: str | None) -> float | None:
    """What a Retry-After says, in seconds or as a date; None where it says nothing or the time is past."""
    try:
        seconds = float(text)
    except (ValueError, TypeError):
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if seconds > 0 else None
