"""What Weights & Biases has written offline, read back without the service: protobuf records in LevelDB's log."""

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

BLOCK, HEADER, START = 32_768, 7, 7  # bytes: of a block, of a chunk's header, of the file's own
WHOLE, LAST = 1, 4  # kinds of chunks that end a record
PATIENCE = 60  # seconds: the client's own process writes on after a run has ended


@dataclass
class OfflineRun:
    """One run. history: what was logged at each step. files: their text, by their path in the run's folder."""

    id: str = ""
    name: str = ""
    group: str = ""
    config: dict = field(default_factory=dict)
    history: dict[int, dict] = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, dict]:
        """Tables by name, as `columns` and `data`."""
        paths = {path.split("/")[-1].rsplit("_", 2)[0]: text for path, text in self.files.items() if "/table/" in path}
        return {name: json.loads(text) for name, text in paths.items()}


def read(outputs: Path) -> list[OfflineRun]:
    """Every run below the folder of outputs, by its id."""
    return sorted((_read(path) for path in outputs.glob("wandb/offline-run-*/*.wandb")), key=lambda run: run.id)


def _entries(path: Path) -> list:
    """The records of a file that is written to its end."""
    from wandb.proto.wandb_internal_pb2 import Record

    for _ in range(PATIENCE * 10):
        entries = [Record.FromString(message) for message in _messages(path.read_bytes())]
        if entries and entries[-1].WhichOneof("record_type") == "exit":
            return entries
        time.sleep(0.1)
    raise AssertionError(f"{path.name} has no end")


def _read(path: Path) -> OfflineRun:
    run = OfflineRun()
    for entry in _entries(path):
        kind = entry.WhichOneof("record_type")
        if kind == "run":
            run.id, run.name, run.group = entry.run.run_id, entry.run.display_name, entry.run.run_group
            run.config |= {item.key: json.loads(item.value_json) for item in entry.run.config.update}
        elif kind == "history":
            values = _values(entry.history.item)
            run.history.setdefault(entry.history.step.num, {}).update(values)
        elif kind == "summary":
            run.summary |= _values(entry.summary.update)
        elif kind == "files":
            for item in entry.files.files:
                run.files[item.path] = (path.parent / "files" / item.path).read_text(encoding="utf-8")
    return run


def _values(items: list) -> dict:
    """Plain values, without those of the client itself."""
    pairs = [(item.key or "/".join(item.nested_key), json.loads(item.value_json)) for item in items]
    return {name: value for name, value in pairs if not name.startswith("_") and isinstance(value, int | float)}


def _messages(content: bytes) -> list[bytes]:
    messages, message, position = [], b"", START
    while position + HEADER <= len(content):
        if (left := BLOCK - position % BLOCK) < HEADER:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        position += HEADER
        message += content[position : position + length]
        position += length
        if kind in (WHOLE, LAST):
            messages.append(message)
            message = b""
    return messages
