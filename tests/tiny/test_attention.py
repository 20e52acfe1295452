"""Attention by columns: equal to PyTorch's own, used by bfloat16 models on a CPU, not by others."""

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from common.generation import attention, batching, complete, onednn
from common.generation.attention import NAME, attend, attention_by_columns, is_by_columns, key_block
from common.generation.support import obstacle
from tests.processor import needs_bfloat16

SIZES = {"vocab_size": 1024, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2}
MODELS = {
    **{name: {} for name in ("Llama", "Qwen2", "Granite", "Olmo2", "GPTNeoX", "Bloom", "Falcon")},
    **{"Qwen3": {"head_dim": 16}, "Gemma2": {"sliding_window": 4, "head_dim": 16}},
    **{"Mistral": {"sliding_window": 4}, "Cohere2": {"sliding_window": 4}, "Gemma3Text": {"head_dim": 16}},
}


@pytest.fixture
def half(talkative):
    """The tiny model in bfloat16."""
    talkative.model.to(torch.bfloat16)
    return talkative


@pytest.mark.parametrize("heads, is_masked, scaling", [(4, True, None), (2, True, 0.3), (6, False, None)])
def test_it_is_pytorchs_attention(heads, is_masked, scaling):
    torch.manual_seed(1)
    module = torch.nn.Module()
    module.num_key_value_groups = heads // 2
    values = torch.randn(3, 2, 9, 8, dtype=torch.bfloat16)
    block = key_block(values, 5, 20)
    keys = block[:3, :, 4:13]
    keys.copy_(torch.randn(3, 2, 9, 8))
    query = torch.randn(3, heads, 1, 8, dtype=torch.bfloat16)
    allowed = torch.arange(9) >= torch.tensor([0, 3, 8])[:, None]
    mask = torch.zeros(3, 1, 1, 9).masked_fill(~allowed[:, None, None], -torch.inf) if is_masked else None
    states = [states.float() for states in (query, keys.contiguous(), values)]
    expected = sdpa_attention_forward(module, *states, mask, scaling=scaling)[0]
    output, weights = attend(module, query, keys, values, mask, scaling=scaling)
    assert weights is None and output.shape == expected.shape == (3, 1, heads, 8)
    assert (output - expected).abs().max() < 0.03 < 0.5 < expected.abs().max()


def test_what_it_does_not_cover_goes_as_ever(monkeypatch):
    calls = []
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *args, **options: calls.append((args, options)))
    states = torch.randn(1, 2, 5, 8, dtype=torch.bfloat16)
    block = key_block(states, 1, 5)
    mask = torch.zeros(1, 1, 1, 5)
    attend(None, states[:, :, :1], states, states, mask)  # keys as PyTorch's have them
    attend(None, states, block, states, mask)  # several queries
    attend(None, states[:, :, :1], block, states, mask.expand(1, 2, 1, 5))  # a mask for each head
    attend(None, states[:, :, :1], block, states, mask, position_bias=mask)
    attend(None, states[:, :, :1], block, states, mask, softcap=30.0)
    assert len(calls) == 5 and all(args[2].stride(3) == 1 for args, _ in calls)
    assert calls[4][1]["softcap"] == 30.0


@needs_bfloat16
def test_a_bfloat16_model_decodes_by_columns_in_its_own_layout(half, prompts, monkeypatch):
    """Greedy answers in bfloat16 may part where two tokens are nearly alike; logits may not."""
    assert obstacle(half.model, 100) == ""
    calls, products = [], []
    products_of = onednn._multiply
    monkeypatch.setattr(torch, "bmm", lambda *args, bmm=torch.bmm: calls.append(1) or bmm(*args))
    monkeypatch.setattr(onednn, "_multiply", lambda *args: products.append(args[0].dtype) or products_of(*args))
    logits = {False: [], True: []}
    step = batching.Batch.step

    def watch(batch):
        outcome = step(batch)
        logits[is_by_columns(half.model)].append(outcome)
        return outcome

    monkeypatch.setattr(batching.Batch, "step", watch)
    complete(half, prompts[:3], max_new_tokens=2)
    assert len(calls) == 2 * len(half.model.model.layers) * len(logits[True]) > 0
    assert set(products) == {torch.bfloat16} and half.model.config._attn_implementation == "sdpa"
    monkeypatch.setattr(attention, "_incompatible", {half.model})
    complete(half, prompts[:3], max_new_tokens=2)
    one, other = logits[True][0], logits[False][0]
    assert one.shape == other.shape and (one - other).std() < 0.1 * other.std()


def test_float32_keeps_its_attention(talkative):
    with attention_by_columns(talkative.model):
        assert not is_by_columns(talkative.model)


@needs_bfloat16
@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_models_stay_in_the_batch(name):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES | MODELS[name])
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16).eval()
    before = model.config._attn_implementation
    with torch.inference_mode(), onednn.laid_out(model), attention_by_columns(model):
        assert is_by_columns(model) == (before == "sdpa")
        assert obstacle(model, 2000) == ""
        assert is_by_columns(model) == (before == "sdpa")
    assert model.config._attn_implementation == before


def test_a_model_that_differs_keeps_its_own(half, prompts, monkeypatch):
    """Attention that looks at nothing but the last column."""

    def wrong(module, query, key, value, mask, **options):
        if key.stride(3) == 1:
            return sdpa_attention_forward(module, query, key, value, mask, **options)
        return value[:, :, -1:].transpose(1, 2).repeat_interleave(query.shape[1] // value.shape[1], dim=2), None

    monkeypatch.setitem(transformers.AttentionInterface._global_mapping, NAME, wrong)
    with torch.inference_mode(), attention_by_columns(half.model):
        assert is_by_columns(half.model)
        assert obstacle(half.model, 100) == ""
        assert not is_by_columns(half.model)
    with attention_by_columns(half.model):
        assert not is_by_columns(half.model)
