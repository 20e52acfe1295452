"""Useful operations of a training, and the rates of the machine's products by library and dtype."""

from types import SimpleNamespace

import pytest
import torch

from bench import training, training_flops, training_run
from bench.training_flops import Products, products
from common.models import load_model, parameter_counts
from common.profiles import TINY_MODEL
from common.training.adapters import adapt
from tests.unit.tiny_sizes import ADAPTER, BODY, LAYER

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("quantisation", ["", "nf4"])
def test_the_models_products_are_its_linear_layers(quantisation):
    found = products(load_model(TINY_MODEL, quantisation=quantisation).model, rank=16)
    assert sorted(found.layers) == sorted([*LAYER.values()] * 2)
    assert found.head == (64, 1024) and found.rank == 16


def test_useful_operations_by_hand():
    layers = tuple(LAYER.values()) * 2
    full, lora = Products(layers, (64, 1024)), Products(layers, (64, 1024), rank=16)
    assert BODY == 73_728 and ADAPTER == 32_768
    assert full.useful_flops(tokens=100, labelled=10) == 6 * 73_728 * 100 + 6 * 65_536 * 10
    assert lora.useful_flops(tokens=100, labelled=10) == (4 * 73_728 + 6 * 32_768) * 100 + 4 * 65_536 * 10


def test_the_counted_adapter_is_the_trained_one():
    model = adapt(load_model(TINY_MODEL), training_run.recipe("lora"))
    assert parameter_counts(model)[0] == ADAPTER


def test_rates_are_operations_over_the_fastest_call_by_library_and_dtype(monkeypatch):
    """A product takes a second a thousand numbers of what it gives, bfloat16 half of that."""
    cpu = torch.device("cpu")

    def fastest(action, device):
        output = action()
        return output.numel() / 1000 / (2 if output.dtype == torch.bfloat16 else 1)

    monkeypatch.setattr(training_flops, "_fastest", fastest)
    monkeypatch.setitem(training_flops.LARGE, "cpu", 50)
    rates = training_flops.rates([(8, 20), (60, 4), (8, 20)], cpu)
    assert {"float32", "bfloat16"} <= set(rates) <= set(training.CEILINGS)
    expected = {"float32": 2 * 60 * 1000, "bfloat16": 2 * 60 * 1000 * 2}  # of 512 rows by 60 by 4: 2 · 60 a number
    assert all(rates[name] == pytest.approx(expected[name.partition("-")[0]]) for name in rates)


def test_every_way_of_multiplying_gives_the_same_product():
    torch.manual_seed(0)
    ways = training_flops._products(8, 64, 32, torch.device("cpu"))
    one, *others = [ways[name]().float() for name in sorted(ways, reverse=True)]
    assert all(torch.allclose(one, other, atol=0.5, rtol=0.05) for other in others) and one.shape == (8, 32)


def test_the_fastest_call_counts(monkeypatch):
    clock, pauses = [0.0], iter([5, 1, 5, 5, 5])
    monkeypatch.setattr(training_flops, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert training_flops._fastest(lambda: clock.append(clock.pop() + next(pauses)), torch.device("cpu")) == 1
