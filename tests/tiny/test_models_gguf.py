"""A GGUF file of one's own, and the ids that stand for one: whole, with the head that belongs to the embedding."""

import copy
import json
from pathlib import Path

import gguf
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from common import models
from common.hub import hub_commit
from common.models import load_model, locate
from common.profiles import TINY_MODEL
from common.settings import UserError
from common.tiny import CONFIG
from common.weights import WEIGHTS
from tests.hub import offline

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
IDS = torch.arange(3, 40)[None]


def name_of(parameter: str) -> str:
    """What llama.cpp calls a tensor."""
    for ours, theirs in {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}.items():
        parameter = parameter.replace(ours, theirs)
    for ours, theirs in NAMES.items():
        parameter = parameter.replace(ours, theirs)
    return parameter.replace("model.layers.", "blk.")


def write(path: Path, model: Qwen2ForCausalLM, *, head: torch.Tensor | None) -> None:
    """The model as a GGUF file with the tiny tokenizer: the embedding in 5 bits a value, the head in 8, as its authors
    have published Qwen2.5-Coder-0.5B; the other matrices in 8."""
    writer, config = gguf.GGUFWriter(path, "qwen2"), model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    tokenizer = AutoTokenizer.from_pretrained(locate(TINY_MODEL)[0])
    bpe = tokenizer.backend_tokenizer
    words = sorted(bpe.get_vocab(with_added_tokens=True), key=bpe.token_to_id)
    merges = json.loads(bpe.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words)
    writer.add_token_types(
        [3 if word.startswith("<") and word.endswith(">") and len(word) > 4 else 1 for word in words]
    )
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_bos_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    tensors = {name_of(name): value for name, value in model.named_parameters()}
    for name, value in tensors.items() if head is None else (tensors | {"output.weight": head}).items():
        values = value.detach().numpy()
        kind = Kind.F32 if values.ndim == 1 else Kind.Q5_0 if name == "token_embd.weight" else Kind.Q8_0
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def small() -> Qwen2ForCausalLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = {key: value for key, value in CONFIG.items() if key != "head_dim"}
        return Qwen2ForCausalLM(Qwen2Config(**config, rms_norm_eps=1e-6, initializer_range=0.2)).eval()


def test_a_tied_model_is_tied_again_at_the_heads_values(small, cold):
    embedding = small.get_input_embeddings().weight
    write(cold / "my model.gguf", small, head=embedding)
    loaded = load_model(str(cold / "my model.gguf"))
    model = loaded.model
    assert model.config.tie_word_embeddings and model.lm_head.weight is model.get_input_embeddings().weight
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in small.parameters())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    rounded = copy.deepcopy(small)
    with torch.no_grad():
        for parameter in rounded.parameters():  # each once, the embedding as the head has it
            if parameter.ndim == 2:
                eight_bits = gguf.quantize(parameter.numpy(), Kind.Q8_0)
                parameter.copy_(torch.tensor(gguf.dequantize(eight_bits, Kind.Q8_0)))
        assert torch.allclose(model(IDS).logits, rounded(IDS).logits, atol=1e-4)
    reference = load_model(TINY_MODEL).tokenizer
    assert loaded.tokenizer("SELECT name FROM t")["input_ids"] == reference("SELECT name FROM t")["input_ids"]
    assert loaded.commit is None and loaded.id == str(cold / "my model.gguf")


@pytest.mark.parametrize("has_head", [True, False])
def test_a_head_of_its_own_stays_one_and_no_head_is_the_embedding(small, cold, has_head):
    head = torch.randn(small.get_input_embeddings().weight.shape, generator=torch.Generator().manual_seed(2)) * 0.2
    write(cold / "small.gguf", small, head=head if has_head else None)
    model = load_model(str(cold / "small.gguf")).model
    assert model.config.tie_word_embeddings is not has_head
    assert (model.lm_head.weight is model.get_input_embeddings().weight) is not has_head
    if has_head:
        assert torch.allclose(model.lm_head.weight, head, atol=0.01)


def test_a_file_is_converted_once_and_named_by_its_bytes(cold, monkeypatch):
    conversions = []

    def convert(file: Path, folder: Path) -> None:
        folder.mkdir()
        conversions.append(file.name)

    monkeypatch.setattr(models, "convert", convert)
    (cold / "one.gguf").write_bytes(b"one")
    (cold / "copy.GGUF").write_bytes(b"one")
    (cold / "two.gguf").write_bytes(b"two")
    places = [locate(str(cold / name)) for name in ("one.gguf", "one.gguf", "copy.GGUF", "two.gguf", "one.gguf")]
    assert conversions == ["one.gguf", "two.gguf"]
    assert places[0] == places[1] == places[2] == places[4] != places[3]
    assert places[0][1] == "7692c3ad3540bb80 dequantised"  # of b"one"


def test_an_id_of_the_table_is_its_file_and_at_a_revision_the_hubs_own(cold, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(models, "weights_file", lambda weights: calls.append(weights) or cold / "some.gguf")
    monkeypatch.setattr(models, "convert", lambda file, folder: folder.mkdir())
    (name,) = [name for name in WEIGHTS if "0.5B" in name]
    first, again = locate(name), locate(name)
    assert first == again and calls == [WEIGHTS[name]]
    assert Path(first[0]).name.startswith("qwen2.5-coder-0.5b-instruct-q4_k_m-1d9614638d18024d-")
    assert first[1] == (
        "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF@ebb2015119c9 qwen2.5-coder-0.5b-instruct-q4_k_m.gguf dequantised"
    )
    offline(tmp_path / "hub", monkeypatch)
    with pytest.raises(UserError, match="from the Hugging Face hub"):
        locate(f"{name}@main")
    hub_commit.cache_clear()


@pytest.mark.parametrize("text", [b"GGUF", b"no such file at all" * 100])
def test_a_file_that_is_none_is_one_line(cold, text):
    path = cold / "broken.gguf"
    path.write_bytes(text)
    with pytest.raises(UserError, match=rf"^{path} holds no model that transformers can load \(\w+\); check the file$"):
        load_model(str(path))
    assert list((cold / "models").iterdir()) == []


def test_a_file_that_is_not_there_is_one_line(cold):
    with pytest.raises(
        UserError, match="^there is no model file '.*none.gguf'; give a .gguf file, a folder or a hub id"
    ):
        load_model(str(cold / "none.gguf"))
