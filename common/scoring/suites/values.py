"""The values a column's cells are drawn from: at and around the constants it is compared with, given ones, new ones."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

from common.sandbox.functions import NOW
from common.scoring.suites.mentions import Mentions
from common.scoring.suites.survey import Column

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


@dataclass
class ValuePool:
    """exact: the constants themselves. near: those and their neighbours. sample: values of the given rows. exclusions:
    what is never drawn.
    """

    kind: str
    unique: bool
    may_be_null: bool
    exact: list[object] = field(default_factory=list)
    near: list[object] = field(default_factory=list)
    sample: list[object] = field(default_factory=list)
    exclusions: set[object] = field(default_factory=set)
    finite: bool = False  # no values but these: flags
    low: float = 1
    high: float = 40
    suffix: str = ""  # of a moment: how the given ones go on behind the date
    capital: bool = False  # texts begin with a capital letter, so that new ones fall before and behind them

    def new(self, rng: random.Random) -> object:
        """A value that need not have been there, of the same kind and size."""
        if self.finite or self.kind == "other":
            return rng.choice(self.sample or self.exact or [0, 1, 2, 3])
        if self.kind == "integer":
            return rng.randint(int(self.low), int(self.high))
        if self.kind == "real":  # quarters, so that sums do not depend on their order
            return rng.randint(int(self.low * 4), int(self.high * 4)) / 4
        if self.kind in ("date", "time"):
            return _date_text(date(2000, 1, 1) + timedelta(days=rng.randint(int(self.low), int(self.high))), self, rng)
        word = rng.choice(WORDS)
        if self.sample and rng.random() < 0.3:
            return f"{rng.choice(self.sample)} {word}"
        word = word.capitalize() if self.capital else word
        return word if rng.random() < 0.6 else f"{word} {rng.randint(2, 99)}"


def value_pool(column: Column, mentions: Mentions, *, aggressive: bool, partners: Iterable[Column] = ()) -> ValuePool:
    """A column's pool. partners: columns that it is compared with, whose values it shares."""
    constants = [*mentions.constants.get(column.place, ())]
    sample = list(dict.fromkeys(column.values))
    for other in partners:
        constants += mentions.constants.get(other.place, ())
        if other.kind == column.kind:
            sample += dict.fromkeys(other.values)
    is_null_likely = column.has_null or column.place in mentions.null_tests
    pool = ValuePool(
        kind=column.kind,
        unique=column.unique or (column.names_rows and not aggressive and column.parent is None),
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


def _numbers(pool: ValuePool, constants: list[object], mentions: Mentions, column: Column, aggressive: bool) -> None:
    numbers = [n for value in constants if (n := _number(value)) is not None]
    whole = pool.kind == "integer"
    if pool.sample and set(pool.sample) <= {0, 1} and set(numbers) <= {0, 1} and not pool.unique:
        pool.finite, pool.sample, pool.exact = True, [0, 1], [int(n) for n in numbers]
        return
    usual = [n for value in pool.sample if (n := _number(value)) is not None]
    lowest = min([*usual, *numbers, 0 if aggressive else LARGEST])
    step = 1 if whole else 0.25
    for number in numbers:
        around = [number, number + step, number - step, number + 1, number - 1]
        if whole and number != int(number):
            around = [int(number // 1), int(number // 1) + 1]
        else:
            pool.exact.append(int(number) if whole else float(number))
        around += [number * 2, number / 2 if not whole else number // 2]
        pool.near += [int(n) if whole else float(n) for n in around]
    if aggressive:
        pool.near += [0, -1, *(-n for n in numbers)]
        pool.low = min(-5.0, lowest)
    else:
        floor = min(lowest, 1)  # none below what is there, but for 1
        pool.near = [n for n in pool.near if n >= min(floor, 0 if lowest <= 0 else 1) or n in pool.exact]
        pool.low = float(lowest) if usual or numbers else 1.0
    highest = max([*usual, *numbers], default=20)
    pool.high = min(float(highest + max(8, (highest - pool.low) / 2)), pool.low + 1e7)


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
    pool.near += [_date_text(day, pool) for day in days]
    if pool.kind == "time":  # a moment later on the same day
        pool.near += [f"{day.isoformat()}{pool.suffix[:1] or ' '}18:30:00" for day in days[:8]]
    offsets = [(day - date(2000, 1, 1)).days for day in [*days_there, *days]] or [7000, 8000]
    pool.low, pool.high = max(min(offsets) - 40, -300_000), min(max(offsets) + 40, 2_000_000)


def _texts(pool: ValuePool, constants: list[object], mentions: Mentions, column: Column, aggressive: bool) -> None:
    if column.kind == "other":
        pool.exact = list(constants)
        return
    pool.exact = [value if isinstance(value, str) else str(value) for value in constants]
    pool.capital = any(text[:1].isupper() for text in [*pool.exact, *pool.sample] if isinstance(text, str))
    for value in pool.exact:  # one that sorts before it
        if value[:1] > "B":
            pool.near.append(f"{chr(ord(value[0]) - 1)}{value[1:]}" if value[:1].isascii() else value[:-1])
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


def _within(year: int | None, month: int | None, years: list[int]) -> list[date]:
    days = []
    for y in [year] if year else sorted(set(years))[-2:]:
        first = date(y, month or 1, 1)
        last = date(y + (month or 12) // 12, (month or 12) % 12 + 1, 1) - timedelta(days=1)
        days += [first, last, first + timedelta(days=14), first - timedelta(days=1), last + timedelta(days=1)]
    return days


def _date_text(day: date, pool: ValuePool, rng: random.Random | None = None) -> str:
    if pool.kind == "date":
        return day.isoformat()
    if rng is not None and rng.random() < 0.5 and len(pool.suffix) >= 9:
        return f"{day.isoformat()}{pool.suffix[0]}{rng.randint(0, 23):02}:{rng.choice((0, 15, 30, 59)):02}:00"
    return day.isoformat() + pool.suffix
