"""Parts of the GPU bench that are no method's rate: ceilings, both paths' loss, a T4's memory, trainer, variants.

Each is a function of a `Setting`, see `bench.gpu_parts`.
"""

import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import torch

from bench.gpu_lines import METHODS
from bench.gpu_model import LONGEST, Setting, fits, free, rates
from bench.gpu_training import (
    MICRO,
    Training,
    arithmetic_of,
    fastest_micro,
    our_steps,
    ours,
    passes,
    plain_completion_loss,
    plain_steps,
    plan_of,
    recipe,
    seconds_of,
)
from bench.training_flops import products, wait
from common.data import load_examples
from common.models import device
from common.profiles import PROFILES, resolve
from common.settings import outputs, writable
from common.training.adapters import adapt
from common.training.memory import peak_bytes, reset_peak
from common.training.rows import tokenise

T4_BYTES = 15e9
COPIED = {"cuda": 1 << 30, "cpu": 1 << 26}  # bytes


def ceilings(setting: Setting) -> dict:
    """What the card can do: matrix products in the training's arithmetic, and copying memory."""
    dtype = arithmetic_of(setting.precision) or torch.float32
    shapes = products(setting.load().model).layers
    ceilings = rates(shapes, rows=4096, dtype=dtype)
    source = torch.empty(COPIED[device().type], dtype=torch.uint8, device=device())
    into, taken = torch.empty_like(source), []
    for _ in range(5):
        wait(device())
        start = time.perf_counter()
        into.copy_(source)
        wait(device())
        taken.append(2 * source.numel() / (time.perf_counter() - start) / 1e9)
    return {
        "values": {
            "products": [ceilings["large"] / 1e12],
            "products-model": [ceilings["model"] / 1e12],
            "copy": taken[1:],
        },
        "notes": [f"The card's rate of matrix products is measured in {str(dtype).removeprefix('torch.')}."],
    }


def loss(setting: Setting) -> dict:
    """The same steps from the same weights: ours, and a plain loop of two rows a batch with mask and full logits."""
    size = setting.sizes
    method_recipe = recipe("full", size.loss_rows)
    rows, arithmetic = setting.rows(size.loss_steps * size.loss_rows), arithmetic_of(setting.precision)
    curves = []
    for kind, micro in (("ours", size.loss_rows // 2), ("plain", MICRO)):
        loaded = setting.load()
        make = our_steps if kind == "ours" else plain_steps
        steps = make(rows, plan_of(rows, size.loss_rows, micro), loaded.tokenizer.pad_token_id)
        if kind == "ours":
            training = ours(loaded, method_recipe, arithmetic)
        else:
            training = Training(adapt(loaded, method_recipe), method_recipe, plain_completion_loss, arithmetic)
        curve = [training.step(*step) for step in zip(steps.batches, steps.weights, strict=True)]
        curves.append(torch.stack(curve).tolist())
        del training, loaded
        free()
    differences = [abs(a - b) / b for a, b in zip(*curves, strict=True)]
    note = (
        f"loss: {len(differences)} steps of {size.loss_rows} rows, FullFT, from {curves[1][0]:.3f} to "
        f"{curves[1][-1]:.3f} nats a token by the plain path."
    )
    return {"values": {"loss": [100 * max(differences)]}, "notes": [note]}


def t4(setting: Setting) -> dict:
    """Peaks of the three methods in float16 at the t4 profile's batch, its longest row among them, in 15 GB."""
    profile, size = PROFILES["t4"], setting.sizes
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, T4_BYTES / total))
    micro = min(profile.per_device_train_batch_size, size.effective)
    rows, values, failed = setting.rows(2 * size.effective, longest_first=True), {}, []
    for method in ("full", "lora", "qlora"):
        method_recipe = recipe(method, size.effective).with_values({"gradient_checkpointing": True})
        free()
        reset_peak()

        def train(method_recipe=method_recipe) -> None:
            loaded = setting.load(method_recipe.quantisation, profile.precision)
            training = ours(loaded, method_recipe, getattr(torch, profile.precision))
            steps = our_steps(rows, plan_of(rows, size.effective, micro), loaded.tokenizer.pad_token_id)
            seconds_of(training, steps)
            if not training.optimizer.state:
                raise RuntimeError("no step was taken, so the optimiser's states are not in the peak")

        if method == "qlora" and find_spec("bitsandbytes") is None:
            failed.append(f"{METHODS[method]} takes bitsandbytes, not installed")
        elif fits(train):
            values[f"t4-{method}-memory"] = [peak_bytes() / 1e9]
        else:
            failed.append(f"{METHODS[method]} did not fit")
    note = (
        f"t4: {2 * size.effective} rows in device batches of about {micro} by length, one of {LONGEST} tokens; "
        "FullFT with float32 weights and optimiser states, every layer computed again in the backward pass (gradient "
        "checkpointing), logits at labelled tokens alone, loss scaling. The cap is on what torch reserves."
    )
    return {"values": values, "notes": [note, *(f"t4: {text}." for text in failed)]}


