"""How much memory a training will hold at its peak, by arithmetic from sizes: `python -m common.training.estimate`.
The command also says how many hours a notebook takes, by `hours`.

Counts what autograd keeps of each layer, tensor by tensor, for the decoders of `architecture`. Covers the training
steps; not evaluations, what the allocator cannot use, the CUDA context and the process's own libraries.
"""

import argparse
from dataclasses import dataclass, fields

from common.profiles import PROFILES, Profile, resolve
from common.settings import UserError, run_cli
from common.training import hours
from common.training.architecture import KNOWN, Decoder, adapter_weights, decoder, targets
from common.training.defaults import RECIPES, default_recipe
from common.training.plan import MicroBatch
from common.training.recipe import METHODS, OPTIMIZERS, Recipe

GB = 10**9
HELD_BACK = 0.1  # a share of the memory: the estimate's own error, and what the allocator cannot use
# A weight in NF4 with double quantisation: 4 bits, a byte for 64 of them, 4 bytes for 256 of those (arXiv:2305.14314).
NF4_BYTES = 1 / 2 + 1 / 64 + 4 / (64 * 256)
# States of an optimiser, bytes a trained weight; paged ones give way to the host's memory.
STATE_BYTES = {"adam_8bit": 2, "adamw_8bit": 2} | dict.fromkeys(("adam", "adamw", "nadam", "adamax"), 8)


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes. The first three are held all the time, the others for a moment; `total` is the worst moment.

    activations: what autograd keeps. copies: autocast's, of weights. logits: the output head's, with its gradient.
    backward: gradients of one layer's activations, when the logits are gone. step: at the end of the backward pass and
    in the optimiser's step, when activations are gone.
    """

    weights: int
    gradients: int
    states: int
    activations: int
    copies: int
    logits: int
    backward: int
    step: int

    @property
    def total(self) -> int:
        held = self.weights + self.gradients + self.states
        return held + max(self.activations + self.copies + max(self.logits, self.backward), self.step)


def estimate(sizes: Decoder, recipe: Recipe, batch: MicroBatch, *, precision: str, gpu: bool) -> MemoryEstimate:
    """Peak of a training by `recipe` whose largest micro-batch is `batch`.

    precision: of base weights, and of autocast's arithmetic where it is not float32. gpu: optimisers go
    all weights at once, instead of one after the other.
    """
    full, half = recipe.method == "full", precision != "float32"
    base = 2 if half else 4  # bytes of a base weight; what is trained is float32
    adapters = adapter_weights(sizes, recipe)
    trained = sizes.weights if full else adapters
    if full:
        weights = 4 * sizes.weights
    elif recipe.method == "qlora":
        weights = NF4_BYTES * sizes.linear_weights + base * (sizes.weights - sizes.linear_weights) + 4 * adapters
    else:
        weights = base * sizes.weights + 4 * adapters
    copied = 0
    if half:
        copied = sizes.linear_weights + sizes.embedding_weights if full else adapters
        copied = 0 if recipe.method.startswith("prompt") else copied
    return MemoryEstimate(
        weights=round(weights),
        gradients=4 * trained,
        states=STATE_BYTES.get(recipe.optimizer, 0) * trained,
        activations=_activations(sizes, recipe, batch, half=half, gpu=gpu),
        copies=2 * copied,
        logits=_logits(sizes, batch, trained=full),
        # Of the feed-forward's product, its two factors, and the stream before and behind.
        backward=_tokens(recipe, batch) * (3 * base * sizes.intermediate + 2 * 4 * sizes.hidden),
        step=_step(sizes, recipe, trained, gpu=gpu),
    )


def _tokens(recipe: Recipe, batch: MicroBatch) -> int:
    return batch.rows * (batch.width + (recipe.virtual_tokens if recipe.method.startswith("prompt") else 0))


def _activations(sizes: Decoder, recipe: Recipe, batch: MicroBatch, *, half: bool, gpu: bool) -> int:
    full, tokens = recipe.method == "full", _tokens(recipe, batch)
    stream = 4 if full or not half else 2  # float32 embeddings make a float32 stream, half-precision ones a half one
    layer = tokens * _layer_bytes(sizes, recipe, tokens // batch.rows * batch.masked, half=half, gpu=gpu)
    last = tokens * (4 * sizes.hidden + 4 + full * stream * sizes.hidden)  # the last norm
    head = batch.labelled * sizes.hidden * (2 if half else 4) * full
    if recipe.gradient_checkpointing:
        return sizes.layers * tokens * stream * sizes.hidden + layer + last + head
    first = 0
    if recipe.method in ("lora", "qlora"):  # nothing before the first adapter needs a gradient: no norm, no dropout
        names = set(targets(sizes, recipe))
        dropped = _dropout_bytes(recipe, gpu) * len({"q_proj", "k_proj", "v_proj"} & names)
        heads = sizes.heads * ("q_proj" not in names) + sizes.kv_heads * ("k_proj" not in names)
        first = tokens * ((4 + dropped) * sizes.hidden + 4 + sizes.normed * 4 * heads * (sizes.head_dim + 1))
    return sizes.layers * layer - first + last + head


def _layer_bytes(sizes: Decoder, recipe: Recipe, mask: int, *, half: bool, gpu: bool) -> int:
    """What autograd keeps of a layer, bytes a token. mask: columns of attention's mask, 0 where there is none."""
    full, arithmetic = recipe.method == "full", 2 if half else 4
    stream = 4 if full or not half else 2
    queries, keys = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    # RMSNorm: its input in float32 and one over its length; where its weight is trained, the normalised input too.
    norms = 2 * (4 * sizes.hidden + 4) + sizes.normed * 4 * (queries + keys + sizes.heads + sizes.kv_heads)
    if full:
        norms += 2 * stream * sizes.hidden + sizes.normed * arithmetic * (queries + keys)
    # Attention: queries, keys, values, output and the logarithm of the sum. With a mask, it in the arithmetic's dtype.
    attention = 2 * arithmetic * (queries + (queries if mask else keys)) + 4 * sizes.heads + arithmetic * mask
    gate = 3 * arithmetic * sizes.intermediate  # SiLU's input and output, and the other factor
    return norms + attention + gate + _input_bytes(sizes, recipe, half=half, gpu=gpu)


