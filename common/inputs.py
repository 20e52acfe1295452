"""What is refused of a file of one's own before anything begins: what would be read otherwise than it was meant, and
test rows that are trained on as well.

The study's own sources are parted by their rows' texts and need no such check. Reading itself is `common.data`'s.
"""

from pathlib import Path

from common.data import check_no_leak
from common.data.cells import COLUMNS, OPTIONAL
from common.data.files import rows_of
from common.data.notices import notice
from common.data.splits import TESTS, split_names
from common.paths import expanded, is_own_file, looking
from common.settings import UserError


def check_data(source: str) -> None:
    """Raises UserError for a file whose columns pandas keeps as an index, and for one whose column `split` gives a row
    to training and to a test. A row of validation that is tested on too is named in a line.

    A source that is no file of one's own passes.
    """
    if not is_own_file(source):
        return
    with looking(source):
        check_columns(source)
        rows = rows_of(source)
    named = list(zip((row for row, _ in rows), split_names(rows), strict=False))  # without names whole schemas part
    tests = [row for row, split in named if split in TESTS]
    try:
        check_no_leak((row for row, split in named if split in ("train", "post")), tests)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    try:
        check_no_leak((row for row, split in named if split == "validation"), tests)
    except UserError:
        notice(f"{source} has rows of validation, which chooses weights and settings, among its test rows", source)


def check_columns(path: str | Path) -> None:
    """Raises UserError for a .parquet file that has one of our columns as pandas' index, where no reader sees it."""
    import pandas

    path = expanded(path)
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return
    try:
        index = pandas.read_parquet(path).index
    except Exception:  # pyarrow raises a dozen kinds, and whoever reads the rows says what is wrong
        return
    names = [name for name in index.names if name in (*COLUMNS, *OPTIONAL)]
    if names:
        raise UserError(
            f"{path} has the column {', '.join(names)} as pandas' index, where it would not be read; write the file "
            "again after `reset_index()`"
        )
