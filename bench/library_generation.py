"""transformers' own continuous batching (`generate_batch`: paged keys and values, shared prefixes), to be timed beside
ours. Greedy. On a CPU its cache gets a tenth of the free memory, instead of nine tenths.
"""

from collections.abc import Sequence

from transformers import ContinuousBatchingConfig, GenerationConfig

from common.generation import Completion
from common.generation.answers import completion, end_tokens
from common.models import LoadedModel


def complete(loaded: LoadedModel, prompts: Sequence[list[int]], *, max_new_tokens: int) -> list[Completion]:
    """Answers in the prompts' order. Raises RuntimeError where the library has not answered all of them."""
    ends = end_tokens(loaded)
    outputs = loaded.model.generate_batch(
        list(prompts),
        generation_config=GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            pad_token_id=loaded.tokenizer.pad_token_id,
            eos_token_id=sorted(ends),
        ),
        continuous_batching_config=ContinuousBatchingConfig(
            max_memory_percent=0.1 if loaded.model.device.type == "cpu" else None
        ),
    )
    if len(outputs) < len(prompts) or any(output.error for output in outputs.values()):
        raise RuntimeError(f"the library answered {len(outputs)} of {len(prompts)} prompts, or some with an error")
    return [completion(list(output.generated_tokens), ends, loaded.tokenizer) for output in outputs.values()]
