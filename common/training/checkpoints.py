"""What a training keeps in its folder, from the note of what is trained to the trained weights.

`training.json` says what is trained; `checkpoint-N` and `seconds.json` are where it goes on; `best-N` holds the weights
of the best evaluation so far, which was after step N; `trained.json` comes last and says that `weights` are whole.
"""

import dataclasses
import hashlib
import json
import shutil
import sys
import zipfile
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors

from common import distributed, provenance
from common.models import LoadedModel, base_digest, weights_digest
from common.settings import UserError, replace_text, writing
from common.training.adapters import save_weights
from common.training.recipe import Recipe
from common.training.rows import Item

NOTE, RESULT, SECONDS = "training.json", "trained.json", "seconds.json"
# What the trainer goes on from, beside its own state: weights, the optimiser's states, the schedule, random numbers.
_KINDS = ("*model*.*", "optimizer.*", "scheduler.pt", "rng_state*.pth")
# The words for what a folder's training may differ in, where the name of the fact alone would not do.
_WORDS = {"rows": "set of rows", "answers": "way of answering"} | {
    "code": "code (of another version of the repository)",
    "packages": "versions of its packages",
}


def facts(
    loaded: LoadedModel,
    recipe: Recipe,
    items: Mapping[str, Iterable[Item]],
    *,
    start: Path | None,
    decoding: dict,
) -> dict[str, object]:
    """What names a training: equal facts end in equal weights, but for the rounding of sums in another order.

    items: training and validation items. decoding: how validation rows are answered on the way; it is no fact where
    none are, and the batch size never is, since it changes no answer.
    """
    answers = {}
    if recipe.score_rows:
        answers = {name: value for name, value in decoding.items() if name != "batch_size"}
        answers["scorer"] = provenance.code(*provenance.SCORING)
    return {
        "model": f"{loaded.id} {loaded.revision}".strip(),
        "start": base_digest(loaded.model) + (f" {weights_digest(start)}" if start else ""),
        "recipe": provenance.digest(type(recipe).__name__, dataclasses.asdict(recipe)),
        "rows": {name: _items_digest(part) for name, part in items.items()},
        "answers": answers,
        "code": provenance.code(recipe.module, without=provenance.SCORING),
        "packages": provenance.packages(recipe.module, without=provenance.SCORING),
        "device": provenance.device_name(threads=False),
    }


def _items_digest(items: Iterable[Item]) -> str:
    digest = hashlib.sha256()
    for item in items:
        for row in item:
            numbers = {name: value for name, value in row.items() if name not in ("input_ids", "labels")}
            for values in (row["input_ids"], row["labels"]):
                digest.update(array("q", [len(values), *values]).tobytes())
            digest.update(f"{sorted(numbers.items())};".encode())
        digest.update(b"/")
    return digest.hexdigest()[:16]


def claim(folder: Path, note: dict[str, object]) -> None:
    """Refuse a folder in which something else was trained; the main process notes what is trained where it is new."""
    path = folder / NOTE
    if not path.exists() and (folder / RESULT).exists():
        raise _damaged(folder)
    if not path.exists():
        if not distributed.is_main():
            raise UserError(
                f"this process does not see {path}, which the main one wrote; set TEXT_TO_SQL_OUTPUTS to a folder that "
                "all machines share"
            )
        with writing(path):
            replace_text(path, json.dumps(note))
        return
    earlier = _json(path)
    if not earlier:
        raise _damaged(folder)
    other = [name for name, fact in note.items() if earlier.get(name) != fact]
    if other == ["start"]:
        raise UserError(
            f"{folder} holds a training that started from other weights; load the model anew (this one may be trained "
            "already), or give another folder"
        )
    if other:
        raise UserError(
            f"{folder} holds a training with another {_WORDS.get(other[0], other[0])}; give another folder, or delete "
            "that one to train anew"
        )


def finish(model, result: dict, folder: Path) -> None:
    """Put the best weights in their place, and last the result, which says that the training has ended."""
    if result["step"] != result["last_step"]:  # else the last weights are the best
        # A copy, so that a kill before the line below finds the best weights where it looks for them.
        shutil.copytree(best_folder(folder, result["step"]), folder / "weights", dirs_exist_ok=True)
    else:
        save_weights(model, folder / "weights")
    result = result | {"weights_digest": weights_digest(folder / "weights")}
    replace_text(folder / RESULT, json.dumps(result))


def read_result(folder: Path) -> dict:
    """What `finish` has written. Raises UserError where that, or the weights that it is of, are damaged."""
    result = _json(folder / RESULT)
    if not result or result.get("weights_digest") != weights_digest(folder / "weights"):
        raise _damaged(folder)
    return result


def _json(path: Path) -> dict:
    """A file's object; {} where it holds none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _damaged(folder: Path) -> UserError:
    return UserError(f"{folder} holds a training whose files are damaged; delete it to train anew")


def best_folder(folder: Path, step: int) -> Path:
    """Where the weights of the evaluation after a step lie, as long as they are the best."""
    return folder / f"best-{step}"


def remove_worse(folder: Path, best: int) -> None:
    """Remove the weights of all other evaluations than the one after step `best`; call it once a checkpoint knows of
    that one, or a kill would leave a log without its best weights."""
    for path in folder.glob("best-*"):
        if path != best_folder(folder, best):
            shutil.rmtree(path, ignore_errors=True)


def forget(folder: Path) -> None:
    """Nothing of a training that diverged is of use, and it must not stand in another recipe's way."""
    remove_checkpoints(folder)
    for name in (NOTE, SECONDS):
        (folder / name).unlink(missing_ok=True)


def remove_checkpoints(folder: Path) -> None:
    """Remove what only an unfinished training needs."""
    for path in (*folder.glob("checkpoint-*"), *folder.glob("best-*")):
        shutil.rmtree(path, ignore_errors=True)


def last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint; one that is not is removed, or the trainer would end at it or go on without it."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1])):
        if not _is_whole(checkpoint):
            print(f"{checkpoint} is cut short or damaged; the training goes on from before it", file=sys.stderr)
            shutil.rmtree(checkpoint)
            continue
        if (checkpoint / "pytorch_model_fsdp.bin").exists() != distributed.sharded():
            raise UserError(
                f"{checkpoint} was written {'without' if distributed.sharded() else 'with'} sharding (FSDP); go on "
                "with the same --config_file, or delete it to begin anew"
            )
        return str(checkpoint)
    return None


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint has all its files, each whole, and the best weights of the evaluations until then. Weights
    are looked at for their length alone."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text())  # which the trainer writes last
        steps = {entry["step"] for entry in state["log_history"] if "eval_loss" in entry}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    best = [path for step in steps for path in best_folder(checkpoint.parent, step).glob("*.safetensors")]
    if not all(any(checkpoint.glob(kind)) for kind in _KINDS) or (steps and not best):
        return False
    return all(map(_is_readable, [*checkpoint.iterdir(), *best]))


def _is_readable(path: Path) -> bool:
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, "np"):
                return True
        if path.suffix in (".pt", ".pth", ".bin"):  # torch's files are archives with checksums
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        return path.suffix != ".json" or bool(json.loads(path.read_bytes()))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, safetensors.SafetensorError):
        return False
