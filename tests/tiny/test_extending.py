"""The steps of docs/extending.md, followed: a method, a reward and a data set that the study does not have."""

import csv
import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
from trl import SFTConfig

from common.data import load_examples
from common.models import load_model
from common.profiles import TINY_MODEL
from common.rewards.display import reward_table
from common.score import judge
from common.settings import ROOT
from common.training.losses import Loss, labelled_tokens, token_log_probabilities
from common.training.objective import Objective
from common.training.recipe import Recipe
from common.training.rows import tokenise
from common.training.session import Session
from common.training.sft import CompletionTrainer

TEXT = (ROOT / "docs" / "extending.md").read_text()


def test_three_things_in_five_steps_each():
    parts = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
    assert [part.splitlines()[0] for part in parts] == ["A method", "A reward", "A data set"]
    assert all(re.findall(r"^(\d)\. ", part, re.MULTILINE) == list("12345") for part in parts)


@dataclass(frozen=True)
class FocalRecipe(Recipe):
    """Fine-tuning that looks at what is still unlikely (Lin et al. 2017, arXiv:1708.02002)."""

    module: ClassVar[str] = "common.training.sft"  # in the study its own, below common/

    gamma: float = 2.0


def focal_loss(model, inputs, virtual_tokens=0, *, gamma):
    chances = token_log_probabilities(model, inputs, virtual_tokens)
    return Loss(-((1 - chances.detach().exp()) ** gamma * chances).sum(), labelled_tokens(inputs))


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_a_method(tmp_path, gamma):
    recipe = FocalRecipe(method="lora", learning_rate=1e-2, effective_batch_size=4, epochs=2, gamma=gamma, seed=1)
    loaded, rows = load_model(TINY_MODEL), load_examples("embedded", "train", limit=16)
    items = [[row] for row in tokenise(rows, loaded, max_length=recipe.max_length)]
    objective = Objective(
        CompletionTrainer,
        SFTConfig,
        items[:12],
        items[12:],
        lambda model, inputs, virtual: focal_loss(model, inputs, virtual, gamma=recipe.gamma),
        options={"max_length": None},
    )
    trained = Session(loaded, objective, recipe, tmp_path / "focal", {}, None, None).run()
    losses = trained.curve["loss"].dropna()
    assert losses.iloc[-1] < losses.iloc[0] < 12 and trained.train_rows == 12
    assert trained.eval_loss == pytest.approx(losses.iloc[-1], rel=0.1)
    assert (trained.weights / "adapter_model.safetensors").is_file()


def shouting(examples, completions):
    """Capital letters, as a share."""
    return [sum(letter.isupper() for letter in text) / max(1, len(text)) for text in completions]


def test_a_reward():
    table = reward_table(names=("robust",), functions={"shouting": shouting}, databases=1)
    assert {"robust", "shouting"} <= set(table.columns) and table["shouting"].max() > table["shouting"].min()
    assert table["robust"].max() == 1.0


def test_a_data_set(tmp_path):
    path = tmp_path / "rows.csv"
    schema = "CREATE TABLE pets (name TEXT, age INT); INSERT INTO pets VALUES ('Rex', 3), ('Mia', 5);"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sql_prompt", "sql_context", "sql", "split"])
        for number in range(4):
            split = "test" if number % 2 else "train"
            writer.writerow(
                [f"Who is older than {number}?", schema, f"SELECT name FROM pets WHERE age > {number}", split]
            )
    test = load_examples(str(path), "test")
    assert [example.question for example in test] == ["Who is older than 1?", "Who is older than 3?"]
    assert len(load_examples(str(path), "train")) == 2
    rows = judge(test, [test[0].sql, "SELECT name FROM pets"], databases=1)
    assert [row["robust_match"] for row in rows] == [True, False]
