"""Preference pairs: two answers to one question, the first certified right, the second certified wrong.

Of each question come a few pairs, whose two answers are alike in length. Over all pairs no complexity and no kind of
error has more than its even share where others have enough, near misses are a minority beside a model's own failures,
and right answers are as long as wrong ones on average: what a model can learn from a pair should be the error.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import mean

from common.data import Example
from common.preferences.candidates import GROQ, MUTATION, REFERENCE, SAMPLED
from common.preferences.certification import Certificate, Judgement
from common.settings import UserError

# Which right answer is chosen where a question has several: the trained model's own is what it can say already.
_CHOICE = {SAMPLED: 0, GROQ: 1, REFERENCE: 2, MUTATION: 3}
LONGEST_RATIO = 2.0  # of the longer answer to the shorter one, in characters
MOST_MUTATIONS = 0.3
MEAN_DIFFERENCE = 0.05  # of the mean lengths of right and wrong answers, as a share of the right ones'
NO_RIGHT, NO_WRONG = "questions without a right answer", "questions without a wrong answer"
UNLIKE, FURTHER = "answers too unlike in length", "further answers to the question"
MUTATIONS, OVERFULL, LENGTHS = "near misses above their share", "above their cell's share", "for the mean lengths"


@dataclass(frozen=True)
class Pair:
    """chosen, rejected: statements. error: what is wrong with the second, see `errors`."""

    example: Example
    chosen: str
    rejected: str
    chosen_source: str
    rejected_source: str
    rejected_origin: str
    error: str

    @property
    def difference(self) -> int:
        """Characters that the right answer has more than the wrong one."""
        return len(self.chosen) - len(self.rejected)


@dataclass(frozen=True)
class Selection:
    """Pairs in a random order that the seed decides, and what was left out, by reason: questions, answers or pairs."""

    pairs: list[Pair]
    drops: Counter


def select(
    examples: Sequence[Example], certificate: Certificate, *, limit: int, of_question: int = 2, seed: int = 42
) -> Selection:
    """At most `limit` pairs, `of_question` a question, of what is certified.

    Raises UserError where there is not one.
    """
    if limit < 1 or of_question < 1:
        raise UserError("a selection has at least 1 pair, and at least 1 of a question")
    drops: Counter = Counter()
    pairs = [
        pair
        for example in examples
        for pair in _of_question(example, certificate.judgements[example.id], of_question, drops)
    ]
    Random(seed).shuffle(pairs)
    pairs = _without_most_mutations(pairs, drops)
    pairs = _balanced(pairs, limit, drops)
    pairs = _of_equal_lengths(pairs, drops)
    if not pairs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in drops.items())
        raise UserError(f"no pair is left ({reasons}); ask more questions, or sample more answers")
    return Selection(pairs, drops)


def _of_question(example: Example, judgements: Sequence[Judgement], most: int, drops: Counter) -> list[Pair]:
    """A question's pairs: own failures first, near misses behind them, of different errors as far as there are."""
    right = [judgement for judgement in judgements if judgement.is_right]
    wrong = sorted((j for j in judgements if not j.is_right), key=lambda j: (j.source == MUTATION, j.sql))
    if not right or not wrong:
        drops[NO_WRONG if right else NO_RIGHT] += 1
        return []
    pairs, errors = [], Counter()
    for judgement in wrong:
        likeness = {answer: _ratio(answer.sql, judgement.sql) for answer in right}
        best = min(
            _CHOICE[answer.source] for answer in right if likeness[answer] <= LONGEST_RATIO or answer is right[0]
        )
        chosen = min((a for a in right if _CHOICE[a.source] == best), key=lambda a: (likeness[a], a.sql))
        if likeness[chosen] > LONGEST_RATIO:
            drops[UNLIKE] += 1
            continue
        sources = (chosen.source, judgement.source, judgement.origin)
        pairs.append(Pair(example, chosen.sql, judgement.sql, *sources, judgement.error))
    ranked = []
    for pair in pairs:  # the first of each kind of error before the second of any
        ranked.append((pair.rejected_source == MUTATION, errors[pair.error], abs(pair.difference), pair.rejected, pair))
        errors[pair.error] += 1
    ranked.sort(key=lambda entry: entry[:4])
    drops[FURTHER] += max(0, len(ranked) - most)
    return [pair for *_, pair in ranked[:most]]


def _ratio(one: str, other: str) -> float:
    return max(len(one), len(other)) / min(len(one), len(other))


def _without_most_mutations(pairs: Sequence[Pair], drops: Counter) -> list[Pair]:
    """Near misses are at most their share; where there is nothing else, all of them stay."""
    others = sum(pair.rejected_source != MUTATION for pair in pairs)
    if not others:
        return list(pairs)
    most = int(others * MOST_MUTATIONS / (1 - MOST_MUTATIONS))
    return _capped(pairs, lambda pair: pair.rejected_source == MUTATION, {True: most}, drops, MUTATIONS)


def _balanced(pairs: Sequence[Pair], limit: int, drops: Counter) -> list[Pair]:
    """`limit` pairs, each cell of complexity and error with as many as every other, as far as it has them."""
    sizes = Counter(map(_cell, pairs))
    return _capped(pairs, _cell, _even_shares(sizes, limit), drops, OVERFULL)


def _cell(pair: Pair) -> tuple[str, str]:
    return pair.example.complexity, pair.error


def _even_shares(sizes: Mapping, limit: int) -> dict:
    """How many of each cell make `limit` together, the largest share as small as it can be."""
    shares, rest = {}, limit
    for number, (cell, size) in enumerate(sorted(sizes.items(), key=lambda item: (item[1], item[0]))):
        shares[cell] = min(size, rest // (len(sizes) - number))
        rest -= shares[cell]
    return shares


def _capped(pairs: Sequence[Pair], key, caps: Mapping, drops: Counter, reason: str) -> list[Pair]:
    """Pairs in their order, of each key no more than its cap."""
    counts: Counter = Counter()
    rest = []
    for pair in pairs:
        counts[key(pair)] += 1
        if counts[key(pair)] <= caps.get(key(pair), len(pairs)):
            rest.append(pair)
    drops[reason] += len(pairs) - len(rest)
    return rest


def _of_equal_lengths(pairs: Sequence[Pair], drops: Counter) -> list[Pair]:
    """Without the pairs that differ most in the direction of the mean, until right and wrong are alike in length."""
    rest = list(pairs)
    while len(rest) > 1:
        gap = mean(pair.difference for pair in rest)
        if abs(gap) <= MEAN_DIFFERENCE * mean(len(pair.chosen) for pair in rest):
            break
        sign = 1 if gap > 0 else -1
        rest.remove(max(rest, key=lambda pair: sign * pair.difference))
        drops[LENGTHS] += 1
    return rest
