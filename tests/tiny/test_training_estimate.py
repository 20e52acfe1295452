"""The estimate of memory against what autograd really keeps, and when a training speaks up.

What needs CUDA (tiles of logits, the optimiser's step over all weights) is checked by hand alone, in tests/unit.
"""

from itertools import accumulate

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, Qwen3Config

from common.models import LoadedModel, parameter_counts
from common.profiles import EMBEDDED_MODEL, PROFILES, TINY_MODEL
from common.training import memory
from common.training.adapters import adapt
from common.training.architecture import KNOWN, Decoder, decoder
from common.training.estimate import estimate
from common.training.losses import completion_loss
from common.training.optimizers import optimizer_class
from common.training.plan import MicroBatch
from common.training.recipe import Recipe
from common.training.rows import collated
from common.training.sft import train_sft

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


def prepared(loaded: LoadedModel, recipe: Recipe) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    """The model as it is trained, and a micro-batch."""
    torch.manual_seed(0)
    model = adapt(loaded, recipe).train()
    if recipe.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    ids = torch.randint(0, 500, (ROWS, WIDTH))
    labels = torch.full((ROWS, WIDTH), -100)
    labels[:, -TAUGHT:] = ids[:, -TAUGHT:]
    rows = [{"input_ids": one, "labels": other} for one, other in zip(ids.tolist(), labels.tolist(), strict=True)]
    rows[-1] = {name: values[:-2] for name, values in rows[-1].items()}
    return model, collated([rows], pad=0, as_tree=False)


def kept_bytes(loaded: LoadedModel, recipe: Recipe, mixed: bool) -> tuple[Decoder, int]:
    """The model's sizes, and the bytes that autograd keeps after a forward pass, each storage once, weights apart."""
    model, inputs = prepared(loaded, recipe)
    own = {value.untyped_storage().data_ptr() for value in (*model.parameters(), *model.buffers())}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is used twice
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        completion_loss(model, inputs)
    sizes = decoder(loaded.model.config)
    return sizes, sum(size for size, _ in seen.values()) - 4 * ROWS * TAUGHT * sizes.vocabulary  # no log-probabilities


def held_bytes(model: torch.nn.Module, inputs: dict, optimizer: torch.optim.Optimizer, mixed: bool) -> int:
    """The most that weights, states and everything allocated come to in an optimiser step of two micro-batches."""

    def step():
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                loss = completion_loss(model, inputs).total
            loss.backward()
            del loss
        optimizer.step()
        optimizer.zero_grad()

    step()  # makes the states
    states = (value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value))
    start = sum(value.nbytes for value in (*model.parameters(), *states))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = (event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return start + max(accumulate(changes))


def test_sizes_are_those_of_the_models(tiny, made):
    assert decoder(tiny().model.config) == KNOWN[TINY_MODEL]
    for loaded in (tiny(), *(made(shape, 4, "", torch.float32) for shape in SHAPES)):
        assert decoder(loaded.model.config).weights == parameter_counts(loaded.model)[1]
    assert KNOWN["Qwen/Qwen3-0.6B"].weights == 596_049_920  # its safetensors, by the model card's count
    assert KNOWN[PROFILES["h100"].larger_model_id].weights == 8_190_735_360
    assert KNOWN[EMBEDDED_MODEL].weights == 134_515_008
    coder = KNOWN[PROFILES["cpu"].model_id]
    biases = coder.layers * (coder.heads + 2 * coder.kv_heads) * coder.head_dim  # which the sizes leave out
    assert coder.weights + biases == 494_032_768
    assert decoder(AutoConfig.for_model("gpt2")) is None


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
    batch = MicroBatch(ROWS, WIDTH, ROWS * TAUGHT)
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


@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize(
    ("values", "precision"),
    [
        ({"method": "full"}, "float32"),
        ({"method": "full", "gradient_checkpointing": True}, "float32"),
        ({"method": "full", "optimizer": "nadam"}, "float32"),
        ({"method": "lora"}, "float32"),
        ({"method": "lora", "gradient_checkpointing": True}, "float32"),
        ({"method": "full"}, "bfloat16"),
        ({"method": "lora"}, "bfloat16"),
    ],
    ids=str,
)
def test_the_total_is_the_peak_of_an_optimiser_step(shape, values, precision, made):
    recipe = Recipe(lora_rank=8, **values)
    loaded = made(shape, 4, "", getattr(torch, precision))
    model, inputs = prepared(loaded, recipe)
    kind, options = optimizer_class(recipe)
    optimizer = kind([value for value in model.parameters() if value.requires_grad], **options)
    peak = held_bytes(model, inputs, optimizer, precision != "float32")
    batch = MicroBatch(ROWS, WIDTH, ROWS * TAUGHT)
    found = estimate(decoder(loaded.model.config), recipe, batch, precision=precision, gpu=False)
    assert found.total == pytest.approx(peak, rel=0.08)


@pytest.mark.parametrize(("available", "said"), [(100 * 10**9, 0), (10**6, 1)])
def test_a_training_warns_before_it_starts_where_memory_is_short(
    available, said, rows, tiny, short, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(memory, "room", lambda model: available)
    quick = short.with_values({"epochs": 1, "evaluations": 1})
    train_sft(tiny(), *rows, quick, folder=tmp_path)
    out = capsys.readouterr().out
    assert out.count("may run out of memory") == said and len(out.splitlines()) == said
    train_sft(tiny(), *rows, quick, folder=tmp_path)  # finished: nothing is trained, nothing said
    assert capsys.readouterr().out == ""


def test_a_gpu_that_is_too_small_recomputes_and_says_so(tiny, short, monkeypatch, capsys):
    loaded, largest = tiny(), MicroBatch(8, 500, 400)
    recipe = short.with_values({"method": "full"})
    kept = estimate(KNOWN[TINY_MODEL], recipe, largest, precision="float32", gpu=True).total
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for room, recomputed, words in ((2 * kept, False, []), (kept, True, ["again"]), (10**6, True, ["again", "Try"])):
        monkeypatch.setattr(memory, "room", lambda model, room=room: room)
        assert memory.fitted(loaded, recipe, largest) == recipe.with_values({"gradient_checkpointing": recomputed})
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == len(words) and all(word in line for word, line in zip(words, lines, strict=True))
    monkeypatch.setattr(loaded.model.config, "model_type", "another")
    assert memory.fitted(loaded, recipe, largest) == recipe and not capsys.readouterr().out


def test_room_is_what_is_available_and_what_the_model_holds(tiny, monkeypatch):
    model = tiny().model
    size = 4 * parameter_counts(model)[1]
    text = "MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:    2000 kB\n"
    monkeypatch.setattr(memory.Path, "read_text", lambda self: text)
    assert size <= memory.room(model) - 2000 * 1024 < size + 4096  # buffers: a few frequencies
    monkeypatch.setattr(memory.Path, "read_text", lambda self: "")
    assert memory.room(model) == 0


@pytest.mark.parametrize(("free", "share", "found"), [(9_000, 1.0, 9_000 + 500 - 400), (9_000, 0.5, 8_000 - 400)])
def test_room_on_a_gpu_counts_its_cache_and_the_process_share(free, share, found, tiny, monkeypatch):
    model = tiny().model
    own = sum(value.nbytes for value in (*model.parameters(), *model.buffers()))
    for name, value in {
        "is_available": True,
        "mem_get_info": (free, 16_000),
        "memory_reserved": 500,  # the allocator's, of which 400 are in use
        "memory_allocated": 400,
        "get_per_process_memory_fraction": share,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert memory.room(model) == found + own
