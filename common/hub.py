"""The Hugging Face hub: the commit that a name stands for, and the one line for what cannot be had from it.

The hub is asked once in a process, so that tokenizer, weights and record are of one state of a repository that may
change meanwhile. Offline (HF_HUB_OFFLINE=1) the commit is the one that an earlier download left in the cache. Covers
models and data sets; loads neither.
"""

from functools import cache

from common.settings import UserError


@cache
def hub_commit(name: str, revision: str = "", *, kind: str = "model") -> str:
    """The full commit of a repository's `revision`: a branch, a tag or a commit, "" for the main branch.

    kind: "model" or "dataset". Raises UserError where neither the hub nor, offline, the cache knows it.
    """
    from huggingface_hub import HfApi, constants

    api, offline = HfApi(), constants.HF_HUB_OFFLINE
    try:
        if not offline:
            # A short question first: the next one, and the loaders, would wait for a network that is not there.
            api.repo_info(name, repo_type=kind, revision=revision or None, timeout=10)
        # This one leaves the answer in the cache, where a later start offline looks for it.
        commit = api.resolve_revision(name, repo_type=kind, revision=revision or None, local_files_only=offline)
    except Exception as error:  # the hub's client raises a dozen kinds
        raise no_hub(name, error) from None
    return commit.resolved


def no_hub(name: str, error: Exception) -> UserError:
    """The one line for something the hub did not give."""
    return UserError(
        f"cannot get '{name}' from the Hugging Face hub ({type(error).__name__}); check the name and the network, set "
        "HF_HUB_OFFLINE=1 to use an earlier download, or take PROFILE=cpu, which needs neither hub nor network"
    )
