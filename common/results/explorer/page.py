"""The page's file: one HTML document with its style, its script and its contents, and nothing fetched.

The contents are JSON, deflated, in base64: the browser's own DecompressionStream unpacks them. The policy in the page's
head lets no script run but this one, named by its hash, and nothing be loaded from anywhere.
"""

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import execution
from common.provenance import digest, files_digest
from common.results import formats
from common.results.entries import Entry
from common.results.explorer.contents import contents
from common.results.explorer.selection import questions, runs
from common.results.rescore import cores
from common.settings import redact, relative, replace_text, writing

NAME = "explorer.html"
_HERE = Path(__file__).parent
_SCRIPTS = ("elements.js", "rows.js", "tables.js", "answer.js", "list.js", "explorer.js")  # in this order, as one
_SOURCES = re.compile(r'<meta name="sources" content="(\w+)">')


def write(place: Path) -> str:
    """Write the page of a folder's records into it; returns one line on what it holds. Raises UserError where
    `selection` does, and for a disk that refuses."""
    entries = runs(place)
    rows = questions(entries)
    text = render(contents(entries, rows, workers=cores()), sources=_sources(entries))
    with writing(place / NAME):
        replace_text(place / NAME, text)
    answers = len(entries) * len(rows)
    size = f"{len(entries)} methods, {len(rows):,} questions, {answers:,} answers, {len(text) / 1e6:.1f} MB"
    return f"{relative(place / NAME)}: {size}"


def is_current(place: Path) -> bool:
    """Whether a folder has a page, and it is made from today's records by today's code."""
    path = place / NAME
    stamp = _SOURCES.search(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else None
    return stamp is not None and stamp[1] == _sources(runs(place))


def render(values: dict[str, Any], *, sources: str = "") -> str:
    """The document of `contents`. sources: a digest of what it is made from."""
    style = (_HERE / "explorer.css").read_text(encoding="utf-8")
    script = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    parts = {
        "title": html.escape(f"Answers of each method, profile {values['profile']}"),
        "sources": html.escape(sources),
        "style": style,
        "script": script,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
        "contents": _packed(values),
    }
    template = (_HERE / "explorer.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _packed(values: dict[str, Any]) -> str:
    text = redact(json.dumps(values, separators=(",", ":")))  # ASCII alone, so that any text can be encoded
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _sources(entries: Sequence[Entry]) -> str:
    """A digest of the records' predictions and of the code that shows them."""
    packages = [files_digest(Path(module).parent.iterdir()) for module in (__file__, execution.__file__)]
    parts = [*packages, files_digest([Path(formats.__file__)])]
    runs = [
        (entry.method, entry.record.get("predictions_digest", ""), entry.record["model"]["id"]) for entry in entries
    ]
    return digest(runs, parts)
