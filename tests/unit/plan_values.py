"""Values as SQLite has them, in plain Python: compared, sorted, rounded and summed up."""

import operator
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal

COMPARISONS: dict[str, Callable] = {
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def same_bag(some: list[tuple], others: list[tuple]) -> bool:
    """The same rows as often, in any order; numbers to 1e-9."""
    if len(some) != len(others):
        return False
    pairs = zip(sorted(some, key=sort_keys), sorted(others, key=sort_keys), strict=True)
    return all(len(a) == len(b) and all(map(same, a, b)) for a, b in pairs)


def sort_key(value) -> tuple:
    """NULL before numbers before texts."""
    return (0, 0) if value is None else (2, value) if isinstance(value, str) else (1, value)


def sort_keys(row: tuple) -> tuple:
    return tuple((rank, round(value, 7) if rank == 1 else value) for rank, value in map(sort_key, row))


def same(one, other) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= 1e-9 * max(1, abs(one), abs(other))
    return type(one) is type(other) and one == other


def compare(left, op: str, right) -> bool | None:
    return None if left is None or right is None else COMPARISONS[op](left, right)


def rounded(value: float | None, places: int) -> float | None:
    """Half up, as SQLite rounds."""
    if value is None:
        return None
    return float(Decimal(f"{value:.16g}").quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else rounded(100 * part / whole, 1)


def aggregate(function: str, values: list, number: float = 0):
    present = [value for value in values if value is not None]
    if function == "count":
        return len(present)
    if function == "distinct":
        return len(set(present))
    if function in ("count_above", "share_above"):
        above = sum(value > number for value in present)
        return above if function == "count_above" else percent(above, len(values))
    if not present:
        return None
    match function:
        case "sum":
            return sum(present)
        case "avg":
            return sum(present) / len(present)
        case "max":
            return max(present)
        case "min":
            return min(present)
        case "spread":
            return max(present) - min(present)
        case "rounded":
            return rounded(sum(present) / len(present), int(number))
    raise ValueError(f"unknown function {function}")
