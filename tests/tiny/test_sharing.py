"""What processes share, without processes: each is played in turn. Real ones are in test_multi.py."""

import runpy
import sys
from pathlib import Path

import pytest

from common import distributed, evaluation
from common.generation import Completion
from common.prompts import prompt_ids
from common.settings import UserError
from common.training.plan import check_processes, with_dummies
from common.training.recipe import Recipe

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "train_multi_gpu.py"


def test_the_mean_score_is_that_of_one_process(rows, tiny, monkeypatch):
    """Two processes in turn, each with its rows: the second sees what the first has handed in."""
    loaded, examples, asked = tiny(), rows[0][:10], []
    # Every third answer is right, the others share words with the reference.
    known = {
        tuple(prompt_ids(e, loaded.tokenizer)): (e.sql, f"SELECT {e.sql}")[i % 3 > 0] for i, e in enumerate(examples)
    }

    def complete(loaded, prompts, **_):
        asked.append(len(prompts))
        return [Completion(known[tuple(prompt)], 1) for prompt in prompts]

    monkeypatch.setattr(evaluation, "complete", complete)
    alone = evaluation.mean_score(loaded, examples, max_new_tokens=4, batch_size=4)
    assert 0.4 < alone < 1 and asked == [10]
    handed = []
    monkeypatch.setattr(distributed, "gathered", lambda own: handed.append(own) or handed)
    monkeypatch.setattr(distributed, "world", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        found = evaluation.mean_score(loaded, examples, max_new_tokens=4, batch_size=4)
    assert found == alone and [len(own) for own in handed] == [5, 5] and asked[1:] == [5, 5]


def test_micro_batches_that_do_not_go_into_the_processes_are_refused():
    recipe = Recipe(effective_batch_size=8, per_device_train_batch_size=2)
    check_processes(recipe, 4, sharded=False)
    assert with_dummies([[3], [1, 2], [0], [4], [5]], 4) == [[3], [1, 2], [0], [4], [5], [], [], []]
    with pytest.raises(UserError, match="^3 processes cannot share the 4 micro-batches .* a multiple of 6 rows$"):
        check_processes(recipe, 3, sharded=False)
    check_processes(recipe, 2, sharded=True)
    for values in ({"method": "prompt-text"}, {"optimizer": "adamw_8bit"}):
        with pytest.raises(UserError, match="^sharding trains by full or lora and with torch's optimisers, not by "):
            check_processes(recipe.with_values(values), 2, sharded=True)


@pytest.mark.parametrize("argument, said", [("--batch seven", "invalid int value: 'seven'"), ("--bach 8", "--bach 8")])
def test_a_wrong_argument_ends_in_one_line(argument, said, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *argument.split()])
    with pytest.raises(UserError, match=f"{said}.*; --help lists the arguments$"):
        runpy.run_path(str(SCRIPT))["main"]()
