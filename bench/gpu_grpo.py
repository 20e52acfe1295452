"""A whole step of our training by rewards: sampling, reward and update, by the product's own trainer, every group used.

The model is random, so each answer ends by chance: as many of the vocabulary's tokens end it as give the published mean
length. Such answers share no beginning within a group, so the update has more to read than a trained model's would
give it, and they are no SQL: the reward is that of answers that do not run.
"""

import tempfile
from pathlib import Path

from bench.gpu_generation import LONGEST_ANSWER
from bench.gpu_model import Setting
from bench.grpo_run import GENERATIONS, functions, phases, recipe, rows, spans
from bench.training_run import Watch
from common.models import LoadedModel
from common.profiles import resolve
from common.settings import outputs, writable
from common.training.group_trainer import GroupTrainer
from common.training.grpo import train_grpo
from common.training.rollouts import Rollouts
from common.training.rows import IGNORED, tokenise

MEAN_ANSWER = 45  # tokens, the end token included


def end_by_chance(loaded: LoadedModel) -> None:
    """Have one token in MEAN_ANSWER end an answer, the highest of the vocabulary: a random model gives each about the
    same chance."""
    size = loaded.model.config.vocab_size
    loaded.model.generation_config.eos_token_id = list(range(size - size // MEAN_ANSWER, size))


def measure(setting: Setting) -> dict:
    """Steps of as many prompts as other parts have rows, one of warm-up and one a repetition."""
    prompts = setting.sizes.effective
    micro = min(resolve("auto").per_device_train_batch_size, prompts)
    settings = recipe("ours", prompts).with_values({"per_device_train_batch_size": micro})
    loaded = setting.load()
    end_by_chance(loaded)
    examples, valid = rows(loaded, prompts * (1 + setting.sizes.passes), settings.max_length)
    lengths = [row["labels"].count(IGNORED) for row in tokenise(examples, loaded, max_length=settings.max_length)]
    decoding = {"max_new_tokens": LONGEST_ANSWER, "batch_size": setting.batch_size}
    with (
        tempfile.TemporaryDirectory(dir=writable(outputs() / "bench")) as place,
        Watch(loaded.model) as watch,
        spans(Rollouts, "sample") as sampling,
        spans(GroupTrainer, "_calculate_rewards") as reward,
        spans(GroupTrainer, "evaluate") as evaluation,
    ):
        options = {"folder": Path(place), "functions": functions(settings), **decoding}
        trained = train_grpo(loaded, examples, valid, settings, **options)
    calls = {"sampling": sampling, "reward": reward, "evaluation": evaluation}
    steps = phases([mark.seconds for mark in watch.marks], calls)
    count = prompts * GENERATIONS
    tokens = trained.curve["length"].dropna()
    note = (
        f"grpo: steps of {prompts} prompts, embedded ones of {sum(lengths) / len(lengths):.0f} tokens, {GENERATIONS} "
        f"completions each of {tokens.mean():.0f} tokens in the mean, which end by chance, {setting.batch_size} rows "
        "at once in sampling. Every group is used; completions hardly ever begin alike, and none is SQL that runs."
    )
    values = {
        "grpo-completions": [count / step["seconds"] for step in steps],
        "grpo-sampling": [100 * step["sampling"] / step["seconds"] for step in steps],
        "grpo-reward": [100 * step["reward"] / step["seconds"] for step in steps],
        "grpo-memory": [trained.peak_memory_bytes / 1e9],
    }
    return {"values": values, "notes": [note]}
