"""Trees of prefixes in models: each labelled token's log-probability and all gradients are those of its row alone.

Random models with attention made strong, and biases that are not zero, so that a token more or less to look at, or a
position too far, makes a difference. Rows are few and short; where blocks matter, blocks are small too.
"""

from collections.abc import Callable

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from common.training import attention
from common.training.losses import completion_loss, row_log_probabilities, token_log_probabilities
from common.training.rows import IGNORED, collated, dummy
from common.training.tree import tree

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "pad_token_id": 0}
SIZES |= {"max_position_embeddings": 512}
CONFIGS = {
    "llama": LlamaConfig(num_attention_heads=4, num_key_value_heads=2, **SIZES),
    "qwen2": Qwen2Config(num_attention_heads=6, num_key_value_heads=2, head_dim=16, **SIZES),
    "qwen3": Qwen3Config(num_attention_heads=4, num_key_value_heads=1, head_dim=16, **SIZES),
}
IMPLEMENTATIONS = (attention.TREE, attention.MASK)


@pytest.fixture(scope="module")
def made() -> Callable[..., torch.nn.Module]:
    """A model of random weights; the same at each call."""

    def load(name: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="sdpa")
        with torch.no_grad():
            for kind, parameter in model.named_parameters():
                if parameter.dim() == 2:
                    parameter.mul_(8 if "proj" in kind or "lm_head" in kind else 30)
                elif "bias" in kind:
                    parameter.normal_(std=0.5)
        return model.to(dtype)

    return load


def row(ids, labelled=None) -> dict:
    """A row whose last `labelled` tokens are labelled, all but the first where it is not said."""
    count = len(ids) - 1 if labelled is None else labelled
    return {"input_ids": list(ids), "labels": [IGNORED] * (len(ids) - count) + list(ids[len(ids) - count :])}


