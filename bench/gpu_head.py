"""TRL's fused output head against ours: FullFT on the same micro-batches, the loss over the completion in both.

TRL's (`add_fused_lm_head`) projects tile by tile and never holds logits; ours computes logits where a token is
labelled. Covers rate, peak memory and whether both give the same loss; attention, padding and optimiser are the same.
"""

import torch

from bench.gpu_model import Setting, free
from bench.gpu_training import (
    Training,
    arithmetic_of,
    fastest_micro,
    our_steps,
    ours,
    passes,
    plain_steps,
    plan_of,
    recipe,
    seconds_of,
)
from common.training.adapters import adapt


def fused_loss(model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Negative log-likelihood of the labelled tokens, a sum, by a head that `add_fused_lm_head` has put on."""
    return model(**inputs, fused_lm_head=True, num_items_in_batch=1).loss


def by_trl(setting: Setting, arithmetic: torch.dtype | None) -> Training:
    from trl.trainer.utils import add_fused_lm_head

    loaded, method_recipe = setting.load(), recipe("full", setting.sizes.effective)
    add_fused_lm_head(loaded.model)  # before anything is put around the model, as TRL says
    return Training(adapt(loaded, method_recipe), method_recipe, fused_loss, arithmetic)


def measure(setting: Setting) -> dict:
    """Both heads over the same steps, in the micro-batches that are the fastest of ours."""
    size, arithmetic = setting.sizes, arithmetic_of(setting.precision)
    loaded, rows = setting.load(), setting.rows(size.effective * size.steps)
    pad = loaded.tokenizer.pad_token_id
    training = ours(loaded, recipe("full", size.effective), arithmetic)
    micro, tried = fastest_micro(training, rows, size.effective, pad, setting.seconds / 4)
    del training, loaded
    plan, values, losses = plan_of(rows, size.effective, micro), {}, {}
    for suffix, make, steps in (
        ("-trl", lambda: by_trl(setting, arithmetic), plain_steps(rows, plan, pad)),
        ("", lambda: ours(setting.load(), recipe("full", size.effective), arithmetic), our_steps(rows, plan, pad)),
    ):
        free()
        training = make()
        losses[suffix] = training.step(steps.batches[0], steps.weights[0]).item()  # from the same weights
        seconds_of(training, steps)
        taken, peak = passes(training, steps, size.passes, setting.seconds / 4)
        values[f"head-rows{suffix}"] = [len(rows) / second for second in taken]
        values[f"head-memory{suffix}"] = [peak / 1e9]
        del training
    values["head-loss"] = [100 * abs(losses[""] - losses["-trl"]) / losses["-trl"]]
    note = (
        f"head: FullFT, {size.steps} steps of {size.effective} rows in the same micro-batches of about {micro} rows, "
        f"the fastest of ours ({tried}); the loss of the first step is {losses['']:.4f} nats a token."
    )
    return {"values": values, "notes": [note]}
