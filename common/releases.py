"""Trained adapters that the repository comes with, so that nobody has to train before asking or going on from one.

`results/<profile>/adapters/<method>/` holds the adapter of the committed record `method` as peft saved it: the very
weights, told by their digest. A record made since by other weights has no release until its adapter is copied there.
Not covered: full weights, which are too large for a repository.
"""

import shutil
from pathlib import Path

from common.models import weights_digest
from common.results.ledger import folder as records_folder
from common.settings import once

FOLDER, CONFIG, WEIGHTS = "adapters", "adapter_config.json", "adapter_model.safetensors"


def release_of(profile: str, method: str, wanted: str) -> Path | None:
    """The folder of the released adapter of `method`; None where there is none of the digest `wanted`."""
    folder = records_folder(profile) / FOLDER / method
    return folder if (folder / CONFIG).is_file() and weights_digest(folder) == wanted else None


def copy(release: Path, target: Path) -> Path:
    """The released adapter in the folder `target`, where trainings go on from it; returns that."""
    return once(target, lambda place: shutil.copytree(release, place, dirs_exist_ok=True))