@st.composite
def token_rows(draw) -> list[dict]:
    """Rows over three letters, some equal, some a beginning of others, some that share nothing; labels anywhere."""
    letters = st.lists(st.integers(5, 7), min_size=2, max_size=10)
    rows = draw(st.lists(letters, min_size=1, max_size=6))
    for at in draw(st.lists(st.integers(0, len(rows) - 1), max_size=3)):
        one = rows[at]
        rows.append(draw(st.sampled_from([one, [*one, 6, 5], one[: len(one) // 2 + 1], [9, *one], [8, 8]])))
    labels = [[draw(st.booleans()) for _ in ids] for ids in rows]
    labels[0][-1] = True
    return [
        {
            "input_ids": ids,
            "labels": [IGNORED, *(t if on else IGNORED for t, on in zip(ids[1:], marks[1:], strict=True))],
        }
        for ids, marks in zip(rows, labels, strict=True)
    ]


def alone(model, rows, vectors: int = 0) -> torch.Tensor:
    """Log-probabilities of the labelled tokens, row by row, from full logits of each row by itself."""
    parts = []
    for one in rows:
        logits = model(input_ids=torch.tensor([one["input_ids"]]), use_cache=False).logits[0, vectors:]
        chances = logits.log_softmax(dim=-1)
        parts += [chances[at - 1, label] for at, label in enumerate(one["labels"]) if label != IGNORED]
    return torch.stack(parts)


def gradients(model, chances: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the log-probabilities, each with a weight of its own, so that no two can be taken for each other."""
    weights = torch.linspace(0.5, 1.5, len(chances), dtype=chances.dtype)
    model.zero_grad()
    (chances * weights).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def differences(model, rows, implementation, change=None, virtual: int = 0) -> tuple[float, float]:
    """By how much log-probabilities, and gradients in their own length, differ from those of rows alone."""
    expected = alone(model, rows, virtual)
    wanted = gradients(model, expected)
    inputs = collated([rows], pad=0, as_tree=True)
    with attention.reading(model, implementation):
        chances = token_log_probabilities(model, (change or dict)(inputs), virtual)
        found = gradients(model, chances)
    # Where a gradient is next to nothing, beside a tenth of all together: rounding is as large as it is.
    least = torch.cat([gradient.flatten() for gradient in wanted.values()]).norm().clamp(min=1) / 10
    apart = [(found[n] - g).norm() / torch.maximum(g.norm(), least) for n, g in wanted.items()]
    return (chances - expected).abs().max().item(), max(apart).item()


def test_visible_tokens_are_the_ancestors():
    packed = tree([[5, 6, 8], [5, 6], [4], [5, 6, 7, 7]])  # 4; 5 6 (7 7) (8)
    ancestors = [[0], [1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [1, 2, 5]]
    seen = attention.visible(torch.from_numpy(packed.ends))
    assert [row.nonzero().flatten().tolist() for row in seen] == ancestors
    some = attention.visible(torch.from_numpy(packed.ends), 3, 5, torch.tensor([0, 2, 3, 4, 5]))
    assert some.tolist() == [[False, True, True, False, False], [False, True, True, True, False]]


@pytest.mark.parametrize("size", [1, 4, 64])
@settings(max_examples=60)
@given(rows=token_rows())
def test_blocks_hold_every_token_once_and_all_that_it_sees(size, rows):
    packed = tree([one["input_ids"] for one in rows])
    ends, positions = torch.from_numpy(packed.ends), torch.from_numpy(packed.positions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "BLOCK", size)
        parts = attention.blocks(ends, positions, torch.float64)
    seen = torch.zeros(len(ends), len(ends), dtype=torch.bool)
    for part in parts:
        assert part.mask.dtype == torch.float64 and set(part.mask.flatten().tolist()) <= {0.0, -torch.inf}
        seen[part.first : part.last, part.keys] = part.mask == 0
        starts = (positions[part.first + 1 : part.last] != positions[part.first : part.last - 1] + 1).sum()
        assert part.last - part.first <= size or not starts, "only one branch may be longer than a block"
    assert [part.first for part in parts] == [0, *(part.last for part in parts[:-1])] and parts[-1].last == len(ends)
    assert torch.equal(seen, attention.visible(ends))
    if size == 64:
        assert len(parts) <= 1 + 2 * len(ends) // size


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=8, phases=[Phase.generate])
@given(rows=token_rows(), size=st.sampled_from([1, 4, 64]))
def test_log_probabilities_and_gradients_are_those_of_rows_alone(name, implementation, made, rows, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "BLOCK", size)
        assert max(differences(made(name), rows, implementation)) < 1e-5
        assert max(differences(made(name, torch.float64), rows, implementation)) < 1e-6  # the loss is float32


def prompts() -> tuple[list[int], list[int]]:
    draw = torch.Generator().manual_seed(1)
    one, other = torch.randint(5, 60, (2, 90), generator=draw).tolist()
    return one, other[:40]


def group(prompt: list[int], count: int = 8) -> list[dict]:
    """Completions of one prompt that begin alike, two by two further than the others."""
    draw = torch.Generator().manual_seed(2)
    tails = torch.randint(5, 60, (count, 12), generator=draw).tolist()
    return [row([*prompt, 5, 6, *([7, 7] if i % 2 else [8]), *tails[i][: 3 + i]], 6 + i) for i in range(count)]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", CONFIGS)
def test_groups_and_long_rows_in_blocks_as_they_are(name, implementation, made):
    """Branches of more than a block, and many short ones that share blocks."""
    one, other = prompts()
    rows = [*group(one), row(one, 70), row([*one[:20], *one[::-1]], 80), *group(other), row(other[::-1], 9)]
    packed = tree([each["input_ids"][:-1] for each in rows])
    ends, positions = torch.from_numpy(packed.ends), torch.from_numpy(packed.positions)
    sizes = [part.last - part.first for part in attention.blocks(ends, positions, torch.float32)]
    branches = int((positions[1:] != positions[:-1] + 1).sum()) + 1
    assert max(sizes) > attention.BLOCK and 3 < len(sizes) < branches / 2
    assert max(differences(made(name), rows, implementation)) < 1e-5


def test_a_group_shares_its_prompt_and_what_completions_begin_with():
    one, _ = prompts()
    rows = group(one)
    inputs = collated([rows], pad=0, as_tree=True)
    # 90 of the prompt, 5 6, then 7 7 or 8, and each one's tail but for its last token.
    assert inputs["input_ids"].numel() == 90 + 2 + 2 + 1 + sum(2 + i for i in range(8))
    assert sum(len(each["input_ids"]) for each in rows) > 5 * inputs["input_ids"].numel()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_sums_of_rows_come_in_their_order(implementation, made):
    model, (one, other) = made("qwen3"), prompts()
    rows = [*group(other)[:3], row(one, 4), {"input_ids": one, "labels": [IGNORED] * len(one)}, *group(one)[3:]]
    with torch.no_grad():
        expected = torch.stack(
            [alone(model, [each]).sum() if set(each["labels"]) != {IGNORED} else torch.tensor(0.0) for each in rows]
        )
        with attention.reading(model, implementation):
            sums, counts = row_log_probabilities(model, collated([rows[:4], rows[4:]], pad=0, as_tree=True))
    assert torch.allclose(sums, expected, rtol=1e-6, atol=1e-5)
    assert counts.tolist() == [sum(label != IGNORED for label in each["labels"]) for each in rows]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_dummy_has_no_loss_and_gradients_of_zero(implementation, made):
    model = made("qwen2")
    with attention.reading(model, implementation):
        loss = completion_loss(model, collated([dummy([[row([5, 6, 7])], [row([5, 6, 7, 8])]])], pad=0, as_tree=True))
        loss.total.backward()
    assert (loss.total.item(), loss.units.item()) == (0.0, 0)
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


# Adapters


def with_adapter(model, kind: str):
    """The model with virtual tokens, or with LoRA that is not zero, before or beside it."""
    torch.manual_seed(3)
    if kind == "prompt":
        model = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5))
        torch.nn.init.normal_(model.prompt_encoder["default"].embedding.weight, std=0.6)
        return model
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kind", ["lora", "prompt"])
@settings(max_examples=4, phases=[Phase.generate])
@given(rows=token_rows(), size=st.sampled_from([1, 64]))
def test_virtual_tokens_are_the_root_and_adapters_stand_beside(kind, name, implementation, made, rows, size):
    virtual = 5 * (kind == "prompt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "BLOCK", size)
        assert max(differences(with_adapter(made(name), kind), rows, implementation, virtual=virtual)) < 1e-5


def test_virtual_tokens_make_a_difference(made):
    rows = group(prompts()[1])
    with torch.no_grad():
        base = alone(made("llama"), rows)
        assert (alone(with_adapter(made("llama"), "prompt"), rows, 5) - base).abs().max() > 0.1
        assert (alone(with_adapter(made("llama"), "lora"), rows) - base).abs().max() > 0.1


# What is called without a tree, and what is wrong


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_rows_without_a_tree_are_read_as_ever_and_everything_is_put_back(implementation, made):
    model, ids = made("llama"), torch.tensor([[5, 6, 7, 8], [9, 9, 5, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.no_grad():
        plain = [model(input_ids=ids).logits, model(input_ids=ids, attention_mask=mask).logits]
        with pytest.raises(KeyError), attention.reading(model, implementation):
            assert model.config._attn_implementation == implementation
            within = [model(input_ids=ids).logits, model(input_ids=ids, attention_mask=mask).logits]
            cached = model(input_ids=ids[:, :2], use_cache=True)
            after = model(input_ids=ids[:, 2:], past_key_values=cached.past_key_values).logits
            raise KeyError
        assert model.config._attn_implementation == "sdpa" and not model._forward_pre_hooks
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(plain, within, strict=True))
    assert torch.allclose(after, plain[0][:, 2:], atol=1e-5)


def running(inputs):
    return inputs | {"positions": torch.arange(inputs["input_ids"].shape[1])[None]}


def later(inputs):
    count = inputs["input_ids"].shape[1]
    return inputs | {"ends": (inputs["ends"] + 1).clamp(max=count)}


def open_ended(inputs):
    return inputs | {"ends": torch.full_like(inputs["ends"], inputs["input_ids"].shape[1])}


def turned(inputs):
    return inputs | {"predictors": inputs["predictors"].flip(0)}


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("change", [running, later, open_ended, turned])
def test_a_wrong_tree_is_noticed(change, name, implementation, made):
    """So that the tests above could fail."""
    chances, grads = differences(made(name), group(prompts()[1]), implementation, change)
    assert chances > 1e-2 and grads > 1e-2


def test_a_mask_that_is_ignored_is_noticed(made, monkeypatch):
    seen = attention.visible
    monkeypatch.setattr(attention, "visible", lambda *args: torch.ones_like(seen(*args)).tril())
    chances, grads = differences(made("llama"), group(prompts()[1]), attention.MASK)
    assert chances > 1e-2 and grads > 1e-2
