"""What is drawn for a trial: values that come back as they were, from the seed and from what is known."""

import json

import pytest

from common.sweeps.draws import decode, distributions, draw, encode
from common.sweeps.space import SPACES, size
from tests.unit.sweeping import SPACE


def test_every_value_of_every_grid_comes_back_as_it_was():
    for grid in SPACES.values():
        for name, values in grid.items():
            for value in values:
                known = {other: choices[0] for other, choices in grid.items()} | {name: value}
                params = encode(grid, known)
                assert all(isinstance(param, int | str) for param in params.values()), "what every storage keeps"
                found = decode(grid, json.loads(json.dumps(params)))[name]
                assert found == value and type(found) is type(value)


def test_numbers_are_drawn_in_their_order_and_the_rest_as_categories():
    grid = {"lora_rank": (64, 4, 16), "packed": (True, False), "betas": SPACE["betas"]}
    assert [type(d).__name__ for d in distributions(grid).values()] == [
        "IntDistribution",
        *["CategoricalDistribution"] * 2,
    ]
    assert [encode(grid, {"lora_rank": rank})["lora_rank"] for rank in (4, 16, 64)] == [0, 1, 2]


def drawn(count: int, seed: int, grid=SPACE, losses=lambda values: values["learning_rate"]) -> list[dict]:
    done = []
    for ordinal in range(count):
        finished = [(values, losses(values)) for values in done]
        done.append(draw(grid, ordinal, trials=count, seed=seed, finished=finished, running=[], first={}))
    return done


def test_draws_follow_from_the_seed_and_what_is_known():
    assert drawn(8, 3) == drawn(8, 3)
    assert drawn(8, 3) != drawn(8, 4)


@pytest.mark.parametrize("seed", range(3))
def test_no_candidate_is_drawn_twice_even_when_the_whole_grid_is(seed):
    found = drawn(size(SPACE), seed)
    assert len({json.dumps(values) for values in found}) == size(SPACE) == 12


def test_a_candidate_of_another_worker_is_not_drawn():
    grid = {"lora_rank": (4, 8, 16)}
    for seed in range(10):
        told = {"trials": 3, "seed": seed, "finished": [({"lora_rank": 4}, 1.0)], "first": {}}
        assert draw(grid, 2, running=[{"lora_rank": 16}], **told) == {"lora_rank": 8}


def test_the_first_trial_has_the_values_it_was_told_and_draws_the_others():
    found = [
        draw(SPACE, 0, trials=6, seed=s, finished=[], running=[], first={"learning_rate": 1e-4}) for s in range(20)
    ]
    assert {values["learning_rate"] for values in found} == {1e-4}
    assert {values["optimizer"] for values in found} == {"adam", "adamw"}


def test_tpe_looks_where_losses_are_low():
    grid = {"lora_rank": tuple(range(1, 41)), "virtual_tokens": tuple(range(1, 41))}

    def far(values: dict) -> float:
        return abs(values["lora_rank"] - 10) + abs(values["virtual_tokens"] - 10)

    runs = [drawn(24, seed, grid, far) for seed in range(8)]
    early = sum(far(values) for run in runs for values in run[1:8]) / 56
    late = sum(far(values) for run in runs for values in run[-7:]) / 56
    # Blind draws are 25.4 off on average, give or take 1.5 over 56 of them, whenever they come.
    assert early > 20 and late < 18
