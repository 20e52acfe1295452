"""Texts of one format: years, months, telephone numbers, times, codes, addresses of mail.

A **format** is what all given values of a column share: the same separators in the same order, and fields between them
that are digits (of one width or any) or texts. New values take each field from a given value or near one, so that
substr(), LIKE, CAST and instr() go on to mean the same thing. Not covered: formats of which a column has several, and
fields that depend on each other, but for the day of a month.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

LONGEST = 60  # characters of a formatted value
_RUNS = re.compile(r"\d+|[^\W\d_]+")
_WEAK = " .'&"  # between words these are no format


@dataclass(frozen=True)
class Part:
    """A field. width: of all its values, 0 where they differ. digits: it holds nothing else; low, high: as numbers."""

    values: tuple[str, ...]
    width: int
    digits: bool
    low: int = 0
    high: int = 0
    clock: bool = False  # hours, minutes or seconds

    def fits(self, piece: str) -> bool:
        """Whether a piece of a constant can stand here."""
        if not self.digits:
            is_like = piece.isalpha() or not all(value.isalpha() for value in self.values)
            return piece in self.values or (is_like and (not self.width or len(piece) == self.width))
        return piece.isdecimal() and self._writes(piece) and int(piece) <= max(self.most, self.high)

    def _writes(self, piece: str) -> bool:
        return len(piece) == self.width if self.width else piece == str(int(piece))

    @property
    def is_year(self) -> bool:
        """Whether it holds years."""
        return self.digits and self.width == 4 and self.low >= 1500 and self.high <= 2200

    @property
    def most(self) -> int:
        """The largest number that may stand here: of months, days, hours or minutes where it can be one of these."""
        if self.width == 2:
            return next((most for most in ((23, 59) if self.clock else (12, 31)) if self.high <= most), 99)
        return 2200 if self.is_year else 10 ** (self.width or 9) - 1

    def number(self, value: int) -> str:
        """A number as it is written here."""
        return f"{value:0{self.width}}" if self.width else str(value)

    def new(self, rng: random.Random, words: Sequence[str]) -> str:
        """A value that need not have been there."""
        if rng.random() < 0.4:
            return rng.choice(self.values)
        if self.digits:
            reach = 3 if self.is_year else max(2, (self.high - self.low) // 2)
            least = min(1, self.low) if not self.width or self.width == 2 else 0
            return self.number(rng.randint(max(self.low - reach, least), min(self.high + reach, self.most)))
        if self.width and all(value.isalpha() for value in self.values):
            return "".join(rng.choice(self.values)[place] for place in range(self.width))
        word = rng.choice(words)
        if not all(value.isalpha() for value in self.values):
            return rng.choice(self.values)
        return (
            word.upper()
            if all(v.isupper() for v in self.values)
            else word.title()
            if self.values[0][0].isupper()
            else word
        )


@dataclass(frozen=True)
class Format:
    """Separators (one before each field but the first, and one around all) and fields."""

    separators: tuple[str, ...]  # one more than parts: what stands before the first, between, and behind the last
    parts: tuple[Part, ...]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        marks = "".join(map(re.escape, sorted(set(self.separators))))
        texts = rf"[^{marks}]+" if marks else ".+"
        pattern = re.escape(self.separators[0])
        for part, before, behind in zip(self.parts, self.separators, self.separators[1:], strict=False):
            is_run = not (before and behind) and all(value.isalpha() for value in part.values)
            field = rf"\d{{{part.width or '1,15'}}}" if part.digits else r"[^\W\d_]+" if is_run else texts
            pattern += f"({field}){re.escape(behind)}"
        return re.compile(pattern)

    def split(self, text: str) -> list[str] | None:
        """A text's fields, or None where it has not this format."""
        match = self._pattern.fullmatch(text)
        return list(match.groups()) if match else None

    def join(self, fields: Sequence[str]) -> str:
        """The text of these fields; a day that not every month has becomes the 28th."""
        fields = list(fields)
        if any(part.is_year for part in self.parts):
            for number, part in enumerate(self.parts):
                if part.digits and part.most == 31 and int(fields[number]) > 28:
                    fields[number] = "28"
        pieces = [self.separators[0]]
        for field, separator in zip(fields, self.separators[1:], strict=True):
            pieces += [field, separator]
        return "".join(pieces)

    def new(self, rng: random.Random, words: Sequence[str]) -> str:
        """A value of this format."""
        return self.join([part.new(rng, words) for part in self.parts])

    def edges(self, samples: Sequence[str]) -> Iterator[str]:
        """Given values with a number below the least or above the greatest of its field; not of months and the like."""
        given = [fields for sample in samples[:2] if (fields := self.split(sample)) is not None]
        for number, part in enumerate(self.parts):
            for value in (part.low - 1, part.high + 1) if part.digits and part.most > 99 else ():
                for fields in given if 0 < value <= part.most else ():
                    yield self.join([*fields[:number], part.number(value), *fields[number + 1 :]])

    def numbered(self, text: str, serial: int) -> str:
        """Another value like this one, for a column without repetitions."""
        fields = self.split(text)
        if fields is None:
            return f"{text}{serial}"
        for number in reversed(range(len(self.parts))):  # as a counter goes on, the last place first
            part = self.parts[number]
            if part.digits:
                least = 1 if part.most in (12, 31) else 0
                serial, value = divmod(int(fields[number]) - least + serial, part.most + 1 - least)
                fields[number] = part.number(value + least)
        if serial and (texts := [number for number, part in enumerate(self.parts) if not part.digits]):
            field = fields[texts[-1]]
            width, digits = self.parts[texts[-1]].width, str(serial)
            is_code = width and field.isascii() and field.isalpha()
            keeps = width > 0 and len(digits) < width
            other = f"{field[: width - len(digits)]}{digits}" if keeps else f"{field}{digits}"
            fields[texts[-1]] = _later(field, serial) if is_code else other
        return self.join(fields)

    def around(self, constant: object, samples: Sequence[str]) -> Iterator[str]:
        """Values of this format at and next to a constant, or a pattern of LIKE, that the column is compared with."""
        text = str(constant)
        if (fields := self.split(text)) is not None:
            yield text
            yield from self._beside(fields, range(len(fields)))
            return
        given = [fields for sample in samples[:6] if (fields := self.split(sample)) is not None]
        core = re.sub(r"[%*]+", "\0", text).replace("_", "\0").replace("?", "\0")
        for places in self._placements(core):
            for fields in given[:4]:
                for number, piece in places.items():
                    fields[number] = piece
                yield self.join(fields)
                yield from self._beside(fields, places)
            yield from self._ends(given[:1], places)

    def _placements(self, core: str) -> Iterator[dict[int, str]]:
        """Where the pieces of a constant can stand: field numbers and what they become."""
        pieces = [piece.strip("\0") for piece in re.split(self._separator_pattern(), core)]
        hits = False
        for offset in range(len(self.parts) - len(pieces) + 1):
            places = {offset + n: piece for n, piece in enumerate(pieces) if piece and "\0" not in piece}
            if places and all(self.parts[n].fits(piece) for n, piece in places.items()):
                hits = True
                yield places
        if hits:
            return
        for piece in _RUNS.findall(core):  # written otherwise: each piece by itself
            for number, part in enumerate(self.parts):
                if part.fits(piece):
                    yield {number: piece}
                elif part.digits and piece.isdecimal() and len(piece) < part.width:
                    yield {number: piece + part.values[0][len(piece) :]}

    def _ends(self, given: list[list[str]], places: dict[int, str]) -> Iterator[str]:
        """The first and the last day or month of the period that a constant stands for."""
        periods = [n for n, part in enumerate(self.parts) if part.digits and part.most in (12, 31) and n not in places]
        for fields in given if periods else ():
            for last in (False, True):
                ends = {n: self.parts[n].number(self.parts[n].most if last else 1) for n in periods}
                yield self.join([places.get(n) or ends.get(n, field) for n, field in enumerate(fields)])

    def _separator_pattern(self) -> str:
        marks = sorted({mark for mark in self.separators if mark})
        return "|".join(map(re.escape, marks)) or r"(?!)"

    def _beside(self, fields: Sequence[str], numbers: Sequence[int] | dict[int, str]) -> Iterator[str]:
        for number in numbers:
            part = self.parts[number]
            if part.digits:
                for step in (1, -1):
                    value = int(fields[number]) + step
                    if 0 < value <= max(part.most, part.high):
                        yield self.join([*fields[:number], part.number(value), *fields[number + 1 :]])


