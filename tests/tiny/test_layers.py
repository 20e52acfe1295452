"""Layers as a CPU trains them: outputs and gradients of the plain modules, and what is not plain is left alone."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, GemmaConfig, LlamaConfig, Qwen2Config, Qwen3Config

from common.models import load_model
from common.profiles import TINY_MODEL
from common.training import layers
from common.training.adapters import adapt
from common.training.recipe import Recipe
from common.training.sft import CompletionTrainer, train_sft
from common.training.trainer import Clock

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "pad_token_id": 0}
SIZES |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
CONFIGS = {"llama": LlamaConfig(**SIZES), "qwen2": Qwen2Config(**SIZES), "qwen3": Qwen3Config(**SIZES)}
IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11], [9, 9, 5, 40, 41, 42, 43]])


def made(name: str, dtype: torch.dtype = torch.float32, strong: float = 6, **lora) -> torch.nn.Module:
    """A random model with norms and biases that are not one and zero, with LoRA that is not zero where asked for."""
    torch.manual_seed(0)
    config = GemmaConfig(**SIZES) if name == "gemma" else CONFIGS[name]
    model = AutoModelForCausalLM.from_config(config)
    if lora:
        model = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 12, "task_type": "CAUSAL_LM"} | lora))
    with torch.no_grad():
        for kind, parameter in model.named_parameters():
            if "lora" in kind:
                parameter.normal_(std=0.2)
            elif "bias" in kind or "norm" in kind:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            elif parameter.dim() == 2:
                parameter.mul_(strong)
            if "lora" not in kind:
                parameter.data = parameter.data.to(dtype)
    return model


def results(model, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Logits, and the gradients of a sum of them in which each counts for itself."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = model(input_ids=IDS, use_cache=False).logits
    weights = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (logits.float().log_softmax(dim=-1) * weights).sum().backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    return {"logits": logits.detach().float()} | grads


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    assert all(one[name].dtype == other[name].dtype for name in one)
    length = torch.cat([value.flatten() for name, value in other.items() if name != "logits"]).norm()
    least = {name: 0 if name == "logits" else length / 30 for name in other}
    return max(((one[n] - v).norm() / v.norm().clamp(min=least[n])).item() for n, v in other.items())


def changed(model) -> set[str]:
    """The kinds of module that have another forward."""
    return {type(module).__name__ for module in model.modules() if "forward" in vars(module)}


@pytest.mark.parametrize("product", [linear, getattr(layers, "_onednn", linear)], ids=["plain", "onednn"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("name", CONFIGS)
def test_float32_layers_compute_what_the_plain_ones_do(name, method, product, monkeypatch):
    monkeypatch.setattr(layers, "_product", lambda dtype: product)
    options = {"target_modules": "all-linear"} if method == "lora" else {}
    model = made(name, **options)
    plain = results(model)
    layers.accelerate(model, torch.float32)
    norm = {"llama": "LlamaRMSNorm", "qwen2": "Qwen2RMSNorm", "qwen3": "Qwen3RMSNorm"}[name]
    dense = {"Linear"} if product != linear else set()
    assert changed(model) == {norm} | ({"Linear"} if method == "lora" else dense)  # peft's layer has this name too
    assert apart(results(model), plain) < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_bfloat16_layers_are_as_close_to_float32_as_the_plain_ones(name):
    def weak(dtype):
        model = made(name, dtype, strong=2, target_modules="all-linear")
        with torch.no_grad():
            for kind, parameter in model.named_parameters():
                if "lora" in kind:
                    parameter.mul_(0.25)
        return model

    def error(found):
        names = exact.keys() - {"logits"}
        apart, length = (
            torch.stack([v.norm() for v in vs]).norm()
            for vs in ([found[n] - exact[n] for n in names], [exact[n] for n in names])
        )
        return (apart / length).item()

    exact, model = results(weak(torch.float32)), weak(torch.bfloat16)
    plain = results(model, torch.bfloat16)
    layers.accelerate(model, torch.bfloat16)
    fast = results(model, torch.bfloat16)
    assert {value.dtype for value in fast.values()} == {torch.float32}
    assert 1e-4 < error(fast) < 2 * error(plain) < 0.1, (error(fast), error(plain))
    assert (fast["logits"] - exact["logits"]).norm() < 0.05 * exact["logits"].norm()


def test_a_quantised_layer_is_dequantised_once(tiny, monkeypatch):
    from bitsandbytes import functional

    recipe = Recipe(method="qlora", lora_rank=4, lora_alpha=8)
    model = adapt(tiny(recipe), recipe)
    with torch.no_grad():
        for kind, parameter in model.named_parameters():
            if "lora_B" in kind:
                parameter.normal_(std=0.1)
    plain = results(model)
    layers.accelerate(model, torch.float32)
    monkeypatch.setattr(functional, "dequantize_4bit", lambda *_: pytest.fail("dequantised again"))
    assert apart(results(model), plain) < 3e-2  # the plain product computes in the weights' own precision


@pytest.mark.parametrize("shape", [(32,), (3, 32), (2, 3, 4, 32), (0, 32)], ids=str)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("product", [linear, getattr(layers, "_onednn", linear)], ids=["plain", "onednn"])
def test_dense_and_low_rank_layers_of_all_shapes(shape, has_bias, product):
    torch.manual_seed(0)
    inputs, weight, down, up = (torch.randn(*s) for s in (shape, (20, 32), (4, 32), (20, 4)))
    bias = torch.randn(20) if has_bias else None
    for parts, fast, plain in (
        ((inputs, weight, bias), lambda i, w, b: layers.Dense.apply(i, w, b, product), linear),
        (
            (inputs, down, up),
            lambda i, d, u: layers.LowRank.apply(i, weight, bias, d, u, 0.7, product),
            lambda i, d, u: linear(i, weight, bias) + 0.7 * (i @ d.t() @ u.t()),
        ),
    ):
        found = []
        for function in (fast, plain):
            leaves = [part if part is None else part.clone().requires_grad_() for part in parts]
            output = function(*leaves)
            (output * torch.linspace(-1, 2, output.numel()).view_as(output)).sum().backward()
            found.append([output, *(leaf.grad for leaf in leaves if leaf is not None)])
        assert all(
            a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(*found, strict=True)
        )


# What is not plain


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "down_proj"]], ids=str)
@pytest.mark.parametrize(
    "lora",
    [
        {"use_dora": True},
        {"lora_bias": True},
        {"modules_to_save": ["lm_head"]},
        {"bias": "all"},
        {"use_rslora": True},
    ],
    ids=str,
)
def test_variants_are_left_alone_or_right(lora, targets):
    model = made("qwen2", target_modules=targets, lora_alpha=4, **lora)
    plain = results(model)
    layers.accelerate(model, torch.float32)
    assert apart(results(model), plain) < 1e-5


def test_dropout_and_several_adapters_keep_pefts_own_layers():
    dropped = made("llama", target_modules="all-linear", lora_dropout=0.1)
    several = made("llama", target_modules="all-linear")
    several.add_adapter("other", LoraConfig(r=2, target_modules="all-linear"))
    several.base_model.set_adapter(["default", "other"])
    for model in (dropped, several):
        layers.accelerate(model, torch.float32)
        assert not any(isinstance(module, LoraLayer) and "forward" in vars(module) for module in model.modules())


def test_gemmas_norm_is_not_taken_for_llamas():
    model = made("gemma", target_modules="all-linear")
    plain = results(model)
    layers.accelerate(model, torch.float32)
    assert changed(model) == {"Linear"}
    assert apart(results(model), plain) < 1e-5


def test_a_norm_that_names_its_eps_alike_and_computes_otherwise_is_left_alone():
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    class Shifted(LlamaRMSNorm):
        def forward(self, inputs):
            return super().forward(inputs) + inputs * inputs.square().mean(dim=-1, keepdim=True).rsqrt()

    model = torch.nn.Sequential(LlamaRMSNorm(8), Shifted(8))
    layers.accelerate(model, torch.float32)
    assert changed(model) == {"LlamaRMSNorm"}


@pytest.mark.parametrize("without_gradients", [torch.no_grad, torch.inference_mode])
def test_a_merged_or_disabled_adapter_is_seen(without_gradients):
    """`disable_adapter` on the way: what is asked of the base alone, as a reference is."""
    model = made("llama", target_modules="all-linear")
    with without_gradients(), model.disable_adapter():
        base = model(input_ids=IDS).logits
    with without_gradients():
        whole = model(input_ids=IDS).logits
    layers.accelerate(model, torch.float32)
    with without_gradients(), model.disable_adapter():
        assert torch.allclose(model(input_ids=IDS).logits, base, rtol=0, atol=1e-5)
    model.merge_adapter()
    with without_gradients():
        assert torch.allclose(model(input_ids=IDS).logits, whole, rtol=0, atol=1e-4)
        assert not torch.allclose(whole, base, rtol=0, atol=1e-2)


def test_another_active_adapter_is_seen():
    model = made("llama", target_modules="all-linear")
    model.add_adapter("second", LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    model.base_model.set_adapter("default")
    with torch.no_grad():
        trained = model(input_ids=IDS).logits
        layers.accelerate(model, torch.float32)
        model.base_model.set_adapter("second")  # which has no say: its second matrix is zero
        with model.disable_adapter():
            base = model(input_ids=IDS).logits
        assert torch.allclose(model(input_ids=IDS).logits, base, rtol=0, atol=1e-5)
        assert not torch.allclose(trained, base, rtol=0, atol=1e-2)


def test_answers_on_the_way_take_the_plain_layers(monkeypatch):
    model = made("qwen3", target_modules="all-linear")
    with torch.inference_mode():
        plain = model(input_ids=IDS).logits
    layers.accelerate(model, torch.float32)
    for kind in (layers.Dense, layers.LowRank, layers.Norm):
        monkeypatch.setattr(kind, "apply", lambda *_: pytest.fail("not the plain layer"))
    with torch.inference_mode():
        assert torch.equal(model(input_ids=IDS).logits, plain)


# Trainings


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_after_a_training_every_forward_is_as_before(method, rows, tiny, one, tmp_path, monkeypatch):
    inside, real = [], CompletionTrainer.evaluate
    monkeypatch.setattr(layers, "_product", lambda dtype: getattr(layers, "_onednn", linear))

    def evaluate(self, *args, **kwargs):
        inside.append(changed(self.model))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(CompletionTrainer, "evaluate", evaluate)
    monkeypatch.setattr("common.training.session.for_evaluation", lambda model, recipe, dtype: (model, False))
    recipe = one.with_values({"method": method})
    model = train_sft(tiny(recipe), *rows, recipe, folder=tmp_path).loaded.model
    assert inside[0] >= {"Linear4bit" if method == "qlora" else "Linear"} and changed(model) == set()


@pytest.mark.parametrize("method", ["full", "lora", "prompt-random"])
def test_bfloat16_trains_float32_weights_under_autocast(method, rows, one, tmp_path, monkeypatch):
    """What is trained, its gradients and its states are float32; a frozen base is bfloat16, as are the products."""
    seen = {}

    def look(self, args, state, control, model=None, optimizer=None, **kwargs):
        if not seen:
            seen["grads"] = {p.grad.dtype for p in model.parameters() if p.requires_grad}
            seen["trained"] = {p.dtype for p in model.parameters() if p.requires_grad}
            seen["frozen"] = {p.dtype for p in model.parameters() if not p.requires_grad}

    def after(self, args, state, control, model=None, optimizer=None, **kwargs):
        states = getattr(optimizer, "optimizer", optimizer).state.values()
        seen["states"] = {v.dtype for s in states for v in s.values() if v.dim()}

    products = set()
    monkeypatch.setattr(Clock, "on_pre_optimizer_step", look, raising=False)
    monkeypatch.setattr(Clock, "on_optimizer_step", after, raising=False)
    loaded = load_model(TINY_MODEL, precision="bfloat16")
    gate = loaded.model.model.layers[0].mlp.act_fn
    gate.register_forward_hook(lambda _, inputs, __: products.add(inputs[0].dtype))
    run = train_sft(loaded, *rows, one.with_values({"method": method}), folder=tmp_path)
    assert seen["grads"] == seen["trained"] == seen["states"] == {torch.float32}
    assert seen["frozen"] == (set() if method == "full" else {torch.bfloat16})
    assert products == {torch.bfloat16}
    exact = train_sft(load_model(TINY_MODEL), *rows, one.with_values({"method": method}), folder=tmp_path / "float32")
    one_loss, other = (list(each.curve["loss"].dropna()) for each in (run, exact))
    assert one_loss == pytest.approx(other, abs=2e-2) and one_loss != other
