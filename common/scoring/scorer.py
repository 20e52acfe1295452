"""The one way in to scoring: `Scorer` asks the sandbox's workers and puts a `Verdict` together."""

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.prompts import extract_sql
from common.sandbox import Job, Pool
from common.scoring.arguments import Row, check_file, check_options, row_of, rows_of
from common.scoring.rouge import rouge_l
from common.scoring.suites import store

ROUGE_WEIGHT = 0.7
LONGEST_COMPLETION = 4_000_000  # characters; a longer one is not looked at
# What is optimised must not be what is measured: rewards are given on other databases than results.
EVALUATION_SEED, REWARD_SEED = 0, 1
_TASK = "common.scoring.judge"
_LOG = logging.getLogger(__name__)
_CHUNK = 2_000  # rows whose suites are in memory together


@dataclass(frozen=True)
class Verdict:
    """How one completion did; see `common.scoring` for what a match means.

    match: None where the reference cannot be scored; the row belongs in no mean, its `score` of 0.0 is no reward.
    robust_match: matched on the given and on every generated database; None where none were asked for, or `match` is.
    rouge_l: of the extracted SQL against the reference. score: 1.0 if robust_match (match where no databases were
    asked for), else 0.7 × rouge_l.
    outcome: match, mismatch, empty_prediction, syntax_error, schema_error, runtime_error, forbidden, budget, too_large,
    timeout, reference_error, reference_nondeterministic or schema_invalid. detail: one line for a person.
    outcome and match speak of the given database; a robust match that fails is told in detail. both_empty: matched,
    and both sides returned no rows.
    """

    published_match: bool
    published_score: float
    match: bool | None
    robust_match: bool | None
    rouge_l: float
    score: float
    outcome: str
    detail: str
    both_empty: bool


_Key = tuple[str, str, Path | None]  # schema, reference, database: what the completions of a group share
_Advance = Callable[[int], Any] | None
_TOO_LONG = {
    "match": False,
    "outcome": "too_large",
    "detail": f"a completion of more than {LONGEST_COMPLETION:,} characters",
}
# What is said of a row whose worker was stopped, by the stage it was in.
_KILL_PARTS = {
    "schema": {"match": None, "outcome": "schema_invalid", "detail": "the schema was stopped for its running time"},
    "reference": {
        "match": None,
        "outcome": "reference_error",
        "detail": "the reference was stopped for its running time",
    },
    "prediction": {"match": False, "outcome": "timeout", "detail": "stopped for its running time"},
    "ties": {
        "match": False,
        "outcome": "mismatch",
        "detail": "rows in another order; ties of the reference took too long to follow",
    },
}
_NO_ROBUST = {"robust_match": False, "detail": "stopped on a generated database"}


