"""Losses of a few pairs as tables, for a reader: what a preference loss and a reward loss say of each."""

import math
from collections.abc import Sequence

import pandas

from common.models import LoadedModel
from common.preferences.pairs import Pair
from common.training import dpo, reward
from common.training.likelihoods import by_row, log_probabilities
from common.training.recipe import Recipe


def invented_pairs(pair: Pair) -> list[Pair]:
    """Three pairs of one question that nobody has certified: the reference above a wrong answer, above one of another
    schema, and the first the wrong way round."""
    example, wrong = pair.example, pair.rejected
    answers = [(example.sql, wrong), (example.sql, "SELECT name FROM nowhere;"), (wrong, example.sql)]
    return [Pair(example, chosen, rejected, "invented", "invented", "", "") for chosen, rejected in answers]


def likelihood_table(loaded: LoadedModel, pairs: Sequence[Pair]) -> pandas.DataFrame:
    """The answers of each pair and their log-probabilities under the model, in nats."""
    model = loaded.model
    items = dpo.items(pairs, loaded, max_length=10**6)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    values = by_row(
        model,
        items,
        Recipe(max_length=10**6, shared_prefixes=False),
        base=base,
        pad=loaded.tokenizer.pad_token_id,
        dtype=base.get_input_embeddings().weight.dtype,
        numbers=log_probabilities,
    )
    return pandas.DataFrame(
        {
            "chosen": [pair.chosen for pair in pairs],
            "rejected": [pair.rejected for pair in pairs],
            "log p(chosen)": [one for one, _ in values],
            "log p(rejected)": [other for _, other in values],
        }
    ).round(2)


def preference_table(policy: pandas.DataFrame, reference: pandas.DataFrame, *, beta: float) -> pandas.DataFrame:
    """The pairs of two tables of `likelihood_table` with the sigmoid loss: ln 2 where policy and reference are one."""
    names = ["log p(chosen)", "log p(rejected)"]
    chosen, rejected = ((policy[name] - reference[name]) for name in names)
    margin = beta * (chosen - rejected)
    losses = [math.log1p(math.exp(-value)) for value in margin]
    return policy.assign(margin=margin.round(3), loss=[round(loss, 3) for loss in losses])


def score_table(reward_model: LoadedModel, pairs: Sequence[Pair]) -> pandas.DataFrame:
    """The answers of each pair, their scores, and the Bradley-Terry loss."""
    answers = [(pair.example, sql) for pair in pairs for sql in (pair.chosen, pair.rejected)]
    values = reward.scores(reward_model, answers)
    lines = [
        {
            "chosen": pair.chosen,
            "rejected": pair.rejected,
            "score(chosen)": values[2 * i],
            "score(rejected)": values[2 * i + 1],
            "loss": math.log1p(math.exp(values[2 * i + 1] - values[2 * i])),
        }
        for i, pair in enumerate(pairs)
    ]
    return pandas.DataFrame(lines).round(3)
