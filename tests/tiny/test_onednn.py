"""LoRA layers laid out for oneDNN: the answers of plain ones, and no more than plain ones."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

from common.generation.onednn import available, laid_out, plain_update
from common.models import load_model
from common.profiles import TINY_MODEL
from tests.processor import needs_bfloat16

pytestmark = pytest.mark.skipif(not available(), reason="this PyTorch has no oneDNN")
IDS = torch.arange(2, 40)[None]


def adapted(precision="float32", quantisation="", **options):
    """The tiny model with an adapter that has a say."""
    torch.manual_seed(0)
    model = load_model(TINY_MODEL, precision=precision, quantisation=quantisation).model
    sizes = {"r": 4, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    model = get_peft_model(model, LoraConfig(**sizes | options)).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS).logits.float()


@pytest.mark.parametrize(
    ("precision", "quantisation", "tolerance"),
    [
        *(("float32", quantisation, 1e-4) for quantisation in ("", "nf4")),
        *(pytest.param("bfloat16", quantisation, 0.1, marks=needs_bfloat16) for quantisation in ("", "nf4")),
    ],
)
def test_an_update_beside_a_laid_out_weight_is_the_plain_one(precision, quantisation, tolerance):
    model = adapted(precision, quantisation)
    plain = logits(model)
    with model.disable_adapter():
        assert (logits(model) - plain).abs().max() > 5 * tolerance  # else the update would have no say
    with laid_out(model):
        updates = [module for module in model.modules() if isinstance(module, LoraLayer)]
        assert len(updates) == 14 and all("forward" in vars(module) for module in updates)
        assert not any("forward" in vars(module.get_base_layer()) for module in updates)  # no second copy
        assert torch.allclose(logits(model), plain, rtol=0, atol=tolerance)
    assert not any("forward" in vars(module) for module in model.modules())
    assert torch.equal(logits(model), plain)


def test_a_switched_off_adapter_has_no_say():
    model = adapted()
    with model.disable_adapter():
        plain = logits(model)
        with laid_out(model):
            assert torch.allclose(logits(model), plain, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_dropout": 0.5}, {"lora_bias": True}], ids=str)
def test_what_is_more_than_plain_computes_as_ever(options):
    model = adapted(**options)
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    assert layers and all(plain_update(layer) is None for layer in layers)
    plain = logits(model)
    with laid_out(model):
        assert torch.allclose(logits(model), plain, rtol=0, atol=1e-4)


def test_two_adapters_at_once_compute_as_ever():
    model = adapted()
    model.add_adapter("second", LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.base_model.set_adapter(["default", "second"])
    assert all(plain_update(module) is None for module in model.modules())
    plain = logits(model)
    with laid_out(model):
        assert torch.allclose(logits(model), plain, rtol=0, atol=1e-4)


def test_a_forward_that_was_there_comes_back():
    model = adapted()
    layer = next(module for module in model.modules() if isinstance(module, LoraLayer))
    layer.forward = own = layer.forward
    with laid_out(model):
        assert layer.forward is not own
    assert layer.forward is own