def trainer(setting: Setting) -> dict:
    """The product's own training against the bare loop, both on embedded rows: what the trainer costs."""
    from bench.training_run import Watch
    from common.training.sft import train_sft

    size = setting.sizes
    micro = min(resolve("auto").per_device_train_batch_size, size.effective)
    method_recipe = recipe("full", size.effective).with_values({"per_device_train_batch_size": micro})
    examples = load_examples("embedded", "train", limit=size.effective * (size.steps + 1))
    loaded = setting.load()
    rows = tokenise(examples, loaded, max_length=method_recipe.max_length)
    plan = plan_of(rows, size.effective, micro)
    steps = our_steps(rows, plan, loaded.tokenizer.pad_token_id)
    training = ours(loaded, method_recipe, arithmetic_of(setting.precision))
    timed = sum(len(batch) for step in plan[1:] for batch in step)
    seconds_of(training, steps)
    taken, _ = passes(training, steps.after_first(), size.passes, setting.seconds / 3)
    del training, loaded
    free()
    loaded = setting.load()
    folder = writable(outputs() / "bench")
    with tempfile.TemporaryDirectory(dir=folder) as place, Watch(loaded.model) as watch:
        valid = load_examples("embedded", "validation", limit=size.effective)
        train_sft(loaded, examples, valid, method_recipe, folder=Path(place))
    seconds = watch.marks[-1].seconds - watch.marks[0].seconds
    note = f"trainer: {timed} embedded rows of {sum(len(row['input_ids']) for row in rows) / len(rows):.0f} tokens."
    values = {"trainer-rows": [timed / seconds], "trainer-loop-rows": [timed / second for second in taken]}
    return {"values": values, "notes": [note]}


def variants(setting: Setting) -> dict:
    """FullFT, ours, with each decoder layer compiled, and with liger-kernel's parts where that is installed."""
    size, arithmetic = setting.sizes, arithmetic_of(setting.precision)
    method_recipe, rows = recipe("full", size.effective), setting.rows(size.effective * size.steps)
    values, notes = {}, []
    for key in ("liger", "compile"):
        loaded = setting.load()
        try:
            if key == "liger":
                from liger_kernel.transformers import apply_liger_kernel_to_qwen3

                # The loss stays ours: it reads logits at labelled tokens alone.
                apply_liger_kernel_to_qwen3(cross_entropy=False, fused_linear_cross_entropy=False, model=loaded.model)
            else:
                for layer in loaded.model.model.layers:
                    layer.compile(dynamic=True)
            training = ours(loaded, method_recipe, arithmetic)
            pad = loaded.tokenizer.pad_token_id
            micro, tried = fastest_micro(training, rows, size.effective, pad, setting.seconds / 2)
            steps = our_steps(rows, plan_of(rows, size.effective, micro), pad)
            seconds_of(training, steps)
            taken, peak = passes(training, steps, size.passes, setting.seconds / 6)
        except Exception as error:  # a compiler or a package that does not go with the rest here
            notes.append(f"variants: {key} could not be measured ({type(error).__name__}: {str(error)[:120]}).")
            continue
        finally:
            training = loaded = None
            free()
        values[f"variants-{key}-rows"] = [len(rows) / second for second in taken]
        values[f"variants-{key}-memory"] = [peak / 1e9]
        notes.append(f"variants: {key} in micro-batches of about {micro} rows, the fastest of {tried}.")
    return {"values": values, "notes": notes}
