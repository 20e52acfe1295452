"""The estimate of memory: by hand for a toy decoder, against what autograd really keeps, and when it speaks up.

What needs CUDA (tiles of logits, the optimiser's step over all weights) is checked by hand alone.
"""

import re

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, Qwen3Config

from common.models import LoadedModel, parameter_counts
from common.profiles import PROFILES, TINY_MODEL
from common.settings import UserError
from common.training import estimate as estimates
from common.training import memory, sft
from common.training.adapt import adapt
from common.training.decoder import KNOWN, Decoder, decoder
from common.training.estimate import Batch, estimate, fit, fits, warning
from common.training.loss import completion_loss
from common.training.recipe import Recipe
from common.training.sft import train_sft

# 2 layers of width 8, 16 in the feed-forward, 4 query and 2 key-value heads of 4, 32 tokens, a tied head.
TOY = Decoder(2, 8, 16, 4, 2, 4, 32, True, True)
# A layer's linear weights: 2 × 8·16 of queries and output, 2 × 8·8 of keys and values, 3 × 8·16.
LINEAR = 2 * (256 + 128 + 384)
WEIGHTS = LINEAR + 32 * 8 + 2 * (2 * 8 + 2 * 4) + 8
BATCH = Batch(rows=2, width=10, taught=6)
SHAPES = {
    "qwen3": Qwen3Config(
        vocab_size=640,
        hidden_size=96,
        intermediate_size=224,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        tie_word_embeddings=True,
    ),
    "llama": LlamaConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=False,
    ),
}
ROWS, WIDTH, TAUGHT = 3, 56, 8  # the last row is shorter, so attention gets a mask


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny):
    """Loads a model of a shape with so many layers, anew at each call; `tiny` is the test's own model."""
    folders = {}

    def load(shape: str, layers: int, quantisation: str, dtype: torch.dtype) -> LoadedModel:
        if (shape, layers) not in folders:
            config = AutoConfig.for_model(**SHAPES[shape].to_dict()) if shape in SHAPES else tiny().model.config
            config.num_hidden_layers = layers
            if config.model_type == "qwen3":
                config.layer_types = ["full_attention"] * layers
            folders[shape, layers] = tmp_path_factory.mktemp(f"{shape}{layers}")
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config).save_pretrained(folders[shape, layers])
        packed = {"quantization_config": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")}
        options = {"dtype": dtype} | (packed if quantisation else {})
        model = AutoModelForCausalLM.from_pretrained(folders[shape, layers], **options)
        return LoadedModel(model, None, shape, "", quantisation)

    return load


def kept_bytes(loaded: LoadedModel, recipe: Recipe, mixed: bool) -> tuple[Decoder, int]:
    """The model's sizes, and the bytes that autograd keeps after a forward pass, each storage once, weights apart."""
    torch.manual_seed(0)
    model = adapt(loaded, recipe).train()
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    ids = torch.randint(0, 500, (ROWS, WIDTH))
    labels = torch.full((ROWS, WIDTH), -100)
    labels[:, -TAUGHT:] = ids[:, -TAUGHT:]
    mask = torch.ones(ROWS, WIDTH, dtype=torch.long)
    mask[-1, -2:], labels[-1, -2:] = 0, -100
    own = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers())}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is used twice
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        loss, _ = completion_loss(model, inputs)
    sizes = decoder(loaded.model.config)
    total = sum(size for size, _ in seen.values())
    loss.backward()  # what is kept can be used
    return sizes, total - 4 * ROWS * TAUGHT * sizes.vocabulary  # without the log-probabilities


def test_sizes_are_those_of_the_models(tiny, made):
    assert decoder(tiny().model.config) == KNOWN[TINY_MODEL]
    for loaded in (tiny(), *(made(shape, 4, "", torch.float32) for shape in SHAPES)):
        assert decoder(loaded.model.config).weights == parameter_counts(loaded.model)[1]
    assert KNOWN["Qwen/Qwen3-0.6B"].weights == 596_049_920  # its safetensors, by the model card's count
    assert KNOWN[PROFILES["cpu"].model_id].weights == 134_515_008
    assert decoder(AutoConfig.for_model("gpt2")) is None


def test_weights_gradients_and_states_by_hand():
    full = estimate(TOY, Recipe(method="full"), BATCH, precision="float16", gpu=True)
    assert TOY.weights == WEIGHTS
    assert (full.weights, full.gradients, full.states) == (4 * WEIGHTS, 4 * WEIGHTS, 8 * WEIGHTS)
    assert full.copies == 2 * LINEAR
    adapters = 2 * 3 * (2 * (8 + 16) + 2 * (8 + 8) + 3 * (8 + 16))  # 2 layers of rank 3
    lora = estimate(TOY, Recipe(method="lora", lora_rank=3), BATCH, precision="float16", gpu=True)
    assert lora.weights == 2 * WEIGHTS + 4 * adapters and lora.copies == 2 * adapters
    assert (lora.gradients, lora.states) == (4 * adapters, 8 * adapters)
    some = Recipe(method="lora", lora_rank=3, lora_targets=("q_proj", "v_proj"))
    assert estimate(TOY, some, BATCH, precision="float32", gpu=False).gradients == 4 * 2 * 3 * (24 + 16)
    nf4 = estimate(TOY, Recipe(method="qlora", lora_rank=3), BATCH, precision="float16", gpu=True)
    assert nf4.weights == round(LINEAR * (4 + 8 / 64 + 32 / (64 * 256)) / 8 + 2 * (WEIGHTS - LINEAR) + 4 * adapters)
    prompt = estimate(TOY, Recipe(method="prompt-text", virtual_tokens=5), BATCH, precision="float32", gpu=False)
    assert (prompt.weights, prompt.gradients, prompt.copies) == (4 * WEIGHTS + 4 * 40, 4 * 40, 0)


