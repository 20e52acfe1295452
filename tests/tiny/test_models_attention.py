"""What loading a model sets for the process: the attention kernel that a GPU can take, and no advice at every start.

The GPU's age is invented: what reaches PyTorch is looked at.
"""

import subprocess
import sys

import pytest
import torch
from transformers.integrations import sdpa_attention

from common import models
from common.models import load_model
from common.profiles import TINY_MODEL
from common.settings import ROOT

HEADS = {"query": 4, "key": 2}  # the tiny model's


@pytest.fixture
def kernels(monkeypatch) -> list[dict]:
    """The keywords of every attention that PyTorch computes, with the heads of its keys."""
    calls, attention = [], torch.nn.functional.scaled_dot_product_attention

    def recorded(query, key, value, **keywords):
        calls.append(keywords | {"query heads": query.shape[1], "key heads": key.shape[1]})
        return attention(query, key, value, **keywords)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", recorded)
    monkeypatch.setattr(sdpa_attention, "use_gqa_in_sdpa", sdpa_attention.use_gqa_in_sdpa)  # as it was, afterwards
    return calls


def logits(capability: tuple[int, int] | None, monkeypatch) -> torch.Tensor:
    """Of a prompt without a mask, by a model that is loaded beside such a GPU; the arithmetic is done here."""
    with monkeypatch.context() as patch:
        patch.setattr(models, "device", lambda: torch.device("cpu"))
        patch.setattr(torch.cuda, "is_available", lambda: capability is not None)
        patch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        model = load_model(TINY_MODEL).model
    with torch.no_grad():
        return model(torch.arange(5, 25)[None]).logits


@pytest.mark.parametrize("capability", [(7, 5), (6, 0), (7, 0)])
def test_before_capability_8_keys_are_repeated_for_the_memory_efficient_kernel(kernels, monkeypatch, capability):
    expected = logits(None, monkeypatch)
    assert len(kernels) == 2 and all(call["enable_gqa"] for call in kernels)  # one a layer
    kernels.clear()
    assert torch.allclose(logits(capability, monkeypatch), expected, rtol=0, atol=1e-5)
    assert len(kernels) == 2
    for call in kernels:
        assert "enable_gqa" not in call and call["is_causal"] and call["attn_mask"] is None
        assert call["key heads"] == call["query heads"] == HEADS["query"]


@pytest.mark.parametrize("capability", [(8, 0), (9, 0), None])
def test_newer_gpus_and_the_cpu_group_their_heads(kernels, monkeypatch, capability):
    logits(capability, monkeypatch)
    assert len(kernels) == 2
    assert all(call["enable_gqa"] and call["key heads"] == HEADS["key"] for call in kernels)


@pytest.mark.parametrize("module", ["common.evaluation", "bench.gpu_training"])
def test_bitsandbytes_advises_nothing_at_a_start(module):
    """It does so where a CPU has AVX512-BF16; the advice is given by hand for others. All else it logs is shown."""
    script = (
        f"import {module}, bitsandbytes\n"
        "from bitsandbytes.backends.cpu import ops\n"
        "ops.logger.warning('Failed to load CPU gemm_4bit_forward from kernels-community: %s.', 'No module')\n"
        "ops.logger.warning('something else')"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert (run.stdout, run.stderr) == ("", "something else\n")
