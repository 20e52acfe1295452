"""The commit that a name stands for: the hub's answer, once; offline the cache's; one line where neither knows it.

The hub is a small server on this machine, asked by the real client.
"""

import pytest

from common.hub import hub_commit
from common.settings import UserError
from tests.hub import hub, offline, remember

MAIN, TAG = "a" * 40, "b" * 40


@pytest.fixture(autouse=True)
def new_process():
    hub_commit.cache_clear()
    yield
    hub_commit.cache_clear()


def test_the_commit_is_what_the_hub_answers(tmp_path, monkeypatch):
    with hub({"main": MAIN, "v1": TAG, TAG: TAG}, tmp_path, monkeypatch):
        assert (hub_commit("me/tiny"), hub_commit("me/tiny", "v1"), hub_commit("me/tiny", TAG)) == (MAIN, TAG, TAG)


def test_the_hub_is_asked_once(tmp_path, monkeypatch):
    commits = {"main": MAIN}
    with hub(commits, tmp_path, monkeypatch) as requests:
        first, n = hub_commit("me/tiny"), len(requests)
        commits["main"] = TAG  # someone uploads meanwhile
        assert hub_commit("me/tiny") == first == MAIN and len(requests) == n
        assert hub_commit("me/tiny", kind="dataset") == TAG and requests[n].startswith("/api/datasets/me/tiny")


def test_offline_the_commit_is_that_of_the_earlier_download(tmp_path, monkeypatch):
    with hub({"main": MAIN, "v1": TAG}, tmp_path, monkeypatch):
        hub_commit("me/tiny"), hub_commit("me/tiny", "v1"), hub_commit("me/rows", kind="dataset")
    offline(tmp_path, monkeypatch)
    assert (hub_commit("me/tiny"), hub_commit("me/tiny", "v1")) == (MAIN, TAG)
    assert hub_commit("me/rows", kind="dataset") == MAIN
    assert hub_commit("me/other", TAG) == TAG  # a full commit is its own name
    with pytest.raises(UserError, match="cannot get 'me/rows' from the Hugging Face hub"):
        hub_commit("me/rows")  # a data set, no model


def test_offline_a_cache_written_by_others_is_read(tmp_path, monkeypatch):
    remember(tmp_path, "models--me--tiny", "main", MAIN)
    offline(tmp_path, monkeypatch)
    assert hub_commit("me/tiny") == MAIN


@pytest.mark.parametrize("revision", ["", "v2"])
def test_what_neither_hub_nor_cache_knows_is_one_line(tmp_path, monkeypatch, revision):
    with hub({"v1": TAG}, tmp_path, monkeypatch), pytest.raises(UserError) as error:
        hub_commit("me/tiny", revision)
    offline(tmp_path, monkeypatch)
    with pytest.raises(UserError) as other:
        hub_commit("me/tiny", revision)
    for message, kind in ((str(error.value), "RevisionNotFoundError"), (str(other.value), "RevisionResolutionError")):
        assert message.startswith(f"cannot get 'me/tiny' from the Hugging Face hub ({kind}); check the name")


def test_an_answer_that_did_not_come_is_asked_for_again(tmp_path, monkeypatch):
    commits = {}
    with hub(commits, tmp_path, monkeypatch):
        with pytest.raises(UserError):
            hub_commit("me/tiny")
        commits["main"] = MAIN
        assert hub_commit("me/tiny") == MAIN
