"""The adapters that the repository comes with are the very weights of its records, and plain peft's."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from common.models import weights_digest
from common.releases import CONFIG, FOLDER, WEIGHTS, release_of
from common.results import read_record
from common.settings import ROOT

RELEASES = sorted(path.parent for path in (ROOT / "results").glob(f"*/{FOLDER}/*/{CONFIG}"))
MOST_BYTES = 40_000_000  # the repository is cloned whole


def test_there_is_one_to_ask():
    assert [folder.relative_to(ROOT / "results").as_posix() for folder in RELEASES] == ["cpu/adapters/sft-lora"]


@pytest.mark.parametrize("folder", RELEASES, ids=lambda folder: folder.name)
def test_a_release_is_of_its_record(folder: Path, monkeypatch):
    monkeypatch.setenv("TEXT_TO_SQL_RESULTS", str(ROOT / "results"))
    profile, method = folder.parents[1].name, folder.name
    record = read_record(folder.parents[1], method)
    assert weights_digest(folder) == record["model"]["weights_digest"]
    assert release_of(profile, method, record["model"]["weights_digest"]) == folder
    assert release_of(profile, method, "0" * 16) is None
    config = json.loads((folder / CONFIG).read_text())
    assert config["base_model_name_or_path"] == record["model"]["id"]
    assert config["r"] == record["parameters"]["recipe"]["lora_rank"]
    with safe_open(folder / WEIGHTS, "pt") as file:
        names = file.keys()
        shapes = [file.get_slice(name).get_shape() for name in names]
    assert sum(rows * columns for rows, columns in shapes) == record["model"]["trainable_parameters"]
    assert sum(path.stat().st_size for path in folder.iterdir()) < MOST_BYTES