def _input_bytes(sizes: Decoder, recipe: Recipe, *, half: bool, gpu: bool) -> int:
    """Inputs that a layer's trained linear modules keep, bytes a token.

    Modules that read the same tensor keep it once, unless each makes its own: a cast, or a dropout.
    """
    full, names, arithmetic = recipe.method == "full", targets(sizes, recipe), 2 if half else 4
    wide = {name: sizes.linears[name][0] for name in names}
    dropped = _dropout_bytes(recipe, gpu)
    if full or not (half or dropped):
        wide.pop("o_proj", None)  # attention's output, kept there
    if not (half or dropped):
        for one, others in (("q_proj", ("k_proj", "v_proj")), ("k_proj", ("v_proj",)), ("gate_proj", ("up_proj",))):
            for other in others if one in wide else ():
                wide.pop(other, None)
    inputs = (arithmetic + dropped) * sum(wide.values())
    return inputs + (0 if full else arithmetic * recipe.lora_rank * len(names))  # what lies between A and B


def _dropout_bytes(recipe: Recipe, gpu: bool) -> int:
    """A value's share of a dropout's mask: a bool on a GPU, a float32 factor elsewhere."""
    return (1 if gpu else 4) if recipe.method in ("lora", "qlora") and recipe.lora_dropout else 0


def _logits(sizes: Decoder, batch: MicroBatch, *, trained: bool) -> int:
    """The most that the loss holds. A trained head's gradient waits for the embedding's, which is added to it."""
    gradient = 4 * sizes.embedding_weights * trained
    whole = 4 * batch.labelled * sizes.vocabulary  # log-probabilities, their gradient, and the logits' gradient
    return max(3 * whole, whole + gradient)


def _step(sizes: Decoder, recipe: Recipe, trained: int, *, gpu: bool) -> int:
    """The most that is held when activations are gone: the two gradients of a tied embedding and their sum, or what an
    optimiser without a fused kernel takes: a root or a size of each gradient. On a GPU that is for all weights at once,
    else for one, the embedding at most."""
    added = 3 * 4 * sizes.embedding_weights if recipe.method == "full" and sizes.tied else 0
    if recipe.optimizer not in ("nadam", "adamax"):
        return added
    at_once = trained if gpu else min(trained, sizes.embedding_weights)
    return max(added, 4 * at_once)


def fits(peak: MemoryEstimate, room: int) -> bool:
    """Whether a training is safe in `room` bytes."""
    return peak.total <= (1 - HELD_BACK) * room


def fit(
    sizes: Decoder, recipe: Recipe, batch: MicroBatch, *, room: int, precision: str, gpu: bool
) -> tuple[Recipe, MemoryEstimate]:
    """The recipe as it runs in `room` bytes, and its estimate: on a GPU that would not hold it, activations are
    computed again in the backward pass, which changes no weight and costs a third more arithmetic."""
    peak = estimate(sizes, recipe, batch, precision=precision, gpu=gpu)
    if fits(peak, room) or not gpu or recipe.gradient_checkpointing:
        return recipe, peak
    recipe = recipe.with_values({"gradient_checkpointing": True})
    return recipe, estimate(sizes, recipe, batch, precision=precision, gpu=gpu)


