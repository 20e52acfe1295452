"""The trained adapter that a later method goes on from: the folder of the run whose record is there, or trained anew.

Adapters are not committed, records are. Where a record's weights are not on this machine, the training is repeated by
the recipe that the record holds, on the same rows; they are the same weights but for rounding.
"""

from dataclasses import replace
from pathlib import Path

from peft import PeftModel

from common.data import Example, load_examples
from common.models import LoadedModel, load_model, weights_digest
from common.preferences import files
from common.profiles import Profile
from common.provenance import digest
from common.run import Run
from common.settings import UserError, outputs
from common.training.preference_defaults import SIZES
from common.training.recipe import Recipe
from common.training.sft import load_rows, train_sft


def adapter_of(run: Run, method: str) -> str:
    """The folder of the trained weights of `method`, below outputs/; trained anew where they are not there.

    Raises UserError where there is no comparable record of it.
    """
    record, _ = run.needed(method)
    wanted = record["model"]["weights_digest"]
    for folder in sorted((outputs() / "runs" / run.profile.name).glob(f"{method}-*/training/weights")):
        if weights_digest(folder) == wanted:
            return folder.relative_to(outputs()).as_posix()
    recipe = recipe_of(record)
    print(f"the weights of '{method}' are not here; they are trained anew by the recipe of its record")
    name = f"{method}-anew-{digest(record['parameters']['recipe'], wanted)[:10]}"
    folder = outputs() / "runs" / run.profile.name / name / "training"
    trained = train_sft(
        base_model(run.profile, recipe), *rows_of(run.profile), recipe, folder=folder, **decoding_of(run.profile)
    )
    if weights_digest(trained.weights) != wanted:
        print(f"the weights of '{method}' trained here differ from the record's by rounding")
    return trained.weights.relative_to(outputs()).as_posix()


def recipe_of(record: dict) -> Recipe:
    """The recipe by which a record's weights were trained. Raises UserError for a record without one."""
    if not (values := record["parameters"].get("recipe")):
        raise UserError(f"the record '{record['method']}' holds no recipe; execute {record['notebook']} again")
    return Recipe().with_values(values)


def base_model(profile: Profile, recipe: Recipe) -> LoadedModel:
    """The profile's model as the recipe trains it, loaded anew."""
    return load_model(profile.model_id, precision=profile.precision, quantisation=recipe.quantisation)


def rows_of(profile: Profile) -> tuple[list, list]:
    """The training and validation rows of the profile's last stage."""
    stage = profile.stages[-1]
    train = load_rows(profile.data, "train", limit=stage.train_rows)
    return train, load_rows(profile.data, "validation", limit=stage.valid_rows)


def decoding_of(profile: Profile) -> dict[str, int]:
    """How a training at the profile answers on its way."""
    return {
        "max_new_tokens": profile.max_new_tokens,
        "batch_size": profile.eval_batch_size,
        "databases": profile.databases,
    }


def pairs_file(profile: Profile, policy: str) -> Path:
    """Where the pairs of a policy lie, see `common.preferences.files`."""
    return outputs() / "preferences" / profile.name / f"{policy}.parquet"


def policy_of(profile: Profile, adapter: str) -> LoadedModel:
    """The profile's model, with the adapter of that folder below outputs/ beside it; "" for none."""
    loaded = load_model(profile.model_id, precision=profile.precision)
    if not adapter:
        return loaded
    return replace(loaded, model=PeftModel.from_pretrained(loaded.model, outputs() / adapter).eval())


def adapter_sizes(recipe: Recipe) -> dict[str, object]:
    """What a recipe has to agree in with the adapter that it goes on from."""
    return {name: getattr(recipe, name) for name in ("lora_rank", "lora_alpha", "lora_targets")}


def equal_seconds(sft: dict, other: dict) -> int:
    """Rows that the training of the record `sft` sees in the seconds of the other record's training, at least one."""
    return max(1, round(other["cost"]["train_seconds"] * sft["cost"]["train_rows_per_second"]))


def held_out_questions(profile: Profile, file: Path, count: int) -> list[Example]:
    """The first `count` rows of `post` whose schemas no pair of the file has."""
    schemas = {pair.example.schema for pair in files.read(file)}
    rows = load_examples(profile.data, "post", limit=2 * count + len(schemas) + SIZES[profile.name].questions)
    return [row for row in rows if row.schema not in schemas][:count]
