"""Paths among the parameters of a run, in full from the folder in which they were given; and what a record calls them.

A command is given in one folder, the kernel of a notebook works in another, and a record is judged again from a third.
So a path is resolved once, where it is typed. What names no path stays as it is: `embedded`, `gretel@REVISION`, a hub's
id unless there is such a folder.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from common.profiles import EMBEDDED_MODEL, LARGER_TINY_MODEL, TINY_MODEL
from common.settings import UserError, absolute

_FILES = (".parquet", ".jsonl", ".json", ".csv")
_SOURCES = ("embedded", "gretel", "spider")  # what a file of one's own is never called in a record
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
    if not source or _is_named(source):
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


def source_name(source: str) -> str:
    """What a source is called, without folders and revisions: embedded, gretel, spider, a file's stem, or all of its
    name where the stem is one of these; "" stays."""
    if source.startswith("spider:"):
        return "spider"
    if _is_named(source):
        return source.partition("@")[0]
    path = Path(source)
    return path.name if path.stem in _SOURCES else path.stem


def model_name(model_id: str) -> str:
    """What a model is called: a hub's id as it is, a local folder by its last part."""
    path = expanded(model_id)
    return path.resolve().name if model_id and (_is_there(path, Path.is_dir) or path.is_absolute()) else model_id


def public(parameters: Mapping[str, object]) -> dict[str, object]:
    """Parameters as a record may show them: data, model and database by their names, without any folder."""
    names = {"data": source_name, "validation": source_name, "model_id": model_name, "database": _file_name}
    return {key: names[key](str(value)) if key in names else value for key, value in parameters.items()}


def _file_name(path: str) -> str:
    return Path(path).name


def expanded(path: str | Path) -> Path:
    """The path with the home folder in full; the `~` of nobody's home is a name like any other."""
    with suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


@contextmanager
def looking(path: str | Path) -> Iterator[None]:
    """Raises UserError where the system refuses to look at `path`, as for a name that is too long."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # the latter two for a NUL in the name and for nobody's home
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({reason}); check the path and its permissions") from None


def output(text: str, option: str, advice: str) -> Path:
    """The path of a file to be written, in full, once its folder is there and has taken a file of such a name: whoever
    waits for hours is not to lose them to a slip.

    Raises UserError, with the advice, for a folder, for what is no plain file, and for what the disk refuses.
    """
    if not text.strip():
        raise UserError(f"{option} is empty; {advice}")
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{text[:200]} is in nobody's home; write the path in full, without ~") from None
    try:
        path = path.resolve()  # a link stays, and what it leads to is written
        if text.endswith("/") or path.is_dir():
            raise UserError(f"{option} {text} is a folder; {advice}")
        if path.exists() and not path.is_file():
            raise UserError(f"{option} {text} is no plain file; {advice}")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")  # as `replace_text` calls it on its way
        try:
            partial.write_bytes(b"\0" * 4096)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, RuntimeError, ValueError) as error:  # too long, a circle of links, a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{option} {text[:200]} cannot be written ({reason}); {advice}") from None
    return path


def is_own_file(source: str) -> bool:
    """Whether a source is the path of a file, and neither a name that `load_examples` knows nor Spider's folder."""
    return bool(source) and not _is_named(source) and not source.startswith("spider:")


def _is_named(source: str) -> bool:
    """Whether a source is no path but a name that `load_examples` knows."""
    return source in ("embedded", "gretel") or source.startswith("gretel@")


def _is_there(text: str | Path, test: Callable[[Path], bool] = Path.exists) -> bool:
    with suppress(OSError):  # a text too long for a name
        return test(Path(text))
    return False


def _begins_as_path(text: str) -> bool:
    return text in (".", "..") or text.startswith(("./", "../", "~", "/"))


_RESOLVERS = {"DATA": data, "MODEL_ID": model, "DATABASE": database}  # of parameters that are nothing but paths
