"""Attention over a tree of prefixes, by what the device does fastest, behind one interface.

A model is called with `ends` and `positions` of a tree beside its tokens; a hook on it puts in their place what its
attention reads: on a CPU the tree's blocks, for an attention of our own; on CUDA a block mask for FlexAttention; where
those give other logits than rows alone, a 4-D mask for PyTorch's scaled dot-product attention. A model that keeps rows
apart by none of them (states that run on, ALiBi, dropout) is told by `choice`. Virtual tokens of prompt tuning are the
tree's root.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from peft import PeftModel
from torch.nn.attention.flex_attention import create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from common.generation.support import longest_independent
from common.training.tree import tree

TREE, FLEX, MASK = "tree", "flex_attention", "sdpa"  # as transformers names them
CANDIDATES = {"cpu": (TREE, MASK), "cuda": (FLEX, MASK)}
UNKNOWN = ("softcap", "s_aux", "position_bias")  # what some models add to scores
BLOCK = 64  # tokens: short branches are computed together up to so many, since each block costs calls of its own
TRIAL = [[21, 22, 23, 24, 25], [21, 22, 33, 34], [41, 42, 43]]  # rows of the trial: two that begin alike, and another


def visible(ends: torch.Tensor, first: int = 0, last: int | None = None, keys: torch.Tensor | None = None):
    """A boolean mask, (queries, keys): whether each of the tokens `first` to `last` sees each of `keys` (None: all).

    ends: (tokens,).
    """
    count = len(ends)
    queries = torch.arange(first, count if last is None else last, device=ends.device)[:, None]
    keys = torch.arange(count, device=ends.device) if keys is None else keys
    return (keys <= queries) & (queries < ends[keys])


@dataclass(frozen=True)
class Block:
    """A stretch of tokens that are computed together, what they may see, and which of it each sees.

    keys: places, (keys,); mask: (last - first, keys), 0 or minus infinity, in the dtype of the arithmetic.
    """

    first: int
    last: int
    keys: torch.Tensor
    mask: torch.Tensor


def blocks(ends: torch.Tensor, positions: torch.Tensor, dtype: torch.dtype) -> list[Block]:
    """A tree, (tokens,) each, cut where a branch begins; short branches are put together.

    Attention over all tokens at once would compute mostly what no token may see: of n branches each sees one.
    """
    starts = (positions[1:] != positions[:-1] + 1).nonzero().flatten().add(1).tolist()
    cuts, count = [0], len(ends)
    for start, following in pairwise([*starts, count]):
        if following - cuts[-1] > BLOCK:
            cuts.append(start)
    parts = []
    for first, last in pairwise([*cuts, count]):
        before = (ends[:first] > first).nonzero().flatten()  # whoever in the block they are seen by
        keys = torch.cat([before, torch.arange(first, last, device=ends.device)])
        mask = torch.zeros(last - first, len(keys), dtype=dtype, device=ends.device)
        parts.append(Block(first, last, keys, mask.masked_fill(~visible(ends, first, last, keys), -torch.inf)))
    return parts


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    blocks: Sequence[Block] | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Attention of one sequence, (1, heads, tokens, head size), block by block of its tree; without one as `sdpa`.

    Plain products and a softmax: blocks are small, and PyTorch's fused CPU kernel is slow under a mask.
    """
    if blocks is None:
        options = {"dropout": dropout, "scaling": scaling} | kwargs
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if extra := [name for name in UNKNOWN if kwargs.get(name) is not None]:
        raise ValueError(f"attention over trees knows no {extra[0]}")  # the trial sees it
    heads, size = key.shape[1], query.shape[3]
    scale = size**-0.5 if scaling is None else scaling
    # The heads that share a key head are further queries of it.
    queries, keys, values = (query * scale)[0].unflatten(0, (heads, -1)), key[0], value[0]
    outputs = []
    for block in blocks:
        count = block.last - block.first
        part = queries[:, :, block.first : block.last].flatten(1, 2)
        scores = part @ keys.index_select(1, block.keys).transpose(1, 2)
        scores = scores.unflatten(1, (-1, count)) + block.mask
        output = scores.softmax(dim=-1).flatten(1, 2) @ values.index_select(1, block.keys)
        outputs.append(output.unflatten(1, (-1, count)).flatten(0, 1))
    return torch.cat(outputs, dim=1).transpose(0, 1)[None].contiguous(), None


