"""Choosing a token from logits: the likeliest one, or one that is drawn.

A row's draws depend on the seed, the stream and the row's number alone, never on the rows beside it. Covers temperature
and top-p; no penalties, no beams.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch

from common.provenance import digest
from common.settings import UserError

Choose = Callable[[torch.Tensor, list[int]], list[int]]  # (logits (rows, vocabulary), row numbers) → a token a row


@dataclass(frozen=True)
class Sampling:
    """Draw tokens instead of taking the likeliest: from the smallest set of them that together have `top_p` of the
    probability at `temperature` (Holtzman et al. 2020, arXiv:1904.09751).

    stream: the number of the call. Two calls with one seed and one stream draw the same random numbers for their rows
    0, 1, …; calls that shall not (the steps of GRPO, processes) each take a stream of their own. Raises UserError for
    values out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 42
    stream: int = 0

    def __post_init__(self):
        if not 0 < self.temperature < float("inf") or not 0 < self.top_p <= 1:
            raise UserError(
                "a temperature is above 0 and top_p from above 0 to 1; leave sampling out for greedy answers"
            )

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary), each row's sum is 1; 0 where a token cannot be drawn."""
        probabilities = (logits / self.temperature).softmax(dim=-1)
        if self.top_p == 1:
            return probabilities
        ranked, tokens = probabilities.sort(dim=-1, descending=True)
        ranked[ranked.cumsum(dim=-1) - ranked >= self.top_p] = 0
        nucleus = torch.zeros_like(probabilities).scatter(-1, tokens, ranked)
        return nucleus / nucleus.sum(dim=-1, keepdim=True)


def likeliest(logits: torch.Tensor, rows: list[int]) -> list[int]:
    """The token of the largest logit, for each row."""
    return logits.argmax(dim=-1).tolist()


def with_log_probabilities(choose: Choose, temperature: float, record: dict[int, list[float]]) -> Choose:
    """`choose`, which also puts down each token's log-probability at `temperature`, by row number, before top-p."""

    def choose_and_record(logits: torch.Tensor, rows: list[int]) -> list[int]:
        tokens = choose(logits, rows)
        vectors = logits / temperature
        of_tokens = vectors.gather(-1, torch.tensor(tokens, device=logits.device)[:, None]).squeeze(-1)
        for row, value in zip(rows, (of_tokens - vectors.logsumexp(dim=-1)).tolist(), strict=True):
            record.setdefault(row, []).append(value)
        return tokens

    return choose_and_record


def sampler(sampling: Sampling) -> Choose:
    """Draws by `sampling`; each row has a generator of random numbers of its own."""
    generators: dict[int, random.Random] = {}

    def draw(logits: torch.Tensor, rows: list[int]) -> list[int]:
        for row in set(rows) - generators.keys():
            # A hash, since sums of seed, stream and row would meet: seed 1, row 0 and seed 0, row 1.
            generators[row] = random.Random(int(digest(sampling.seed, sampling.stream, row), 16))
        # One look-up for all rows: the token at which the sum of probabilities passes the random number.
        sums = sampling.probabilities(logits).double().cumsum(dim=-1)
        numbers = torch.tensor([[generators[row].random()] for row in rows], dtype=sums.dtype, device=sums.device)
        return torch.searchsorted(sums, numbers * sums[:, -1:], right=True).squeeze(dim=1).tolist()

    return draw