def warning(recipe: Recipe, peak: MemoryEstimate, room: int, *, gpu: bool) -> str:
    """One line on a training that is not safe in `room` bytes and what to change; "" for one that is."""
    if fits(peak, room):
        return ""
    ways = ["a shorter max_length"]
    if recipe.per_device_train_batch_size > 1:
        ways.append(f"per_device_train_batch_size below {recipe.per_device_train_batch_size}")
    if not recipe.gradient_checkpointing:
        ways.append("gradient_checkpointing=True")
    if gpu and recipe.method == "full" and STATE_BYTES.get(recipe.optimizer, 0) > 2:
        ways.append("optimizer='adamw_8bit'")
    if recipe.method in ("full", "lora"):
        ways.append("method='lora'" if recipe.method == "full" else "method='qlora'")
    tried = " or ".join(filter(None, (", ".join(ways[:-1]), ways[-1])))
    return (
        f"this training needs about {peak.total / GB:.1f} GB and has {room / GB:.1f} GB, of which a tenth should stay "
        f"free; it may run out of memory. Try {tried}"
    )


def _sizes(model_id: str) -> Decoder:
    if model_id in KNOWN:
        return KNOWN[model_id]
    from transformers import AutoConfig

    from common.models import locate

    try:
        sizes = decoder(AutoConfig.from_pretrained(locate(model_id)[0]))
    except (OSError, ValueError):
        raise UserError(f"the config of {model_id} cannot be had; give a local folder, or --profile alone") from None
    if sizes is None:
        raise UserError(f"{model_id} is no Llama- or Qwen-style decoder; its memory cannot be estimated")
    return sizes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m common.training.estimate", description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="t4", choices=PROFILES)
    parser.add_argument("--method", choices=METHODS, help="default: each")
    parser.add_argument("--model", help="a hub id or a folder; default: the profile's")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default=Recipe.optimizer)
    parser.add_argument("--rank", type=int, default=Recipe.lora_rank, help="of LoRA and QLoRA")
    parser.add_argument("--batch", type=int, help="rows a device batch; default: the profile's")
    parser.add_argument("--epochs", type=int, default=0, help="passes of the last stage; default: the notebooks'")
    parser.add_argument("--gigabytes", type=float, help="memory there is; default: the profile's card")
    arguments = parser.parse_args()
    profile = resolve(arguments.profile)
    rows, width = arguments.batch or profile.per_device_train_batch_size, profile.max_length
    # Every row as long as may be; a quarter of each is the completion.
    batch = MicroBatch(rows, width, rows * width // 4)
    gigabytes = profile.memory_gb if arguments.gigabytes is None else arguments.gigabytes
    if not 0 < gigabytes < float("inf"):
        raise UserError(f"--gigabytes {gigabytes:g} is no memory; give a number above 0")
    room, names = round(gigabytes * GB), [field.name for field in fields(MemoryEstimate)]
    sizes, gpu = _sizes(arguments.model or profile.model_id), profile.name in hours.CARDS
    print(
        f"{arguments.model or profile.model_id}, {profile.precision}, {rows} rows of {width} tokens, "
        f"{arguments.optimizer}, rank {arguments.rank}; {gigabytes:g} GB, a tenth held back. GB:"
    )
    print(f"{'method':14}{'recomputed':>11}", *(f"{name:>13}" for name in (*names, "total")), sep="")
    recipes = []
    for method in [arguments.method] if arguments.method else METHODS:
        recipe = Recipe(
            method=method,
            epochs=arguments.epochs or RECIPES[profile.name][method].epochs,
            optimizer=arguments.optimizer,
            lora_rank=arguments.rank,
            per_device_train_batch_size=rows,
            effective_batch_size=rows,
            max_length=width,
        )
        recipe, peak = fit(sizes, recipe, batch, room=room, precision=profile.precision, gpu=gpu)
        parts = (f"{getattr(peak, name) / GB:13.2f}" for name in (*names, "total"))
        recipes.append(recipe)
        verdict = "fits" if fits(peak, room) else "does not fit"
        print(f"{method:14}{'yes' if recipe.gradient_checkpointing else 'no':>11}", *parts, f"  {verdict}", sep="")
    if gpu:
        print(f"\n{hours.table(sizes, recipes, profile)}")
    print(f"\n{hours.notebook_table({name: _as_they_run(PROFILES[name]) for name in hours.CARDS})}")
    return 0


def _as_they_run(profile: Profile) -> dict[str, Recipe]:
    """The profile's default recipes by method, with activations computed again where its card needs that."""
    rows, width = profile.per_device_train_batch_size, profile.max_length
    sizes = {"room": round(profile.memory_gb * GB), "precision": profile.precision, "gpu": True}
    batch = MicroBatch(rows, width, rows * width // 4)
    return {
        method: fit(KNOWN[profile.model_id], default_recipe(method, profile), batch, **sizes)[0] for method in METHODS
    }


if __name__ == "__main__":
    run_cli(main)
