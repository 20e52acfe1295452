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
class Pool:
    """exact: the constants themselves. near: those and their neighbours. given: values of the rows."""

    kind: str
    unique: bool
    may_be_null: bool
    exact: list[object] = field(default_factory=list)
    near: list[object] = field(default_factory=list)
    given: list[object] = field(default_factory=list)
    banned: set[object] = field(default_factory=set)
    closed: bool = False  # no values but these: flags
    low: float = 1
    high: float = 40
    suffix: str = ""  # of a moment: how the given ones go on behind the date
    capital: bool = False  # texts begin with a capital letter, so that new ones fall before and behind them

    def new(self, rng: random.Random) -> object:
        """A value that need not have been there, of the same kind and size."""
        if self.closed or self.kind == "other":
            return rng.choice(self.given or self.exact or [0, 1, 2, 3])
        if self.kind == "integer":
            return rng.randint(int(self.low), int(self.high))
        if self.kind == "real":  # quarters, so that sums do not depend on their order
            return rng.randint(int(self.low * 4), int(self.high * 4)) / 4
        if self.kind in ("date", "time"):
            return _written(date(2000, 1, 1) + timedelta(days=rng.randint(int(self.low), int(self.high))), self, rng)
        word = rng.choice(WORDS)
        if self.given and rng.random() < 0.3:
            return f"{rng.choice(self.given)} {word}"
        word = word.capitalize() if self.capital else word
        return word if rng.random() < 0.6 else f"{word} {rng.randint(2, 99)}"


def pool(column: Column, mentions: Mentions, *, aggressive: bool, merged: Iterable[Column] = ()) -> Pool:
    """A column's pool. merged: columns that it is compared with, whose values it shares."""
    constants = [*mentions.constants.get(column.place, ())]
    given = list(dict.fromkeys(column.given))
    for other in merged:
        constants += mentions.constants.get(other.place, ())
        if other.kind == column.kind:
            given += dict.fromkeys(other.given)
    is_null_likely = column.has_null or column.place in mentions.null_tested
    made = Pool(
        kind=column.kind,
        unique=column.unique or (column.naming and not aggressive and column.parent is None),
        may_be_null=not column.not_null and (aggressive or is_null_likely),
        given=given[:MOST_VALUES],
        banned=set(mentions.inserted.get(column.place, ())) if column.unique or column.naming else set(),
    )
    {"integer": _numbers, "real": _numbers, "date": _dates, "time": _dates}.get(column.kind, _texts)(
        made, constants, mentions, column, aggressive
    )
    made.exact = list(dict.fromkeys(made.exact))[:MOST_VALUES]
    made.near = list(dict.fromkeys([*made.exact, *made.near]))[:MOST_VALUES]
    return made


