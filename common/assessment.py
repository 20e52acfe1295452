"""What a reward model is worth before anyone uses it: judged samples of a policy, and how each judge ranks them.

Judges are the reward model and what costs nothing: the policy's own log-probability of an answer (its sum, its mean a
token), whether the answer runs, and its length. Right is a robust match on the databases of the evaluation, which no
pair was certified by.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas

from common import distributed
from common.data import Example
from common.models import LoadedModel
from common.preferences.candidates import Candidate, normal
from common.preferences.errors import error_kind
from common.prompts import extract_sql
from common.scoring import Scorer
from common.statistics import mean_interval
from common.statistics.ranking import agreement, auc, aucs, best_of, calibration, preferences
from common.training.likelihoods import by_row, log_probabilities
from common.training.recipe import Recipe
from common.training.rows import labelled, tokenise

REWARD, SUM, MEAN, RUNS, LENGTH = JUDGES = (
    "reward model",
    "policy's log-probability",
    "the same a token",
    "it runs",
    "shorter is better",
)
_RUNS = ("match", "mismatch")


@dataclass(frozen=True)
class Samples:
    """Answers of a policy, question by question, and what they are worth. completions: as they were given; statements:
    what was run of them, in one line. kinds: "" where an answer is right."""

    examples: list[Example]
    completions: list[str]
    statements: list[str]
    right: list[bool]
    kinds: list[str]
    runs: list[bool]

    @property
    def groups(self) -> list[str]:
        return [example.id for example in self.examples]

    @property
    def answers(self) -> list[tuple[Example, str]]:
        return list(zip(self.examples, self.statements, strict=True))


def judged(examples: Sequence[Example], candidates: Sequence[Candidate], *, databases: int) -> Samples:
    """The candidates with their verdicts, each as often as it was drawn. Those of references that cannot be scored are
    left out."""
    by_id = {example.id: example for example in examples}
    rows = [(by_id[candidate.example], candidate.completion) for candidate in candidates]
    with Scorer(workers=distributed.cpus(), databases=databases) as scorer:
        verdicts = scorer.score_batch(rows)
    lines = [(*row, verdict) for row, verdict in zip(rows, verdicts, strict=True) if verdict.match is not None]
    statements = [normal(extract_sql(completion)) for _, completion, _ in lines]
    right = [bool(verdict.robust_match) for *_, verdict in lines]
    kinds = [
        "" if is_right else error_kind(example.sql, sql, verdict.outcome)
        for (example, _, verdict), sql, is_right in zip(lines, statements, right, strict=True)
    ]
    runs = [verdict.outcome in _RUNS for *_, verdict in lines]
    return Samples([line[0] for line in lines], [line[1] for line in lines], statements, right, kinds, runs)


def policy_scores(policy: LoadedModel, samples: Samples, *, max_length: int) -> dict[str, list[float]]:
    """SUM and MEAN of each answer as it was given, in nats; minus infinity where prompt and answer are longer than
    `max_length` tokens."""
    numbers: dict[str, list[int]] = {}
    items: dict[str, list] = {}
    for number, (example, text) in enumerate(zip(samples.examples, samples.completions, strict=True)):
        if rows := tokenise([replace(example, sql=text)], policy, max_length=max_length):
            numbers.setdefault(example.id, []).append(number)
            items.setdefault(example.id, []).extend(rows)
    sums, means = ([-math.inf] * len(samples.right) for _ in range(2))
    base = policy.model.get_base_model() if hasattr(policy.model, "get_base_model") else policy.model
    values = by_row(
        policy.model,
        list(items.values()),
        Recipe(max_length=max_length),
        base=base,
        pad=policy.tokenizer.pad_token_id,
        dtype=base.get_input_embeddings().weight.dtype,
        numbers=log_probabilities,
    )
    for places, rows, chances in zip(numbers.values(), items.values(), values, strict=True):
        for place, row, chance in zip(places, rows, chances, strict=True):
            sums[place], means[place] = chance, chance / labelled([row])
    return {SUM: sums, MEAN: means}


def free_scores(samples: Samples) -> dict[str, list[float]]:
    """RUNS and LENGTH of each answer."""
    lengths = [-float(len(sql)) for sql in samples.statements]
    return {RUNS: [float(runs) for runs in samples.runs], LENGTH: lengths}


def judge_table(samples: Samples, scores: Mapping[str, Sequence[float]]) -> pandas.DataFrame:
    """A line a judge: AUC over all answers and within a question, with its interval over questions that have right and
    wrong answers; how far that of REWARD lies above it, on the same questions; the share of questions whose best
    answer by the judge is right; the calibration error of its preferences between a right and a wrong answer to one
    question; and Spearman's correlation with the answer's length."""
    from scipy.stats import spearmanr

    lengths = [len(sql) for sql in samples.statements]
    scores = {judge: list(map(_number, values)) for judge, values in scores.items()}
    by_group = {judge: aucs(values, samples.right, samples.groups) for judge, values in scores.items()}
    lines = {}
    for judge, values in scores.items():
        within = mean_interval(by_group[judge])
        lines[judge] = {
            "AUC, all answers": auc(values, samples.right),
            "AUC, within a question": within.value,
            "low": within.low,
            "high": within.high,
            "questions": within.n,
        }
        if REWARD in scores and judge != REWARD:
            gaps = mean_interval([a - b for a, b in zip(by_group[REWARD], by_group[judge], strict=True)])
            lines[judge] |= {"reward model above": gaps.value, "above, low": gaps.low, "above, high": gaps.high}
        lines[judge] |= {
            "best answer is right": best_of(values, samples.right, samples.groups),
            "calibration error": _calibration(judge, values, samples),
            "correlation with length": float(spearmanr(values, lengths).statistic) if len(set(values)) > 1 else 0.0,
        }
    return pandas.DataFrame.from_dict(lines, orient="index").astype(float)


def _number(score: float) -> float:
    """The score; of an answer that was too long to be read the lowest."""
    return -1e9 if math.isnan(score) or score == -math.inf else score


def _calibration(judge: str, values: Sequence[float], samples: Samples) -> float:
    """Only of scores whose difference is a log-odds."""
    if judge not in (REWARD, SUM):
        return math.nan
    gaps = preferences(values, samples.right, samples.groups)
    return calibration(
        [1 / (1 + math.exp(-min(gap, 500.0))) if gap > -500 else 0.0 for gap, _ in gaps], [r for _, r in gaps]
    )


def kind_table(samples: Samples, scores: Mapping[str, Sequence[float]]) -> pandas.DataFrame:
    """A line a kind of error: how often each judge puts a right answer to the question above it, and over how many such
    pairs of answers."""
    columns = {
        judge: agreement(list(map(_number, values)), samples.right, samples.kinds, samples.groups)
        for judge, values in scores.items()
    }
    kinds = sorted({kind for column in columns.values() for kind in column})
    first = next(iter(columns.values()))
    lines = {k: {judge: column[k][0] for judge, column in columns.items()} | {"pairs": first[k][1]} for k in kinds}
    return pandas.DataFrame.from_dict(lines, orient="index")


def ceiling_table(samples: Samples, greedy: float | None = None) -> pandas.DataFrame:
    """What choosing can bring: one answer at random, the greedy one, and the best of all samples."""
    groups: dict[str, list[bool]] = {}
    for group, is_right in zip(samples.groups, samples.right, strict=True):
        groups.setdefault(group, []).append(is_right)
    lines = {
        "one sample": sum(samples.right) / len(samples.right),
        **({} if greedy is None else {"greedy": greedy}),
        "any of them": sum(map(any, groups.values())) / len(groups),
        "questions with right and wrong samples": sum(any(g) and not all(g) for g in groups.values()) / len(groups),
    }
    return pandas.DataFrame({"share": lines})
