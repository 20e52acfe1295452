"""A command whose output nobody takes any more: `… | head -1` ends it without a traceback.

Wraps a command's main, inside `settings.run_cli`. Not covered: what a command writes to files, and a full disk.
"""

import os
import select
import sys
from collections.abc import Callable
from functools import wraps

CLOSED = 141  # the exit code of any other program that writes to a pipe without a reader


def piped(main: Callable[[], int | None]) -> Callable[[], int | None]:
    """The same main, which ends with CLOSED where the reader of its output has gone. Any other exception passes."""

    @wraps(main)
    def run() -> int | None:
        try:
            code = main()
            print(end="", flush=True)  # what is still to be written fails here, not when Python ends
            return code
        except BrokenPipeError:
            if not _is_left():  # the pipe was another one
                raise
            return CLOSED
        finally:
            if _is_left():  # Python writes what is left once more at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return run


def _is_left() -> bool:
    """Whether stdout is a pipe that has no reader any more."""
    try:
        errors = select.poll()
        errors.register(sys.stdout.fileno(), 0)  # errors count always
        return bool(errors.poll(0))
    except (AttributeError, OSError, ValueError):  # there is no stdout, or something without a file in its place
        return False
