"""Models with windows, chunks, ALiBi or states are answered as transformers answers each prompt alone.

Random weights made strong, so that a token more or less to look at changes the answer. The batch itself is tested in
test_batching.py.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from common.generation import Sampling, batching, complete
from common.generation.support import obstacle
from common.models import LoadedModel, load_model, locate
from common.profiles import TINY_MODEL
from common.settings import UserError
from common.training.adapters import adapt
from common.training.attention import choice
from common.training.recipe import Recipe
from common.training.sft import train_sft

NEW = 16
SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
SIZES |= {"vocab_size": 1024, "num_hidden_layers": 4, "max_position_embeddings": 2048, "eos_token_id": None}
EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
GPT2 = {"vocab_size": 1024, "n_embd": 64, "n_layer": 4, "n_head": 4, "eos_token_id": None}
QWEN = {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 2, "pad_token_id": 0}
DELTA = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16}
LONG = {"original_max_position_embeddings": 64, "rope_theta": 10_000.0}
# Attention to keys and values alone, near or far: the batch has it.
ATTENTION = {
    "Mistral": {"sliding_window": 32},
    "Phi3": {"sliding_window": 32, "pad_token_id": 0},
    "Gemma2": {"sliding_window": 32, "head_dim": 16},
    "Gemma3Text": {"sliding_window": 32, "head_dim": 16},
    "Qwen2": QWEN,
    "Qwen3": QWEN | {"head_dim": 16},
    "GptOss": {"sliding_window": 32, "head_dim": 16} | EXPERTS,
    "Cohere2": {"sliding_window": 32},
    "Llama4Text": {"attention_chunk_size": 32, "head_dim": 16, "intermediate_size_mlp": 128} | EXPERTS,
    "Bloom": {"n_layer": 4, "n_head": 4},
    "Falcon": {"alibi": True},
    "Mpt": {"d_model": 64, "n_heads": 4, "n_layers": 4, "max_seq_len": 2048},
    "GPTJ": GPT2 | {"rotary_dim": 8},
}
# Layers that keep something else, or positions that follow the longest row: the library answers.
OTHERS = {
    "Mamba": {"state_size": 8},
    "Mamba2": {"state_size": 8, "head_dim": 16, "num_heads": 8, "n_groups": 2},
    "Lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "Qwen3Next": DELTA | EXPERTS | {"head_dim": 16, "shared_expert_intermediate_size": 64},
    "Rwkv": {"attention_hidden_size": 64, "context_length": 2048},
    "RecurrentGemma": {"head_dim": 16, "attention_window_size": 32, "lru_width": 64},
    "Jamba": {"mamba_d_state": 8, "pad_token_id": 0, "use_mamba_kernels": False, "attn_layer_period": 2}
    | EXPERTS
    | {"attn_layer_offset": 1},
    "Llama": {"max_position_embeddings": 64, "rope_parameters": {"rope_type": "dynamic", "factor": 4.0} | LONG},
}
PLAIN = {
    **{name: {} for name in ("Llama", "Cohere", "Granite", "Olmo2", "StableLm", "Phi", "GPTNeoX")},
    **{name: {"head_dim": 16} for name in ("Qwen3", "Gemma")},
    **{"Qwen2": {}, "SmolLM3": {"pad_token_id": 0}, "GPT2": GPT2, "OPT": {"ffn_dim": 128, "word_embed_proj_dim": 64}},
    "Qwen2Moe": EXPERTS | {"shared_expert_intermediate_size": 64},
}


@pytest.fixture(scope="module")
def load(tmp_path_factory) -> Callable[..., LoadedModel]:
    """A model of random weights, saved beside the tiny model's tokenizer and loaded anew at each call."""
    folders: dict[str, Path] = {}

    def load(name: str, values: dict) -> LoadedModel:
        key = f"{name} {values}"
        if key not in folders:
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(getattr(transformers, f"{name}Config")(**SIZES | values))
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.dim() == 2:
                        parameter.mul_(4)
            folders[key] = tmp_path_factory.mktemp(name)
            model.save_pretrained(folders[key])
            AutoTokenizer.from_pretrained(locate(TINY_MODEL)[0]).save_pretrained(folders[key])
        loaded = load_model(str(folders[key]))
        loaded.model.generation_config.eos_token_id = None
        return loaded

    return load


