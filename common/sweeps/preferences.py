"""The search for a preference training's recipe: rate and SFT term on a few pairs, then other losses beside the best.

Losses of different kinds and betas cannot be compared, so candidates are ranked by the score of answers to the study's
validation rows, the same ones for all. Those are few: differences of a few points are noise.
"""

from pathlib import Path

from common.profiles import Profile
from common.sweeps.sweep import Sweep
from common.training.dpo import PreferenceRecipe
from common.training.preference_defaults import SIZES

RATES = {
    "smoke": (5e-4, 1e-3),
    "cpu": (5e-5, 1e-4, 2e-4),
    "t4": (5e-6, 2e-5, 5e-5, 1e-4),
    "h100": (5e-6, 2e-5, 5e-5, 1e-4),
}
WEIGHTS = (0.0, 1.0)  # of the SFT term
# IPO's loss is a mean a token, so its beta is of another order: it asks for a difference of 1 / 2 beta nats a token.
VARIANTS = ({"pair_loss": "ipo", "beta": 1.0}, {"beta": 0.3})


def preference_sweep(name: str, recipe: PreferenceRecipe, profile: Profile, pairs: Path, *, seed: int) -> Sweep:
    """The search over `recipe`'s rate, SFT term and loss on a file of pairs. A trial answers half of the validation
    rows that the last stage does."""
    rates = tuple(sorted({*RATES[profile.name], recipe.learning_rate}))
    return Sweep(
        name,
        recipe.with_values({"epochs": 1, "score_rows": max(1, recipe.score_rows // 2)}),
        {"learning_rate": rates, "sft_weight": WEIGHTS},
        SIZES[profile.name].stages,
        model_id=profile.model_id,
        precision=profile.precision,
        data=str(pairs),
        seed=seed,
        first={"learning_rate": recipe.learning_rate, "sft_weight": recipe.sft_weight},
        variants=VARIANTS,
        rank_by="score",
        max_new_tokens=profile.max_new_tokens,
        batch_size=profile.eval_batch_size,
        databases=profile.databases,
    )
