"""What is drawn for a trial: values that come back as they were, from the seed and from what is known."""

import json

import pytest

from common.sweeps.sampler import decode, distributions, draw, encode
from common.sweeps.space import SPACES, size
from tests.unit.sweep_cases import SPACE


def test_every_value_of_every_grid_comes_back_as_it_was():
    for grid in SPACES.values():
        for name, values in grid.items():
            for value in values:
                point = {other: choices[0] for other, choices in grid.items()} | {name: value}
                params = encode(grid, point)
                assert all(isinstance(param, int | str) for param in params.values()), "what every storage keeps"
                copy = decode(grid, json.loads(json.dumps(params)))[name]
                assert copy == value and type(copy) is type(value)


def test_numbers_are_drawn_in_their_order_and_the_rest_as_categories():
    grid = {"lora_rank": (64, 4, 16), "shared_prefixes": (True, False), "betas": SPACE["betas"]}
    assert [type(d).__name__ for d in distributions(grid).values()] == [
        "IntDistribution",
        *["CategoricalDistribution"] * 2,
    ]
    assert [encode(grid, {"lora_rank": rank})["lora_rank"] for rank in (4, 16, 64)] == [0, 1, 2]


def draws(count: int, seed: int, grid=SPACE, losses=lambda values: values["learning_rate"]) -> list[dict]:
    candidates = []
    for ordinal in range(count):
        results = [(values, losses(values)) for values in candidates]
        candidates.append(draw(grid, ordinal, trials=count, seed=seed, results=results, rivals=[], first={}))
    return candidates


def test_draws_follow_from_the_seed_and_what_is_known():
    assert draws(8, 3) == draws(8, 3)
    assert draws(8, 3) != draws(8, 4)


@pytest.mark.parametrize("seed", range(3))
def test_no_candidate_is_drawn_twice_even_when_the_whole_grid_is(seed):
    points = draws(size(SPACE), seed)
    assert len({json.dumps(values) for values in points}) == size(SPACE) == 12


def test_a_candidate_of_another_worker_is_not_drawn():
    grid = {"lora_rank": (4, 8, 16)}
    for seed in range(10):
        options = {"trials": 3, "seed": seed, "results": [({"lora_rank": 4}, 1.0)], "first": {}}
        assert draw(grid, 2, rivals=[{"lora_rank": 16}], **options) == {"lora_rank": 8}


def test_the_first_trial_has_its_values_and_draws_the_others():
    points = [draw(SPACE, 0, trials=6, seed=s, results=[], rivals=[], first={"learning_rate": 1e-4}) for s in range(20)]
    assert {values["learning_rate"] for values in points} == {1e-4}
    assert {values["optimizer"] for values in points} == {"adam", "adamw"}


def test_tpe_looks_where_losses_are_low():
    grid = {"lora_rank": tuple(range(1, 41)), "virtual_tokens": tuple(range(1, 41))}

    def far(values: dict) -> float:
        return abs(values["lora_rank"] - 10) + abs(values["virtual_tokens"] - 10)

    runs = [draws(24, seed, grid, far) for seed in range(8)]
    early = sum(far(values) for run in runs for values in run[1:8]) / 56
    late = sum(far(values) for run in runs for values in run[-7:]) / 56
    # Blind draws are 25.4 off on average, give or take 1.5 over 56 of them, whenever they come.
    assert early > 20 and late < 18