@pytest.mark.parametrize(
    ("values", "gpu", "states", "step"),
    [
        ({"optimizer": "adamw"}, True, 8, 0),
        ({"optimizer": "adamw_8bit"}, True, 2, 0),
        ({"optimizer": "paged_adamw"}, True, 0, 0),
        ({"optimizer": "nadam"}, True, 8, 4 * WEIGHTS),
        ({"optimizer": "nadam", "weight_decay": 0.1}, True, 8, 8 * WEIGHTS),
        ({"optimizer": "adamax", "weight_decay": 0.1}, True, 8, 4 * WEIGHTS),
        ({"optimizer": "nadam"}, False, 8, 4 * 32 * 8),  # one weight after the other, the embedding is the largest
    ],
    ids=str,
)
def test_optimisers_by_hand(values, gpu, states, step):
    found = estimate(TOY, Recipe(method="full", **values), BATCH, precision="float32", gpu=gpu)
    assert (found.states, found.step) == (states * WEIGHTS, step)


def test_logits_by_hand():
    recipe = Recipe(method="lora")
    assert estimate(TOY, recipe, BATCH, precision="float32", gpu=False).logits == 3 * 4 * 6 * 32
    assert estimate(TOY, recipe, BATCH, precision="float16", gpu=True).logits == 2 * 6 * 32
    wide = Batch(2, 10_000, 5_000)
    qwen = KNOWN["Qwen/Qwen3-0.6B"]
    assert estimate(qwen, recipe, wide, precision="float16", gpu=True).logits == 2 * 4096 * 32_768
    head = 4 * 151_936 * 1024  # a trained head's gradient, in float32
    assert estimate(qwen, Recipe(method="full"), wide, precision="float16", gpu=True).logits == 2 * 4096 * 32_768 + head


def test_the_total_is_the_larger_of_the_two_moments():
    found = estimate(TOY, Recipe(method="full", optimizer="nadam"), BATCH, precision="float32", gpu=True)
    assert found.step < found.activations
    assert found.total == 16 * WEIGHTS + found.activations + found.copies + max(found.logits, found.backward)
    short = estimate(TOY, Recipe(method="full", optimizer="nadam"), Batch(1, 1, 1), precision="float32", gpu=True)
    assert short.total == 20 * WEIGHTS


CASES = [
    ("full", "float32", {}),
    ("lora", "float32", {}),
    ("lora", "float32", {"lora_dropout": 0.1}),
    ("lora", "float32", {"lora_targets": ("q_proj", "v_proj", "up_proj")}),
    ("qlora", "float32", {}),
    ("full", "bfloat16", {}),
    ("lora", "bfloat16", {}),
    ("lora", "bfloat16", {"lora_targets": ("q_proj", "o_proj", "down_proj")}),
]


@pytest.mark.parametrize("shape", ["tiny", *SHAPES])
@pytest.mark.parametrize(("method", "precision", "values"), CASES, ids=str)
def test_activations_are_those_that_autograd_keeps(shape, method, precision, values, made):
    recipe = Recipe(method=method, lora_rank=8, **values)
    layers, mixed = 2 if shape == "tiny" else 4, precision != "float32"
    dtype = getattr(torch, precision)
    sizes, kept = kept_bytes(made(shape, layers, recipe.quantisation, dtype), recipe, mixed)
    batch = Batch(ROWS, WIDTH, ROWS * TAUGHT)
    found = estimate(sizes, recipe, batch, precision=precision, gpu=False)
    assert found.activations + found.copies == pytest.approx(kept, rel=0.03)
    # Computed again: the layers' inputs, and one layer, which is what a model one layer shorter keeps less.
    _, shorter = kept_bytes(made(shape, layers - 1, recipe.quantisation, dtype), recipe, mixed)
    again = recipe.with_values({"gradient_checkpointing": True})
    _, inputs = kept_bytes(made(shape, layers, recipe.quantisation, dtype), again, mixed)
    head = 2 * sizes.embedding_weights if mixed and method == "full" else 0  # its copy is in all three
    layer = kept - shorter - (found.copies - head) // layers
    less = estimate(sizes, again, batch, precision=precision, gpu=False)
    assert less.activations == pytest.approx(inputs - head + layer, rel=0.03)
    assert less.activations < 0.7 * found.activations
