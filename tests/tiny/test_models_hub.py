"""One state of a hub model: tokenizer, weights and revision are of the commit that the hub or the cache names.

Two commits of a model lie in a cache on disk; a small server on this machine is the hub.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from common.data import Example
from common.hub import hub_commit
from common.models import LoadedModel, load_model, locate
from common.profiles import TINY_MODEL
from common.prompts import render
from common.settings import UserError
from tests.hub import hub, offline, remember

OLD, NEW = "a" * 40, "b" * 40
REPOSITORY = "models--me--tiny"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """A cache offline: commit OLD is the tag v1, NEW is main. The weights of NEW are halved, its template is marked."""
    shutil.copytree(locate(TINY_MODEL)[0], remember(tmp_path, REPOSITORY, "v1", OLD))
    new = Path(shutil.copytree(locate(TINY_MODEL)[0], remember(tmp_path, REPOSITORY, "main", NEW)))
    weights = {name: value / 2 for name, value in load_file(new / "model.safetensors").items()}
    save_file(weights, new / "model.safetensors", metadata={"format": "pt"})
    template = (new / "chat_template.jinja").read_text()
    (new / "chat_template.jinja").write_text(f"new {template}")
    offline(tmp_path, monkeypatch)
    monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)  # its client of the real hub, where one is there
    yield tmp_path
    hub_commit.cache_clear()


def state(loaded: LoadedModel) -> str:
    """Which commit the weights and the tokenizer are of, looked up in themselves."""
    base = load_model(TINY_MODEL).model.get_input_embeddings().weight
    weights = {1.0: OLD, 0.5: NEW}[(loaded.model.get_input_embeddings().weight[5] / base[5]).median().item()]
    template = NEW if render(Example("", "q", "s", "a"), loaded.tokenizer).startswith("new ") else OLD
    assert weights == template
    return weights


@pytest.mark.parametrize(
    ("model_id", "commit"), [("me/tiny", NEW), ("me/tiny@main", NEW), ("me/tiny@v1", OLD), (f"me/tiny@{OLD}", OLD)]
)
def test_offline_the_earlier_download_is_loaded_and_named(cache, model_id, commit):
    loaded = load_model(model_id)
    assert state(loaded) == commit
    assert (loaded.id, loaded.source, loaded.revision, loaded.commit) == ("me/tiny", "me/tiny", commit, commit)
    assert locate(model_id) == ("me/tiny", commit)


def test_a_second_load_from_the_source_is_of_the_same_state(cache):
    loaded = load_model("me/tiny@v1")
    again = AutoTokenizer.from_pretrained(loaded.source, revision=loaded.commit)
    assert again.chat_template == loaded.tokenizer.chat_template
    assert AutoTokenizer.from_pretrained(loaded.source).chat_template != again.chat_template  # main has another


def test_the_hubs_answer_is_loaded_whatever_the_cache_took_for_main(cache, monkeypatch):
    commits = {"main": OLD, "v2": NEW}
    with hub(commits, cache, monkeypatch):
        first = load_model("me/tiny")
        commits["main"] = NEW  # someone uploads meanwhile
        assert state(load_model("me/tiny")) == state(first) == first.revision == OLD
        assert state(load_model("me/tiny@v2")) == NEW


@pytest.mark.parametrize("model_id", ["me/tiny@v9", "nobody/nothing", f"me/tiny@{'c' * 40}"])
def test_offline_without_an_earlier_download(cache, model_id):
    with pytest.raises(UserError, match="cannot get '(me/tiny|nobody/nothing)(@c*)?' from the .* hub .* PROFILE=cpu"):
        load_model(model_id)


# A folder of one's own


@pytest.fixture
def copy(tmp_path) -> Path:
    return Path(shutil.copytree(locate(TINY_MODEL)[0], tmp_path / "copy"))


def rewrite(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"another": 1}))


def test_a_folder_is_named_by_what_is_in_it(copy, tmp_path):
    """Two different models never look alike, and the same model does wherever it lies."""
    revisions = [load_model(str(copy)).revision]
    assert locate(str(shutil.copytree(copy, tmp_path / "elsewhere")))[1] == revisions[0]
    (copy / "README.md").write_text("no part of the model")
    assert locate(str(copy))[1] == revisions[0]
    rewrite(copy / "config.json")
    revisions.append(locate(str(copy))[1])
    rewrite(copy / "tokenizer_config.json")
    revisions.append(locate(str(copy))[1])
    (copy / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    revisions.append(locate(str(copy))[1])
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    revisions.append(locate(str(copy))[1])
    assert len(set(revisions)) == 5 and torch.equal(load_model(str(copy)).model.model.norm.weight[0], torch.tensor(2.0))
