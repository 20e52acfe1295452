"""A model that is made here: whole or not there at all, whoever stops or overtakes it, and named by its weights."""

import errno
import hashlib
from pathlib import Path

import pytest
import transformers

from common import models
from common.models import load_model
from common.profiles import TINY_MODEL
from common.settings import UserError


@pytest.mark.parametrize(
    ("fault", "seen", "said"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (OSError(errno.ENOSPC, "No space left on device"), UserError, "cannot write .*: No space left on device; free"),
        (ZeroDivisionError("ours"), ZeroDivisionError, "ours"),
    ],
)
def test_an_interrupted_model_leaves_nothing_behind(tmp_path, monkeypatch, fault, seen, said):
    def interrupted(_self, folder):
        Path(folder).mkdir(parents=True)
        Path(folder, "model.safetensors").write_bytes(b"half")
        raise fault

    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(transformers.Qwen3ForCausalLM, "save_pretrained", interrupted)
        with pytest.raises(seen, match=said):
            load_model(TINY_MODEL)
    assert list((tmp_path / "models").iterdir()) == []
    assert load_model(TINY_MODEL).model is not None  # and the next call makes it


def test_another_process_may_be_faster(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_OUTPUTS", str(tmp_path))

    def make(folder):
        for place, text in ((folder, "ours"), (tmp_path / "models" / "name", "theirs")):
            place.mkdir(parents=True)
            (place / "file").write_text(text)

    folder = models._made_once("name", make)
    assert (folder / "file").read_text() == "theirs"
    assert [path.name for path in folder.parent.iterdir()] == ["name"]


def test_weights_digest_names_the_weights(tmp_path):
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(b"weights")
    assert models.weights_digest(tmp_path) == hashlib.sha256(b"weights").hexdigest()[:16]
