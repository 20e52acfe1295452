"""The model that answers: a base model, a run of this study by its record's name, or a folder of trained weights."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file

from common.models import LoadedModel, load_model, weights_digest
from common.profiles import Profile, resolve
from common.releases import release_of
from common.results.ledger import BASELINE, read_record
from common.results.places import command
from common.settings import UserError, outputs, relative, results
from common.training.adapters import load_weights


def load_run(name: str = BASELINE, *, profile: str = "auto", model_id: str = "") -> LoadedModel:
    """The model of the record `name` at a profile; that of `baseline` is the base model.

    A run of this machine goes before the committed record's; its weights lie below outputs/, or come with the
    repository (`common.releases`). model_id: of the base, where it is not the profile's. Raises UserError, with the
    command that trains it, where the weights are not there.
    """
    sizes = resolve(profile)
    sizes = replace(sizes, model_id=model_id or sizes.model_id)
    if name == BASELINE:
        return load_model(sizes.model_id, precision=sizes.precision)
    folder, record = weights_of(name, sizes)
    return _with_weights(sizes, folder, record["model"]["quantisation"], sizes.model_id)


def weights_of(name: str, sizes: Profile) -> tuple[Path, dict]:
    """The folder of the trained weights of the record `name` at a profile, and that record. Raises UserError as
    `load_run`."""
    record = _record(sizes, name)
    if record is None:
        raise UserError(f"there is no record '{name}' at the profile {sizes.name}; {_names(sizes)}")
    wanted = record["model"].get("weights_digest", "")
    if not wanted:
        raise UserError(f"'{name}' trained nothing; ask {BASELINE}, or a run that trains")
    folder = next((folder for folder in _weights(sizes) if weights_digest(folder) == wanted), None)
    folder = folder or release_of(sizes.name, name, wanted)
    if folder is None:
        raise UserError(
            f"the weights of '{name}' are not on this machine, only its record; {command(name, sizes)} trains them"
        )
    return folder, record


def load_folder(folder: str | Path, *, profile: str = "auto", model_id: str = "") -> LoadedModel:
    """The model whose trained weights lie in a folder: an adapter as peft saves it, or all weights. They stand beside
    whole base weights, also where they were trained beside those of four bits.

    model_id: of the base; "" takes the one that the adapter names. Raises UserError for a folder of anything else, and
    for an adapter of another base.
    """
    sizes, path = resolve(profile), Path(folder).expanduser()
    config = _adapter_config(path)
    if config and not (path / "adapter_model.safetensors").is_file():
        raise UserError(f"{path} has no adapter_model.safetensors; save the adapter again with a peft of today")
    if not config and not (path / "config.json").is_file():
        raise UserError(f"{path} holds no trained weights; give a folder with adapter_config.json or config.json")
    return _with_weights(sizes, path, "", model_id or config.get("base_model_name_or_path") or sizes.model_id)


def _record(sizes: Profile, name: str) -> dict | None:
    for place in (outputs() / "results" / sizes.name, results() / sizes.name):
        if (place / f"{name}.json").is_file():
            return read_record(place, name)
    return None


def _names(sizes: Profile) -> str:
    paths = [*(outputs() / "results" / sizes.name).glob("*.json"), *(results() / sizes.name).glob("*.json")]
    names = sorted({path.stem for path in paths})
    return f"there are {', '.join(names)}" if names else "run a notebook first: `python -m common.study list`"


def _weights(sizes: Profile) -> Iterator[Path]:
    """Folders of trained weights of this profile's runs, those of the newest first."""
    folders = [path for path in (outputs() / "runs" / sizes.name).glob("*/*/weights") if path.is_dir()]
    yield from sorted(folders, key=lambda path: (-path.stat().st_mtime_ns, path))


def _with_weights(sizes: Profile, folder: Path, quantisation: str, model_id: str) -> LoadedModel:
    loaded = load_model(model_id, precision=sizes.precision, quantisation=quantisation)
    config = _adapter_config(folder)
    if not config:
        load_weights(loaded.model, folder)
        return loaded
    # A folder's or a file's name says nothing; of an id it does.
    is_other = not Path(model_id).exists() and config.get("base_model_name_or_path") not in (None, "", loaded.id)
    try:
        model = PeftModel.from_pretrained(loaded.model, folder).eval()
        # peft leaves layers out that the folder says nothing of.
        is_whole = get_peft_model_state_dict(model).keys() == load_file(folder / "adapter_model.safetensors").keys()
    except (RuntimeError, ValueError, KeyError, OSError):  # sizes that differ, modules that are not there
        is_whole = False
    if is_other or not is_whole:
        raise UserError(
            f"{relative(folder)} holds no adapter of {loaded.id}, or not all of it; name the model it was trained on"
        )
    return replace(loaded, model=model)


def _adapter_config(folder: Path) -> dict:
    """What peft has written of an adapter; {} where the folder holds none."""
    try:
        return json.loads((folder / "adapter_config.json").read_text())
    except (OSError, ValueError):
        return {}
