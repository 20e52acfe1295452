"""Trained adapters that the repository comes with, so that nobody has to train before asking or going on from one.

`results/<profile>/adapters/<method>/` holds an adapter as peft saves it, rounded to bfloat16, half the size, and
`origin.json`, which names the record and the weights that it was rounded from. `python -m common.releases METHOD
FOLDER` writes it from weights on this machine. Not covered: full weights, which are too large for a repository.
"""

import argparse
import json
import shutil
from pathlib import Path

from common.models import weights_digest
from common.results.ledger import folder as records_folder
from common.results.ledger import read_record
from common.settings import UserError, relative, run_cli, writable, writing

FOLDER, ORIGIN, WEIGHTS, CONFIG = "adapters", "origin.json", "adapter_model.safetensors", "adapter_config.json"


def release_of(profile: str, method: str, wanted: str) -> Path | None:
    """The folder of the adapter of `method` that was rounded from weights of the digest `wanted`; None where there is
    none. Raises UserError where the file is not the one that was released."""
    folder = _folder(profile, method)
    if not (folder / ORIGIN).is_file():
        return None
    origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    if origin["record_digest"] != wanted:
        return None
    if weights_digest(folder) != origin["weights_digest"]:
        raise UserError(f"{relative(folder / WEIGHTS)} is damaged; `git checkout -- {relative(folder)}` brings it back")
    return folder


def release(profile: str, method: str, weights: Path) -> Path:
    """Write the adapter in the folder `weights` as that of the record `method`; returns its folder.

    Raises UserError where there is no such record, or the folder holds no adapter.
    """
    record = read_record(records_folder(profile), method)
    if not (weights / CONFIG).is_file():
        raise UserError(f"{relative(weights)} holds no adapter; full weights are too large to be released")
    folder = writable(_folder(profile, method))
    with writing(folder):
        _convert(weights / WEIGHTS, folder / WEIGHTS, "bfloat16")
        shutil.copyfile(weights / CONFIG, folder / CONFIG)
        origin = {
            "method": method,
            "notebook": record["notebook"],
            "base": record["model"]["id"],
            "base_revision": record["model"]["revision"],
            "record_digest": record["model"]["weights_digest"],  # of the weights that the record measured
            "rounded_digest": weights_digest(weights),  # of those that were rounded, here
            "weights_digest": weights_digest(folder),  # of the released file
        }
        (folder / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
    return folder


def unpack(folder: Path, target: Path) -> Path:
    """The released adapter in float32, as trainings go on from it, in the folder `target`; returns that."""
    if not (target / CONFIG).is_file():
        with writing(target):
            _convert(folder / WEIGHTS, writable(target) / WEIGHTS, "float32")
            shutil.copyfile(folder / CONFIG, target / CONFIG)  # last: its presence says that all is there
    return target


def _folder(profile: str, method: str) -> Path:
    return records_folder(profile) / FOLDER / method


def _convert(source: Path, target: Path, dtype: str) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(source).items()}
    save_file(tensors, target, metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m common.releases", description=__doc__.partition("\n\n")[0])
    parser.add_argument("method", help="a record's name, such as sft-lora")
    parser.add_argument("weights", type=Path, help="the folder of its trained weights, below outputs/")
    parser.add_argument("--profile", default="cpu", help="of the record (cpu)")
    given = parser.parse_args()
    print(f"written: {relative(release(given.profile, given.method, given.weights.expanduser()))}")


if __name__ == "__main__":
    run_cli(main)
