"""The trained adapter that a later method goes on from: of the run whose record is there, or trained anew.

Where a record's weights are neither on this machine nor come with the repository, the training is repeated by the
recipe that the record holds, on the same rows; they are the same weights but for rounding.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from peft import PeftModel

from common.data import Example, load_examples
from common.generation import complete
from common.models import LoadedModel, load_model, weights_digest
from common.paths import model_name, source_name
from common.preferences import files
from common.profiles import Profile
from common.prompts import prompt_ids
from common.provenance import digest
from common.releases import copy, release_of
from common.results.measures import REWARD
from common.results.places import command
from common.run import Run
from common.settings import UserError, outputs
from common.training.recipe import Recipe
from common.training.reward import load_reward_model
from common.training.sft import load_rows, train_sft


def adapter_of(run: Run, method: str) -> str:
    """The folder of the trained weights of `method`, below outputs/; where they are not there, a copy of the released
    ones, or else trained anew.

    Raises UserError where there is no comparable record of it.
    """
    record, _ = run.needed(method)
    wanted = record["model"]["weights_digest"]
    for folder in sorted((outputs() / "runs" / run.profile.name).glob(f"{method}-*/training/weights")):
        if weights_digest(folder) == wanted:
            return folder.relative_to(outputs()).as_posix()
    runs = outputs() / "runs" / run.profile.name
    if source := release_of(run.profile.name, method, wanted):
        return copy(source, runs / f"{method}-release" / wanted / "weights").relative_to(outputs()).as_posix()
    recipe = recipe_of(record)
    print(f"the weights of '{method}' are not here; they are trained anew by the recipe of its record")
    folder = runs / f"{method}-anew-{digest(record['parameters']['recipe'], wanted)[:10]}" / "training"
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


def pairs_file(run: Run, policy: str) -> Path:
    """Where the pairs of a policy lie for the run's base model, data and seed, see `common.preferences.files`."""
    facts = (model_name(run.profile.model_id), run.revision, source_name(run.profile.data), run.seed)
    return outputs() / "preferences" / f"{run.profile.name}-{digest(*facts)[:8]}" / f"{policy}.parquet"


def policy_of(profile: Profile, adapter: str = "", *, quantisation: str = "") -> LoadedModel:
    """The profile's model, with the adapter of that folder below outputs/ beside it; "" for none."""
    loaded = load_model(profile.model_id, precision=profile.precision, quantisation=quantisation)
    if not adapter:
        return loaded
    return replace(loaded, model=PeftModel.from_pretrained(loaded.model, outputs() / adapter).eval())


def equal_answers(run: Run, policy: LoadedModel, method: str, count: int = 12) -> int:
    """How many of the first `count` test rows the policy answers greedily as the record of `method` did: all of them
    where it is the model that the record is of, but for rounding."""
    examples = run.tests["test"][:count]
    prompts = [prompt_ids(example, policy.tokenizer) for example in examples]
    sizes = {name: value for name, value in decoding_of(run.profile).items() if name != "databases"}
    answers = complete(policy, prompts, **sizes)
    before = {row["id"]: row["completion"] for row in run.needed(method)[1]}
    return sum(answer.text == before[example.id] for example, answer in zip(examples, answers, strict=True))


def reward_model_of(run: Run, method: str) -> tuple[LoadedModel, dict]:
    """The reward model that the record `method` measures, and that record. Raises UserError where its weights are not
    on this machine."""
    record = run.measures(method)
    wanted = record["model"]["weights_digest"]
    for folder in sorted((outputs() / "runs" / run.profile.name).glob(f"{method}-*/training/weights")):
        if weights_digest(folder) == wanted:
            return load_reward_model(load_model(run.profile.model_id, precision=run.profile.precision), folder), record
    raise UserError(
        f"the weights of '{method}' are not here, only its record ({REWARD}/{method}.json); "
        f"{command(method, run.profile)} trains them again"
    )


def control_recipe(sft: dict, other: dict, **changes: object) -> Recipe:
    """How a control goes on with supervised fine-tuning beside the training of the record `other`: by the recipe of the
    record `sft`, at the rate of the other one. The rate of `sft` had decayed to zero; starting again at its
    peak would undo what was learned."""
    rate = other["parameters"]["recipe"]["learning_rate"]
    return recipe_of(sft).with_values({"learning_rate": rate, "epochs": 1, **changes})


def adapter_sizes(recipe: Recipe) -> dict[str, object]:
    """What a recipe has to agree in with the adapter that it goes on from."""
    return {name: getattr(recipe, name) for name in ("lora_rank", "lora_alpha", "lora_targets")}


def rows_of_equal_seconds(other: dict, *sft: dict) -> int:
    """Rows that supervised fine-tuning sees in the seconds of the other record's training, at least one, at the highest
    rate of the records `sft`: one of them may have been slowed by other work on the machine.

    Raises UserError where records are of different devices, whose seconds are not the same.
    """
    device = other["environment"]["device"]
    if strangers := [record for record in sft if record["environment"]["device"] != device]:
        raise UserError(
            f"'{strangers[0]['method']}' was trained on {strangers[0]['environment']['device']}, '{other['method']}' "
            f"on {device}: their seconds cannot be compared; execute both on one machine"
        )
    rate = max(record["cost"]["train_rows_per_second"] for record in sft)
    return max(1, round(other["cost"]["train_seconds"] * rate))


def cycled(rows: Sequence[Example], count: int) -> list[Example]:
    """The first `count` of the rows, which begin again where they end."""
    return list(islice(cycle(rows), count))


def held_out_questions(profile: Profile, file: Path, count: int) -> list[Example]:
    """The first `count` rows of `post` behind those that the file's pairs were looked for in, of other schemas.

    Those questions of which no pair came are left out too: they were always right, or never. Raises UserError where
    `post` has no more.
    """
    questions = files.questions_of(file)
    rows = load_examples(profile.data, "post")
    used = {row.schema for row in rows if row.id in questions}
    rest = [row for row in rows if row.id not in questions and row.schema not in used][:count]
    if not rest:
        raise UserError("all rows of `post`, or all their schemas, are among the pairs' questions; ask fewer for pairs")
    return rest