def random_prompts(*lengths: int, start: int = 0) -> list[list[int]]:
    """Tokens that are drawn; the first `start` of them are those of every prompt."""
    draw = random.Random(1)
    first = [draw.randrange(5, 1000) for _ in range(start)]
    return [first + [draw.randrange(5, 1000) for _ in range(length - start)] for length in lengths]


def library(loaded: LoadedModel, prompt: list[int], new: int = NEW) -> tuple[int, ...]:
    """The tokens of transformers' own generate, to the tokenizer's end token."""
    ids, end = torch.tensor([prompt]), loaded.tokenizer.eos_token_id
    loaded.model(ids[:, :1])  # dynamic RoPE remembers what was read before
    tokens = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False)
    return cut(tokens[0, len(prompt) :].tolist(), end)


def cut(tokens: list[int], end: int) -> tuple[int, ...]:
    return tuple(tokens[: tokens.index(end) + 1] if end in tokens else tokens)


def tokens(loaded: LoadedModel, prompts: list[list[int]], **values) -> list[tuple[int, ...]]:
    answers = complete(loaded, prompts, **{"max_new_tokens": NEW, "batch_size": 3} | values)
    return [answer.token_ids for answer in answers]


# Attention


@pytest.mark.parametrize("name", ATTENTION)
def test_windows_chunks_and_alibi_are_answered_in_the_batch(load, name):
    loaded = load(name, ATTENTION[name])
    assert obstacle(loaded.model, 2000) == ""
    prompts = random_prompts(100, 39, 60, 12, start=8)
    assert tokens(loaded, prompts, batch_size=2) == [library(loaded, prompt) for prompt in prompts]


@pytest.mark.parametrize("name", ["Mistral", "Gemma3Text"])
@pytest.mark.parametrize("length", [12, 40, 60, 100])
def test_three_prompts_of_one_length(load, name, length):
    loaded, prompts = load(name, ATTENTION[name]), random_prompts(length, length, length)
    assert tokens(loaded, prompts) == [library(loaded, prompt) for prompt in prompts]


def test_a_window_makes_other_answers_than_none(load):
    """Else the tests above would pass without one."""
    near, far = load("Mistral", ATTENTION["Mistral"]), load("Mistral", {"sliding_window": None})
    prompts = random_prompts(12, 40, 100)
    assert [a == b for a, b in zip(tokens(near, prompts), tokens(far, prompts), strict=True)] == [True, False, False]


@pytest.mark.parametrize("name", PLAIN)
def test_plain_attention_stays_in_the_batch(name):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES | {"num_hidden_layers": 2} | PLAIN[name])
    with torch.inference_mode():
        assert obstacle(AutoModelForCausalLM.from_config(config).eval(), 2048) == ""


@pytest.mark.parametrize("quantisation", ["", "nf4"])
def test_adapters_and_4_bit_weights_stay_in_the_batch(tiny, quantisation, capsys, monkeypatch):
    rows, step = [], batching.Batch.step
    monkeypatch.setattr(batching.Batch, "step", lambda batch: rows.append(len(batch.rows)) or step(batch))
    for method in ("qlora",) if quantisation else ("lora", "prompt-random"):
        loaded = tiny(quantisation)
        loaded = replace(loaded, model=adapt(loaded, Recipe(method=method, virtual_tokens=3)))
        rows.clear()
        complete(loaded, random_prompts(9, 8, 7, 6), max_new_tokens=2, batch_size=4)
        assert rows[-1] == 4
    assert capsys.readouterr().out == ""


def test_the_loss_of_routers_is_left_out(load):
    """A training has set it in the config; over a cache it raises."""
    loaded, prompts = load("GptOss", ATTENTION["GptOss"]), random_prompts(12, 9)
    expected = tokens(loaded, prompts)
    loaded.model.config.output_router_logits = True
    assert tokens(loaded, prompts) == expected and loaded.model.config.output_router_logits


