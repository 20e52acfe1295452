"""Groups as the items of a step: losses by hand, micro-batches that keep them whole, the plan of prompts."""

import math
from dataclasses import replace

import pytest
import torch

from common.data import load_examples
from common.training import attention
from common.training.adapters import adapt
from common.training.group_recipe import GroupRecipe
from common.training.groups import Group, GroupLayout, items, prompt_item, step_totals
from common.training.policy_losses import divergence_loss, group_loss
from common.training.rows import IGNORED, collated, tokenise

SIZES = {"effective_batch_size": 4, "per_device_train_batch_size": 1, "lora_rank": 4, "lora_alpha": 8}
RECIPE = GroupRecipe(generations=4, **SIZES)


@pytest.fixture(scope="module")
def policy(tiny, short, trained):
    """The tiny model with a fine-tuned adapter beside it: gradients reach both of LoRA's matrices."""
    loaded = tiny()
    return replace(loaded, model=adapt(loaded, short, trained("lora").weights).eval())


@pytest.fixture(scope="module")
def groups(tiny) -> list[Group]:
    """Three groups of four completions; the second has no spread."""
    loaded = tiny()
    rows = tokenise(load_examples("embedded", "post", limit=3), loaded, max_length=1024)
    drawn = [[[300 + 40 * g + 7 * c + t for t in range(2 + c)] for c in range(4)] for g in range(3)]
    rewards = [[1.0, 0.0, 0.5, 0.0], [0.3] * 4, [0.0, 0.0, 0.0, 1.0]]
    return [
        Group(row, ids, [value - sum(values) / 4 for value in values], values)
        for row, ids, values in zip(rows, drawn, rewards, strict=True)
    ]


def gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def token_chances(model, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Log-probabilities of a completion's tokens, from full logits of that row alone."""
    ids = torch.tensor([prompt + completion])
    chances = model(input_ids=ids).logits[0].log_softmax(dim=-1)
    return torch.stack([chances[len(prompt) + at - 1, token] for at, token in enumerate(completion)])


@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
@pytest.mark.parametrize("sft_weight", [0.0, 0.4])
def test_losses_are_those_by_hand(loss_type, sft_weight, groups, policy):
    tokens, completions, references = step_totals(groups)
    assert (tokens, completions) == (42, 12)
    expected = torch.zeros(())
    for group in groups:  # the one without a spread too
        prompt = group.row["input_ids"][: group.row["labels"].count(IGNORED)]
        for ids, advantage in zip(group.completions, group.advantages, strict=True):
            chances = token_chances(policy.model, prompt, ids)
            part = {"dapo": chances.sum() / tokens, "grpo": chances.mean() / 12, "dr_grpo": chances.sum() / (12 * 9)}
            expected = expected - advantage * part[loss_type]
        answer = group.row["input_ids"][len(prompt) :]
        expected = expected - sft_weight * token_chances(policy.model, prompt, answer).sum() / references
    by_hand = gradients(policy.model, expected)
    step = items(groups, loss_type=loss_type, max_new_tokens=9, sft_weight=sft_weight)
    assert [len(item) for item in step] == ([5, 1, 5] if sft_weight else [4, 4])
    for as_tree in (False, True):
        with attention.reading(policy.model, attention.TREE):
            inputs = collated([item for item in step], pad=0, as_tree=as_tree)
            loss = group_loss(policy.model, inputs).total / tokens
            for name, gradient in gradients(policy.model, loss).items():
                assert (gradient - by_hand[name]).norm() < 1e-4 * by_hand[name].norm(), name


def test_a_step_of_several_processes_weighs_by_what_all_of_them_drew(groups):
    options = {"loss_type": "grpo", "max_new_tokens": 9, "sft_weight": 0.4}
    whole = items(groups, **options)
    shares = [items(groups[part], **options, totals=step_totals(groups)) for part in (slice(0, 1), slice(1, 3))]
    assert [*shares[0], *shares[1]] == whole


def test_the_divergence_is_that_by_hand(policy, tiny, groups):
    base = tiny().model
    rows, values = [], []
    for group in groups[:2]:
        prompt = group.row["input_ids"][: group.row["labels"].count(IGNORED)]
        for ids in group.completions:
            with torch.no_grad():
                reference = token_chances(base, prompt, ids).sum().item()
                ratio = min(token_chances(policy.model, prompt, ids).sum().item() - reference, 10.0)
            values.append(math.exp(ratio) - 1 - ratio)
            labels = [IGNORED] * len(prompt) + ids
            rows.append([{"input_ids": prompt + ids, "labels": labels, "reference": reference}])
    with attention.reading(policy.model, attention.TREE), torch.no_grad():
        loss = divergence_loss(policy.model, collated(rows, pad=0, as_tree=True))
    assert loss.units == 8 and loss.total.item() == pytest.approx(sum(values), rel=1e-3) and min(values) >= 0


def layout(groups, implementation: str, **values) -> GroupLayout:
    recipe = RECIPE.with_values(values)
    parts = [prompt_item(group.row) for group in groups]
    return GroupLayout(parts, parts, recipe, implementation, 0, "cpu", 9)


@pytest.mark.parametrize("implementation", [attention.TREE, ""])
@pytest.mark.parametrize("slots", [1, 2, 3, 8])
@pytest.mark.parametrize("tokens", [40, 100_000])
def test_groups_stay_whole_in_as_many_micro_batches_as_there_are_slots(implementation, slots, tokens, groups):
    step = items(groups, loss_type="dapo", max_new_tokens=9, sft_weight=0.4)
    packed = layout(groups, implementation, micro_batch_tokens=tokens).packed(step, slots)
    assert len(packed) <= slots and all(packed)
    assert sorted((item for batch in packed for item in batch), key=str) == sorted(step, key=str)
    if implementation and tokens == 100_000:
        assert len(packed) == 1
    assert layout(groups, implementation).packed([], slots) == []


def test_the_plan_has_each_prompt_once_a_pass_and_ends_with_max_steps(groups):
    many = layout(groups * 3, attention.TREE, effective_batch_size=4, epochs=2, per_device_train_batch_size=2)
    assert [[len(slot) for slot in step] for step in many.plan] == [[2, 2], [2, 2], [2, 2], [2, 2], [2]]
    assert sorted(i for step in many.plan for slot in step for i in slot) == sorted([*range(9)] * 2)
    few = replace(many, recipe=many.recipe.with_values({"max_steps": 3}))
    assert few.plan == many.plan[:3] and few.accumulation == 2
    assert few.largest.width >= max(len(g.row["input_ids"]) for g in groups) + 9 * 4 - 60
    assert len(few.largest_items[0]) == 4