class Scorer:
    """Scores completions in worker processes; a context manager. Threads may share one, they take turns."""

    def __init__(
        self,
        workers: int = 2,
        databases: int = 0,
        *,
        generator: str = "conservative",
        seed: int = EVALUATION_SEED,
    ):
        """workers: processes. databases: generated databases for `robust_match`, 0 for the strict match alone.

        generator: conservative or aggressive, see `common.scoring.suites`. seed: of these databases; REWARD_SEED where
        a model learns from the verdicts. Raises UserError for a number or a generator that makes no sense.
        """
        check_options(workers=workers, databases=databases, generator=generator, seed=seed)
        self._pool = Pool(_TASK, workers=int(workers))
        self._suite = {"number": int(databases), "generator": generator, "seed": int(seed)}

    def score(self, *, schema: str, reference: str, prediction: str, database: Path | None = None) -> Verdict:
        """The verdict on one raw completion.

        schema: statements that make the database. database: a SQLite file to use a private copy of instead; `schema`
        is then not run. Raises UserError where that file cannot be read, SandboxError where our machinery fails; never
        for anything in the texts.
        """
        row = {"schema": schema, "reference": reference, "prediction": prediction, "database": database}
        return self._score_rows([row_of(row)])[0]

    def score_batch(self, rows: Iterable[Any], progress: bool = False) -> list[Verdict]:
        """Verdicts in the order of rows: dicts with `score`'s arguments, or (Example, completion) pairs.

        Equal rows are scored once. progress: a bar on stderr. Raises as `score` does.
        """
        return self._score_rows(rows_of(rows), progress)

    def _score_rows(self, requests: list[Row], progress: bool = False) -> list[Verdict]:
        # Completions of one reference travel together, whatever their place in the batch.
        groups: dict[_Key, dict[str, None]] = defaultdict(dict)
        for row in requests:
            groups[row[:3]][row[3]] = None
        for database in {key[2] for key in groups} - {None}:
            check_file(database)
        verdicts: dict[Row, Verdict] = {}
        with _bar(progress, sum(map(len, groups.values())), "scoring") as advance:
            for keys in _chunks(groups):
                self._score({key: list(groups[key]) for key in keys}, verdicts, advance, progress)
        return [verdicts[row] for row in requests]

    def close(self) -> None:
        """End the workers. Safe to call again; they end by themselves with the process or the scorer."""
        self._pool.close()

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _score(
        self, groups: dict[_Key, list[str]], verdicts: dict[Row, Verdict], advance: _Advance, progress: bool
    ) -> None:
        """Add the verdicts on completions by what they share."""
        names = self._names(groups)
        suites = store.read(names.values())
        jobs: list[Job] = []
        completions: list[list[tuple[str, str | None]]] = []

        def next_jobs() -> Iterator[Job]:
            for key, texts in groups.items():
                pairs = [(completion, _extract(completion)) for completion in texts]
                items = [[completion, sql] for completion, sql in pairs if sql is not None]
                completions.append(pairs)
                jobs.append(_job(key, items, **({"suite": suites[names[key]]} if names.get(key) in suites else {})))
                yield jobs[-1]

        overlaps: dict[Row, tuple[float, float]] = {}
        comparison = _compare(groups, completions, overlaps)
        total = sum(map(len, groups.values()))
        results = self._pool.run(next_jobs(), total=total, on_finish=advance, meanwhile=comparison)
        deque(comparison, maxlen=0)  # what is left of it
        if names:
            self._add_robust(groups, names, suites, jobs, results, progress)
        for key, pairs, parts in zip(groups, completions, results, strict=True):
            following = iter(parts)
            for completion, sql in pairs:
                row = (*key, completion)
                verdicts[row] = _verdict(_TOO_LONG if sql is None else next(following), *overlaps[row], bool(names))

    def _names(self, groups: Iterable[_Key]) -> dict[_Key, str]:
        """What the groups' suites are called in the store; none without generated databases."""
        if not self._suite["number"]:
            return {}
        files = {path: store.file_digest(path) for path in {key[2] for key in groups} if path is not None}
        return {key: store.key(key[0], files.get(key[2], ""), key[1], **self._suite) for key in groups}

    def _add_robust(
        self,
        groups: Iterable[_Key],
        names: Mapping[_Key, str],
        suites: Mapping[str, list[str]],
        jobs: Sequence[Job],
        results: Sequence[list[dict[str, Any]]],
        progress: bool,
    ) -> None:
        """Make the suites that were not there, where any completion matched, and judge those completions on them."""
        queue = {}
        for key, job, parts in zip(groups, jobs, results, strict=True):
            matches = [number for number, part in enumerate(parts) if part.get("match")]
            if matches and names[key] not in suites:
                queue[key] = [(job.items[number], parts[number]) for number in matches]
        if not queue:
            return
        new = self._make_suites(list(queue), names, progress)
        again = [
            _job(key, [item for item, _ in matches], suite=suite, published=False)
            for (key, matches), suite in zip(queue.items(), new, strict=True)
        ]
        for matches, judgements in zip(queue.values(), self._pool.run(again), strict=True):
            for (_, part), robust in zip(matches, judgements, strict=True):
                part |= {name: robust[name] for name in _NO_ROBUST} if "robust_match" in robust else _NO_ROBUST

    def _make_suites(self, keys: Sequence[_Key], names: Mapping[_Key, str], progress: bool) -> list[list[str]]:
        """New suites, kept in the store; empty where none could be made, which is told."""
        with _bar(progress, len(keys), "databases") as advance:
            jobs = [_job(key, [[]], make=self._suite) for key in keys]
            parts = [part for (part,) in self._pool.run(jobs, on_finish=advance)]
        store.write({names[key]: part["suite"] for key, part in zip(keys, parts, strict=True) if "suite" in part})
        failures = [(key[1], part) for key, part in zip(keys, parts, strict=True) if "suite" not in part]
        if failures:
            reference, part = failures[0]
            _LOG.warning(
                "no databases could be generated for %d references, a match there is strict only; the first (%s): %s",
                *(len(failures), part.get("failed", "stopped for its running time"), reference[:200]),
            )
        return [part.get("suite", []) for part in parts]


def _job(key: _Key, items: list[Any], **more: Any) -> Job:
    schema, reference, database = key
    return Job({"schema": schema, "reference": reference, **more}, items, database, optional=("robust", "published"))


def _chunks(groups: Mapping[_Key, Any]) -> Iterator[list[_Key]]:
    """The groups, so many rows at a time."""
    chunk, size = [], 0
    for key, rows in groups.items():
        chunk.append(key)
        size += len(rows)
        if size >= _CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


@contextmanager
def _bar(visible: bool, total: int, what: str) -> Iterator[_Advance]:
    if not visible:
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, desc=what, leave=what == "scoring") as bar:
        yield bar.update


def _extract(completion: str) -> str | None:
    return extract_sql(completion) if len(completion) <= LONGEST_COMPLETION else None


def _compare(
    groups: Iterable[_Key],
    completions: Sequence[list[tuple[str, str | None]]],
    overlaps: dict[Row, tuple[float, float]],
) -> Iterator[None]:
    """Add each row's ROUGE-L of the SQL and of the raw completion, a row at a step.

    completions: may still grow; a step where there are none yet does nothing.
    """
    for place, key in enumerate(groups):
        while len(completions) <= place:
            yield
        for completion, sql in completions[place]:
            rouge = rouge_l(key[1], sql or "")
            overlaps[*key, completion] = rouge, rouge if completion == sql else rouge_l(key[1], completion)
            yield


def _verdict(parts: Mapping[str, Any], rouge: float, raw_rouge: float, robust: bool) -> Verdict:
    if "killed" in parts:
        parts = {**parts, **_KILL_PARTS.get(parts["killed"], {})}
    match, published = parts["match"], bool(parts.get("published_match", False))
    robust_match = None if match is None or not robust else bool(match and parts["robust_match"])
    is_right = match if robust_match is None else robust_match
    return Verdict(
        published_match=published,
        published_score=1.0 if published else ROUGE_WEIGHT * raw_rouge,
        match=match,
        robust_match=robust_match,
        rouge_l=rouge,
        score=0.0 if match is None else 1.0 if is_right else ROUGE_WEIGHT * rouge,
        outcome=parts["outcome"],
        detail=parts["detail"],
        both_empty=bool(parts.get("both_empty", False)),
    )
