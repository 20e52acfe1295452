"""Preference pairs: two answers to one question, the first certified right, the second certified wrong.

Of each question come a few pairs, whose two answers are alike in length. Over all pairs no complexity and no kind of
error has more than its even share where others have enough, near misses are a minority beside a model's own failures,
and right answers are as long as wrong ones on average: what a model can learn from a pair should be the error.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

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
    pairs = _balanced(pairs, limit, drops)
    count = 0
    while count != len(pairs):  # each of the two may undo what the other has done
        count = len(pairs)
        pairs = _without_most_mutations(_of_equal_lengths(pairs, drops), drops)
    if not pairs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in drops.items() if count)
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
        alike = [answer for answer in right if _ratio(answer.sql, judgement.sql) <= LONGEST_RATIO]
        if not alike:
            drops[UNLIKE] += 1
            continue
        chosen = min(alike, key=lambda answer: (_CHOICE[answer.source], _ratio(answer.sql, judgement.sql), answer.sql))
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
    caps = {True: _share(others)}
    return _capped(pairs, lambda pair: pair.rejected_source == MUTATION, caps, drops, MUTATIONS)


def _balanced(pairs: Sequence[Pair], limit: int, drops: Counter) -> list[Pair]:
    """At most `limit` pairs, each cell of complexity and error with as many as every other, as far as it has them; the
    near misses among them, which are balanced by themselves, at most their share where there is anything else."""
    others = [pair for pair in pairs if pair.rejected_source != MUTATION]
    misses = [pair for pair in pairs if pair.rejected_source == MUTATION]
    count = min(len(misses), int(limit * MOST_MUTATIONS), _share(len(others))) if others else limit
    caps = {True: _even_shares(Counter(map(_cell, misses)), count)}
    caps[False] = _even_shares(Counter(map(_cell, others)), limit - count if others else 0)
    of_cell = {(is_miss, cell): cap for is_miss, cells in caps.items() for cell, cap in cells.items()}
    return _capped(pairs, lambda pair: (pair.rejected_source == MUTATION, _cell(pair)), of_cell, drops, OVERFULL)


def _share(others: int) -> int:
    """How many near misses may stand beside so many other pairs."""
    return int(others * MOST_MUTATIONS / (1 - MOST_MUTATIONS))


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
    ranked = deque(sorted(range(len(pairs)), key=lambda i: pairs[i].difference))
    gap, length = sum(pair.difference for pair in pairs), sum(len(pair.chosen) for pair in pairs)
    while len(ranked) > 1 and abs(gap) > MEAN_DIFFERENCE * length:
        pair = pairs[ranked.pop() if gap > 0 else ranked.popleft()]
        gap, length = gap - pair.difference, length - len(pair.chosen)
    rest = set(ranked)
    drops[LENGTHS] += len(pairs) - len(rest)
    return [pair for i, pair in enumerate(pairs) if i in rest]
