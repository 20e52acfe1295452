"""Answers row by row by transformers' own `generate`: slow, and right for every causal model that it knows.

Tokens are chosen and answers end as in the batch; nothing of the model's own generation config has a say. For models
that `common.generation.support` keeps out of the batch. Not covered: beams, and encoder-decoder models.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

from common.generation.sampling import Choose
from common.generation.support import longest_independent
from common.settings import UserError


@dataclass
class Answer:
    """One row's answer as it grows: chooses each token itself, and leaves `generate` nothing else to take."""

    number: int
    choose: Choose
    ends: set[int]
    max_new_tokens: int
    tokens: list[int] = field(default_factory=list)
    is_complete: bool = False

    def process(self, _: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Logits, (1, vocabulary), of which only the chosen token's is left."""
        if self.is_complete:  # one pass more where the library stops a step late
            return logits
        is_finite = logits.amax(dim=-1).isfinite().item()
        token = self.choose(logits, [self.number])[0] if is_finite else 0
        if is_finite:
            self.tokens.append(token)
        self.is_complete = not is_finite or token in self.ends or len(self.tokens) == self.max_new_tokens
        return torch.full_like(logits, -torch.inf).index_fill(1, torch.tensor([token], device=logits.device), 0.0)

    def stop(self, ids: torch.Tensor, *_, **__) -> torch.Tensor:
        return torch.full((len(ids),), self.is_complete, device=ids.device)


def answer_singly(
    model: PreTrainedModel,
    inputs: Sequence[Mapping[str, torch.Tensor]],
    *,
    choose: Choose,
    ends: set[int],
    max_new_tokens: int,
) -> Iterator[tuple[int, list[int]]]:
    """(number, tokens) of each row in turn, the end token included where it came.

    inputs: what `generate` takes of each row, `input_ids` (1, tokens) or `inputs_embeds` (1, tokens, width). A row
    whose logits are not finite ends at once, with the tokens that it has. Raises UserError where the library fails.
    """
    for number, row in enumerate(inputs):
        answer = Answer(number, choose, ends, max_new_tokens)
        if longest_independent(model) < math.inf:  # RoPE that grows with what is read goes back to its start
            model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=False)
        config, model.generation_config = model.generation_config, GenerationConfig()  # else it would be merged in
        try:
            model.generate(
                **row,
                generation_config=GenerationConfig(max_new_tokens=max_new_tokens),
                logits_processor=LogitsProcessorList([answer.process]),
                stopping_criteria=StoppingCriteriaList([answer.stop]),
            )
        except (torch.OutOfMemoryError, UserError):
            raise
        except Exception as error:  # whatever the library stumbles over
            reason = f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'})"
            raise UserError(f"transformers cannot answer with this model {reason}; take another one") from error
        finally:
            model.generation_config = config
        yield number, answer.tokens
