"""How many hours a notebook takes on a GPU: useful operations over a share of what its card can do. Arithmetic, no
measurement, but for the share where `python -m bench.gpu` has measured one on such a card.

Counted as in `bench.training_flops`: two operations a weight and token forward, two for the gradient of the input, two
for that of the weight where it is trained; of the output head only for tokens that are predicted. Not counted: loading,
scoring, checkpoints, and answers on the way that end a training early.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

from common.profiles import PROFILES, Profile
from common.settings import ROOT, results
from common.training.architecture import KNOWN, Decoder, adapter_weights
from common.training.defaults import final_recipe
from common.training.recipe import METHODS, Recipe

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
    looks = final_recipe(recipe, profile, last.train_rows, last.valid_rows, epochs=recipe.epochs, gpu=True).evaluations
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


@dataclass(frozen=True)
class Plan:
    """What a notebook computes, as its code says. method: what it trains, "" for nothing. searched: with a search
    before. answers: how often the test rows are answered. larger: by the profile's larger model."""

    notebook: str
    method: str
    searched: bool
    answers: int
    larger: bool


def plans(root: Path = ROOT) -> list[Plan]:
    """Of every notebook whose arithmetic is known here: it answers the test rows by `run.evaluate`, and trains, if it
    does, by one `sweep_of` or `default_recipe`."""
    return [plan for path in sorted(root.glob("*/*.ipynb")) if (plan := _plan(path, root)).answers]


def _plan(path: Path, root: Path) -> Plan:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    calls, names = [], set()
    with suppress(SyntaxError):
        nodes = list(ast.walk(ast.parse(source)))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    by_name = {name: [call for call in calls if _name(call) == name] for name in ("sweep_of", "default_recipe")}
    texts = [arg.value for called in by_name.values() for call in called for arg in call.args if _is_method(arg)]
    return Plan(
        notebook=path.relative_to(root).as_posix(),
        method=texts[0] if texts else "",
        searched=bool(by_name["sweep_of"]),
        answers=sum(_name(call) == "evaluate" for call in calls),
        larger="larger_model_id" in names,
    )


def _name(call: ast.Call) -> str:
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def _is_method(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in METHODS


def notebook_hours(plan: Plan, profile: Profile, recipes: Mapping[str, Recipe]) -> Hours:
    """Of a notebook on a profile's card. recipes: by method, as they run there."""
    recipe = recipes[plan.method or "full"]
    sizes = KNOWN[profile.larger_model_id if plan.larger else profile.model_id]
    cost = hours(sizes, recipe, profile, rates(recipe.method, CARDS[profile.name])[0])
    training = {} if plan.method else {"training": 0.0, "evaluations": 0.0}
    search = {} if plan.searched else {"search": 0.0}
    return replace(cost, answers=plan.answers * cost.answers, **training, **search)


def notebook_table(recipes: Mapping[str, Mapping[str, Recipe]]) -> str:
    """Hours of every notebook on each card. recipes: by profile and method."""
    lines = ["Hours a notebook, by the same arithmetic:", f"{'notebook':40}" + "".join(f"{name:>8}" for name in CARDS)]
    for plan in plans():
        totals = [notebook_hours(plan, PROFILES[name], recipes[name]).total for name in CARDS]
        lines.append(f"{plan.notebook:40}" + "".join(f"{total:8.1f}" for total in totals))
    return "\n".join(lines)
