"""Rows of a file of one's own: read as a table, checked cell by cell, each with an id that no other has."""

from pathlib import Path

from common.data.cells import COLUMNS, CellError, empty, example, texts
from common.data.example import Example
from common.data.tables import READERS, read_table
from common.settings import UserError


def rows_of(path: str | Path) -> list[tuple[Example, str]]:
    """(example, name of its split, "" for none) of every row, in the file's order.

    A row without an id is called after the file and its place in it. Raises UserError for a file that is none of ours
    or cannot be read, a missing column, a cell that is empty or no text, and an id that comes twice.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in READERS:
        raise UserError(f"unknown data '{path}'; give embedded, gretel, spider:DIR, or a .parquet, .jsonl or .csv file")
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the path of a .parquet, .jsonl or .csv file")
    columns, table = read_table(path)
    if not table:
        raise UserError(f"{path} has no rows")
    if missing := [column for column in COLUMNS if column not in columns]:
        raise UserError(
            f"{path} lacks the column {', '.join(missing)}; it needs {', '.join(COLUMNS)}, and has "
            f"{', '.join(columns)[:200]}"
        )
    pairs, numbers = [], {}
    for number, row in enumerate(table, 1):
        try:
            values = texts(row)
            if "id" in columns and not values["id"].strip():
                raise empty("id")
        except CellError as error:
            raise UserError(f"{path} has {error} in row {number}; {error.advice}") from None
        id = values["id"] or f"{path.stem}-{number - 1:05d}"
        if (before := numbers.setdefault(id, number)) != number:
            raise UserError(
                f"{path} repeats an id; make the ids unique, or leave the column out: rows {before} and {number} are "
                f"both '{id[:80]}'"
            )
        pairs.append((example(values, id), values["split"]))
    return pairs
