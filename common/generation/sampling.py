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
        values, tokens = nucleus(probabilities, self.top_p)
        return torch.zeros_like(probabilities).scatter_add_(-1, tokens, values / values.sum(dim=-1, keepdim=True))


def nucleus(probabilities: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each row the smallest set of tokens that together have top_p: probabilities, 0 for others, and tokens, (rows,
    candidates) both, in the vocabulary's order.

    Candidates are what is not below an even share of the rest: all that is below it has less than the rest together.
    The vocabulary would take longer to sort than the model takes for the logits.
    """
    rows, tokens = (probabilities >= (1 - top_p) / probabilities.shape[-1]).nonzero(as_tuple=True)
    counts = rows.bincount(minlength=len(probabilities))
    places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    shape = len(probabilities), max(1, int(counts.max()))
    values, columns = probabilities.new_zeros(shape), tokens.new_zeros(shape)
    values[rows, places], columns[rows, places] = probabilities[rows, tokens], tokens
    ranked, order = values.sort(dim=-1, descending=True)
    ranked[ranked.cumsum(dim=-1) - ranked >= top_p] = 0
    return torch.zeros_like(values).scatter_(-1, order, ranked), columns


def likeliest(logits: torch.Tensor, rows: list[int]) -> list[int]:
    """The token of the largest logit, for each row."""
    return logits.argmax(dim=-1).tolist()


def with_log_probabilities(choose: Choose, temperature: float, record: dict[int, list[float]]) -> Choose:
    """`choose`, which also puts down each token's log-probability at `temperature`, by row number, before top-p."""

    def choose_and_record(logits: torch.Tensor, rows: list[int]) -> list[int]:
        tokens = choose(logits, rows)
        vectors = logits if temperature == 1 else logits / temperature
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
        numbers = torch.tensor([generators[row].random() for row in rows], dtype=torch.double, device=logits.device)
        if sampling.top_p == 1:
            vectors = logits if sampling.temperature == 1 else logits / sampling.temperature
            return passing((vectors - vectors.amax(dim=-1, keepdim=True)).exp_(), numbers).tolist()
        values, tokens = nucleus((logits / sampling.temperature).softmax(dim=-1), sampling.top_p)
        return tokens.gather(-1, passing(values, numbers)[:, None]).squeeze(-1).tolist()

    return draw


BLOCK = 256


def passing(weights: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """(rows,): where the sum of a row's weights, (rows, columns), passes its number, from 0 to 1, times the whole sum.

    First the block of columns, then the column in it: a running sum over all columns takes longer than a softmax.
    """
    if rest := -weights.shape[-1] % BLOCK:
        weights = torch.nn.functional.pad(weights, (0, rest))
    weights = weights.unflatten(-1, (-1, BLOCK))
    sums = weights.sum(dim=-1).double().cumsum(dim=-1)
    goals = (numbers * sums[:, -1])[:, None]
    blocks = torch.searchsorted(sums, goals, right=True).clamp(max=sums.shape[-1] - 1)
    before = torch.where(blocks > 0, sums.gather(-1, (blocks - 1).clamp(min=0)), 0.0)
    inside = weights[torch.arange(len(weights), device=blocks.device), blocks[:, 0]].double().cumsum(dim=-1)
    # The block's sum was rounded otherwise: never beyond its last token that has a weight.
    goals = torch.minimum(goals - before, inside[:, -1:] * (1 - 1e-12))
    columns = torch.searchsorted(inside, goals, right=True).clamp(max=BLOCK - 1)
    return (blocks * BLOCK + columns).squeeze(-1)
