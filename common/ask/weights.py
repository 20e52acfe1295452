"""The model that answers: a base model, a run of this study by its record's name, or a folder of trained weights."""

import json
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from common.ask.places import base_model, readable
from common.models import LoadedModel, load_model, weights_digest
from common.paths import model_name, source_name
from common.profiles import Profile, resolve
from common.releases import CONFIG, WEIGHTS, release_of
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
    sizes = replace(sizes, model_id=base_model(model_id) or sizes.model_id)
    if name == BASELINE:
        return load_model(sizes.model_id, precision=sizes.precision)
    folder, record = weights_of(name, sizes)
    quantisation = record["model"].get("quantisation", "")  # an older record may lack it
    return _with_weights(sizes, folder, quantisation, sizes.model_id)


def weights_of(name: str, sizes: Profile) -> tuple[Path, dict]:
    """The folder of the trained weights of a record `name` at a profile, and that record: of the first of this
    machine's records, or the committed one, whose weights are there. Raises UserError as `load_run`."""
    if not (records := _records(sizes, name)):
        raise UserError(f"there is no record '{name}' at the profile {sizes.name}; {_names(sizes)}")
    if not any(record["model"].get("weights_digest") for record in records):
        raise UserError(f"'{name}' trained nothing; ask {BASELINE}, or a run that trains")
    digests: dict[Path, str] = {}  # of folders that were looked at: all weights of a model are a gigabyte
    for record in records:
        wanted = record["model"].get("weights_digest", "")
        if folder := release_of(sizes.name, name, wanted):
            return folder, record
        for folder in _weights(sizes) if wanted else ():
            digests[folder] = digests.get(folder) or weights_digest(folder)
            if digests[folder] == wanted:
                return folder, record
    raise UserError(
        f"the weights of '{name}' are not on this machine, only its record; {command(name, sizes)} trains them"
    )


def load_folder(folder: str | Path, *, profile: str = "auto", model_id: str = "") -> LoadedModel:
    """The model whose trained weights lie in a folder: an adapter as peft saves it, or all weights. They stand beside
    whole base weights, also where they were trained beside those of four bits.

    model_id: of the base; "" takes the one that the adapter names. Raises UserError for a folder of anything else, and
    for an adapter of another base.
    """
    sizes, path = resolve(profile), readable(folder)
    config = _adapter_config(path)
    if config and not (path / WEIGHTS).is_file():
        raise UserError(f"{path} has no adapter_model.safetensors; save the adapter again with a peft of today")
    if not config and not (path / "config.json").is_file():
        raise UserError(f"{path} holds no trained weights; give a folder with adapter_config.json or config.json")
    named = base_model(model_id or config.get("base_model_name_or_path") or "")
    return _with_weights(sizes, path, "", named or sizes.model_id)


def _places(sizes: Profile) -> list[Path]:
    """Folders of records at a profile: this machine's, also of other rows, data or models, and the committed one."""
    here = outputs() / "results"
    return [here / sizes.name, *sorted(here.glob(f"{sizes.name}@*")), results() / sizes.name]


def _records(sizes: Profile, name: str) -> list[dict]:
    """The records of that name, those of this base model and this data first. What cannot be read of other rows, data
    or models is left out."""
    records = []
    for place in _places(sizes):
        with suppress(OSError):  # a name that is too long for a file's
            if not (place / f"{name}.json").is_file():
                continue
            with suppress(UserError) if "@" in place.name else nullcontext():
                records.append(read_record(place, name))
    model, data = model_name(sizes.model_id), source_name(sizes.data)
    return sorted(records, key=lambda record: (record["model"]["id"] != model, record["data"]["source"] != data))


def _names(sizes: Profile) -> str:
    names = sorted({path.stem for place in _places(sizes) for path in place.glob("*.json")})
    return f"there are {', '.join(names)}" if names else "run a notebook first: `python -m common.study list`"


def _weights(sizes: Profile) -> Iterator[Path]:
    """Folders of trained weights of this profile's runs, those of the newest first."""
    folders = [path for path in (outputs() / "runs" / sizes.name).glob("*/*/weights") if path.is_dir()]
    yield from sorted(folders, key=lambda path: (-path.stat().st_mtime_ns, path))


def _with_weights(sizes: Profile, folder: Path, quantisation: str, model_id: str) -> LoadedModel:
    loaded = load_model(model_id, precision=sizes.precision, quantisation=quantisation)
    config = _adapter_config(folder)
    if not config:
        try:
            load_weights(loaded.model, folder)
        except SafetensorError as error:
            raise UserError(f"{relative(folder)} holds damaged weights ({error}); save them again") from None
        return loaded
    # A folder's or a file's name says nothing; of an id it does.
    is_other = not Path(model_id).exists() and config.get("base_model_name_or_path") not in (None, "", loaded.id)
    try:
        model = PeftModel.from_pretrained(loaded.model, folder).eval()
        # peft leaves layers out that the folder says nothing of.
        is_whole = get_peft_model_state_dict(model).keys() == load_file(folder / WEIGHTS).keys()
    except (RuntimeError, ValueError, KeyError, OSError, SafetensorError):  # other sizes or modules, a damaged file
        is_whole = False
    if is_other or not is_whole:
        raise UserError(
            f"{relative(folder)} holds no adapter of {loaded.id}, or not all of it; name the model it was trained on"
        )
    return replace(loaded, model=model)


def _adapter_config(folder: Path) -> dict:
    """What peft has written of an adapter; {} where the folder holds none."""
    try:
        config = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
