"""The values a column's cells are drawn from: at and around the constants it is compared with, given ones, new ones."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import islice

from common.sandbox.functions import NOW
from common.scoring.suites.formats import Format
from common.scoring.suites.mentions import Mentions
from common.scoring.suites.survey import Column, is_year

MOST_VALUES = 60
LARGEST = 10**12
WORDS = (
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "harbor", "island", "jasper", "kite", "lagoon"),
    *(
        "maple",
        "north",
        "opal",
        "prairie",
        "quartz",
        "river",
        "summit",
        "tundra",
        "umber",
        "valley",
        "willow",
        "zephyr",
    ),
)
# Two words of these pairs are a flag, however few rows there are.
FLAGS = ({"yes", "no"}, {"y", "n"}, {"true", "false"}, {"t", "f"}, {"m", "f"}, {"male", "female"}, {"on", "off"})


@dataclass
class ValuePool:
    """exact: the constants themselves. near: those and their neighbours. edges: beside the least and the greatest given
    value. sample: values of the given rows. exclusions: what is never drawn.
    """

    kind: str
    unique: bool
    may_be_null: bool
    exact: list[object] = field(default_factory=list)
    near: list[object] = field(default_factory=list)
    edges: list[object] = field(default_factory=list)
    sample: list[object] = field(default_factory=list)
    exclusions: set[object] = field(default_factory=set)
    finite: bool = False  # no values but these: flags
    low: float = 1
    high: float = 40
    parts: int = 4  # a unit of real numbers has so many, a power of two, so that sums do not depend on their order
    suffix: str = ""  # of a moment: how the given ones go on behind the date
    capital: bool = False  # texts begin with a capital letter, so that new ones fall before and behind them
    format: Format | None = None

    def new(self, rng: random.Random) -> object:
        """A value that need not have been there, of the same kind and size."""
        if self.finite or self.kind == "other":
            return rng.choice(self.sample or self.exact or [0, 1, 2, 3])
        if self.kind == "integer":
            return rng.randint(int(self.low), int(self.high))
        if self.kind == "real":
            return rng.randint(int(self.low * self.parts), int(self.high * self.parts)) / self.parts
        if self.kind in ("date", "time"):
            return _date_text(date(2000, 1, 1) + timedelta(days=rng.randint(int(self.low), int(self.high))), self, rng)
        if self.format is not None:
            return self.format.new(rng, WORDS)
        word = rng.choice(WORDS)
        if self.sample and rng.random() < 0.3:
            return f"{rng.choice(self.sample)} {word}"
        word = word.capitalize() if self.capital else word
        return word if rng.random() < 0.6 else f"{word} {rng.randint(2, 99)}"

    def numbered(self, value: object, serial: int) -> object:
        """A value like this one, for a column without repetitions."""
        if isinstance(value, int | float):
            return int(self.high) + serial
        if not isinstance(value, str):
            return serial
        if self.format is not None:
            return self.format.numbered(value, serial)
        if self.kind == "date" and (day := _day(value)):
            return (day + timedelta(days=serial)).isoformat()
        return value[:10] + f" {serial % 24:02}:{serial // 24:02}:10" if self.kind == "time" else f"{value} {serial}"


def value_pool(column: Column, mentions: Mentions, *, aggressive: bool, partners: Iterable[Column] = ()) -> ValuePool:
    """A column's pool. partners: columns that it is compared with, whose values it shares."""
    constants = [*mentions.constants.get(column.place, ())]
    sample = list(dict.fromkeys(column.values))
    for other in partners:
        constants += mentions.constants.get(other.place, ())
        if other.kind == column.kind and other.parent is not column:
            sample += dict.fromkeys(other.values)
    # A key is tested for NULL where an outer join finds no partner, not because it may be missing.
    is_key = column.unique or column.names_rows or (column.parent is not None and mentions.outer_join)
    is_null_likely = column.has_null or (column.place in mentions.null_tests and not is_key)
    pool = ValuePool(
        kind=column.kind,
        unique=column.unique or (not aggressive and _stays_unique(column, mentions)),
        may_be_null=not column.not_null and (aggressive or is_null_likely),
        sample=sample[:MOST_VALUES],
        exclusions=set(mentions.insertions.get(column.place, ())) if column.unique or column.names_rows else set(),
    )
    {"integer": _numbers, "real": _numbers, "date": _dates, "time": _dates}.get(column.kind, _texts)(
        pool, constants, mentions, column, aggressive
    )
    pool.exact = list(dict.fromkeys(pool.exact))[:MOST_VALUES]
    pool.near = list(dict.fromkeys([*pool.exact, *pool.near]))[:MOST_VALUES]
    return pool


def _stays_unique(column: Column, mentions: Mentions) -> bool:
    """Whether a column has no value twice in databases that are like the given one."""
    if column.parent is not None:
        return column.one_to_one
    return column.names_rows or (column.distinct and any(column is other for other in mentions.tie_breakers))


