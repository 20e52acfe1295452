"""Whether the batch answers as a model alone does; where it does not, the library's own `generate` answers row by row.

A model is judged by what it is, never by its name: by the layers of its cache, by a trial against the model alone, and
at each call by the lengths from which a row's arithmetic follows the longest row. Windows need no look at lengths: the
batch has the model make its own masks over columns that are all there. Not covered: encoder-decoder models.
"""

import math
from weakref import WeakKeyDictionary

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from common.generation.attention import exclude, is_by_columns
from common.generation.batching import decode

PREFIX = [11, 12, 13]  # tokens of the trial: what stands before every row, the rows, and their answers
ROWS = [[21, 22, 23, 24, 25, 26, 27, 28], [31, 32, 33, 34, 35], [41]]
ANSWER = [61, 62, 63]
PLAIN = {DynamicLayer, DynamicSlidingWindowLayer, DummyLayer}  # these hold keys and values, or another layer's
_obstacles: WeakKeyDictionary[torch.nn.Module, str] = WeakKeyDictionary()


def obstacle(model: PreTrainedModel, length: int) -> str:
    """Why rows of up to `length` tokens, answers included, cannot be answered in a batch; "" where they can.

    The trial is made at a model's first call: seven forward passes over a few tokens.
    """
    if model not in _obstacles:
        _obstacles[model] = _state(model) or _difference(model)
        if _obstacles[model] and is_by_columns(model):
            exclude(model)
            _obstacles[model] = _state(model) or _difference(model)
    if not _obstacles[model] and length > (longest := longest_independent(model)):
        return f"beyond {longest} tokens its positions are scaled by the longest row"
    return _obstacles[model]


def longest_independent(model: PreTrainedModel) -> float:
    """The most tokens a row may have before its arithmetic depends on the rows beside it.

    Dynamic and long RoPE take their frequencies from the batch's longest row; attention that is tempered by position
    (Llama 4) counts padding as tokens.
    """
    config = model.config.get_text_config()
    ropes = getattr(config, "rope_parameters", None) or {}
    limits = [getattr(config, "floor_scale", None) or math.inf]
    for rope in (ropes, *(value for value in ropes.values() if isinstance(value, dict))):  # one, or one a layer type
        if rope.get("rope_type") in ("dynamic", "longrope"):
            limits.append(rope.get("original_max_position_embeddings") or config.max_position_embeddings)
    return min(limits)


def _state(model: PreTrainedModel) -> str:
    try:
        layers = {type(layer) for layer in DynamicCache(config=model.config).layers}
    except (AttributeError, KeyError, TypeError, ValueError):
        return "its cache is of a kind of its own"
    return "" if layers <= PLAIN else "it keeps more than keys and values"


def _difference(model: PreTrainedModel) -> str:
    """Compare logits of the batch, rows padded behind a common start, with those of each row read alone and whole."""
    batch: list[list[torch.Tensor]] = [[] for _ in ROWS]

    def choose(logits: torch.Tensor, rows: list[int]) -> list[int]:
        for row, vector in zip(rows, logits, strict=True):
            batch[row].append(vector)
        return [ANSWER[len(batch[row]) - 1] for row in rows]

    try:
        start = model(
            input_ids=torch.tensor([PREFIX], device=model.device), past_key_values=DynamicCache(), use_cache=True
        )
        sizes = {"max_new_tokens": len(ANSWER), "batch_size": len(ROWS)}
        for _ in decode(model, ROWS, start.past_key_values, choose=choose, ends=set(), **sizes):
            pass
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a model may stumble over anything that it does not know
        return f"a batch raises {type(error).__name__}"
    errors = torch.stack([_error(model, row, logits) for row, logits in zip(ROWS, batch, strict=True)])
    # The middle one of three rows, of which one has no padding; the worst of the steps.
    return "" if errors.median(dim=0).values.max() <= 1 else "a batch has other logits than a row alone"


def _error(model: PreTrainedModel, row: list[int], batch: list[torch.Tensor]) -> torch.Tensor:
    """(steps,): the root mean square of the difference over the spread of the logits, in units of the tolerance.

    0 where the model alone has no finite logits, since then nothing can be compared.
    """
    ids = torch.tensor([PREFIX + row + ANSWER[:-1]], device=model.device)
    output = model(input_ids=ids, use_cache=False).logits[0, -len(ANSWER) :]
    logits = output.float()
    if not logits.isfinite().all():
        return logits.new_zeros(len(ANSWER))
    if len(batch) < len(ANSWER):  # it broke off where its logits were no numbers
        return logits.new_full((len(ANSWER),), math.inf)
    difference = (torch.stack(batch) - logits).square().mean(dim=-1).sqrt()
    return difference / logits.std(dim=-1).clamp(min=1e-30) / _tolerance(model, output.dtype)


def _tolerance(model: PreTrainedModel, dtype: torch.dtype) -> float:
    """Twice the square root of the coarsest rounding on the way: above what rounding does (4-bit weights under bfloat16
    come to the half of it), below what a token more or less to look at does."""
    product = {"highest": torch.float32, "high": torch.float16, "medium": torch.bfloat16}  # TF32 rounds as float16
    dtypes = (dtype, model.dtype, product[torch.get_float32_matmul_precision()])
    return 2 * math.sqrt(max(torch.finfo(each).eps for each in dtypes))
