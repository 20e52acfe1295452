"""What a training keeps in its folder, from the note of what is trained to the trained weights."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

from common import distributed
from common.models import LoadedModel, base_digest
from common.settings import UserError, replace_text, writing
from common.training.adapt import save_weights
from common.training.recipe import Recipe


def belongs(folder: Path, loaded: LoadedModel, recipe: Recipe, rows: list[dict], valid_rows: list[dict]) -> None:
    """Refuse a folder in which something else was trained; the main process notes what is trained where it is new."""
    facts = {
        "model": f"{loaded.id} {loaded.revision}".strip(),
        "start": base_digest(loaded.model),
        "recipe": hashlib.sha256(repr(dataclasses.asdict(recipe)).encode()).hexdigest(),
        "rows": hashlib.sha256(json.dumps([rows, valid_rows]).encode()).hexdigest(),
    }
    path = folder / "training.json"
    if not path.exists():
        if not distributed.is_main():
            raise UserError(
                f"this process does not see {path}, which the main one wrote; set TEXT_TO_SQL_OUTPUTS to a folder that "
                "all machines share"
            )
        with writing(path):
            replace_text(path, json.dumps(facts))
        return
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = {}
    other = [name for name, fact in facts.items() if found.get(name) != fact]
    if other == ["start"]:
        raise UserError(
            f"{folder} holds a training that started from other weights; load the model anew (this one may be trained "
            "already), or give another folder"
        )
    if other:
        raise UserError(
            f"{folder} holds a training with another {other[0]}; give another folder, or delete that one to train anew"
        )


def finish(model, facts: dict, folder: Path) -> None:
    """Put the best weights in their place, and last the facts, which say that the training has ended."""
    if facts["step"] != facts["last_step"]:  # else the last weights are the best
        # A copy, so that a kill before the line below finds the best weights where it looks for them.
        shutil.copytree(folder / "best", folder / "weights", dirs_exist_ok=True)
    else:
        save_weights(model, folder / "weights")
    replace_text(folder / "trained.json", json.dumps(facts))


def forget(folder: Path) -> None:
    """Nothing of a training that diverged is of use, and it must not stand in another recipe's way."""
    remove_checkpoints(folder)
    for name in ("training.json", "seconds.json"):
        (folder / name).unlink(missing_ok=True)


def remove_checkpoints(folder: Path) -> None:
    for left in (*folder.glob("checkpoint-*"), folder / "best"):
        shutil.rmtree(left, ignore_errors=True)


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; the trainer writes trainer_state.json last, so one without it was cut short."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1])):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)
            continue
        if (checkpoint / "pytorch_model_fsdp.bin").exists() != distributed.sharded():
            raise UserError(
                f"{checkpoint} was written {'without' if distributed.sharded() else 'with'} sharding (FSDP); go on "
                "with the same --config_file, or delete it to begin anew"
            )
        return str(checkpoint)
    return None