def format_of(values: Sequence[object]) -> Format | None:
    """The format that all values share, or None: free text, other things than texts, or nothing to see."""
    texts = list(dict.fromkeys(values))
    if not texts or not all(
        isinstance(text, str) and 0 < len(text) <= LONGEST and text.isprintable() for text in texts
    ):
        return None
    if any(text[0] in "{[" for text in texts):
        return None
    if all(text.isascii() and text.isdecimal() for text in texts):
        return _of_digits(texts)
    return _of_separators(texts) or _of_runs(texts)


def _of_digits(texts: list[str]) -> Format | None:
    widths = {len(text) for text in texts}
    if len(widths) > 1:
        return None if any(text[0] == "0" and text != "0" for text in texts) else _make([[t] for t in texts], ("", ""))
    width = widths.pop()
    for cuts in ((4, 2, 2), (4, 2)):
        if sum(cuts) == width:
            form = _make([_cut(text, cuts) for text in texts], ("",) * (len(cuts) + 1))
            ends = zip(form.parts[1:], (12, 31), strict=False)
            if form.parts[0].is_year and all(part.low >= 1 and part.high <= most for part, most in ends):
                return form
    return _make([[text] for text in texts], ("", ""))


def _of_separators(texts: list[str]) -> Format | None:
    marks = {mark for text in texts for mark in text if not mark.isalnum()}
    stable = {mark for mark in marks if len({text.count(mark) for text in texts}) == 1}
    for choice in (stable, stable - set(_WEAK), *({mark} for mark in "@/-:,." if mark in stable)):
        orders = {"".join(mark for mark in text if mark in choice) for text in texts}
        if not choice or len(orders) > 1:
            continue
        order = orders.pop()
        rows = [_split_at(text, order) for text in texts]
        separators = ["", *order, ""]
        if not any(row[0] for row in rows):  # all begin with the first mark
            rows, separators = [row[1:] for row in rows], [*order, ""]
        if len(rows[0]) > 1 and not any(row[-1] for row in rows):
            rows, separators = [row[:-1] for row in rows], [*separators[:-2], separators[-2]]
        if not all(all(row) for row in rows):
            continue
        form = _make(*_by_runs(rows, separators))
        has_digits = any(part.digits for part in form.parts)
        if has_digits or "@" in order or (len(texts) > 1 and set(order) - set(_WEAK)):
            return form
    return None


