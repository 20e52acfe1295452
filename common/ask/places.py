"""Paths that a user names, and the temporary folder: what the system refuses ends in one line.

Looks at paths only; what a file holds is for its reader to judge.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.paths import expanded, looking
from common.settings import UserError, absolute


def readable(path: str | Path) -> Path:
    """The path of a model or of weights in full. Raises UserError where it is there and cannot be read, or a file of a
    model in that folder."""
    from common.models import MODEL_FILES  # torch with it, which takes seconds

    place = expanded(path)
    with looking(path):
        files = sorted(file for file in place.iterdir() if file.suffix in MODEL_FILES) if place.is_dir() else [place]
    for file in files:
        with looking(file):
            if file.is_file():
                file.open("rb").close()
    return place


def question_text(text: str) -> str:
    """A question as it is asked. Raises UserError for an empty one and for one that no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError:  # typed in another encoding than the terminal says it has
        raise UserError("the question is not UTF-8; type it in a terminal that writes UTF-8") from None
    if not text.strip():
        raise UserError("there is no question; write it in quotes behind the file")
    return text.strip()


def base_model(model_id: str) -> str:
    """What `load_model` takes, with the home folder in full. Raises UserError as `readable`; "" stays."""
    if not model_id:
        return ""
    readable(model_id)
    return str(absolute(model_id)) if model_id.startswith("~") else model_id


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder. Raises UserError where none can be made, with what to do."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="text-to-sql-", ignore_cleanup_errors=True)
    except OSError as error:
        raise no_room("no temporary folder can be made", error) from None
    with folder as name:
        yield Path(name)


def no_room(fault: str, error: Exception) -> UserError:
    """The one line for a temporary folder that is not there, full, or forbidden."""
    return UserError(
        f"{fault} ({getattr(error, 'strerror', None) or error}); free some space there, or set TMPDIR to a folder that "
        "has some"
    )
