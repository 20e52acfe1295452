"""By which attention a model reads trees, and that it reads none where rows would mix."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from common.training import attention

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "pad_token_id": 0}


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, **SIZES)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(10)
    return model


def test_the_trial_takes_the_first_that_keeps_rows_apart(model, monkeypatch):
    assert attention.choice(model, 512) == attention.TREE
    monkeypatch.setattr(attention, "blocks", lambda *_: None)  # falls back to a mask that is not one
    assert attention.choice(model, 512) == attention.MASK
    monkeypatch.setattr(attention, "visible", lambda ends, *_: torch.ones(len(ends), len(ends)).tril().bool())
    assert attention.choice(model, 512) == ""
    assert model.config._attn_implementation == "sdpa" and not model._forward_pre_hooks


@pytest.mark.parametrize("training", [False, True])
def test_the_trial_leaves_the_model_as_it_was(training, model):
    model.train(training)
    attention.choice(model, 10)
    assert model.training == training and all(p.grad is None for p in model.parameters())


def test_a_dropout_keeps_rows_apart_from_trees(model):
    model.config.attention_dropout = 0.1
    assert attention.choice(model, 10) == ""
    model.config.attention_dropout = 0.0
    assert attention.choice(model, 10)
    model.model.layers[0].mlp.add_module("extra", torch.nn.Dropout(0.1))
    assert attention.choice(model, 10) == ""


def test_a_model_that_stumbles_is_not_read_so(model, monkeypatch):
    monkeypatch.setattr(attention, "_arguments", lambda *_: {"no_such_argument": [][0]})
    assert attention.choice(model, 10) == ""


@pytest.mark.parametrize("name", ["sliding_window", "attention_chunk_size"])
def test_rows_longer_than_a_window_are_no_tree(name, model):
    """The trial's own rows are shorter than any window."""
    setattr(model.config, name, 8)
    assert attention.choice(model, 8) == attention.TREE and attention.choice(model, 9) == ""


def test_attention_of_another_kind_has_what_trees_leave_out(model):
    """Gemma 2's caps its scores, and PyTorch's, which would stand in for it, does not."""
    model.set_attn_implementation("eager")
    assert attention.choice(model, 10) == "" and model.config._attn_implementation == "eager"


@pytest.mark.parametrize("name", ["softcap", "s_aux", "position_bias"])
def test_scores_that_are_changed_are_refused(model, name):
    states = torch.zeros(1, 2, 3, 8)
    with pytest.raises(ValueError, match=f"knows no {name}"):
        attention.tree_attention(model, states, states, states, None, blocks=[], **{name: 1.0})
