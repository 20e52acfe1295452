"""A file as a table: its columns and its rows, cells as they are. CSV, JSON in lines or as one array, Parquet.

Nothing is guessed: a row whose cells do not fit the header, or a line that is no object, is refused with its number.
Text is UTF-8 with or without a byte order mark. Cells are judged in `common.data.cells`.
"""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.data.cells import COLUMNS, OPTIONAL, kind
from common.settings import UserError

Table = tuple[list[str], list[dict[str, object]]]  # columns; rows, in which a cell may be absent
DELIMITERS = ",;\t|"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # UTF-32's begins with the first
_AS_UTF8 = "save it as UTF-8 text"


def read_table(path: Path) -> Table:
    """The table in a file. Raises UserError, in one line with the row's number, for what is none."""
    try:
        return READERS[path.suffix.lower()](path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or type(error).__name__})") from None


def unreadable(path: Path, why: str) -> UserError:
    """The one line for a file that is not of its kind."""
    return UserError(f"{path} is no readable {path.suffix} file: {why}")


def utf8(path: Path) -> str:
    """The file's text without a byte order mark. Raises UserError for other encodings, with the line."""
    data = path.read_bytes()
    if data.startswith(_UTF16):
        raise unreadable(path, f"it is UTF-16 or UTF-32; {_AS_UTF8}")
    data = data.removeprefix(codecs.BOM_UTF8)
    if (at := data.find(b"\0")) >= 0:
        raise unreadable(path, f"line {_line(data, at)} has a NUL byte, as UTF-16 and binary files do; {_AS_UTF8}")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise unreadable(path, f"line {_line(data, error.start)} is not UTF-8; {_AS_UTF8}") from None


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


# CSV


def _read_csv(path: Path) -> Table:
    text = utf8(path)
    # Spreadsheets of many countries write semicolons, and databases tabs; the header tells which.
    delimiter = next((mark for mark in DELIMITERS if set(COLUMNS) <= set(_header(text, mark))), ",")
    header, rows = [], []
    for line, cells in _csv_rows(path, text, delimiter):
        if not header:
            header = [name.strip() for name in cells]
            if repeats := [name for name in (*COLUMNS, *OPTIONAL) if header.count(name) > 1]:
                raise UserError(f"{path} has the column {repeats[0]} twice; name each column once")
        elif len(cells) != len(header):
            raise UserError(
                f"{path} has {len(cells)} cells in row {len(rows) + 1} (line {line}), but {len(header)} in its header; "
                f"quote a cell that holds a {_mark(delimiter)}, and write every cell"
            )
        else:
            rows.append(dict(zip(header, cells, strict=True)))
    return header, rows


def _mark(delimiter: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab"}.get(delimiter, f"'{delimiter}'")


def _header(text: str, delimiter: str) -> list[str]:
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return next((names for row in rows if any(names := [name.strip() for name in row])), [])
    except csv.Error:
        return []


def _csv_rows(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line where it begins, cells) of every row that is not blank, the header among them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    count = 0
    while True:
        line = reader.line_num + 1
        try:
            with _any_length(len(text)):
                cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            row = f"row {count}" if count else "the header"
            raise unreadable(
                path,
                f"the quotes in {row} (line {line}) do not fit ({error}); close them, and write one inside a quoted "
                "cell twice",
            ) from None
        if len(cells) > 1 or any(cell.strip() for cell in cells):
            yield line, cells
            count += 1


@contextmanager
def _any_length(most: int) -> Iterator[None]:
    """Python's limit on a cell is 131,072 characters, and it is the process's; a schema with its rows may be longer."""
    before = csv.field_size_limit(max(most, csv.field_size_limit()))
    try:
        yield
    finally:
        csv.field_size_limit(before)


# JSON


def _read_json(path: Path) -> Table:
    text = utf8(path)
    if text.lstrip().startswith("["):
        values = _parsed(path, text, "")
    else:
        values = _json_lines(path, text)
    columns: dict[str, None] = {}
    rows = []
    for number, value in enumerate(values, 1):
        if not isinstance(value, tuple):
            raise UserError(f"{path} has {kind(value)} as row {number}; write an object with {', '.join(COLUMNS)}")
        row = dict(value)
        if len(row) < len(value):
            names = [name for name, _ in value]
            repeat = next(name for name in names if names.count(name) > 1)
            raise UserError(f"{path} has {repeat} twice in row {number}; name each column once")
        rows.append(row)
        columns |= dict.fromkeys(row)
    if len(rows) == 1 and not set(COLUMNS) & set(columns):
        raise UserError(
            f"{path} is one object with {', '.join(list(columns)[:5]) or 'nothing'}; give an array of rows, or an "
            f"object with {', '.join(COLUMNS)} a line"
        )
    return list(columns), rows


def _json_lines(path: Path, text: str) -> list[object]:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    try:
        return [_parsed(path, line, f"line {number} ") for number, line in lines]
    except UserError:
        with suppress(UserError):
            return [_parsed(path, text, "")]  # one object over several lines
        raise


def _parsed(path: Path, text: str, place: str):
    """A JSON text, whose objects are tuples of pairs so that a name given twice is not lost; NaN is no value."""
    try:
        return json.loads(text, object_pairs_hook=tuple, parse_constant=lambda name: _CONSTANTS[name])
    except json.JSONDecodeError as error:
        place = place or f"line {error.lineno} "
        raise unreadable(path, f"{place}is no JSON ({error.msg}); write one object a line, or one array") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a list of thousands of levels
        raise unreadable(path, f"{place or 'it '}is no JSON that can be read ({type(error).__name__})") from None


_CONSTANTS = {"NaN": None, "Infinity": float("inf"), "-Infinity": float("-inf")}


# Parquet


def _read_parquet(path: Path) -> Table:
    import pandas

    try:
        # Arrow's own types: a column of numbers with gaps stays one of whole numbers.
        table = pandas.read_parquet(path, dtype_backend="pyarrow")
    except Exception as error:  # pyarrow raises a dozen kinds
        raise UserError(f"{path} is no readable .parquet file ({type(error).__name__}); write it again") from None
    names = [name for name in (*COLUMNS, *OPTIONAL) if name in table.columns]
    if repeats := [name for name in names if list(table.columns).count(name) > 1]:
        raise UserError(f"{path} has the column {repeats[0]} twice; name each column once")
    cells = ([None if value is pandas.NA else value for value in table[name].tolist()] for name in names)
    columns = [str(name) for name in table.columns]
    rows = zip(*cells, strict=True) if names else [()] * len(table)
    return columns, [dict(zip(names, row, strict=True)) for row in rows]


READERS: dict[str, Callable[[Path], Table]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
}
