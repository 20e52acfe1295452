"""The training questions that are most like a question, nouns, values and numbers masked.

Likeness is the cosine of tf-idf vectors over the masked words and their pairs and triples. Ties go to the earlier row.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy

from common.data import Example
from common.retrieval.questions import Question, read_question, shared_words
from common.settings import UserError

MOST_WORDS = 3  # side by side that are one feature


class Index:
    """Training rows, ready to be asked for the nearest ones. Raises UserError where there are none."""

    def __init__(self, train: Sequence[Example]):
        if not train:
            raise UserError("retrieval needs training rows; give at least one")
        self._train = list(train)
        self._shared = shared_words(train)
        self._questions: dict[str, Question] = {}
        counts = [features(self.question(example).mask) for example in self._train]
        rows = Counter(feature for count in counts for feature in count)
        self._weights = {feature: math.log((1 + len(counts)) / (1 + n)) + 1 for feature, n in rows.items()}
        postings: dict[str, tuple[list[int], list[float]]] = {feature: ([], []) for feature in rows}
        for number, count in enumerate(counts):
            for feature, weight in self._vector(count).items():
                postings[feature][0].append(number)
                postings[feature][1].append(weight)
        self._postings = {name: (numpy.array(rows), numpy.array(w)) for name, (rows, w) in postings.items()}

    def question(self, example: Example) -> Question:
        """The example's question, taken apart with the training questions' shared words."""
        key = f"{example.question}\n{example.schema}"
        if key not in self._questions:
            self._questions[key] = read_question(example.question, example.schema, self._shared)
        return self._questions[key]

    def nearest(self, example: Example, count: int) -> list[Example]:
        """The `count` most similar training rows, the nearest first."""
        similarities = numpy.zeros(len(self._train))
        for feature, weight in self._vector(features(self.question(example).mask)).items():
            rows, weights = self._postings[feature]
            similarities[rows] += weight * weights
        order = numpy.argsort(-similarities.round(9), kind="stable")
        return [self._train[number] for number in order[:count]]

    def _vector(self, count: Counter) -> dict[str, float]:
        vector = {name: n * self._weights[name] for name, n in count.items() if name in self._weights}
        length = math.sqrt(sum(weight**2 for weight in vector.values())) or 1.0
        return {name: weight / length for name, weight in vector.items()}


def features(mask: Sequence[str]) -> Counter:
    """How often each word, pair and triple of words stands in a masked question; its ends count as words."""
    ends = ["<start>", *mask, "<end>"]
    sizes = range(1, MOST_WORDS + 1)
    return Counter(" ".join(ends[at : at + size]) for size in sizes for at in range(len(ends) - size + 1))