AttentionInterface.register(TREE, tree_attention)
AttentionMaskInterface.register(TREE, sdpa_mask)


def _arguments(implementation: str, ends: torch.Tensor, positions: torch.Tensor, dtype: torch.dtype) -> dict:
    """What a model's attention reads of a tree, (tokens,) each."""
    if implementation == TREE:
        # Any mask of four dimensions is handed on as it is; this one is read by nobody.
        return {"blocks": blocks(ends, positions, dtype), "attention_mask": ends.new_ones(1, 1, 1, 1, dtype=torch.bool)}
    if implementation == FLEX:

        def sees(_, __, query, key):
            return (key <= query) & (query < ends[key])

        count = len(ends)
        return {"attention_mask": create_block_mask(sees, None, None, count, count, device=ends.device)}
    return {"attention_mask": visible(ends)[None, None]}


@contextmanager
def reading(model: PreTrainedModel | PeftModel, implementation: str) -> Iterator[None]:
    """Within it, `model` reads trees by `implementation`; called without one, it computes as ever."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model

    def read(_, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if "ends" not in kwargs:
            return args, kwargs
        ends, positions = kwargs.pop("ends")[0], kwargs.pop("positions")[0]
        vectors = kwargs.get("inputs_embeds")
        if vectors is not None and (virtual := vectors.shape[1] - len(ends)):
            root = torch.arange(virtual, device=ends.device)
            positions = torch.cat([root, positions + virtual])
            ends = torch.cat([torch.full_like(root, len(positions)), ends + virtual])
        on = torch.is_autocast_enabled(ends.device.type)
        dtype = torch.get_autocast_dtype(ends.device.type) if on else base.dtype
        arguments = _arguments(implementation, ends, positions, dtype)
        return args, kwargs | {"position_ids": positions[None]} | arguments

    before = base.config._attn_implementation
    hook = base.register_forward_pre_hook(read, with_kwargs=True)
    try:
        base.set_attn_implementation(implementation)
        yield
    finally:
        hook.remove()
        base.set_attn_implementation(before)


def choice(model: PreTrainedModel, length: int) -> str:
    """The implementation by which `model` reads trees whose rows have up to `length` tokens; "" where rows would mix.

    A trial compares the logits of a small tree with those of its rows alone.
    """
    config = model.config.get_text_config()
    if config._attn_implementation != MASK:
        return ""  # scores of its own (softcaps, sinks), which the ways below leave out, or a user's choice
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    if length > min([longest_independent(model), *(window or math.inf for window in windows)]):
        return ""
    if any(isinstance(m, torch.nn.Dropout) and m.p for m in model.modules()) or getattr(config, "attention_dropout", 0):
        return ""  # a dropout draws for each token; rows that share one would share its draw
    return next((name for name in CANDIDATES[model.device.type] if _keeps_apart(model, name)), "")


@torch.no_grad()
def _keeps_apart(model: PreTrainedModel, implementation: str) -> bool:
    packed, device = tree(TRIAL), model.device
    names = {"input_ids": packed.ids, "positions": packed.positions, "ends": packed.ends}
    inputs = {name: torch.as_tensor(array, device=device)[None] for name, array in names.items()}
    was_training = model.training
    model.eval()
    try:
        with reading(model, implementation):
            logits = model(**inputs, use_cache=False).logits[0].float()
        alone = [model(input_ids=torch.tensor([row], device=device), use_cache=False).logits[0] for row in TRIAL]
    except torch.OutOfMemoryError:
        raise
    except Exception:  # a model may stumble over anything that it does not know
        return False
    finally:
        model.train(was_training)
    together = torch.cat([logits[torch.as_tensor(places, device=device)] for places in packed.places])
    expected = torch.cat(alone)
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 * expected.float().std()
    return bool((together - expected.float()).square().mean().sqrt() <= tolerance)
