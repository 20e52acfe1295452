"""A researcher's rewards, and the numbers that go with all rewards: each mistake is one line that names the reward."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from common.data import Example
from common.settings import UserError

Reward = Callable[[Sequence[Example], Sequence[str]], Sequence[float]]  # examples and raw completions, row by row
Bounds = tuple[float, float]
LARGEST = 1e9  # of a weight or a reward; the trainer has float32, and nobody means more


def values_of(
    name: str, function: Reward, examples: Sequence[Example], completions: Sequence[str], bounds: Bounds | None = None
) -> list[float]:
    """What a function gives for a batch, one number a completion; it is called once, with lists of its own.

    Raises UserError where it raises, gives another number of values, or a value that is no finite number, beyond
    ±LARGEST, or outside of its bounds.
    """
    try:
        values = function(list(examples), list(completions))
    except Exception as error:
        raise UserError(f"the reward '{name}' fails: {_first_line(error)}") from error
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise UserError(f"the reward '{name}' gave {_kind(values)}; return a list with one number a completion")
    try:
        values = list(values)
    except Exception as error:  # a generator's own code
        raise UserError(f"the reward '{name}' fails: {_first_line(error)}") from error
    if len(values) != len(completions):
        raise UserError(f"the reward '{name}' gave {len(values)} values for {len(completions)} completions")
    return [_value(name, row, value, bounds) for row, value in enumerate(values, start=1)]


def _value(name: str, row: int, value: Any, bounds: Bounds | None) -> float:
    number = finite(value)
    if number is None:
        raise UserError(f"the reward '{name}' gave {value!r:.50} for completion {row}; return a finite number")
    if bounds and not bounds[0] <= number <= bounds[1]:
        raise UserError(f"the reward '{name}' gave {number} for completion {row}, its bounds are {bounds}")
    return number


def finite(value: Any) -> float | None:
    """A number as a float; None for anything else, for NaN, and beyond ±LARGEST."""
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except Exception:  # whatever an object's own __float__ raises
        return None
    return number if -LARGEST <= number <= LARGEST else None


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def check_functions(functions: Mapping[str, Reward], names: Sequence[str]) -> dict[str, Reward]:
    """The functions. names: of the built-in rewards. Raises UserError for what cannot be called or has such a name."""
    for name, function in _items(functions, "functions", "functions by name, such as functions={'short': short}"):
        if name in names:
            raise UserError(f"the reward '{name}' is built in; give your function another name")
        if not callable(function):
            raise UserError(f"the reward '{name}' is {_kind(function)}; give a function of examples and completions")
    return dict(functions)


def check_weights(
    weights: Mapping[str, float], names: Sequence[str], functions: Mapping[str, Reward]
) -> dict[str, float]:
    """The weights as floats. names: of the built-in rewards. Raises UserError for unknown names, for weights that make
    no sense, and for a function without one."""
    names = [*names, *functions]
    numbers: dict[str, float] = {}
    for name, weight in _items(weights, "weights", "weights by name, such as {'robust': 1.0}"):
        if name not in names:
            raise UserError(f"unknown reward {name!r}; choose from {', '.join(names)}, or give its function")
        number = finite(weight)
        if number is None or number < 0:
            raise UserError(f"the reward '{name}' has the weight {weight!r:.50}; give a finite number of at least 0")
        numbers[name] = number
    if missing := [name for name in functions if name not in numbers]:
        raise UserError(f"the reward '{missing[0]}' has a function and no weight; give one, 0 to compute it only")
    if not any(numbers.values()):
        raise UserError("no reward has a weight above 0; give one, such as {'robust': 1.0}")
    return numbers


def check_bounds(bounds: Mapping[str, Bounds], functions: Mapping[str, Reward]) -> dict[str, Bounds]:
    """The bounds as pairs of floats. Raises UserError for those of no function, and in the wrong order."""
    pairs: dict[str, Bounds] = {}
    for name, pair in _items(bounds, "bounds", "pairs by name, such as bounds={'short': (0.0, 1.0)}"):
        if name not in functions:
            raise UserError(f"the reward {name!r} has bounds and no function; bounds are for functions alone")
        ends = [finite(end) for end in pair] if isinstance(pair, tuple | list) else []
        if len(ends) != 2 or None in ends or ends[0] > ends[1]:
            raise UserError(f"the reward '{name}' has the bounds {pair!r:.50}; give its least and its greatest value")
        pairs[name] = (ends[0], ends[1])
    return pairs


def _items(values: Mapping[str, Any], what: str, advice: str) -> Iterable[tuple[str, Any]]:
    if not isinstance(values, Mapping):
        raise UserError(f"the rewards' {what} are {_kind(values)}; give a dict of {advice}")
    return values.items()
