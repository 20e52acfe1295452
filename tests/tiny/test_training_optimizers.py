"""Optimisers, schedules, warm-up, decay and clipping: what the trainer is given and what it does with it."""

import math

import bitsandbytes
import pytest
import torch

from common.settings import UserError
from common.training.optimizers import Adamax, optimizer_class
from common.training.recipe import CUDA_OPTIMIZERS, OPTIMIZERS, Recipe
from common.training.sft import train_sft
from common.training.trainer import Clock

HERE = [name for name in OPTIMIZERS if name not in CUDA_OPTIMIZERS]
TEN = {"epochs": 1, "effective_batch_size": 2, "per_device_train_batch_size": 2, "evaluations": 1}  # steps of 20 rows


@pytest.fixture
def seen(monkeypatch):
    """What the optimiser holds before each step: (learning rates, gradients by name, optimiser, names by id)."""
    found = []

    def look(self, *_, model=None, optimizer=None, **kwargs):
        inner = getattr(optimizer, "optimizer", optimizer)
        names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
        found.append(({group["lr"] for group in inner.param_groups}, gradients, inner, names))

    monkeypatch.setattr(Clock, "on_pre_optimizer_step", look, raising=False)
    return found


def by_hand(kind, values, gradients, *, lr, betas, decay):
    """One weight over some steps, as the papers define it (Adam and Adamax: arXiv:1412.6980; decay apart from the
    gradient: arXiv:1711.05101; NAdam: Dozat 2016, with the momentum schedule of its section 3)."""
    (one, two), eps = betas, 1e-8
    x, m, v, product = values, 0.0, 0.0, 1.0
    for t, gradient in enumerate(gradients, start=1):
        x -= lr * decay * x
        m = one * m + (1 - one) * gradient
        if kind == "adamax":
            v = max(two * v, abs(gradient) + eps)
            x -= lr * m / (1 - one**t) / v
            continue
        v = two * v + (1 - two) * gradient**2
        if kind == "nadam":
            now, then = (one * (1 - 0.5 * 0.96 ** (0.004 * step)) for step in (t, t + 1))
            product *= now
            mean = then * m / (1 - product * then) + (1 - now) * gradient / (1 - product)
        else:
            mean = m / (1 - one**t)
        x -= lr * mean / (math.sqrt(v / (1 - two**t)) + eps)
    return x


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_steps_are_those_of_the_papers(name, decay):
    kind, options = optimizer_class(Recipe(optimizer=name, learning_rate=0.05, betas=(0.8, 0.95)))
    weights = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    made = kind([weights], weight_decay=decay, **options)
    gradients = [(0.3, -0.01), (-0.1, 0.4), (2.0, 0.02)]
    for pair in gradients:
        weights.grad = torch.tensor(pair)
        made.step()
    expected = {
        other: [
            by_hand(other, start, [pair[i] for pair in gradients], lr=0.05, betas=(0.8, 0.95), decay=decay)
            for i, start in enumerate((1.0, -2.0))
        ]
        for other in HERE
    }
    assert weights.tolist() == pytest.approx(expected[name], abs=1e-5)
    same = {"adam", "adamw"} if name in ("adam", "adamw") else {name}
    assert {other for other, values in expected.items() if values == pytest.approx(expected[name], abs=1e-4)} == same


@pytest.mark.parametrize("name", HERE)
def test_the_trainer_takes_the_optimiser_that_was_asked_for(name, seen, rows, tiny, short, tmp_path):
    before = {key: tensor.clone() for key, tensor in tiny().model.state_dict().items()}
    values = {"method": "full", "optimizer": name, "betas": (0.7, 0.95), "weight_decay": 0.2, "learning_rate": 1e-2}
    recipe = short.with_values({**TEN, **values})
    run = train_sft(tiny(), rows[0][:6], rows[1], recipe, folder=tmp_path)
    _, _, made, names = seen[0]
    classes = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam, "adamax": Adamax}
    assert type(made) is classes[name]
    assert made.defaults["lr"] == 1e-2
    assert {(group["betas"], group["eps"]) for group in made.param_groups} == {((0.7, 0.95), 1e-8)}
    assert made.defaults.get("fused", None) == (True if name in ("adam", "adamw") else None)
    assert not made.defaults.get("amsgrad")
    decay = {names[id(p)]: group["weight_decay"] for group in made.param_groups for p in group["params"]}
    assert decay.keys() == set(names.values()) and len(decay) == 24  # embedding, 2 × (7 + 4), the last norm
    assert {key: value for key, value in decay.items() if "norm" in key} == dict.fromkeys(
        (key for key in decay if "norm" in key), 0.0
    )
    assert sum("norm" in key for key in decay) == 2 * 4 + 1
    assert {value for key, value in decay.items() if "norm" not in key} == {0.2}
    now = run.loaded.model.state_dict()
    assert all((now[key] - before[key]).abs().max() > 1e-3 for key in before)


def test_adapters_decay_as_weights_do(seen, rows, tiny, short, tmp_path):
    recipe = short.with_values({**TEN, "weight_decay": 0.2, "warmup_ratio": 0.0})
    train_sft(tiny(), rows[0][:2], rows[1], recipe, folder=tmp_path)
    _, _, made, names = seen[0]
    assert {
        names[id(p)] for group in made.param_groups for p in group["params"] if group["weight_decay"] == 0.2
    } == set(names.values())


