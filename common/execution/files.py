"""Bytes of database files in a worker process, for the tasks that run on them. Not imported by the parent."""

CONTENTS: dict[str, bytes] = {}  # by the key that a piece of work names


def hold(key: str, content: bytes) -> None:
    """Keep a database file's bytes for the work that names it."""
    CONTENTS[key] = content


def drop(key: str) -> None:
    """Forget a file."""
    CONTENTS.pop(key, None)
