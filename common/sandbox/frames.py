"""Frames on a pipe: two 4-byte lengths, a JSON message, raw bytes.

JSON is written as ASCII, so any Python string passes, lone surrogates and NUL included.
"""

import json
import struct
from collections.abc import Callable
from typing import Any

HEADER = struct.Struct(">II")


def pack(message: Any, blob: bytes = b"") -> bytes:
    """One frame with a JSON-able message and raw bytes behind it."""
    text = json.dumps(message, separators=(",", ":")).encode("ascii")
    return HEADER.pack(len(text), len(blob)) + text + blob


def read(read_exactly: Callable[[int], bytes]) -> tuple[Any, bytes] | None:
    """The next frame as (message, bytes), or None where the pipe has ended.

    read_exactly: gives that many bytes, fewer only at the end of the pipe.
    """
    header = read_exactly(HEADER.size)
    if len(header) < HEADER.size:
        return None
    text_size, blob_size = HEADER.unpack(header)
    text, blob = read_exactly(text_size), read_exactly(blob_size)
    if len(text) < text_size or len(blob) < blob_size:
        return None
    return json.loads(text), blob