def test_decay_draws_weights_to_zero_and_leaves_norms(rows, tiny, short, tmp_path):
    """With a rate of next to nothing for the gradient's part, only the decay's part is left: (1 − rate × decay)."""
    base = {name: tensor.clone() for name, tensor in tiny().model.state_dict().items()}
    values = {"method": "full", "learning_rate": 1e-5, "weight_decay": 1e4, "schedule": "constant_with_warmup"}
    recipe = short.with_values({**TEN, **values, "warmup_ratio": 0.0})
    now = train_sft(tiny(), rows[0][:4], rows[1], recipe, folder=tmp_path).loaded.model.state_dict()
    for name, tensor in base.items():
        expected = tensor if "norm" in name else 0.9 * 0.9 * tensor  # two steps
        assert torch.allclose(now[name], expected, rtol=0, atol=5e-5), name


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("adam_8bit", "adam"),
        ("adamw_8bit", "adamw"),
        ("paged_adam_8bit", "adam"),
        ("paged_adamw_8bit", "adamw"),
        ("paged_adamw", "adamw"),
    ],
)
def test_optimisers_of_cuda_are_refused_without_it_in_one_line(name, plain, monkeypatch, rows, tiny, short, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as raised:
        optimizer_class(Recipe(optimizer=name))
    assert str(raised.value) == f"the optimiser {name} needs a CUDA device; take {plain} here"
    if name == "adamw_8bit":
        with pytest.raises(UserError, match="^the optimiser adamw_8bit needs a CUDA device; take adamw here$"):
            train_sft(tiny(), *rows, short.with_values({"optimizer": name}), folder=tmp_path)


@pytest.mark.parametrize("name", CUDA_OPTIMIZERS)
def test_optimisers_of_cuda_are_the_bitsandbytes_ones(name, monkeypatch):
    """As far as can be seen without a GPU: the class, and that it takes the arguments."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    kind, options = optimizer_class(Recipe(optimizer=name, learning_rate=3e-3, betas=(0.8, 0.99)))
    monkeypatch.undo()
    made = kind([torch.nn.Parameter(torch.ones(4))], weight_decay=0.1, **options)
    assert type(made) is getattr(bitsandbytes.optim, kind.__name__)
    assert kind.__name__.lower() == name.replace("_", "")
    assert made.is_paged == name.startswith("paged")
    assert made.args.optim_bits == (8 if name.endswith("8bit") else 32)
    group = made.param_groups[0]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (3e-3, (0.8, 0.99), 1e-8, 0.1)


# Learning rates


def share(schedule, step, warm, steps):
    """The learning rate's share at a step (the first is 0)."""
    if step < warm:
        return step / warm
    done = (step - warm) / (steps - warm)
    return {
        "cosine": 0.5 * (1 + math.cos(math.pi * done)),
        "linear": 1 - done,
        "cosine_with_restarts": 0.5 * (1 + math.cos(math.pi * (2 * done % 1))),
        "constant_with_warmup": 1.0,
    }[schedule]


@pytest.mark.parametrize(
    ("schedule", "ratio", "warm"),
    [
        ("cosine", 0.05, 1),
        ("cosine", 0.0, 0),
        ("linear", 0.15, 2),
        ("cosine_with_restarts", 0.2, 2),
        ("constant_with_warmup", 0.3, 3),
    ],
)
def test_learning_rates_follow_the_formula_and_are_those_of_the_curve(
    schedule, ratio, warm, seen, rows, tiny, short, tmp_path
):
    values = {"schedule": schedule, "warmup_ratio": ratio, "learning_rate": 3e-3}
    run = train_sft(tiny(), rows[0][:20], rows[1][:2], short.with_values({**TEN, **values}), folder=tmp_path)
    expected = [3e-3 * share(schedule, step, warm, 10) for step in range(10)]
    assert [rates.pop() for rates, *_ in seen] == pytest.approx(expected, abs=1e-12)
    assert list(run.curve["learning_rate"].dropna()) == pytest.approx(expected, abs=1e-12)
    if schedule == "cosine_with_restarts":
        plain = [3e-3 * share("cosine", step, warm, 10) for step in range(10)]
        assert max(abs(one - other) for one, other in zip(expected, plain, strict=True)) > 1e-3


# Clipping


def norm(gradients):
    return math.sqrt(sum(gradient.pow(2).sum().item() for gradient in gradients.values()))


def test_gradients_are_clipped_to_the_norm_that_was_asked_for(seen, rows, tiny, short, tmp_path):
    values = {**TEN, "method": "full", "warmup_ratio": 0.0, "learning_rate": 1e-3}
    after = []
    for limit in (1e9, 0.25, 1e-9):
        recipe = short.with_values(values | {"max_grad_norm": limit})
        run = train_sft(tiny(), rows[0][:2], rows[1][:2], recipe, folder=tmp_path / str(limit))
        after.append(run.loaded.model.state_dict())
    whole, clipped, tiny_ones = (gradients for _, gradients, *_ in seen)
    assert norm(whole) > 0.5
    assert norm(clipped) == pytest.approx(0.25, rel=1e-4) and norm(tiny_ones) == pytest.approx(1e-9, rel=1e-3)
    for name, gradient in whole.items():  # the same direction
        assert torch.allclose(clipped[name], gradient * 0.25 / norm(whole), rtol=1e-3, atol=1e-8)
    base = tiny().model.state_dict()
    steps = [max((now[name] - base[name]).abs().max().item() for name in base) for now in after]
    # Adam's first step is its rate whatever the gradient's size, up to gradients as small as its epsilon of 1e-8.
    assert steps[:2] == pytest.approx([1e-3, 1e-3], rel=1e-2) and steps[2] < 1e-4
