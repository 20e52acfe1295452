"""How several processes share a training: whole micro-batches, dealt in the plan's order.

The plan is the same for any number of processes. Of each step's micro-batches the trainer's loader gives number i to
process i mod n; where a step has too few for a last round, idle ones, in which nothing is taught, fill it.
"""

from common import distributed
from common.settings import UserError
from common.training.recipe import CUDA_OPTIMIZERS, Recipe
from common.training.rows import IGNORED


def micro_batches(recipe: Recipe) -> int:
    """Micro-batches of a full step, over all processes."""
    return recipe.effective_batch_size // recipe.per_device_train_batch_size


def check_sharing(recipe: Recipe) -> None:
    """Raises UserError where the micro-batches of a step do not go evenly into the processes, and where a model that
    the method trains cannot be sharded."""
    count, n = micro_batches(recipe), distributed.world()
    if count % n:
        raise UserError(
            f"{n} processes cannot share the {count} micro-batches of a step; lower the rows a micro-batch, or give an "
            f"effective batch of a multiple of {n * recipe.per_device_train_batch_size} rows"
        )
    if distributed.sharded() and (recipe.method not in ("full", "lora") or recipe.optimizer in CUDA_OPTIMIZERS):
        raise UserError(
            f"sharding trains by full or lora and with torch's optimisers, not by {recipe.method} with "
            f"{recipe.optimizer}; take --config_file examples/ddp.yaml"
        )


def dealt(batches: list[list[int]]) -> list[list[int]]:
    """The micro-batches and, up to a multiple of the processes, idle ones, which hold no row."""
    return batches + [[]] * (-len(batches) % distributed.world())


def unlabelled(row: dict[str, list[int]]) -> dict[str, list[int]]:
    """The row with nothing taught: its loss and its gradients are zero."""
    return row | {"labels": [IGNORED] * len(row["labels"])}