def _numbers(made: Pool, constants: list[object], mentions: Mentions, column: Column, aggressive: bool) -> None:
    numbers = [n for value in constants if (n := _number(value)) is not None]
    whole = made.kind == "integer"
    if made.given and set(made.given) <= {0, 1} and set(numbers) <= {0, 1} and not made.unique:
        made.closed, made.given, made.exact = True, [0, 1], [int(n) for n in numbers]
        return
    usual = [n for value in made.given if (n := _number(value)) is not None]
    lowest = min([*usual, *numbers, 0 if aggressive else LARGEST])
    step = 1 if whole else 0.25
    for number in numbers:
        around = [number, number + step, number - step, number + 1, number - 1]
        if whole and number != int(number):
            around = [int(number // 1), int(number // 1) + 1]
        else:
            made.exact.append(int(number) if whole else float(number))
        around += [number * 2, number / 2 if not whole else number // 2]
        made.near += [int(n) if whole else float(n) for n in around]
    if aggressive:
        made.near += [0, -1, *(-n for n in numbers)]
        made.low = min(-5.0, lowest)
    else:
        floor = min(lowest, 1)  # none below what is there, but for 1
        made.near = [n for n in made.near if n >= min(floor, 0 if lowest <= 0 else 1) or n in made.exact]
        made.low = float(lowest) if usual or numbers else 1.0
    highest = max([*usual, *numbers], default=20)
    made.high = min(float(highest + max(8, (highest - made.low) / 2)), made.low + 1e7)


def _dates(made: Pool, constants: list[object], mentions: Mentions, column: Column, aggressive: bool) -> None:
    given = [day for value in made.given if (day := _day(value))]
    made.suffix = next((value[10:] for value in made.given if isinstance(value, str) and len(value) > 10), "")
    if column.kind == "time" and not made.suffix:
        made.suffix = " 00:00:00"
    if mentions.clock:
        constants = [*constants, NOW[:10]]
    days: list[date] = []
    for value in constants:
        if day := _day(value):
            if isinstance(value, str) and len(value) <= 10:
                made.exact.append(value)
            days += [day, day + timedelta(days=1), day - timedelta(days=1), day + timedelta(days=31)]
            days += [day - timedelta(days=31), day + timedelta(days=366), day - timedelta(days=366)]
            days += [date(day.year, 1, 1), date(day.year, 12, 31)]
        elif (period := _period(value)) is not None:
            days += _within(*period, [day.year for day in given] or [2020, 2021])
    made.near += [_written(day, made) for day in days]
    if made.kind == "time":  # a moment later on the same day
        made.near += [f"{day.isoformat()}{made.suffix[:1] or ' '}18:30:00" for day in days[:8]]
    seen = [(day - date(2000, 1, 1)).days for day in [*given, *days]] or [7000, 8000]
    made.low, made.high = max(min(seen) - 40, -300_000), min(max(seen) + 40, 2_000_000)


def _texts(made: Pool, constants: list[object], mentions: Mentions, column: Column, aggressive: bool) -> None:
    if column.kind == "other":
        made.exact = list(constants)
        return
    made.exact = [value if isinstance(value, str) else str(value) for value in constants]
    made.capital = any(text[:1].isupper() for text in [*made.exact, *made.given] if isinstance(text, str))
    for value in made.exact:  # one that sorts before it
        if value[:1] > "B":
            made.near.append(f"{chr(ord(value[0]) - 1)}{value[1:]}" if value[:1].isascii() else value[:-1])
    for pattern in mentions.patterns.get(column.place, ()):
        core = re.sub(r"[%*]+", "", pattern).replace("_", "a").replace("?", "a")
        inner = re.sub(r"[%*]+", " ", pattern.strip("%*")).replace("_", "a").replace("?", "a")
        made.exact += [pattern.strip("%*"), inner] if inner else []
        made.near += [f"{inner} mid", f"x{inner}", f"{inner}z", f"the {inner} end", core]
    if aggressive:
        for value in made.exact[:6]:
            made.near += [f"{value}x", value.upper(), value.lower(), value[:-1]]
        made.near.append("")
    if made.given and len(set(made.given)) <= 3 and len(column.given) >= 8:
        made.closed = True  # a few words said again and again are a scale


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
    if found := re.fullmatch(r"((?:1[6-9]|2[01])\d\d)-(\d\d)%?", text):
        return (int(found[1]), int(found[2])) if 1 <= int(found[2]) <= 12 else None
    if found := re.fullmatch(r"((?:1[6-9]|2[01])\d\d)[-%]+", text):
        return int(found[1]), None
    return (None, int(text)) if re.fullmatch(r"\d\d?", text) and 1 <= int(text) <= 12 else None


def _within(year: int | None, month: int | None, years: list[int]) -> list[date]:
    found = []
    for y in [year] if year else sorted(set(years))[-2:]:
        first = date(y, month or 1, 1)
        last = date(y + (month or 12) // 12, (month or 12) % 12 + 1, 1) - timedelta(days=1)
        found += [first, last, first + timedelta(days=14), first - timedelta(days=1), last + timedelta(days=1)]
    return found


def _written(day: date, made: Pool, rng: random.Random | None = None) -> str:
    if made.kind == "date":
        return day.isoformat()
    if rng is not None and rng.random() < 0.5 and len(made.suffix) >= 9:
        return f"{day.isoformat()}{made.suffix[0]}{rng.randint(0, 23):02}:{rng.choice((0, 15, 30, 59)):02}:00"
    return day.isoformat() + made.suffix
