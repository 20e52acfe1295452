"""The Hugging Face hub: the commit that a name stands for, and the one line for what cannot be had from it.

The hub is asked once in a process, so that tokenizer, weights and record are of one state of a repository that may
change meanwhile. Offline (HF_HUB_OFFLINE=1) the commit is the one that an earlier download left in the cache. Covers
models and data sets, and single files of models; loads none of them.
"""

from functools import cache
from pathlib import Path

from common.settings import UserError, writing


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
        "HF_HUB_OFFLINE=1 to use an earlier download, or take PROFILE=cpu, whose model and data need no hub"
    )


def hub_file(repository: str, file: str, commit: str) -> Path | None:
    """A file of a model's repository at one commit: from the cache, else from the hub; None where neither has it.

    Raises UserError where the disk refuses it.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from tqdm import tqdm

    cache_folder = Path(constants.HF_HUB_CACHE)
    place = try_to_load_from_cache(repository, file, cache_dir=cache_folder, revision=commit)
    if isinstance(place, str):
        return Path(place)
    if constants.HF_HUB_OFFLINE:
        return None
    try:
        hub_commit(repository, commit)  # a short question first, which no missing network holds up
    except UserError:
        return None
    try:
        with writing(cache_folder):
            # Not its own bar, which is a widget in a notebook's output.
            return Path(hf_hub_download(repository, file, revision=commit, cache_dir=cache_folder, tqdm_class=tqdm))
    except UserError:
        raise
    except Exception:  # the hub's client raises a dozen kinds
        return None
