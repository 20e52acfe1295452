"""What a user can get wrong with rewards: each is one line, which names the reward. No process is started."""

import math

import numpy
import pytest

from common.data import Example
from common.rewards import NAMES, Rewards
from common.rewards.functions import LARGEST, values_of
from common.settings import UserError
from tests.unit.cases import ALL, STAFF

EXAMPLE = Example(id="q", question="Who?", schema=STAFF, sql=ALL)


def refuse(match: str, *texts: str, call) -> None:
    """The call raises a UserError of one line, with `match` and all texts in it."""
    with pytest.raises(UserError, match=match) as error:
        call()
    assert all(text in str(error.value) for text in texts), str(error.value)
    assert "\n" not in str(error.value)


def ones(examples, completions):
    return [1.0] * len(completions)


@pytest.mark.parametrize(
    ("weights", "options", "match"),
    [
        ({"robsut": 1.0}, {}, "unknown reward 'robsut'"),
        ({"robust": 1.0, "mine": 1.0}, {}, "unknown reward 'mine'"),
        ({1: 1.0}, {}, "unknown reward 1"),
        ({"robust": -0.1}, {}, "'robust' has the weight -0.1"),
        ({"robust": math.nan}, {}, "'robust' has the weight nan"),
        ({"robust": math.inf}, {}, "'robust' has the weight inf"),
        ({"robust": 10 * LARGEST}, {}, "'robust' has the weight"),
        ({"robust": "1"}, {}, "'robust' has the weight '1'"),
        ({"robust": None}, {}, "'robust' has the weight None"),
        ({"robust": 0.0, "hybrid": 0}, {}, "no reward has a weight above 0"),
        ({}, {}, "no reward has a weight above 0"),
        (["robust"], {}, "weights are a list"),
        ("robust", {}, "weights are a str"),
        ({"robust": 1.0}, {"databases": 0}, "'robust' needs generated databases"),
        ({"strict": 1.0, "partial": 0.0}, {"databases": 0}, "'partial' needs generated databases"),
        ({"robust": 1.0}, {"databases": "4"}, "databases='4' is no whole number"),
        ({"robust": 1.0}, {"workers": -1}, "workers=-1"),
        ({"robust": 1.0}, {"functions": {"robust": ones}}, "'robust' is built in"),
        ({"robust": 1.0}, {"functions": {"mine": ones}}, "'mine' has a function and no weight"),
        ({"mine": 1.0}, {"functions": {"mine": 1.0}}, "'mine' is a float"),
        ({"mine": 1.0}, {"functions": [ones]}, "functions are a list"),
        ({"robust": 1.0}, {"bounds": {"robust": (0.0, 1.0)}}, "'robust' has bounds and no function"),
        ({"mine": 1.0}, {"functions": {"mine": ones}, "bounds": {"mine": (1.0, 0.0)}}, "'mine' has the bounds"),
        ({"mine": 1.0}, {"functions": {"mine": ones}, "bounds": {"mine": (0.0, math.inf)}}, "'mine' has the bounds"),
        ({"mine": 1.0}, {"functions": {"mine": ones}, "bounds": {"mine": (0.0,)}}, "'mine' has the bounds"),
        ({"mine": 1.0}, {"functions": {"mine": ones}, "bounds": {"mine": 1.0}}, "'mine' has the bounds 1.0"),
        ({"mine": 1.0}, {"functions": {"mine": ones}, "bounds": [(0.0, 1.0)]}, "bounds are a list"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(weights, options, match):
    refuse(match, call=lambda: Rewards(weights, **options))


def test_an_unknown_name_is_told_the_names_there_are():
    refuse("unknown reward", *NAMES, "mine", call=lambda: Rewards({"x": 1.0, "mine": 1.0}, functions={"mine": ones}))


def raising(examples, completions):
    raise KeyError("first line\nsecond line")


def silent(examples, completions):
    raise RuntimeError


def late(examples, completions):
    yield 1.0
    raise ZeroDivisionError("in the second")


class Odd:
    def __float__(self):
        raise OSError("no")


@pytest.mark.parametrize(
    ("function", "texts"),
    [
        (raising, ["'mine' fails: KeyError", "first line"]),
        (silent, ["'mine' fails: RuntimeError"]),
        (late, ["'mine' fails: ZeroDivisionError: in the second"]),
        (lambda e, c: [1.0, math.nan], ["'mine' gave nan for completion 2"]),
        (lambda e, c: [math.inf, 1.0], ["'mine' gave inf for completion 1"]),
        (lambda e, c: [-10 * LARGEST, 1.0], ["'mine' gave", "for completion 1"]),
        (lambda e, c: [1.0, None], ["'mine' gave None for completion 2"]),
        (lambda e, c: ["1", "2"], ["'mine' gave '1' for completion 1"]),
        (lambda e, c: [[1.0], [2.0]], ["'mine' gave [1.0] for completion 1"]),
        (lambda e, c: [Odd(), 1.0], ["'mine' gave", "for completion 1"]),
        (lambda e, c: [1.0], ["'mine' gave 1 values for 2 completions"]),
        (lambda e, c: [1.0] * 3, ["'mine' gave 3 values for 2 completions"]),
        (lambda e, c: None, ["'mine' gave None", "one number a completion"]),
        (lambda e, c: 1.0, ["'mine' gave a float"]),
        (lambda e, c: "11", ["'mine' gave a str"]),
        (lambda e, c: {0: 1.0, 1: 1.0}, ["'mine' gave a dict"]),
        (lambda examples: [1.0, 1.0], ["'mine' fails: TypeError"]),
    ],
)
def test_a_function_that_goes_wrong_is_named(function, texts):
    with Rewards({"mine": 1.0, "strict": 1.0}, functions={"mine": function}, workers=1) as rewards:
        refuse("the reward 'mine'", *texts, call=lambda: rewards.score([EXAMPLE] * 2, ["SELECT 1", "SELECT 2"]))


def test_the_cause_stays_with_the_error():
    with pytest.raises(UserError) as error:
        values_of("mine", raising, [], [])
    assert isinstance(error.value.__cause__, KeyError)


def test_a_value_outside_of_its_bounds_is_refused():
    def call(value):
        return values_of("mine", lambda e, c: [0.5, value], [EXAMPLE] * 2, ["a", "b"], (0.0, 1.0))

    assert call(1.0) == [0.5, 1.0]
    refuse("'mine' gave 1.5 for completion 2", "(0.0, 1.0)", call=lambda: call(1.5))


@pytest.mark.parametrize(
    "values",
    [(1, 0), numpy.array([1, 0], "float32"), [True, False], iter([1.0, -0.0])],
    ids=["tuple", "array", "booleans", "iterator"],
)
def test_numbers_of_any_kind_are_numbers(values):
    assert values_of("mine", lambda e, c: values, [EXAMPLE] * 2, ["a", "b"]) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("examples", "completions", "match"),
    [
        ([EXAMPLE], ["a", "b"], "1 examples and 2 completions"),
        ([EXAMPLE], [], "1 examples and 0 completions"),
        # A text is a list of characters, each of which would be scored.
        ([EXAMPLE] * 8, "SELECT 1", "the completions are one text"),
        ([EXAMPLE] * 2, ["a", [{"role": "assistant", "content": "b"}]], "completion 2 is a list"),
        ([EXAMPLE], [None], "completion 1 is a NoneType"),
    ],
)
def test_rows_that_do_not_fit_are_refused(examples, completions, match):
    with Rewards({"robust": 1.0}, workers=1) as rewards:
        refuse(match, call=lambda: rewards.score(examples, completions))
