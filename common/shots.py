"""Which answered examples stand in a few-shot prompt: fixed training rows, the same for every question.

The rule: the first training rows of different complexities whose references hold on their own database and on generated
ones, and give some rows. Choosing them by the question is not covered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.data import Example
from common.scoring import Scorer
from common.settings import UserError

SHOTS = 3
_CHUNK = 16  # rows that are certified at once


@dataclass(frozen=True)
class FewShot:
    """What a record says of a few-shot prompt. shots: the ids of its training rows, in their order."""

    shots: tuple[str, ...]


def fixed_shots(train: Sequence[Example], count: int = SHOTS, *, databases: int = 4) -> list[Example]:
    """The first `count` certified training rows of different complexities; where the rows have fewer complexities, the
    first others as well. Raises UserError where fewer rows than `count` are certified."""
    sound: list[Example] = []
    firsts: dict[str, Example] = {}
    with Scorer(workers=1, databases=databases) as scorer:
        for start in range(0, len(train), _CHUNK):
            examples = train[start : start + _CHUNK]
            verdicts = scorer.score_batch([(example, example.sql) for example in examples])
            for example, verdict in zip(examples, verdicts, strict=True):
                if verdict.match and verdict.robust_match is not False and not verdict.both_empty:
                    sound.append(example)
                    firsts.setdefault(example.complexity, example)
            if len(firsts) >= count:
                break
    if len(sound) < count:
        raise UserError(f"{len(sound)} training rows have a sound reference, {count} shots need as many; give more")
    return [*firsts.values(), *(example for example in sound if firsts[example.complexity] is not example)][:count]
