"""Paths among the parameters of a run, in full from the folder in which they were given.

A command is given in one folder, the kernel of a notebook works in another, and a record is judged again from a third.
So a path is resolved once, where it is typed. What names no path stays as it is: `embedded`, `gretel@REVISION`, a hub's
id unless there is such a folder.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from common.profiles import EMBEDDED_MODEL, LARGER_TINY_MODEL, TINY_MODEL
from common.settings import absolute

_FILES = (".parquet", ".jsonl", ".json", ".csv")
_NO_PATHS = {"PROFILE", "RUN_NAME"}


def parameter(name: str, value: str) -> str:
    """A parameter's text with its path in full. For others than DATA, MODEL_ID and DATABASE that is one which begins
    with `./`, `../` or `~`, or has a `/` and is there."""
    if name in _RESOLVERS:
        return _RESOLVERS[name](value)
    is_path = _begins_as_path(value) or ("/" in value and _is_there(value))
    return str(absolute(value)) if is_path and name not in _NO_PATHS else value


def data(source: str) -> str:
    """What `load_examples` takes, with the file's or the folder's path in full; unknown words stay as they are."""
    if source.startswith("spider:"):
        return f"spider:{absolute(source.removeprefix('spider:'))}"
    if source in ("", "embedded", "gretel") or source.startswith("gretel@"):
        return source
    is_path = _begins_as_path(source) or source.lower().endswith(_FILES) or _is_there(source)
    return str(absolute(source)) if is_path and "://" not in source else source


def database(path: str) -> str:
    """A database file's path in full, whether it is there or not; "" stands for none."""
    return str(absolute(path)) if path else path


def model(model_id: str) -> str:
    """What `load_model` takes, with the folder's or the .gguf file's path in full; a hub's id stays as it is."""
    if model_id in ("", TINY_MODEL, LARGER_TINY_MODEL, EMBEDDED_MODEL):
        return model_id
    is_path = _begins_as_path(model_id) or model_id.lower().endswith(".gguf") or _is_there(model_id, Path.is_dir)
    return str(absolute(model_id)) if is_path and "://" not in model_id else model_id


def _is_there(text: str, test: Callable[[Path], bool] = Path.exists) -> bool:
    with suppress(OSError):  # a text too long for a name
        return test(Path(text))
    return False


def _begins_as_path(text: str) -> bool:
    return text in (".", "..") or text.startswith(("./", "../", "~", "/"))


_RESOLVERS = {"DATA": data, "MODEL_ID": model, "DATABASE": database}  # of parameters that are nothing but paths