# Other layers


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_are_answered_one_by_one(load, name, capsys):
    loaded, prompts = load(name, OTHERS[name]), random_prompts(100, 12, 70, start=8)
    expected = [library(loaded, prompt, 6) for prompt in prompts]
    assert tokens(loaded, prompts, max_new_tokens=6) == expected
    assert capsys.readouterr().out.startswith("Rows are answered one by one, which is slow: ")
    assert tokens(loaded, prompts[::-1], max_new_tokens=6) == expected[::-1]
    assert capsys.readouterr().out == ""  # said once


def test_lengths_decide_where_positions_follow_the_longest_row(load):
    model = load("Llama", OTHERS["Llama"]).model
    with torch.inference_mode():
        assert obstacle(model, 64) == ""
        assert obstacle(model, 65) == "beyond 64 tokens its positions are scaled by the longest row"


def test_a_batch_that_differs_is_not_used(load, monkeypatch):
    """A row's last token put one position too far: wrong for RoPE, without effect on ALiBi."""
    positions = batching.Columns.positions
    monkeypatch.setattr(batching.Columns, "positions", lambda columns: positions(columns) + 1)
    prompts = random_prompts(20, 12)
    for name, reason in (("Mistral", "a batch has other logits than a row alone"), ("Bloom", "")):
        loaded = load(name, ATTENTION[name])
        assert tokens(loaded, prompts) == [library(loaded, prompt) for prompt in prompts]
        assert obstacle(loaded.model, 100) == reason


def test_one_by_one_rows_end_are_handed_over_and_drawn_as_in_the_batch(load, monkeypatch):
    """The same model both ways: a llama that is kept out of the batch for once."""
    loaded, prompts = load("Llama", {}), random_prompts(30, 12, 21)
    for sampling in (None, Sampling(seed=3)):
        batch = complete(loaded, prompts, max_new_tokens=NEW, sampling=sampling)
        loaded.model.generation_config.eos_token_id = end = batch[1].token_ids[4]
        rows: dict = {}
        options = {"max_new_tokens": NEW, "sampling": sampling}
        batch = complete(loaded, prompts, **options)
        assert len(batch[1].token_ids) <= 5 and batch[1].token_ids[-1] == end
        with monkeypatch.context() as patch:
            patch.setattr("common.generation.answers.obstacle", lambda *_: "for once")
            assert complete(loaded, prompts, on_completion=rows.__setitem__, **options) == batch
        assert rows == dict(enumerate(batch))
        loaded.model.generation_config.eos_token_id = None


def test_the_models_own_generation_config_has_no_say_and_stays(load):
    loaded, prompts = load("Mamba", OTHERS["Mamba"]), random_prompts(12, 9)
    expected = tokens(loaded, prompts)
    config = loaded.model.generation_config
    config.repetition_penalty, config.do_sample, config.min_new_tokens = 50.0, True, NEW
    assert tokens(loaded, prompts) == expected
    assert loaded.model.generation_config is config


def test_a_row_that_overflows_ends_one_by_one_too(load, capsys):
    loaded, prompts = load("Mamba", OTHERS["Mamba"]), random_prompts(12, 9)
    clean = tokens(loaded, prompts)
    poison = clean[0][3]
    assert poison not in clean[0][:3] + clean[1] and not any(poison in prompt for prompt in prompts)

    def spoil(_, inputs, output):
        return output.masked_fill((inputs[0] == poison)[..., None], float("nan"))

    loaded.model.get_input_embeddings().register_forward_hook(spoil)
    assert tokens(loaded, prompts) == [clean[0][:4], clean[1]]
    assert "1 of 2 answers break off" in capsys.readouterr().out


