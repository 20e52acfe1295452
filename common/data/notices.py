"""Lines that tell the user what was done with the data, each once in a process: rows are loaded again and again."""

_printed: set[tuple[str, ...]] = set()


def notice(line: str, *key: str) -> None:
    """Print a line, unless one of the same key was printed before. It is no warning: a notebook hides those."""
    if key not in _printed:
        _printed.add(key)
        print(line, flush=True)
