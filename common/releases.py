"""What the repository comes with, so that nobody has to train or sample before going on: adapters and certified pairs.

`results/<profile>/adapters/<method>/` holds the adapter of the committed record `method` as peft saved it: the very
weights, told by their digest. `results/<profile>/preferences/<folder>/` holds pairs under the name of their folder
below `outputs/preferences/`, which says of which model, data and seed they are. Records made since by other weights
have no release until theirs are copied there. Not covered: full weights, which are too large for a repository.
"""

import shutil
from pathlib import Path

from common.models import weights_digest
from common.results.ledger import folder as records_folder
from common.results.measures import PAIRS
from common.settings import once, writable, writing

FOLDER, CONFIG, WEIGHTS = "adapters", "adapter_config.json", "adapter_model.safetensors"


def release_of(profile: str, method: str, wanted: str) -> Path | None:
    """The folder of the released adapter of `method`; None where there is none of the digest `wanted`."""
    folder = records_folder(profile) / FOLDER / method
    return folder if (folder / CONFIG).is_file() and weights_digest(folder) == wanted else None


def copy(release: Path, target: Path) -> Path:
    """The released adapter in the folder `target`, where trainings go on from it; returns that."""
    return once(target, lambda place: shutil.copytree(release, place, dirs_exist_ok=True))


def restore_pairs(profile: str, path: Path) -> None:
    """The released pairs of that folder's and file's name at `path`, with their card, where there are some."""
    for suffix in (".md", path.suffix):
        source, target = records_folder(profile) / PAIRS / path.parent.name / path.name, path.with_suffix(suffix)
        if source.with_suffix(suffix).is_file():
            with writing(target):
                shutil.copyfile(source.with_suffix(suffix), writable(path.parent) / target.name)