def test_what_the_library_cannot_answer_is_one_line(load):
    loaded = load("Mamba", OTHERS["Mamba"])
    loaded.model.backbone.register_forward_pre_hook(lambda *_: [][0])
    with pytest.raises(UserError, match=r"transformers cannot answer with this model \(IndexError: list index out"):
        tokens(loaded, random_prompts(12))


@pytest.mark.parametrize("name", ["Mistral", "Bloom", "Mamba", "Lfm2"])
def test_virtual_tokens_stand_before_every_row(load, name):
    loaded, prompts = load(name, (ATTENTION | OTHERS)[name]), random_prompts(40, 33, 12, start=5)
    base, embeddings = loaded.model, loaded.model.get_input_embeddings()
    model = adapt(loaded, Recipe(method="prompt-random", virtual_tokens=7)).eval()
    expected = []
    for prompt in prompts:
        vectors = torch.cat([model.get_prompt(batch_size=1), embeddings(torch.tensor([prompt]))], dim=1)
        answer = []
        with torch.no_grad():
            for _ in range(6):
                answer.append(base(inputs_embeds=vectors, use_cache=False).logits[0, -1].argmax().item())
                vectors = torch.cat([vectors, embeddings(torch.tensor([answer[-1:]]))], dim=1)
        expected.append(cut(answer, loaded.tokenizer.eos_token_id))
    assert tokens(replace(loaded, model=model), prompts, max_new_tokens=6) == expected


# Training


SHARING = ("Mistral", "Phi3", "Gemma3Text", "Qwen2", "Qwen3", "Cohere2")
MIXING = ("Gemma2", "Mamba", "Lfm2", "Bloom", "Falcon", "Mpt", "GptOss", "GPTJ", "RecurrentGemma", "Qwen3Next")


def test_rows_share_what_they_begin_with_wherever_a_model_keeps_them_apart(load):
    for name in (*SHARING, *MIXING):
        model = load(name, (ATTENTION | OTHERS)[name]).model
        before = model.config._attn_implementation
        assert bool(choice(model, 20)) == (name in SHARING), name
        assert model.config._attn_implementation == before
    for name in PLAIN:
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(**SIZES | {"num_hidden_layers": 2} | PLAIN[name])
        model = AutoModelForCausalLM.from_config(config).eval()
        dropout = any(isinstance(module, torch.nn.Dropout) and module.p for module in model.modules())
        assert bool(choice(model, 2000)) == (not dropout), name


def test_rows_longer_than_a_window_or_than_plain_positions_are_padded(load):
    """A token's place in the tree is not its place in its row, by which a window is measured."""
    for name, most in (("Mistral", 32), ("Llama4Text", 32), ("Qwen2", 32), ("Llama", 64)):
        model = load(name, (ATTENTION | OTHERS)[name]).model
        assert choice(model, most + 1) == "", name
        assert choice(model, most) or name == "Llama4Text"


def test_a_model_that_mixes_rows_trains_on_padded_ones_and_says_so_once(load, rows, one, tmp_path, capsys):
    train, valid = rows[0][:8], rows[1][:2]  # without its kernels a state goes from token to token
    for name in ("Mamba", "Bloom", "GptOss"):
        recipe = one.with_values({"method": "full", "learning_rate": 1e-4, "effective_batch_size": 4})
        runs = []
        for shared in (True, False):
            loaded = load(name, (ATTENTION | OTHERS)[name])
            values = {"shared_prefixes": shared}
            folder = tmp_path / f"{name}{shared}"
            runs.append(train_sft(loaded, train, valid, recipe.with_values(values), folder=folder))
            output = capsys.readouterr().out
            assert [line for line in output.splitlines() if line.startswith("rows are padded")] == (
                ["rows are padded instead of sharing what they begin with: this model would mix them"] * shared
            )
        assert runs[0].curve.equals(runs[1].curve)


def test_layers_that_peft_does_not_know_are_one_line(load):
    for name, method in (("Mamba", "lora"), ("Mpt", "prompt-random")):
        with pytest.raises(UserError, match=f"peft cannot adapt .* by '{method}'"):
            adapt(load(name, (ATTENTION | OTHERS)[name]), Recipe(method=method))