def _numbers(pool: ValuePool, constants: list[object], mentions: Mentions, column: Column, aggressive: bool) -> None:
    numbers = [n for value in constants if (n := _number(value)) is not None]
    whole = pool.kind == "integer"
    if pool.sample and set(pool.sample) <= {0, 1} and set(numbers) <= {0, 1} and not pool.unique:
        pool.finite, pool.sample, pool.exact = True, [0, 1], [int(n) for n in numbers]
        return
    usual = [n for value in dict.fromkeys([*pool.sample, *column.values]) if (n := _number(value)) is not None]
    lowest = min([*usual, *numbers, 0 if aggressive else LARGEST])
    step = 1 if whole else 0.25
    for number in numbers:
        around = [number, number + step, number - step, number + 1, number - 1]
        if whole and number != int(number):
            around = [int(number // 1), int(number // 1) + 1]
        else:
            pool.exact.append(int(number) if whole else float(number))
        if not usual or not is_year(usual):
            around += [number * 2, number / 2 if not whole else number // 2]
        pool.near += [int(n) if whole else float(n) for n in around]
    highest = max([*usual, *numbers], default=20)
    span = max(highest - lowest, step) if usual or numbers else 0
    if aggressive:
        pool.near += [0, -1, *(-n for n in numbers)]
        pool.low = min(-5.0, lowest)
    elif usual or numbers:
        floor = (
            -LARGEST if lowest < 0 else 0 if lowest < 1 else 1
        )  # no negative numbers, and no 0, where there are none
        pool.near = [n for n in pool.near if n >= floor or n in pool.exact]
        pool.low = float(max(floor, lowest - span))
        if usual:
            half = [] if is_year(usual) else [min(usual) // 2 if whole else min(usual) / 2]
            edges = [min(usual) - step, *half, max(usual) + step]
            if half and not pool.unique:  # one that outweighs many, so that a sum is no count
                edges.append(int(max(usual)) + 2 * int(span) + 2)
            pool.edges = [int(n) if whole else float(n) for n in edges if n >= floor and n not in usual]
    pool.high = min(float(highest + max(8, (highest - min(lowest, highest)) / 2)), pool.low + 1e7)
    if not whole and not aggressive:
        pool.parts = 64 if lowest < 4 else 4
        pool.high = 1.0 if lowest >= 0 and highest <= 1 else pool.high  # shares


def _dates(pool: ValuePool, constants: list[object], mentions: Mentions, column: Column, aggressive: bool) -> None:
    days_there = [day for value in pool.sample if (day := _day(value))]
    pool.suffix = next((value[10:] for value in pool.sample if isinstance(value, str) and len(value) > 10), "")
    if column.kind == "time" and not pool.suffix:
        pool.suffix = " 00:00:00"
    if mentions.clock:
        constants = [*constants, NOW[:10]]
    days: list[date] = []
    for value in constants:
        if day := _day(value):
            if isinstance(value, str) and len(value) <= 10:
                pool.exact.append(value)
            days += [day, day + timedelta(days=1), day - timedelta(days=1), day + timedelta(days=31)]
            days += [day - timedelta(days=31), day + timedelta(days=366), day - timedelta(days=366)]
            days += [date(day.year, 1, 1), date(day.year, 12, 31)]
        elif (period := _period(value)) is not None:
            days += _within(*period, [day.year for day in days_there] or [2020, 2021])
    for pattern in mentions.patterns.get(column.place, ()):
        days += _of_pattern(pattern, [day.year for day in days_there] or [2020, 2021])
    if days_there and not aggressive:
        first, last = min(days_there), max(days_there)
        edges = [first - timedelta(days=1), first - timedelta(days=300), last + timedelta(days=1)]
        pool.edges = [_date_text(day, pool) for day in edges]
    pool.near += [_date_text(day, pool) for day in days]
    if pool.kind == "time":  # a moment later on the same day
        pool.near += [f"{day.isoformat()}{pool.suffix[:1] or ' '}18:30:00" for day in days[:8]]
    offsets = [(day - date(2000, 1, 1)).days for day in [*days_there, *days]] or [7000, 8000]
    reach = 40 if aggressive else max(40, min(max(offsets) - min(offsets), 1_000))
    pool.low, pool.high = max(min(offsets) - reach, -300_000), min(max(offsets) + 40, 2_000_000)


def _texts(pool: ValuePool, constants: list[object], mentions: Mentions, column: Column, aggressive: bool) -> None:
    if column.kind == "other":
        pool.exact = list(constants)
        return
    words = {value.casefold() for value in pool.sample if isinstance(value, str)}
    pool.finite = bool(words) and any(words <= flag for flag in FLAGS) and not pool.unique
    if column.format is not None and not aggressive and not pool.finite:
        _formatted(pool, [*constants, *mentions.patterns.get(column.place, ())], column)
        return
    pool.exact = [value if isinstance(value, str) else str(value) for value in constants]
    if pool.finite and not aggressive:
        return  # a flag has no third value
    pool.capital = any(text[:1].isupper() for text in [*pool.exact, *pool.sample] if isinstance(text, str))
    for value in pool.exact:  # one that sorts before it, and one behind
        if value[:1] > "B":
            pool.near.append(f"{chr(ord(value[0]) - 1)}{value[1:]}" if value[:1].isascii() else value[:-1])
        if "A" <= value[:1] < "Z" or "a" <= value[:1] < "z":
            pool.near.append(f"{chr(ord(value[0]) + 1)}{value[1:]}")
    for pattern in mentions.patterns.get(column.place, ()):
        core = re.sub(r"[%*]+", "", pattern).replace("_", "a").replace("?", "a")
        inner = re.sub(r"[%*]+", " ", pattern.strip("%*")).replace("_", "a").replace("?", "a")
        pool.exact += [pattern.strip("%*"), inner] if inner else []
        pool.near += [f"{inner} mid", f"x{inner}", f"{inner}z", f"the {inner} end", core]
    if aggressive:
        for value in pool.exact[:6]:
            pool.near += [f"{value}x", value.upper(), value.lower(), value[:-1]]
        pool.near.append("")
    if pool.sample and len(set(pool.sample)) <= 3 and len(column.values) >= 8:
        pool.finite = True  # a few words said again and again are a scale
    if pool.sample and all(_is_json(value) for value in pool.sample) and not aggressive:
        # What the functions of JSON could not read would make the reference fail.
        pool.finite, pool.exact = True, [value for value in pool.exact if _is_json(value)]
        pool.near = pool.exact


def _is_json(value: object) -> bool:
    return isinstance(value, str) and value[:1] in ("{", "[")


def _formatted(pool: ValuePool, constants: list[object], column: Column) -> None:
    """Values of the column's format at and around what it is compared with."""
    pool.format = column.format
    pool.sample = [value for value in pool.sample if isinstance(value, str) and pool.format.split(value)]
    for constant in constants:
        if isinstance(constant, str) and pool.format.split(constant):
            pool.exact.append(constant)
        if isinstance(constant, str | int):
            pool.near += list(islice(pool.format.around(constant, pool.sample), 24))
    pool.edges = list(pool.format.edges(pool.sample))
    if pool.sample and len(set(pool.sample)) <= 3 and len(column.values) >= 8:
        pool.finite, pool.edges = True, []


def _number(value: object) -> float | int | None:
    """A number that sums and doubles stay exact with; None for any other value."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,12}", value):
        value = int(value)
    return value if isinstance(value, int | float) and abs(value) <= LARGEST else None


def _day(value: object) -> date | None:
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) and len(value) >= 10 else None
    except ValueError:
        return None


def _period(value: object) -> tuple[int | None, int | None] | None:
    """Year and month that a constant such as '2021', 2021, '2021-03', '03' or 3 stands for."""
    text = str(value)
    if re.fullmatch(r"(1[6-9]|2[01])\d\d", text):
        return int(text), None
    if match := re.fullmatch(r"((?:1[6-9]|2[01])\d\d)-(\d\d)%?", text):
        return (int(match[1]), int(match[2])) if 1 <= int(match[2]) <= 12 else None
    if match := re.fullmatch(r"((?:1[6-9]|2[01])\d\d)[-%]+", text):
        return int(match[1]), None
    return (None, int(text)) if re.fullmatch(r"\d\d?", text) and 1 <= int(text) <= 12 else None


def _of_pattern(pattern: str, years: list[int]) -> list[date]:
    """Days in and around what a pattern of LIKE or GLOB such as '2023-07-%', '%-07-%' or '2023-07-1%' stands for."""
    year, month = re.match(r"(1[6-9]|2[01])\d\d", pattern), re.search(r"\d-(\d\d)|[%*_?]-(\d\d)-", pattern)
    month_number = int(month[1] or month[2]) if month else None
    if (not year and not month) or not (month_number is None or 1 <= month_number <= 12):
        return [
            date(years[-1], number, int(day[1]))
            for day in [re.search(r"-([0-2]\d)$", pattern)]
            if day
            for number in (3, 4)
        ]
    days = _within(int(year[0]) if year else None, month_number, years)
    if year and month_number and (day := re.match(r".{7}-(\d\d?)", pattern)):
        numbers = [int(day[1])] if len(day[1]) == 2 else [int(day[1]) * 10, int(day[1]) * 10 + 5]
        days += [date(int(year[0]), month_number, number) for number in numbers if 1 <= number <= 28]
    return days


def _within(year: int | None, month: int | None, years: list[int]) -> list[date]:
    days = []
    for y in [year] if year else sorted(set(years))[-2:]:
        first = date(y, month or 1, 1)
        last = date(y + (month or 12) // 12, (month or 12) % 12 + 1, 1) - timedelta(days=1)
        days += [first, last, first + timedelta(days=14), first - timedelta(days=1), last + timedelta(days=1)]
        if month:  # the same month of other years
            days += [date(y - 1, month, 14), date(y + 1, month, 14)]
    return days


def _date_text(day: date, pool: ValuePool, rng: random.Random | None = None) -> str:
    if pool.kind == "date":
        return day.isoformat()
    if rng is not None and rng.random() < 0.5 and len(pool.suffix) >= 9:
        return f"{day.isoformat()}{pool.suffix[0]}{rng.randint(0, 23):02}:{rng.choice((0, 15, 30, 59)):02}:00"
    return day.isoformat() + pool.suffix
