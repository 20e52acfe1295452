"""How many hours a notebook takes on a GPU: useful operations over a share of what its card can do. Arithmetic, no
measurement, but for the share where `python -m bench.gpu` has measured one on such a card.

Counted as in `bench.training_flops`: two operations a weight and token forward, two for the gradient of the input, two
for that of the weight where it is trained; of the output head only for tokens that are predicted. Not counted: loading,
scoring, checkpoints, and answers on the way that end a training early.
"""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from common.profiles import Profile
from common.settings import results
from common.training.architecture import Decoder, adapter_weights
from common.training.recipe import Recipe, affordable_evaluations

# The published rows: 195 tokens in the mean, of which the answer has 45.
TOKENS, LABELLED = 195, 45


@dataclass(frozen=True)
class Card:
    """peak: operations a second of dense products in the profile's precision, by NVIDIA's data sheet. names: words of
    a device's name in the GPU bench's records that have this peak."""

    peak: float
    names: tuple[str, ...]


CARDS = {"t4": Card(65e12, ("t4",)), "h100": Card(989e12, ("h100", "h200"))}
# Shares of a card's peak, assumed: about what the GPU bench's targets come to on an H200 for Qwen3-0.6B (400 rows/s of
# full fine-tuning, 450 of LoRA, 250 of QLoRA, 5,851 answers in 60 s).
SHARES = {"full": 0.2, "lora": 0.2, "qlora": 0.1, "prompt": 0.2, "answers": 0.02}


@dataclass(frozen=True)
class Hours:
    """search: all stages but the last, each trial with its evaluation. training: the last stage. evaluations: in the
    last stage, with the answers to its `score_rows`. answers: to the test rows."""

    search: float
    training: float
    evaluations: float
    answers: float

    @property
    def total(self) -> float:
        return sum(astuple(self))


def training_operations(sizes: Decoder, recipe: Recipe, rows: int) -> int:
    """Of one pass forward and back over `rows` rows; layers that are computed again count once more."""
    each = (6 if recipe.method == "full" else 4) + 2 * recipe.gradient_checkpointing
    low_rank = 0 if recipe.method.startswith("prompt") else 6 * adapter_weights(sizes, recipe)
    head = (6 if recipe.method == "full" else 4) * sizes.embedding_weights
    return rows * ((each * sizes.linear_weights + low_rank) * _width(recipe) + head * LABELLED)


def forward_operations(sizes: Decoder, recipe: Recipe, rows: int) -> int:
    """Of `rows` rows read, whether their answers are given or written token by token."""
    low_rank = 0 if recipe.method.startswith("prompt") else adapter_weights(sizes, recipe)
    each = 2 * (sizes.linear_weights + low_rank) * _width(recipe)
    return rows * (each + 2 * sizes.embedding_weights * LABELLED)


def _width(recipe: Recipe) -> int:
    return TOKENS + (recipe.virtual_tokens if recipe.method.startswith("prompt") else 0)


def hours(sizes: Decoder, recipe: Recipe, profile: Profile, rates: dict[str, float]) -> Hours:
    """Of the method's notebook at a profile. rates: operations a second of training and of answering."""
    train, answer = rates["training"] * 3600, rates["answers"] * 3600
    *stages, last = profile.stages
    final = recipe.with_values({"score_rows": profile.score_rows})
    looks = affordable_evaluations(final, last.train_rows, last.valid_rows, gpu=True)
    search = sum(
        stage.trials
        * (training_operations(sizes, recipe, stage.train_rows) + forward_operations(sizes, recipe, stage.valid_rows))
        for stage in stages
    )
    return Hours(
        search=search / train,
        training=recipe.epochs * training_operations(sizes, recipe, last.train_rows) / train,
        evaluations=looks
        * (
            forward_operations(sizes, recipe, last.valid_rows) / train
            + forward_operations(sizes, recipe, profile.score_rows) / answer
        ),
        answers=forward_operations(sizes, recipe, profile.test_rows) / answer,
    )


def rates(method: str, card: Card) -> tuple[dict[str, float], str]:
    """Operations a second of training and answering, and the name of the record that they are from, "" where the
    shares are assumed. Answers have no measured share."""
    method = "prompt" if method.startswith("prompt") else method
    answers = SHARES["answers"] * card.peak
    for path in sorted((results() / "bench").glob("gpu-*.json")):
        if set(path.stem.split("-")) & set(card.names):
            lines = {line["name"]: line["value"] for line in json.loads(path.read_text())["measurements"]}
            share, products = lines.get(f"{method}-utilisation"), lines.get("products")  # %, TFLOP/s
            if share and products:
                return {"training": share / 100 * products * 1e12, "answers": answers}, path.stem
    return {"training": SHARES[method] * card.peak, "answers": answers}, ""


def table(sizes: Decoder, recipes: Sequence[Recipe], profile: Profile) -> str:
    """The hours of each recipe's notebook at a profile that has a card in CARDS, and what they stand on."""
    card, names = CARDS[profile.name], [field.name for field in fields(Hours)]
    *stages, last = profile.stages
    trials = ", ".join(f"{stage.trials} candidates on {stage.train_rows:,} rows" for stage in stages)
    lines = [
        f"Hours of a notebook, by arithmetic: {trials}, {recipes[0].epochs} × {last.train_rows:,} rows in the last "
        f"stage, {profile.test_rows:,} answers;",
        f"rows of {TOKENS} tokens, {LABELLED} of them the answer; shares are of {card.peak / 1e12:.0f} TFLOP/s, in "
        f"answering {SHARES['answers']:.0%} is assumed.",
        f"{'method':14}{'share':>11}" + "".join(f"{name:>13}" for name in (*names, "total")),
    ]
    for recipe in recipes:
        speeds, source = rates(recipe.method, card)
        cost = hours(sizes, recipe, profile, speeds)
        parts = "".join(f"{value:13.2f}" for value in (*astuple(cost), cost.total))
        origin = f"share from {source}.json" if source else "share assumed"
        lines.append(f"{recipe.method:14}{speeds['training'] / card.peak:>11.0%}{parts}  {origin}")
    return "\n".join(lines)