def _of_runs(texts: list[str]) -> Format | None:
    """Letters and digits that follow each other alike: AB12; and letters alone of one small width: USD."""
    rows, separators = _by_runs([[text] for text in texts], ["", ""])
    if len(rows[0]) > 1:
        return _make(rows, separators)
    short = len({len(text) for text in texts}) == 1 and len(texts[0]) <= 4 and len(texts) > 1
    return _make(rows, separators) if short and all(text.isalpha() and text.isupper() for text in texts) else None


def _by_runs(rows: list[list[str]], separators: list[str]) -> tuple[list[list[str]], tuple[str, ...]]:
    """Fields in which letters and digits follow each other alike in all rows, taken apart there."""
    columns, marks = [], [separators[0]]
    for column, mark in zip(zip(*rows, strict=True), separators[1:], strict=True):
        runs = [_RUNS.findall(field) for field in column]
        kinds = {tuple(run.isdecimal() for run in row) for row in runs}
        whole = all("".join(row) == field for row, field in zip(runs, column, strict=True))
        parts = list(zip(*runs, strict=True)) if whole and len(kinds) == 1 and len(runs[0]) < 4 else [column]
        columns += parts
        marks += [""] * (len(parts) - 1) + [mark]
    return [list(row) for row in zip(*columns, strict=True)], tuple(marks)


def _make(rows: list[list[str]], separators: tuple[str, ...]) -> Format:
    parts = [_part(column) for column in zip(*rows, strict=True)]
    if ":" in separators:
        parts = [replace(part, clock=part.digits) for part in parts]
    return Format(separators, tuple(parts))


def _part(column: Sequence[str]) -> Part:
    values = tuple(dict.fromkeys(column))
    widths = {len(value) for value in values}
    width = widths.pop() if len(widths) == 1 else 0
    digits = all(value.isascii() and value.isdecimal() and len(value) <= 15 for value in values)
    if digits and not width and any(value[0] == "0" and value != "0" for value in values):
        digits = False  # no width to fill up to
    numbers = [int(value) for value in values] if digits else [0]
    return Part(values, width, digits, min(numbers), max(numbers))


def _later(letters: str, serial: int) -> str:
    """Letters as a number of base 26, so much larger, each in the case of the one before; AZ and 1 are BA."""
    later = []
    for letter in reversed(letters):
        first = ord("A" if letter.isupper() else "a")
        serial, place = divmod(ord(letter) - first + serial, 26)
        later.append(chr(first + place))
    return "".join(reversed(later))


def _cut(text: str, widths: Sequence[int]) -> list[str]:
    fields, start = [], 0
    for width in widths:
        fields.append(text[start : start + width])
        start += width
    return fields


def _split_at(text: str, marks: str) -> list[str]:
    fields = []
    for mark in marks:
        field, _, text = text.partition(mark)
        fields.append(field)
    return [*fields, text]
